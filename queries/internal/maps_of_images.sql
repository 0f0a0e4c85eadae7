-- Internal, for the Python interface: a method's maps of a split's images at an epoch, of every image the one that counts.
--
-- A comparing run's own references are left out.
--
-- params:
--   run_id          training run
--   split           split of the images
--   target          class explained: predicted or label
--   method          explanation method
--   epoch           epoch of the checkpoint explained
-- returns:
--   instance_id     image, row number in its split
--   label           true class; null when unknown
--   predicted       class predicted at the epoch
--   target          class explained
--   score           its logit
--   baseline_score  its logit for the baseline; null for methods without one
--   height          pixels
--   width           pixels
--   map             the map, row by row
select
    made.instance_id,
    predictions.label,
    predictions.predicted,
    made.target,
    made.score,
    made.baseline_score,
    maps.height,
    maps.width,
    maps.map
from newest_of('attributions', $run_id, $split, $target) as made
semi join explainer_runs($run_id) using (run_id)
join maps using (run_id, epoch, method, split, instance_id, target_kind, target)
left join predictions
    on predictions.run_id = made.source_run_id
    and predictions.epoch = made.epoch
    and predictions.split = made.split
    and predictions.instance_id = made.instance_id
where
    made.method = $method
    and made.epoch = $epoch::integer
order by made.instance_id
