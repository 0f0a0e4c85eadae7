-- Internal, for strips of maps: images explained at two epochs or more, those explained at most epochs first.
--
-- params:
--   run_id       training run
--   split        split of the images
--   target       class explained: predicted or label
--   limit        images at the most
-- returns:
--   instance_id  image, row number in its split
select attributions.instance_id
from attributions
join runs on runs.run_id = attributions.run_id
where
    attributions.source_run_id = $run_id
    and attributions.split = $split
    and attributions.target_kind = $target
    and runs.kind = 'explain'
group by attributions.instance_id
having count(distinct attributions.epoch) > 1
order by
    count(distinct attributions.epoch) desc,
    attributions.instance_id
limit $limit::integer
