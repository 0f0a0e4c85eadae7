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
    maps.split,
    maps.instance_id,
    maps.epoch,
    maps.method,
    maps.target,
    maps.target_kind,
    maps.height,
    maps.width,
    maps.map
from maps
join runs on runs.run_id = maps.run_id
where
    maps.source_run_id = $run_id
    and runs.kind = 'explain'
    and (maps.split = $split or maps.split like 'extra:%')
order by
    maps.split,
    maps.instance_id,
    maps.method,
    maps.epoch
