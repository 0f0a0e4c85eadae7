-- Internal, for exports in InstanceFlow's format: images of a split, and at how many epochs each is predicted.
--
-- params:
--   run_id       training run
--   split        split exported
-- returns:
--   instance_id  image, row number in its split
--   id           what an imported log calls it, else its number
--   actual       true class; null when unknown
--   image        where it lies in the data set
--   n            epochs at which it is predicted
with counts as (
    select
        instance_id,
        count(*) as n
    from predictions
    where
        run_id = $run_id
        and split = $split
    group by instance_id
)
select
    instances.instance_id,
    coalesce(instances.name, printf('%05d', instances.instance_id)) as id,
    instances.label as actual,
    instances.source as image,
    coalesce(counts.n, 0) as n
from instances
left join counts using (instance_id)
where
    instances.run_id = $run_id
    and instances.split = images_of($split)
order by instances.instance_id
