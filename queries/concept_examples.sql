-- Which images show each concept most strongly?
--
-- params:
--   run_id            training run to look at
--   epoch             epoch to look at [null: the last with concepts]
--   limit             images per concept [5]
-- returns:
--   explainer_run_id  run that found the concept
--   epoch             epoch of the checkpoint explained
--   concept_id        concept of that run and epoch
--   concept           the user's name for it, else its description
--   stability         how similar it is when found from other images, a mean cosine: stable from 0.9 on; null if unknown
--   place             1 for the image with the highest score
--   split             split of the image
--   instance_id       image
--   score             mean strength of the concept in it
--   present           whether score reaches the concept's threshold
--   label             class_id of the image's label
--   label_name        its name
with ranked as (
    select
        chosen.run_id,
        chosen.epoch,
        chosen.concept_id,
        chosen.concept,
        chosen.stability,
        concept_scores.split,
        concept_scores.instance_id,
        concept_scores.score,
        concept_scores.present,
        row_number() over (
            partition by chosen.run_id, chosen.concept_id
            order by concept_scores.score desc, concept_scores.split, concept_scores.instance_id
        ) as place
    from concepts_of_epoch($run_id, $epoch::integer) as chosen
    join concept_scores using (run_id, epoch, concept_id)
),
known as (
    select
        split,
        instance_id,
        label
    from instances
    where run_id = $run_id
)
select
    ranked.run_id as explainer_run_id,
    ranked.epoch,
    ranked.concept_id,
    ranked.concept,
    ranked.stability,
    ranked.place,
    ranked.split,
    ranked.instance_id,
    ranked.score,
    ranked.present,
    known.label,
    coalesce(names.name, known.label::varchar) as label_name
from ranked
left join known using (split, instance_id)
left join class_names($run_id) as names on names.class_id = known.label
where ranked.place <= $limit::integer
order by
    ranked.run_id,
    ranked.concept_id,
    ranked.place
