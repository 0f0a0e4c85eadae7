-- Internal, for mosaics of maps: images explained at two epochs or more, those explained at most epochs first.
--
-- params:
--   run_id       training run
--   split        split of the images
--   target       class explained: predicted or label
--   limit        at most this many images
-- returns:
--   instance_id  image, row number in its split
--   epochs       how many epochs it was explained at
select
    instance_id,
    count(distinct epoch) as epochs
from attributions
semi join explainer_runs($run_id) using (run_id)
where
    source_run_id = $run_id
    and split = $split
    and target_kind = $target
group by instance_id
having count(distinct epoch) > 1
order by
    epochs desc,
    instance_id
limit $limit::integer
