-- Are another model's probabilities better, and which of two models is better calibrated?
--
-- For two runs, or two groups of runs that differ in their seeds alone within a group, IDs with commas between them. Images
-- and classes are matched as in fixed_and_broken; those without a label or without probabilities in any run are left out.
-- brier is the mean over images of the squared distance of the probabilities from the label (Brier 1950), 0..2; lower is
-- better. It is a proper score, best only for the true probabilities, of accuracy and calibration together, so it has a
-- verdict. overconfidence is the mean probability of the predicted class minus the accuracy, -1..1: 0 if confidence is right
-- on average, below 0 if it is too low. ece is the expected calibration error of `calibration`, which chance keeps above 0,
-- all the more with few images; it has no interval.
-- Intervals are at 1 - level, as in fixed_and_broken: for two runs they hold for any scores in their range and are about
-- these two models; for two groups they treat images and seeds as drawn at random, and are about the recipes; between a
-- run and a group there are none. The verdict is false in at most the fraction `level` of studies.
--
-- seeds: together
--
-- params:
--   run_id          training run A, or several runs
--   other_run_id    training run B to compare it with, or several runs
--   split           split to look at [test]
--   epoch           epoch of run_id [null: the last of each run]
--   other_epoch     epoch of other_run_id [null: the last of each run]
--   bins            bins of the confidence for ece, 0..1 [15]
--   level           probability of a false verdict [0.05]
-- returns:
--   measure         brier, overconfidence or ece
--   n               images that all runs predicted with probabilities
--   value           its value for A, the mean over its runs
--   other_value     the same for B
--   change          other_value minus value
--   change_low      lower end of its interval; null for ece
--   change_high     upper end of its interval; null for ece
--   verdict         'A is better', 'B is better' or 'no difference shown'; null but for brier, and where nothing is tested
--   value_sd        standard deviation of value over the runs of A; null for one run
--   other_value_sd  the same for B
with shared as materialized (
    select
        is_other,
        run_id,
        instance_id,
        p_predicted::double as confidence,
        (predicted = label)::integer as ok,
        p_sq::double - 2 * p_true + 1 as brier
    from grouped_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    where
        is_shared
        and label is not null
    qualify bool_and(p_predicted is not null and p_true is not null and p_sq is not null) over (partition by instance_id)
),
sizes as (
    select
        count(distinct run_id) filter (not is_other) as seeds,
        count(distinct run_id) filter (is_other) as other_seeds,
        count(distinct instance_id) as images
    from shared
),
scores as (
    select
        shared.is_other,
        shared.run_id,
        shared.instance_id,
        sizes.*,
        unnest(['brier', 'overconfidence']) as hypothesis,
        unnest([brier, confidence - ok]) as score
    from shared
    cross join sizes
),
binned as (
    select
        is_other,
        run_id,
        abs(sum(confidence - ok)) as gap
    from shared
    where $bins::integer > 0
    group by
        is_other,
        run_id,
        greatest(ceil(confidence * $bins::integer), 1)
),
errors as (
    select
        is_other,
        run_id,
        sum(gap) / (select images from sizes) as ece
    from binned
    group by
        is_other,
        run_id
),
measured as (
    select
        hypothesis as measure,
        rate as value,
        other_rate as other_value,
        change,
        change_low,
        change_high,
        rate_sd as value_sd,
        other_rate_sd as other_value_sd
    from score_changes('scores', 2, $level::double)
    union all by name
    select
        'ece' as measure,
        avg(ece) filter (not is_other) as value,
        avg(ece) filter (is_other) as other_value,
        avg(ece) filter (is_other) - avg(ece) filter (not is_other) as change,
        stddev_samp(ece) filter (not is_other) as value_sd,
        stddev_samp(ece) filter (is_other) as other_value_sd
    from errors
    having count(*) > 0
)
select
    measured.measure,
    sizes.images as n,
    measured.value,
    measured.other_value,
    measured.change,
    measured.change_low,
    measured.change_high,
    case
        when measured.measure <> 'brier' or measured.change_low is null then null
        when measured.change_high < 0 then 'B is better'
        when measured.change_low > 0 then 'A is better'
        else 'no difference shown'
    end as verdict,
    measured.value_sd,
    measured.other_value_sd
from measured
cross join sizes
order by array_position(['brier', 'overconfidence', 'ece'], measured.measure)
