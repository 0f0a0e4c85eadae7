-- Do two models explain their predictions differently, and more so than models of one recipe do?
--
-- Similarity is Spearman's rank correlation of the absolute values of map8, as in explanation_drift, between two models'
-- maps of the same image, method and class explained; so with target_kind predicted only images that both predict alike
-- count. Images and classes are matched as in fixed_and_broken. Maps are those of the very checkpoints compared, chosen as
-- explanation_drift chooses them. low and high are about these two models, on other images too.
-- run_id and other_run_id may each name several trainings of one recipe, with commas between them, that differ only in
-- the seed. Then seeds_similarity is that of two trainings of one recipe, and p_adjusted tests whether both recipes could
-- be one. The trainings are regrouped in all ways (with more than 12, in 2047 ways drawn at random); p_adjusted is the
-- probability that the gap between seeds_similarity and similarity, relative to its spread, is as wide for any method
-- (max-T). p_adjusted cannot be lower than p_least, so 0.05 takes 4 seeds of each, or 19 of one and a single other
-- training. Where recipes are the same, is_changed is true for any method in at most `level` of comparisons.
--
-- seeds: together
--
-- params:
--   run_id            training run to look at, or several with commas
--   other_run_id      training run to compare it with, or several with commas
--   split             split to look at [test]
--   epoch             epoch of run_id [null: its last]
--   other_epoch       epoch of other_run_id [null: its last]
--   target_kind       class explained: predicted, label or class [predicted]
--   level             probability of any false is_changed among all methods [0.05]
-- returns:
--   method            explanation method
--   n_both            images that it explained in both models
--   n                 images of these with maps of the same class, neither of them uniform
--   similarity        mean similarity of the two models' maps of an image, -1..1
--   low               lower end of its 95 % interval, made as in faithfulness_by_method; null with fewer than 20 images
--   high              upper end of it
--   seed_pairs        pairs of trainings of one recipe
--   seeds_similarity  mean similarity of their maps, -1..1; null without any
--   p_adjusted        p-value of the recipes being one, corrected for all methods; null without seeds
--   p_least           the lowest p-value possible with this number of seeds
--   is_changed        whether p_adjusted is at most `level`; null without seeds
with members as materialized (  -- the trainings, numbered: those of run_id first
    select
        row_number() over (order by side, place) - 1 as member,
        *
    from (
        select
            1 as side,
            unnest(string_split($run_id, ',')) as run_id,
            generate_subscripts(string_split($run_id, ','), 1) as place
        union all
        select
            2 as side,
            unnest(string_split($other_run_id, ',')) as run_id,
            generate_subscripts(string_split($other_run_id, ','), 1) as place
    )
),
ranked as materialized (
    select
        members.member,
        members.side,
        made.method,
        images.image as instance_id,
        coalesce(classes_explained.same_class, made.target) as target,
        centred_ranks([abs(number) for number in made.map8]) as ranks
    from members
    join maps_of_trainings($run_id || ',' || $other_run_id, $split, $target_kind::varchar) as made
        on made.source_run_id = members.run_id
        and made.epoch = coalesce(if(side = 1, $epoch::integer, $other_epoch::integer), made.last_epoch)
    join same_images($run_id || ',' || $other_run_id, $split) as images
        on images.run_id = members.run_id
        and images.instance_id = made.instance_id
    left join same_classes($run_id || ',' || $other_run_id) as classes_explained
        on classes_explained.run_id = members.run_id
        and classes_explained.class_id = made.target
),
pairs as materialized (
    select
        here.member,
        other.member as other_member,
        here.side <> other.side as is_between,
        here.method,
        here.instance_id,
        case
            when here.target = other.target then round(rank_correlation(here.ranks, other.ranks), 12)
        end as similarity
    from ranked as here
    join ranked as other
        on other.method = here.method
        and other.instance_id = here.instance_id
        and other.member > here.member
),
images as (
    select
        method,
        instance_id,
        avg(similarity) as similarity
    from pairs
    where is_between
    group by
        method,
        instance_id
),
measured as (
    select
        method,
        count(*) as n_both,
        count(similarity) as n,
        avg(similarity) as similarity,
        mean_low(avg(similarity), stddev_samp(similarity), count(similarity), -1, 0.05) as low,
        mean_high(avg(similarity), stddev_samp(similarity), count(similarity), 1, 0.05) as high
    from images
    group by method
),
model_pairs as (
    select
        method as hypothesis,
        member,
        other_member,
        avg(similarity) as similarity
    from pairs
    group by
        method,
        member,
        other_member
),
sizes as (
    select
        count(*) filter (side = 1) as n_first,
        count(*) as n_all
    from members
)
select
    measured.method,
    measured.n_both,
    measured.n,
    measured.similarity,
    measured.low,
    measured.high,
    coalesce(tested.seed_pairs, 0) as seed_pairs,
    tested.seeds_similarity,
    tested.p_adjusted,
    tested.p_least,
    tested.p_adjusted <= $level::double as is_changed
from measured
left join regrouping_tests('model_pairs', (select n_first from sizes), (select n_all from sizes)) as tested
    on tested.hypothesis = measured.method
order by measured.method
