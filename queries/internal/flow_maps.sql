-- Internal, for the InstanceFlow page: every map by an explainer run of a split's images, and of those added later.
--
-- A comparing run's references explain nothing, so they are left out.
--
-- params:
--   run_id       training run
--   split        split of the images as table instances has it
-- returns:
--   split        split of the image
--   instance_id  image, row number in its split
--   epoch        epoch of the checkpoint explained
--   method       explanation method
--   target       class explained
--   target_kind  predicted, label or class
--   height       pixels
--   width        pixels
--   map          the map, row by row
select
    split,
    instance_id,
    epoch,
    method,
    target,
    target_kind,
    height,
    width,
    map
from maps
semi join explainer_runs($run_id) using (run_id)
where
    source_run_id = $run_id
    and (split = $split or split like 'extra:%')
order by
    split,
    instance_id,
    method,
    epoch
