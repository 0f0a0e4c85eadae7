-- Internal, for comparisons: epochs explained, those explained by most methods first, then the latest.
--
-- A comparing run's own references are left out.
--
-- params:
--   run_id  training run
--   split   split of the images
--   target  class explained: predicted or label
-- returns:
--   epoch   epoch of the checkpoints explained
select epoch
from attributions
semi join explainer_runs($run_id) using (run_id)
where
    source_run_id = $run_id
    and split = $split
    and target_kind = $target
group by epoch
order by
    count(distinct method) desc,
    epoch desc
