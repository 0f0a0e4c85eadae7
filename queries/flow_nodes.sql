-- How many images sit in which predicted class at each epoch, and are they arriving, staying or leaving?
--
-- InstanceFlow's nodes. type compares an image's prediction with those at its logged epochs before and after:
-- in = it differs from the one before, out = from the one after, inout = from both, stable = from neither.
-- Neighbouring epochs come from the full run, so a range does not change types. A move between two classes that both
-- become Other is still a move.
-- If classes are given, only images of these true classes are counted, and predictions outside them become Other, whose
-- id is the number of classes. Images without a known label are counted (label null) only if no classes are given.
-- With a stride of k, only every k-th logged epoch of the range is shown, starting with its first.
--
-- seeds: epoch class_id class_name label label_name type
-- means: n=0
-- params:
--   run_id      training run to look at
--   split       split to look at [test]
--   from_epoch  first epoch [null: the first there is]
--   to_epoch    last epoch [null: the last]
--   classes     true classes shown, names or ids, such as cat,dog or 3,5 [null: all]
--   stride      epochs from one column to the next [1]
-- returns:
--   epoch       0 is the network before training
--   class_id    predicted class; the number of classes for Other
--   class_name  its name
--   label       true class; null when unknown
--   label_name  its name
--   type        in, stable, out or inout
--   n           images
with known as (
    select
        count(*) as other,
        string_split($classes::varchar, ',')::integer[] as shown
    from classes
    where run_id = $run_id
),
chosen as not materialized (  -- read repeatedly, which is faster than keeping it
    select
        epoch,
        instance_id,
        label,
        predicted,
        previous_epoch,
        previous
    from predictions
    where
        run_id = $run_id
        and split = $split
        and ($classes::varchar is null or list_contains((select shown from known), label))
),
changes as (
    select *
    from chosen
    where predicted <> previous
),
departures as (
    select
        previous_epoch as epoch,
        instance_id,
        label,
        previous as predicted
    from changes
),
moves as (
    select
        epoch,
        coalesce(changes.label, departures.label) as label,
        coalesce(changes.predicted, departures.predicted) as predicted,
        case
            when departures.predicted is null then 'in'
            when changes.predicted is null then 'out'
            else 'inout'
        end as type,
        count(*) as n
    from changes
    full join departures using (epoch, instance_id)
    group by all
),
places as (
    select
        epoch,
        label,
        predicted,
        'stable' as type,
        count(*) as n
    from chosen
    group by all
),
steps as (  -- who does not move stays: all in a place but for its movers
    from moves
    union all
    from places
    union all
    select * replace ('stable' as type, -n as n)
    from moves
),
columns as (
    select epoch
    from (select distinct epoch from places)
    where epoch between coalesce($from_epoch::integer, epoch) and coalesce($to_epoch::integer, epoch)
    qualify (row_number() over (order by epoch) - 1) % $stride::integer = 0
),
nodes as (
    select
        epoch,
        case when shown is null or list_contains(shown, predicted) then predicted else other end as class_id,
        label,
        type,
        sum(n)::bigint as n
    from steps
    join columns using (epoch)
    cross join known
    group by all
    having sum(n) > 0
)
select
    nodes.epoch,
    nodes.class_id,
    place.name as class_name,
    nodes.label,
    truth.name as label_name,
    nodes.type,
    nodes.n
from nodes
left join class_names_with_other($run_id) as place on place.class_id = nodes.class_id
left join class_names_with_other($run_id) as truth on truth.class_id = nodes.label
order by
    nodes.epoch,
    nodes.class_id,
    nodes.label nulls last,
    nodes.type
