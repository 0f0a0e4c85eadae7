-- Internal, for improving: how much more accurate the improved runs are than their controls, on some classes and on all.
--
-- Rules are those of the question fixed_and_broken (macros grouped_predictions and score_changes), for two statements that
-- hold together at `level`, as each has half of it (Bonferroni).
--
-- params:
--   run_id          control runs, IDs with commas between them
--   other_run_id    improved runs
--   split           split of the images
--   epoch           epoch of run_id; null: the last of each run
--   classes         names of the classes looked at beside all, as a JSON list
--   level           probability of any false statement
-- returns:
--   scope           weak (those classes) or all
--   n               images
--   accuracy        fraction correct of the controls, a mean over runs, 0..1
--   other_accuracy  the same of the improved runs
--   change          other_accuracy - accuracy
--   change_low      lower end of its interval; null between a run and a group
--   change_high     upper end
--   p_value         probability of such a change or a larger one by chance, 0..1; null like the interval
with predicted as (
    select
        is_other,
        run_id,
        instance_id,
        label,
        (predicted = label)::integer as score
    from grouped_predictions($run_id, $other_run_id, $split, $epoch::integer, null)
    where
        label is not null
        and is_shared
),
scoped as (
    select
        'all' as hypothesis,
        predicted.*
    from predicted
    union all
    select
        'weak' as hypothesis,
        predicted.*
    from predicted
    join classes
        on classes.run_id = predicted.run_id
        and classes.class_id = predicted.label
    where list_contains($classes::json::varchar[], classes.name)
),
sizes as (
    select
        hypothesis,
        count(distinct instance_id) as images,
        count(distinct run_id) filter (not is_other) as seeds,
        count(distinct run_id) filter (is_other) as other_seeds
    from scoped
    group by hypothesis
),
scores as (
    select
        scoped.*,
        sizes.images,
        sizes.seeds,
        sizes.other_seeds
    from scoped
    join sizes using (hypothesis)
)
select
    tested.hypothesis as scope,
    sizes.images as n,
    tested.rate as accuracy,
    tested.other_rate as other_accuracy,
    tested.change,
    tested.change_low,
    tested.change_high,
    tested.p_value
from score_changes('scores', 1, $level::double / 2) as tested
join sizes using (hypothesis)
order by scope desc
