-- Internal, for comparisons: 8x8 maps by the runs that made them, with the class explained, in the order of the images.
--
-- params:
--   makers       run of each map
--   instances    image of each map
--   split        split of the images
--   target       class explained: predicted or label
--   epoch        epoch of the checkpoint explained
--   method       explanation method
-- returns:
--   instance_id  image
--   class_id     class explained
--   map8         the map, row by row
with wanted as (
    select
        unnest($makers::varchar[]) as run_id,
        unnest($instances::integer[]) as instance_id
)
select
    instance_id,
    target as class_id,
    map8
from attributions
semi join wanted using (run_id, instance_id)
where
    split = $split
    and target_kind = $target
    and epoch = $epoch::integer
    and method = $method
order by instance_id
