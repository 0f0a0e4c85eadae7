-- How many images go from one predicted class to another, or stay, from each epoch to the next?
--
-- InstanceFlow's links, one for each (epoch, source, target, true class); images that stay are a link from a class to
-- itself. The next epoch is the next one logged; both ends lie in the range. With a stride of k, only every k-th logged
-- epoch of the range counts, starting with its first: images that leave and come back in between are not seen.
-- If classes are given, only images of these true classes are counted, and predictions outside them become Other, whose
-- id is the number of classes. Images without a known label are counted (label null) only if no classes are given.
--
-- seeds: epoch next_epoch source source_name target target_name label label_name
-- means: n=0
-- params:
--   run_id       training run to look at
--   split        split to look at [test]
--   from_epoch   first epoch [null: the first there is]
--   to_epoch     last epoch [null: the last]
--   classes      true classes shown, names or ids, such as cat,dog or 3,5 [null: all]
--   stride       epochs from one column to the next [1]
-- returns:
--   epoch        epoch the link starts at
--   next_epoch   epoch it ends at
--   source       class predicted at epoch; the number of classes for Other
--   source_name  its name
--   target       class predicted at next_epoch
--   target_name  its name
--   label        true class; null when unknown
--   label_name   its name
--   n            images
with known as (
    select
        count(*) as other,
        string_split($classes::varchar, ',')::integer[] as shown
    from classes
    where run_id = $run_id
),
logged as (
    select distinct epoch
    from predictions
    where
        run_id = $run_id
        and split = $split
        and epoch between coalesce($from_epoch::integer, epoch) and coalesce($to_epoch::integer, epoch)
        and $stride::integer > 1
),
columns as (
    select epoch
    from logged
    qualify (row_number() over (order by epoch) - 1) % $stride::integer = 0
),
steps as (
    select
        epoch,
        lead(epoch) over (order by epoch) as next_epoch
    from columns
),
strides as (
    select
        steps.epoch,
        steps.next_epoch,
        here.label,
        here.predicted,
        goal.predicted as next_predicted
    from steps
    join predictions as here on here.epoch = steps.epoch
    join predictions as goal
        on goal.epoch = steps.next_epoch
        and goal.run_id = here.run_id
        and goal.split = here.split
        and goal.instance_id = here.instance_id
    where
        here.run_id = $run_id
        and here.split = $split
),
chosen as (
    select
        epoch,
        next_epoch,
        label,
        predicted,
        next_predicted
    from moves($run_id, $split)
    where
        epoch >= coalesce($from_epoch::integer, 0)
        and next_epoch <= coalesce($to_epoch::integer, next_epoch)
        and $stride::integer = 1  -- the row itself knows where it comes from
    union all
    select *
    from strides
),
links as (
    select
        epoch,
        next_epoch,
        case when shown is null or list_contains(shown, predicted) then predicted else other end as source,
        case when shown is null or list_contains(shown, next_predicted) then next_predicted else other end as target,
        label,
        count(*) as n
    from chosen
    cross join known
    where $classes::varchar is null or list_contains(shown, label)
    group by all
)
select
    links.epoch,
    links.next_epoch,
    links.source,
    origin.name as source_name,
    links.target,
    goal.name as target_name,
    links.label,
    truth.name as label_name,
    links.n
from links
left join class_names_with_other($run_id) as origin on origin.class_id = links.source
left join class_names_with_other($run_id) as goal on goal.class_id = links.target
left join class_names_with_other($run_id) as truth on truth.class_id = links.label
order by
    links.epoch,
    links.next_epoch,
    links.source,
    links.target,
    links.label nulls last
