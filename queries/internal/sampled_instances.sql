-- Internal, for comparisons: images of the random samples that explainers explained at an epoch.
--
-- Maps of earlier versions, which do not say how their images were chosen, count as of a sample.
--
-- params:
--   run_id       training run
--   split        split of the images
--   target       class explained: predicted or label
--   epoch        epoch of the checkpoints explained
-- returns:
--   method       explanation method
--   instance_id  image, row number in its split
select distinct
    method,
    instance_id
from attributions
semi join explainer_runs($run_id) using (run_id)
where
    source_run_id = $run_id
    and split = $split
    and target_kind = $target
    and epoch = $epoch::integer
    and sampled is distinct from false
order by all
