-- Internal, for comparisons: which run's map of an image counts, of every method at an epoch.
--
-- Where a method explained a random sample, other images are left out, as are a comparing run's own references.
--
-- params:
--   run_id       training run
--   split        split of the images
--   target       class explained: predicted or label
--   epoch        epoch of the checkpoints explained
-- returns:
--   method       explanation method
--   run_id       explainer run that made the map
--   instance_id  image, row number in its split
select
    method,
    run_id,
    instance_id
from sampled_maps('attributions', $run_id, $split, $target)
semi join explainer_runs($run_id) using (run_id)
where epoch = $epoch::integer
order by all
