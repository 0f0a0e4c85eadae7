-- How much do a model's predictions and explanations depend on the seed?
--
-- Two runs of a group are compared on the images that both have (macro same_images), and the mean over all pairs is given.
-- predictions: fraction of images predicted as the same class. maps: mean rank correlation (Spearman) of the absolute
-- values of map8 of a method, of images for which both explain the same class; as in explanation_change.
-- concepts: of each concept of one run, the highest rank correlation of its scores with those of any concept of the other
-- run, on the images that both scored; then the mean over the concepts of both. Chance alone keeps this above 0, as it is
-- the highest of several. Concepts are those of the newest job of each run.
-- Runs that lack maps or concepts at the epoch are left out there. A single run has no rows.
--
-- seeds: together
--
-- params:
--   run_id       training runs to look at, with commas
--   split        split to look at [test]
--   epoch        epoch to look at [null: the last of each run]
--   target_kind  class explained of maps: predicted, label or class [predicted]
-- returns:
--   what         predictions, maps or concepts
--   method       explanation method; null for predictions
--   n_seeds      runs compared
--   n_pairs      pairs of them
--   n            images that a pair shares, on average
--   stability    mean over the pairs: agreement 0..1, or correlation -1..1
--   sd           its standard deviation over the pairs; null for a single one
--   lowest       the lowest of any pair
--   highest      the highest of any pair
with images as materialized (
    from same_images($run_id, $split)
    where image is not null
),
ends as (
    select
        run_id,
        coalesce($epoch::integer, last_epoch) as epoch
    from last_epochs($run_id, $split)
),
predicted_classes as materialized (
    select
        run_id,
        images.image,
        predictions.predicted
    from predictions
    join ends using (run_id, epoch)
    join images using (run_id, instance_id)
    where split = $split
),
ranked_maps as materialized (
    select
        made.source_run_id as run_id,
        images.image,
        made.method,
        made.target,
        centred_ranks([abs(number) for number in made.map8]) as ranks
    from maps_of_trainings($run_id, $split, $target_kind::varchar) as made
    join ends
        on ends.run_id = made.source_run_id
        and ends.epoch = made.epoch
    join images
        on images.run_id = made.source_run_id
        and images.instance_id = made.instance_id
),
concept_jobs as (  -- the newest of each run that scored images of the split
    select
        concepts.source_run_id,
        concepts.run_id,
        concepts.epoch
    from concepts
    join ends
        on ends.run_id = concepts.source_run_id
        and ends.epoch = concepts.epoch
    left join runs on runs.run_id = concepts.run_id
    where (concepts.run_id, concepts.epoch) in (select (run_id, epoch) from concept_scores where split = $split)
    qualify row_number() over (
        partition by concepts.source_run_id
        order by
            runs.started_at desc nulls last,
            concepts.run_id desc
    ) = 1
),
scored as materialized (
    select
        concept_jobs.source_run_id as run_id,
        concept_scores.concept_id,
        images.image,
        concept_scores.score
    from concept_scores
    join concept_jobs using (run_id, epoch)
    join images
        on images.run_id = concept_jobs.source_run_id
        and images.instance_id = concept_scores.instance_id
    where concept_scores.split = $split
),
scored_by_both as (
    select
        here.run_id,
        other.run_id as other_run_id,
        here.concept_id,
        other.concept_id as other_concept_id,
        here.image,
        here.score,
        other.score as other_score
    from scored as here
    join scored as other using (image)
    where here.run_id <> other.run_id
),
correlated as (
    select
        run_id,
        other_run_id,
        concept_id,
        other_concept_id,
        count(*) as n,
        rank_correlation(
            centred_ranks(list(score order by image)),
            centred_ranks(list(other_score order by image))
        ) as correlation
    from scored_by_both
    group by
        run_id,
        other_run_id,
        concept_id,
        other_concept_id
),
best_matches as (
    select
        run_id,
        other_run_id,
        concept_id,
        any_value(n) as n,
        max(correlation) as correlation
    from correlated
    group by
        run_id,
        other_run_id,
        concept_id
),
pairs as (
    select
        'predictions' as what,
        null::varchar as method,
        here.run_id,
        other.run_id as other_run_id,
        count(*) as n,
        avg((here.predicted = other.predicted)::integer) as value
    from predicted_classes as here
    join predicted_classes as other using (image)
    where here.run_id < other.run_id
    group by
        here.run_id,
        other.run_id
    union all
    select
        'maps' as what,
        method,
        here.run_id,
        other.run_id as other_run_id,
        count(*) as n,
        avg(rank_correlation(here.ranks, other.ranks)) as value
    from ranked_maps as here
    join ranked_maps as other using (image, method, target)
    where here.run_id < other.run_id
    group by
        method,
        here.run_id,
        other.run_id
    union all
    select
        'concepts' as what,
        'ice' as method,
        least(run_id, other_run_id) as run_id,
        greatest(run_id, other_run_id) as other_run_id,
        any_value(n) as n,
        avg(correlation) as value
    from best_matches
    group by
        least(run_id, other_run_id),
        greatest(run_id, other_run_id)
),
members as (
    select
        what,
        method,
        count(distinct run_id) as n_seeds
    from (
        select
            what,
            method,
            unnest([run_id, other_run_id]) as run_id
        from pairs
    )
    group by
        what,
        method
)
select
    pairs.what,
    pairs.method,
    any_value(members.n_seeds) as n_seeds,
    count(*) as n_pairs,
    avg(pairs.n) as n,
    avg(pairs.value) as stability,
    stddev_samp(pairs.value) as sd,
    min(pairs.value) as lowest,
    max(pairs.value) as highest
from pairs
join members
    on members.what = pairs.what
    and members.method is not distinct from pairs.method
group by
    pairs.what,
    pairs.method
order by
    list_position(['predictions', 'maps', 'concepts'], pairs.what),
    pairs.method
