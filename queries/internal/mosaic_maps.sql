-- Internal, for mosaics of maps: one image's maps across epochs, of every method the one that counts at each.
--
-- A comparing run's own references are left out.
--
-- params:
--   run_id       training run
--   split        split of the image
--   target       class explained: predicted or label
--   instance_id  image, row number in its split
-- returns:
--   method       explanation method
--   epoch        epoch of the checkpoint explained
--   height       pixels
--   width        pixels
--   map          the map, row by row
select
    method,
    epoch,
    height,
    width,
    map
from newest_of('maps', $run_id, $split, $target)
semi join explainer_runs($run_id) using (run_id)
where instance_id = $instance_id::integer
order by
    method,
    epoch
