-- Internal, for the InstanceFlow page: images of a split, and those added later, in the order of the page.
--
-- params:
--   run_id       training run
--   home         split as table instances has it
-- returns:
--   split        split of the image
--   instance_id  image, row number in its split
--   label        true class, of training images the one trained with; null when unknown
--   name         what an imported log calls it; null otherwise
--   source       where it lies in the data set
select
    instances.split,
    instances.instance_id,
    coalesce(label_changes.new_label, instances.label) as label,
    instances.name,
    instances.source
from instances
left join label_changes
    on label_changes.run_id = instances.run_id
    and label_changes.instance_id = instances.instance_id
    and instances.split = 'train'
where
    instances.run_id = $run_id
    and (instances.split = $home or instances.split like 'extra:%')
order by
    instances.split <> $home,
    instances.split,
    instances.instance_id
