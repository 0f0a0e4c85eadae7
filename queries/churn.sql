-- On how many images do two models predict different classes, and is that more than for two seeds of one recipe?
--
-- churn is the fraction of the images predicted as different classes (Milani Fard 2016), whichever is right; images and
-- their classes are matched as in fixed_and_broken. Two models that differ in accuracy must differ on some images: on the
-- fraction `least` or more. Anything above that can be due to the seeds alone, which only runs of other seeds show.
-- For two groups of runs that differ in their seeds alone within a group, IDs with commas between them: churn is the mean
-- over all pairs of a run of each group, and seeds_churn the mean over all pairs of runs within a group, which is what to
-- expect of two groups of one recipe. p_adjusted tests whether both recipes could be one. The runs are regrouped in all ways
-- (with more than 12 runs, in 2047 ways drawn at random); p_adjusted is the probability that the excess, relative to its
-- spread, is as large in any row (max-T, Westfall and Young 1993). Where the recipes are the same, any row is_more in at most
-- the fraction `level` of studies. p_adjusted cannot be lower than p_least, so 0.05 takes 4 runs of each, or 19 of one and a
-- single other run.
-- Of two runs churn has Wilson's 95 % interval, about these two models, and nothing is tested.
-- The first row is about all images, those without a known label too; the others are about the images of each class.
--
-- seeds: together
--
-- params:
--   run_id        training run A, or several runs
--   other_run_id  training run B to compare it with, or several runs
--   split         split to look at [test]
--   epoch         epoch of run_id [null: the last of each run]
--   other_epoch   epoch of other_run_id [null: the last of each run]
--   level         probability of any false is_more [0.05]
-- returns:
--   label         true class; null for all images
--   label_name    its name
--   n             images that all runs predicted
--   churn         fraction of them that A and B predict as different classes, 0..1
--   churn_low     lower end of its interval; null for groups
--   churn_high    upper end of its interval; null for groups
--   least         least churn with these accuracies, 0..1
--   within        churn between runs of A, 0..1; null for one run
--   other_within  the same for B
--   seeds_churn   mean over all pairs of runs of one group, 0..1; null without any
--   excess        churn minus seeds_churn
--   p_adjusted    p-value of the recipes being one, corrected for all rows; null without seeds
--   p_least       the lowest p-value possible with this number of runs
--   is_more       whether p_adjusted is at most `level`; null without seeds
with shared as materialized (
    select
        is_other,
        dense_rank() over (
            order by
                is_other,
                run_id
        ) - 1 as member,
        instance_id,
        label,
        predicted
    from grouped_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    where is_shared
),
sizes as (
    select
        count(distinct member) filter (not is_other) as n_first,
        count(distinct member) as n_all
    from shared
),
pairs_by_label as (
    select
        here.member,
        other.member as other_member,
        here.is_other,
        here.is_other <> other.is_other as is_between,
        here.label,
        count(*) as n,
        count(*) filter (here.predicted <> other.predicted) as n_different,
        count(*) filter (other.predicted = here.label) - count(*) filter (here.predicted = here.label) as n_more_right
    from shared as here
    join shared as other
        on other.instance_id = here.instance_id
        and other.member > here.member
    group by all
),
pairs as (
    select
        {'label': label} as hypothesis,
        * exclude (label)
    from pairs_by_label
    where label is not null
    union all
    select
        {'label': null} as hypothesis,
        member,
        other_member,
        is_other,
        is_between,
        sum(n) as n,
        sum(n_different) as n_different,
        sum(n_more_right) as n_more_right
    from pairs_by_label
    group by all
),
similarities as (
    select
        hypothesis,
        member,
        other_member,
        1 - n_different / n as similarity
    from pairs
),
measured as (
    select
        hypothesis,
        any_value(n)::bigint as n,
        avg(n_different / n) filter (is_between) as churn,
        abs(avg(n_more_right / n) filter (is_between)) as least,
        avg(n_different / n) filter (not is_between and not is_other) as within,
        avg(n_different / n) filter (not is_between and is_other) as other_within,
        avg(n_different / n) filter (not is_between) as seeds_churn
    from pairs
    group by hypothesis
)
select
    measured.hypothesis.label,
    names.name as label_name,
    measured.n,
    measured.churn,
    case when sizes.n_all = 2 then wilson_low(measured.churn, measured.n) end as churn_low,
    case when sizes.n_all = 2 then wilson_high(measured.churn, measured.n) end as churn_high,
    measured.least,
    measured.within,
    measured.other_within,
    measured.seeds_churn,
    measured.churn - measured.seeds_churn as excess,
    tested.p_adjusted,
    tested.p_least,
    tested.p_adjusted <= $level::double as is_more
from measured
cross join sizes
left join regrouping_tests('similarities', (select n_first from sizes), (select n_all from sizes)) as tested
    on tested.hypothesis = measured.hypothesis
left join class_names(string_split($run_id, ',')[1]) as names on names.class_id = measured.hypothesis.label
order by measured.hypothesis.label nulls first
