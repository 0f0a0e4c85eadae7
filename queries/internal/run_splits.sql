-- Internal, for questions: splits of the training run that a run is or looks at.
--
-- params:
--   run_id  run of any kind
-- returns:
--   split   split of its images
select distinct split
from instances
where run_id = (select coalesce(source_run_id, run_id) from runs where run_id = $run_id)
order by split
