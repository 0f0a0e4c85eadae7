-- How did each image fare: how often wrong, how unstable, how confident?
--
-- InstanceFlow's table and more, over the epochs of the range only; consecutive means consecutive logged epochs.
-- Epoch 0, the network before training, is part of the range unless from_epoch is 1.
-- InstanceFlow: score = score_raw / n and frequency = frequency_raw / (n - 1), here not rounded; its "variability" is
-- n_classes_visited. p_true_std is the (population) deviation that data set maps call variability; it tells when an image
-- was learned rather than whether it is ambiguous, for which cartography has a measure.
-- aum: area under the margin (Pleiss 2020, arXiv 2001.10528), the mean of logit(label) - largest other logit.
-- Without a known label, all columns about right and wrong are null. Most often wrong first.
--
-- seeds: instance_id label label_name
-- means: n score_raw score frequency_raw frequency n_classes_visited forgetting learning confidence p_true_std aum
-- order: score_raw desc nulls last, frequency_raw desc
-- params:
--   run_id             training run to look at
--   split              split to look at [test]
--   from_epoch         first epoch [null: the first there is]
--   to_epoch           last epoch [null: the last]
--   classes            true classes shown, names or ids, such as cat,dog or 3,5 [null: all]
--   limit              rows shown [null: all]
-- returns:
--   instance_id        image, row number in its split
--   label              true class; null when unknown
--   label_name         its name
--   n                  epochs counted
--   score_raw          epochs predicted wrongly
--   score              score_raw / n, 0..1
--   frequency_raw      changes of the prediction
--   frequency          frequency_raw / (n - 1), 0..1; null at a single epoch
--   n_classes_visited  different classes predicted, right or wrong
--   visited            these classes, ascending
--   visited_names      their names
--   forgetting         changes from right to wrong
--   learning           changes from wrong to right
--   first_learned      first epoch predicted correctly; null if never
--   stable_since       epoch since which it is always predicted correctly; null if wrong at the end
--   last_flip          last epoch at which the prediction changed; null if never
--   confidence         mean softmax probability of the label, 0..1
--   p_true_std         its standard deviation over the epochs, 0..0.5; null for a single one
--   aum                mean margin in logits; a negative one is evidence against the label
with chosen as not materialized (  -- read twice, which is quicker than kept
    select
        instance_id,
        epoch,
        label,
        predicted,
        predicted = label as ok,
        case when previous_epoch >= coalesce($from_epoch::integer, 0) then previous end as before,
        before = label as ok_before,
        p_true,
        margin
    from predictions
    where
        run_id = $run_id
        and split = $split
        and epoch between coalesce($from_epoch::integer, epoch) and coalesce($to_epoch::integer, epoch)
        and ($classes::varchar is null or list_contains(string_split($classes::varchar, ',')::integer[], label))
),
known as (
    select list(name order by class_id) as names
    from classes
    where run_id = $run_id
),
changes as (  -- few rows say all that depends on the order of epochs: between them nothing changes
    select
        instance_id,
        list_sort(list(distinct predicted)) as visited,
        count(before) as frequency_raw,
        count(*) filter (ok_before and not ok) as forgotten,
        count(*) filter (not ok_before and ok) as learned,
        min(epoch) filter (ok) as first_learned,
        max(epoch) filter (ok and ok_before is distinct from true) as last_turn,
        arg_max(ok, epoch) as right_at_end,
        max(epoch) filter (before is not null) as last_flip
    from chosen
    where predicted is distinct from before
    group by instance_id
),
measured as (
    select
        instance_id,
        any_value(label) as label,
        count(*) as n,
        sum((not ok)::integer)::bigint as score_raw,
        avg(p_true) as confidence,
        -- to the digits that a probability has: the last ones depend on which thread comes first
        case when count(p_true) > 1 then round(stddev_pop(p_true), 7) end as p_true_std,
        avg(margin) as aum
    from chosen
    group by instance_id
)
select
    instance_id,
    label,
    names[label + 1] as label_name,
    n,
    score_raw,
    score_raw / n as score,
    frequency_raw,
    frequency_raw / nullif(n - 1, 0) as frequency,
    len(visited) as n_classes_visited,
    visited,
    list_transform(visited, lambda x: names[x + 1]) as visited_names,
    case when label is not null then forgotten end as forgetting,
    case when label is not null then learned end as learning,
    first_learned,
    case when right_at_end then last_turn end as stable_since,  -- last time it turned, or started, right
    last_flip,
    confidence,
    p_true_std,
    aum
from measured
join changes using (instance_id)
cross join known
order by
    score_raw desc nulls last,
    frequency_raw desc,
    instance_id
limit $limit::integer
