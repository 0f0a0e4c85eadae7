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
select attributions.epoch
from attributions
join runs on runs.run_id = attributions.run_id
where
    attributions.source_run_id = $run_id
    and attributions.split = $split
    and attributions.target_kind = $target
    and runs.kind = 'explain'
group by attributions.epoch
order by
    count(distinct attributions.method) desc,
    attributions.epoch desc
