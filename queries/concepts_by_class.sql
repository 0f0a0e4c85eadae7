-- Which classes does each concept serve, and how?
--
-- Four measures answer four questions: how often it is present (prevalence), how often more of it would raise the
-- logit (tcav_sign), by how much (tcav_magnitude), and how much of the logit it carries (contribution).
-- p_value tests alignment, the cosine of the concept's direction with the class's mean gradient, against sets of
-- directions without meaning (single activations, single channels, factors of activations with shuffled channels) and
-- against the choice of images. It is family-wise over all concepts and classes of the run and epoch: with nothing
-- there, a run has any row under 0.05 in at most 5 % of cases. The sign of tcav_magnitude gives the direction.
-- p_prevalence is Fisher's exact test, one-sided, of the class's images against all others, corrected by Holm for all
-- rows: if no concept is related to a class, any is 0.05 or less in at most 5 % of cases.
-- Classes of which no image was scored are left out.
--
-- params:
--   run_id            training run to look at
--   epoch             epoch to look at [null: the last with concepts]
-- returns:
--   explainer_run_id  run that found the concept
--   epoch             epoch of the checkpoint explained
--   layer             layer the concept is a direction of
--   concept_id        concept of that run and epoch
--   concept           the user's name for it, else its description
--   stability         how similar it is when found from other images, a mean cosine: stable from 0.9 on; null if unknown
--   class_id          class
--   class_name        its name
--   prevalence        fraction of the class's held-out images that show the concept, 0..1
--   p_prevalence      probability of a prevalence this much higher than in the other classes by chance, corrected for all
--                     rows, 0..1; null for a single class
--   tcav_sign         fraction of them whose logit rises along the concept's direction, 0..1
--   tcav_magnitude    mean derivative of the logit along it
--   contribution      mean part of the logit that the concept carries, in logits
--   alignment         cosine of the concept's direction with the class's mean gradient, -1..1; null in earlier runs
--   p_value           of alignment, family-wise, 0..1; null in runs of a version that tested tcav_sign
--   significant       whether p_value is under 0.05; null with it
with chosen as (
    from concepts_of_epoch($run_id, $epoch::integer)
),
shown as (
    select shown.*
    from concept_prevalences($run_id) as shown
    semi join chosen using (run_id, epoch, concept_id)
)
select
    chosen.run_id as explainer_run_id,
    chosen.epoch,
    chosen.layer,
    chosen.concept_id,
    chosen.concept,
    chosen.stability,
    effects.class_id,
    coalesce(names.name, effects.class_id::varchar) as class_name,
    effects.prevalence,
    tests.p_adjusted as p_prevalence,
    effects.tcav_sign,
    effects.tcav_magnitude,
    effects.contribution,
    effects.alignment,
    effects.p_value,
    effects.significant
from chosen
join concept_effects() as effects using (run_id, epoch, concept_id)
semi join scored_classes($run_id) using (run_id, epoch, class_id)
left join corrected_by_holm('shown') as tests using (run_id, epoch, concept_id, class_id)
left join class_names($run_id) as names using (class_id)
order by
    chosen.run_id,
    chosen.concept_id,
    effects.prevalence desc,
    effects.class_id
