-- Which concepts do two models share, and which does only one of them have?
--
-- Concepts are those of the newest job that found any in each model at the epoch and scored images of the split. Directions
-- of two networks cannot be compared, so concepts are matched by what they say of the same images: correlation is Spearman's
-- of two concepts' scores, with an interval (Bonett and Wright 2000) that holds for all pairs of concepts at once.
-- matched: each is the other's most correlated one, and low is at least `same`. new and gone: every high is below `same`, so
-- only the other model, or only run_id, has the concept. Else unclear: too few images to tell, or a concept that another one
-- fits better. The probability that any matched, new or gone is false is at most `level`. All of it is about these two
-- models; two seeds of one recipe differ too.
--
-- params:
--   run_id              training run to look at
--   other_run_id        training run to compare it with
--   split               split of the images scored [test]
--   epoch               epoch of run_id [null: its last]
--   other_epoch         epoch of other_run_id [null: its last]
--   same                correlation from which two concepts count as the same, -1..1 [0.7]
--   level               probability of any false status other than unclear; intervals hold together at 1 - level [0.05]
-- returns:
--   status              matched, gone (only run_id has it), new (only other_run_id has it) or unclear
--   concept_id          concept of run_id; null for one of other_run_id without a match
--   concept             its name: the user's, or its description
--   other_concept_id    concept of other_run_id: the match, or the most correlated one, or itself if it has no match
--   other_concept       its name
--   n                   images that both jobs scored
--   correlation         rank correlation of their scores, -1..1; the highest one where nothing matches
--   low                 lower end of its interval
--   high                upper end of it
--   layer               layer of run_id's concepts; the same in each row
--   other_layer         layer of other_run_id's concepts; the same in each row
--   answers_kept        fraction of run_id's answers that its concepts keep, 0..1; the same in each row; null if unknown
--   other_answers_kept  the same for other_run_id
with here as (
    from newest_concepts($run_id, $split, $epoch::integer)
),
other as (
    from newest_concepts($other_run_id, $split, $other_epoch::integer)
),
images as (
    select
        instance_id,
        other_id
    from compared_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    where
        instance_id in (select instance_id from concept_scores semi join here using (run_id, epoch) where split = $split)
        and other_id in (
            select instance_id from concept_scores semi join other using (run_id, epoch) where split = $split
        )
),
ranked as (
    select
        concept_id,
        instance_id,
        rank() over same_concept + (count(*) over same_score - 1) / 2 as place
    from concept_scores
    semi join here using (run_id, epoch)
    semi join images using (instance_id)
    where split = $split
    window
        same_concept as (partition by concept_id order by score),
        same_score as (partition by concept_id, score)
),
other_ranked as (
    select
        concept_scores.concept_id,
        images.instance_id,
        rank() over same_concept + (count(*) over same_score - 1) / 2 as place
    from concept_scores
    semi join other using (run_id, epoch)
    join images on images.other_id = concept_scores.instance_id
    where concept_scores.split = $split
    window
        same_concept as (partition by concept_scores.concept_id order by concept_scores.score),
        same_score as (partition by concept_scores.concept_id, concept_scores.score)
),
correlated as (
    select
        ranked.concept_id,
        other_ranked.concept_id as other_concept_id,
        count(*) as n,
        case
            when stddev_pop(ranked.place) > 0 and stddev_pop(other_ranked.place) > 0
                then round(corr(ranked.place, other_ranked.place), 9)
        end as r
    from ranked
    join other_ranked using (instance_id)
    group by
        ranked.concept_id,
        other_ranked.concept_id
),
bounded as (
    select
        *,
        normal_quantile(1 - $level::double / 2 / count(*) over ()) * sqrt((1 + r ** 2 / 2) / greatest(n - 3, 1)) as half,
        atanh(greatest(least(r, 1 - 1e-9), 1e-9 - 1)) as z,
        case when n > 3 then tanh(z - half) end as low,
        case when n > 3 then tanh(z + half) end as high
    from correlated
),
compared as (
    select
        *,
        max(r) over of_here as best,
        max(r) over of_other as other_best,
        max(coalesce(high, 1)) over of_here as highest,
        max(coalesce(high, 1)) over of_other as other_highest
    from bounded
    window
        of_here as (partition by concept_id),
        of_other as (partition by other_concept_id)
),
matches as (
    select *
    from compared
    where
        r = best
        and r = other_best
        and low >= $same::double
    qualify  -- a tie of several is not a match
        count(*) over (partition by concept_id) = 1
        and count(*) over (partition by other_concept_id) = 1
),
rest as (
    select
        *,
        if(highest < $same::double, 'gone', 'unclear') as status
    from compared
    anti join matches using (concept_id)
    qualify row_number() over (
        partition by concept_id
        order by
            r desc nulls last,
            other_concept_id
    ) = 1
),
other_rest as (
    select
        * replace (null as concept_id),
        if(other_highest < $same::double, 'new', 'unclear') as status
    from compared
    anti join matches using (other_concept_id)
    qualify row_number() over (
        partition by other_concept_id
        order by
            r desc nulls last,
            compared.concept_id
    ) = 1
),
answered as (
    select
        *,
        'matched' as status
    from matches
    union all by name
    from rest
    union all by name
    from other_rest
)
select
    answered.status,
    answered.concept_id,
    own.concept,
    answered.other_concept_id,
    partner.concept as other_concept,
    answered.n,
    answered.r as correlation,
    answered.low,
    answered.high,
    here.layer,
    other.layer as other_layer,
    here.answers_kept,
    other.answers_kept as other_answers_kept
from answered
cross join here
cross join other
left join concepts_of_epoch($run_id, here.epoch) as own
    on own.run_id = here.run_id
    and own.concept_id = answered.concept_id
left join concepts_of_epoch($other_run_id, other.epoch) as partner
    on partner.run_id = other.run_id
    and partner.concept_id = answered.other_concept_id
order by
    array_position(['matched', 'gone', 'new', 'unclear'], answered.status),
    answered.concept_id nulls last,
    answered.other_concept_id
