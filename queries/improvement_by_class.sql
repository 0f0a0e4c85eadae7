-- In which classes, and in which confusions of two classes, is another model better or worse?
--
-- For two runs, or two groups of runs that differ in their seeds alone within a group, IDs with commas between them. The
-- images and their classes are matched as in fixed_and_broken, which also explains p_value and interval: for two runs,
-- McNemar's exact test and an interval about these two models; for two groups, a test over images and seeds, about the
-- recipes; between a run and a group, null.
-- A row of kind class counts the images of a class predicted correctly; one of kind confusion counts the images of a class
-- that are predicted as a certain other one, for every two classes that any run confuses.
-- p_adjusted is corrected for all rows of the kind that can be significant (Tarone 1990, then Holm 1979), so that with no
-- change at all any row of the kind has a verdict in at most the fraction `level` of studies. Rows in which too few images
-- change to show anything are not tested: their p_adjusted and verdict are null. Intervals hold for each row alone, at
-- 1 - level.
-- Classes come first, then confusions; within a kind, those whose change is most certain.
-- Images without a known label are left out.
--
-- seeds: together
--
-- params:
--   run_id          training run A, or several runs
--   other_run_id    training run B to compare it with, or several runs
--   split           split to look at [test]
--   epoch           epoch of run_id [null: the last of each run]
--   other_epoch     epoch of other_run_id [null: the last of each run]
--   level           probability of any false verdict among the rows of a kind [0.05]
--   limit           rows shown [null: all]
-- returns:
--   kind            class or confusion
--   label           true class
--   label_name      its name
--   predicted       class that its images are predicted as, below 0 if run_id's data do not have it; null for a class
--   predicted_name  its name
--   n               images of the true class that all runs predicted
--   rate            fraction of them that A predicts correctly or, for a confusion, as that other class, 0..1
--   other_rate      the same for B
--   change          other_rate minus rate, -1..1
--   change_low      lower end of its interval
--   change_high     upper end of its interval
--   only_here       images that only A predicts so; for groups, the mean over all pairs of a run of each group
--   only_other      images that only B predicts so
--   p_value         probability of such a change or a larger one by chance, for this row alone, 0..1
--   p_adjusted      the same, corrected; null if not tested
--   verdict         'A is better', 'B is better' or 'no difference shown'; null if not tested
--   rate_sd         standard deviation of rate over the runs of A; null for one run
--   other_rate_sd   the same for B
with shared as materialized (
    select
        is_other,
        run_id,
        instance_id,
        label,
        predicted
    from grouped_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    where
        is_shared
        and label is not null
),
sizes as (
    select
        label,
        count(distinct run_id) filter (not is_other) as seeds,
        count(distinct run_id) filter (is_other) as other_seeds,
        count(distinct instance_id) as images
    from shared
    group by label
),
class_scores as (
    select
        label as hypothesis,
        sizes.* exclude (label),
        is_other,
        run_id,
        instance_id,
        (predicted = label)::integer as score
    from shared
    join sizes using (label)
),
confusion_scores as (
    select
        {'label': label, 'predicted': predicted} as hypothesis,
        sizes.* exclude (label),
        is_other,
        run_id,
        instance_id,
        1 as score
    from shared
    join sizes using (label)
    where predicted <> label
),
class_changes as (
    select
        *,
        0.5 ** (changed - 1) as least_p
    from score_changes('class_scores', 1, $level::double)
),
confusion_changes as (
    select
        *,
        0.5 ** (changed - 1) as least_p
    from score_changes('confusion_scores', 1, $level::double)
),
changes as (
    select
        'class' as kind,
        hypothesis as label,
        null::integer as predicted,
        change as improvement,
        * exclude (hypothesis)
    from corrected_by_tarone('class_changes', $level::double)
    union all by name
    select
        'confusion' as kind,
        hypothesis.label as label,
        hypothesis.predicted as predicted,
        -change as improvement,
        * exclude (hypothesis)
    from corrected_by_tarone('confusion_changes', $level::double)
)
select
    changes.kind,
    changes.label,
    truth.name as label_name,
    changes.predicted,
    guess.name as predicted_name,
    sizes.images as n,
    changes.rate,
    changes.other_rate,
    changes.change,
    changes.change_low,
    changes.change_high,
    changes.only_here,
    changes.only_other,
    changes.p_value,
    changes.p_adjusted,
    case
        when changes.p_adjusted > $level::double then 'no difference shown'
        when changes.p_adjusted is not null then if(changes.improvement > 0, 'B is better', 'A is better')
    end as verdict,
    changes.rate_sd,
    changes.other_rate_sd
from changes
join sizes using (label)
left join class_names(string_split($run_id, ',')[1]) as truth on truth.class_id = changes.label
left join class_names(string_split($run_id, ',')[1]) as guess on guess.class_id = changes.predicted
order by
    changes.kind,
    round(changes.p_value, 9) nulls last,
    round(abs(changes.change), 9) desc,
    changes.label,
    changes.predicted
limit $limit::integer
