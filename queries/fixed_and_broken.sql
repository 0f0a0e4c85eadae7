-- Is another model more accurate, and how many images does it fix and break?
--
-- For two runs, or two epochs of a run. The images compared are those that both predicted, matched by where they lie in
-- the data set (source), or by their pixels if the runs' data differ; their labels must be the same. fixed are those that
-- only the other run predicts correctly, broken those that only run_id does.
-- p_value is McNemar's exact test, two-sided (McNemar 1947): if the models were equally accurate, each changed image would
-- be fixed or broken with probability 1/2. change_low..change_high is an interval of the difference at 95 % (1 - level)
-- that holds its level for any number of images, even without any change; it excludes 0 if and only if p_value is at most
-- the level. Both are about these two models, on images like these: one run of each does not tell what another seed would
-- have given, so they say nothing about the recipes.
-- For two groups of runs, IDs with commas between them, that differ in their seeds alone within a group: counts are means
-- over all pairs of a run of each group, with standard deviations. p_value and interval are about the recipes: they treat
-- the images and the seeds as drawn at random (rules in macro score_changes), and assume that accuracies of seeds are roughly
-- normal. Two groups of one recipe are called different in at most the fraction `level` of studies, even with two seeds
-- each; but two seeds can show little, and groups of different sizes show less than two groups of the smaller size.
-- Between a run and a group nothing is tested, and verdict is null.
-- Images that are not in every run count as unmatched: as seeds draw other validation images, two runs share few of them.
-- Images without a known label are left out. Nothing here corrects for asking about several splits or epochs.
--
-- seeds: together
--
-- params:
--   run_id             training run A, or several runs
--   other_run_id       training run B to compare it with, or several runs
--   split              split to look at [test]
--   epoch              epoch of run_id [null: the last of each run]
--   other_epoch        epoch of other_run_id [null: the last of each run]
--   level              probability of a false verdict [0.05]
-- returns:
--   split              split of the images
--   seeds              runs of A
--   other_seeds        runs of B
--   n                  images that all runs predicted
--   unmatched          further images of runs of A
--   other_unmatched    further images of runs of B
--   both_right         images that both predict correctly
--   fixed              images that only B predicts correctly
--   broken             images that only A predicts correctly
--   both_wrong         images that both predict wrongly
--   accuracy           fraction of the n images that A predicts correctly, 0..1
--   other_accuracy     the same for B
--   change             other_accuracy minus accuracy, -1..1
--   change_low         lower end of its interval
--   change_high        upper end of its interval
--   p_value            probability of such a change or a larger one by chance, 0..1; null between a run and a group
--   verdict            'A is more accurate', 'B is more accurate' or 'no difference shown'; null where nothing is tested
--   about              what verdict is about: 'models' or 'recipes'; null where nothing is tested
--   both_right_sd      standard deviation of both_right over pairs of runs; null for a single pair, as the next three
--   fixed_sd           the same for fixed
--   broken_sd          the same for broken
--   both_wrong_sd      the same for both_wrong
--   accuracy_sd        standard deviation of accuracy over the runs of A; null for one run
--   other_accuracy_sd  the same for B
with labelled as materialized (
    select
        is_other,
        run_id,
        instance_id,
        own_id,
        is_shared,
        predicted = label as ok
    from grouped_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    where label is not null
),
sizes as (
    select
        count(distinct run_id) filter (not is_other) as seeds,
        count(distinct run_id) filter (is_other) as other_seeds,
        count(*) filter (is_shared and not is_other) // nullif(seeds, 0) as n,
        count(*) filter (not is_shared and not is_other) / nullif(seeds, 0) as unmatched,
        count(*) filter (not is_shared and is_other) / nullif(other_seeds, 0) as other_unmatched
    from labelled
),
pairs as (
    select
        count(*) filter (here.ok and other.ok) as both_right,
        count(*) filter (not here.ok and other.ok) as fixed,
        count(*) filter (here.ok and not other.ok) as broken,
        count(*) filter (not here.ok and not other.ok) as both_wrong
    from labelled as here
    join labelled as other using (instance_id)
    where
        here.is_shared
        and other.is_shared
        and not here.is_other
        and other.is_other
    group by
        here.run_id,
        other.run_id
),
counts as (
    select
        coalesce(avg(both_right), 0) as both_right,
        coalesce(avg(fixed), 0) as fixed,
        coalesce(avg(broken), 0) as broken,
        coalesce(avg(both_wrong), 0) as both_wrong,
        stddev_samp(both_right) as both_right_sd,
        stddev_samp(fixed) as fixed_sd,
        stddev_samp(broken) as broken_sd,
        stddev_samp(both_wrong) as both_wrong_sd
    from pairs
),
scores as (
    select
        labelled.*,
        labelled.ok::integer as score,
        'accuracy' as hypothesis,
        sizes.n as images,
        sizes.seeds,
        sizes.other_seeds
    from labelled
    cross join sizes
    where is_shared
)
select
    $split as split,
    sizes.seeds,
    sizes.other_seeds,
    sizes.n,
    sizes.unmatched,
    sizes.other_unmatched,
    counts.both_right,
    counts.fixed,
    counts.broken,
    counts.both_wrong,
    tested.rate as accuracy,
    tested.other_rate as other_accuracy,
    tested.change,
    tested.change_low,
    tested.change_high,
    tested.p_value,
    case
        when tested.p_value > $level::double then 'no difference shown'
        when tested.p_value is not null then if(tested.change > 0, 'B is more accurate', 'A is more accurate')
    end as verdict,
    case when tested.p_value is not null then if(sizes.seeds > 1, 'recipes', 'models') end as about,
    counts.both_right_sd,
    counts.fixed_sd,
    counts.broken_sd,
    counts.both_wrong_sd,
    tested.rate_sd as accuracy_sd,
    tested.other_rate_sd as other_accuracy_sd
from sizes
cross join counts
left join score_changes('scores', 1, $level::double) as tested on true
where
    sizes.seeds > 0
    and sizes.other_seeds > 0
order by split
