-- Internal, for the page of two models: newest maps of some images by some methods, of the class that a model predicts.
--
-- params:
--   run_id        training run
--   split         split of the images
--   epoch         epoch of the checkpoint explained
--   instance_ids  row number of each image in its split
--   methods       explanation methods
-- returns:
--   instance_id   image
--   method        explanation method
--   height        pixels
--   width         pixels
--   map           the map, row by row
select
    made.instance_id,
    made.method,
    maps.height,
    maps.width,
    maps.map
from newest_of('attributions', $run_id, $split, 'predicted') as made
semi join explainer_runs($run_id) using (run_id)
join maps using (run_id, epoch, method, split, instance_id, target_kind, target)
where
    made.epoch = $epoch::integer
    and list_contains($instance_ids::integer[], made.instance_id)
    and list_contains($methods::varchar[], made.method)
order by
    made.instance_id,
    made.method
