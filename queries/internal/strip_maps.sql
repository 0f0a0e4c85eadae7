-- Internal, for strips of maps: one image's maps across epochs, of every method the one that counts at each.
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
    newest.method,
    newest.epoch,
    newest.height,
    newest.width,
    newest.map
from newest_of('maps', $run_id, $split, $target) as newest
join runs using (run_id)
where
    newest.instance_id = $instance_id::integer
    and runs.kind = 'explain'
order by
    newest.method,
    newest.epoch
