-- Internal, for the InstanceFlow page: images of a split, and those added later, in the order of the page.
--
-- params:
--   run_id       training run
--   home         split as table instances has it
-- returns:
--   split        split of the image
--   instance_id  image, row number in its split
--   label        true class; null when unknown
--   name         what an imported log calls it; null otherwise
--   source       where it lies in the data set
select
    split,
    instance_id,
    label,
    name,
    source
from instances
where
    run_id = $run_id
    and (split = $home or split like 'extra:%')
order by
    split <> $home,
    split,
    instance_id
