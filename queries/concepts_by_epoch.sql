-- When did the model acquire the concepts that it has at the end?
--
-- Each concept of the last epoch with concepts, and the most similar concept in the same layer at every such epoch; if
-- several runs found concepts at an epoch, the newest counts. Each epoch has concepts of its own: a low cosine means
-- that nothing like it was found, and two concepts may have the same match. Directions have no negative components, so
-- even unrelated ones have a cosine above 0.
-- top_class is the class that shows the concept most often at the last epoch; the lower one at a tie. Its columns are
-- null at epochs at which none of its images was scored.
--
-- params:
--   run_id              training run to look at
-- returns:
--   explainer_run_id    run that found the concepts of this epoch
--   concept_id          concept of the last epoch
--   concept_name        the user's name for it, else its description
--   stability           how similar it is when found from other images, a mean cosine: stable from 0.9 on; null if unknown
--   epoch               epoch of the checkpoint explained
--   matched_concept_id  most similar concept of this epoch; the lower one at a tie
--   cosine              cosine of the two directions, 0..1
--   prevalence          fraction of all images scored at this epoch that show the match, 0..1
--   top_class_id        class that shows the concept most often at the last epoch
--   top_class_name      its name
--   tcav_sign           fraction of top_class's images whose logit rises along the match's direction, 0..1
--   significant         whether the match raises or lowers the logit beyond chance; see concepts_by_class
with found as (
    select
        concepts.run_id,
        concepts.epoch,
        concepts.layer,
        concepts.concept_id,
        concepts.vector,
        concepts.stability,
        coalesce(concepts.label, concepts.description) as concept_name,
        runs.started_at
    from concepts
    left join runs using (run_id)
    where concepts.source_run_id = $run_id
),
newest as (  -- run of each epoch and layer
    select
        run_id,
        epoch,
        layer,
        started_at
    from found
    qualify row_number() over (
        partition by
            epoch,
            layer
        order by
            started_at desc nulls last,
            run_id desc
    ) = 1
),
last as (
    select *
    from newest
    order by
        epoch desc,
        started_at desc nulls last,
        run_id desc
    limit 1
),
candidates as (
    select
        found.run_id,
        found.epoch,
        found.concept_id,
        found.vector
    from found
    join newest using (run_id, epoch, layer)
    where found.layer = (select layer from last)
),
concepts_at_end as (
    select
        found.run_id,
        found.epoch,
        found.concept_id,
        found.concept_name,
        found.stability,
        found.vector
    from found
    join last using (run_id, epoch, layer)
),
matches as (
    select
        concepts_at_end.concept_id,
        concepts_at_end.concept_name,
        concepts_at_end.stability,
        candidates.run_id,
        candidates.epoch,
        candidates.concept_id as matched_concept_id,
        list_cosine_similarity(concepts_at_end.vector, candidates.vector) as cosine
    from concepts_at_end
    cross join candidates
    where len(concepts_at_end.vector) = len(candidates.vector)
    qualify row_number() over (
        partition by
            concepts_at_end.concept_id,
            candidates.epoch
        order by
            round(cosine, 6) desc,  -- equal ones may differ in the last digits
            candidates.concept_id
    ) = 1
),
cells as (
    select effects.*
    from concept_effects() as effects
    semi join scored_classes($run_id) using (run_id, epoch, class_id)
),
tops as (
    select
        cells.concept_id,
        cells.class_id
    from cells
    join last using (run_id, epoch)
    qualify row_number() over (
        partition by cells.concept_id
        order by
            round(cells.prevalence, 6) desc,
            cells.class_id
    ) = 1
),
shown as (
    select
        run_id,
        epoch,
        concept_id as matched_concept_id,
        avg(present::integer) as prevalence
    from concept_scores
    semi join newest using (run_id, epoch)
    group by all
)
select
    matches.run_id as explainer_run_id,
    matches.concept_id,
    matches.concept_name,
    matches.stability,
    matches.epoch,
    matches.matched_concept_id,
    matches.cosine,
    shown.prevalence,
    tops.class_id as top_class_id,
    coalesce(names.name, tops.class_id::varchar) as top_class_name,
    cells.tcav_sign,
    cells.significant
from matches
left join shown using (run_id, epoch, matched_concept_id)
left join tops using (concept_id)
left join cells
    on cells.run_id = matches.run_id
    and cells.epoch = matches.epoch
    and cells.concept_id = matches.matched_concept_id
    and cells.class_id = tops.class_id
left join class_names($run_id) as names on names.class_id = tops.class_id
order by
    matches.concept_id,
    matches.epoch
