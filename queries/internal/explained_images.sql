-- Internal, for the page of two models: which methods explained what a model predicts of some images.
--
-- params:
--   run_id        training run
--   split         split of the images
--   epoch         epoch of the checkpoint explained
--   instance_ids  row number of each image in its split
-- returns:
--   instance_id   image
--   method        explanation method
select distinct
    instance_id,
    method
from attributions
semi join explainer_runs($run_id) using (run_id)
where
    source_run_id = $run_id
    and split = $split
    and epoch = $epoch::integer
    and target_kind = 'predicted'
    and list_contains($instance_ids::integer[], instance_id)
order by all
