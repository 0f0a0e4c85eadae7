-- Internal, for comparisons: full maps of a method by the runs that made them, in the order of the images.
--
-- params:
--   makers     run of each map
--   instances  image of each map
--   split      split of the images
--   target     class explained: predicted or label
--   epoch      epoch of the checkpoint explained
--   method     explanation method
-- returns:
--   height     pixels
--   width      pixels
--   map        the map, row by row
with wanted as (
    select
        unnest($makers::varchar[]) as run_id,
        unnest($instances::integer[]) as instance_id
)
select
    height,
    width,
    map
from maps
semi join wanted using (run_id, instance_id)
where
    split = $split
    and target_kind = $target
    and epoch = $epoch::integer
    and method = $method
order by instance_id
