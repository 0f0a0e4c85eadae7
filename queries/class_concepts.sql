-- Which concepts does each class have, and how good is the model at it?
--
-- From the newest run that found concepts, at its last epoch. A class's own concept is the one with the highest
-- selectivity: how much more often it is present than in the other classes; at a tie the lower id.
-- With many concepts, some are always shown a little more often: p_prevalence says how likely that is by chance.
-- A class may rarely show its own concept, and share it with others: see prevalence and shared_by.
-- Recall and concepts stand side by side, one row per class; with few classes, a pattern may be a coincidence.
-- Classes of which no image was scored are left out.
--
-- params:
--   run_id              training run to look at
-- returns:
--   explainer_run_id    run that found the concepts
--   epoch               epoch of the checkpoint explained
--   class_id            class
--   class_name          its name
--   recall              fraction of the class's test images predicted correctly at that epoch, 0..1; null without any
--   n                   images of the class scored
--   concepts_per_image  mean number of concepts present in them
--   own_concept_id      concept with the highest selectivity
--   own_concept_name    the user's name for it, else its description
--   stability           how similar it is when found from other images, a mean cosine: stable from 0.9 on; null if unknown
--   prevalence          fraction of the class's images scored that show it, 0..1
--   selectivity         prevalence minus its mean prevalence in the other classes, -1..1; null for a single class
--   p_prevalence        probability that the class's images show it this much more often by chance, corrected for all
--                       classes and concepts, see concepts_by_class; null for a single class
--   shared_by           classes in which its prevalence is at least half of that, this class included, so 1 means that
--                       no other class shares it; null if prevalence is 0
--   tcav_sign           fraction of the class's images whose logit rises along the concept's direction, 0..1
--   contribution        mean part of the logit that the concept carries, in logits
--   significant         whether the concept raises or lowers the logit beyond chance; see concepts_by_class
with latest as (
    select
        concepts.run_id,
        max(concepts.epoch) as epoch
    from concepts
    left join runs using (run_id)
    where concepts.source_run_id = $run_id
    group by
        concepts.run_id,
        runs.started_at
    order by
        runs.started_at desc nulls last,
        concepts.run_id desc
    limit 1
),
known as (
    select
        split,
        instance_id,
        label
    from instances
    where
        run_id = $run_id
        and label is not null
),
recalls as (
    select
        epoch,
        label as class_id,
        avg((predicted = label)::integer) as recall
    from labelled_predictions($run_id, 'test')
    group by all
),
scored as (
    select
        known.label as class_id,
        count(distinct (known.split, known.instance_id)) as n,
        sum(concept_scores.present::integer) as present
    from concept_scores
    join latest using (run_id, epoch)
    join known using (split, instance_id)
    group by all
),
shown as (
    select shown.*
    from concept_prevalences($run_id) as shown
    semi join latest using (run_id, epoch)
),
cells as (
    select
        effects.*,
        tests.p_adjusted as p_prevalence,
        scored.n,
        scored.present / scored.n as concepts_per_image,
        sum(prevalence) over concept as total,
        count(*) over concept as classes
    from concept_effects() as effects
    join latest using (run_id, epoch)
    join scored using (class_id)
    left join corrected_by_holm('shown') as tests using (run_id, epoch, concept_id, class_id)
    window concept as (partition by concept_id)
),
own as (
    select
        *,
        prevalence - (total - prevalence) / nullif(classes - 1, 0) as selectivity
    from cells
    qualify row_number() over (
        partition by class_id
        order by
            round(selectivity, 6) desc nulls last,  -- equal ones may differ in the last digits
            concept_id
    ) = 1
),
sharing as (
    select
        own.class_id,
        count(*) as shared_by
    from own
    join cells using (concept_id)
    where cells.prevalence >= own.prevalence / 2
    group by all
)
select
    own.run_id as explainer_run_id,
    own.epoch,
    own.class_id,
    coalesce(names.name, own.class_id::varchar) as class_name,
    recalls.recall,
    own.n,
    own.concepts_per_image,
    own.concept_id as own_concept_id,
    coalesce(concepts.label, concepts.description) as own_concept_name,
    concepts.stability,
    own.prevalence,
    own.selectivity,
    own.p_prevalence,
    case when own.prevalence > 0 then sharing.shared_by end as shared_by,
    own.tcav_sign,
    own.contribution,
    own.significant
from own
join sharing using (class_id)
join concepts using (run_id, epoch, concept_id)
left join class_names($run_id) as names using (class_id)
left join recalls using (epoch, class_id)
order by own.class_id
