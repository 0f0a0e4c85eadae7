-- How much do the explanations still change while the model learns?
--
-- Similarity is Spearman's rank correlation of the absolute values of map8, the map averaged to 8x8, between epochs of
-- the same image; cells of equal value share their mean rank. Of several explainer runs the newest map counts. Only
-- images that a method explained at two epochs or more are looked at, each up to its own last one.
-- An explanation is settled at an epoch if from it on to the last one its similarity with the last map is at least
-- `settled`; a prediction, if from it on it is as at the last one, at the epochs explained. At the last epoch both are.
-- With target_kind predicted the class explained changes with the prediction, and the map may change for that alone.
-- Where the last map is the same everywhere, nothing can be said of its explanation.
--
-- params:
--   run_id                    training run to look at
--   split                     split to look at [test]
--   target_kind               class explained: predicted, label or class [predicted]
--   settled                   similarity from which on two maps count as the same, -1..1 [0.8]
-- returns:
--   method                    explanation method, or a reference: random or edge
--   epoch                     epoch of the checkpoint explained
--   n                         images explained there
--   to_previous               mean similarity with the epoch explained before, -1..1; null at the first
--   to_last                   mean similarity with the last epoch explained, -1..1
--   share_settled             share of the images whose explanation is settled, 0..1
--   share_prediction_settled  share of the images whose prediction is settled, 0..1
with found as (
    select
        attributions.epoch,
        attributions.method,
        attributions.instance_id,
        attributions.map8
    from attributions
    left join runs using (run_id)
    where
        attributions.source_run_id = $run_id
        and attributions.split = $split
        and attributions.target_kind = $target_kind::varchar
    qualify row_number() over (
        partition by
            attributions.epoch,
            attributions.method,
            attributions.instance_id
        order by
            runs.started_at desc nulls last,
            attributions.run_id desc,
            attributions.target
    ) = 1
),
maps8 as (
    select
        *,
        row_number() over () as map_id
    from found
),
cells as (
    select
        map_id,
        generate_subscripts(map8, 1) as cell,
        abs(unnest(map8)) as magnitude
    from maps8
),
placed as (  -- cells of equal value share their mean rank; ranks lie around 0
    select
        map_id,
        cell,
        (rank() over magnitudes + round(64 * cume_dist() over magnitudes) - 65) / 2 as rank
    from cells
    window magnitudes as (partition by map_id order by magnitude)
),
ranked as (
    select
        map_id,
        list(rank order by cell) as ranks,
        sum(rank ** 2) as spread  -- 0 if all cells are equal
    from placed
    group by map_id
),
known as (
    select
        epoch,
        instance_id,
        label,
        predicted
    from predictions
    where
        run_id = $run_id
        and split = $split
),
histories as (
    select
        maps8.method,
        maps8.epoch,
        maps8.instance_id,
        known.label,
        known.predicted,
        ranked.ranks,
        ranked.spread,
        lag(ranked.ranks) over history as previous_ranks,
        lag(ranked.spread) over history as previous_spread,
        last_value(known.predicted) over whole as last_predicted,
        last_value(ranked.ranks) over whole as last_ranks,
        last_value(ranked.spread) over whole as last_spread
    from maps8
    join ranked using (map_id)
    left join known using (epoch, instance_id)
    window
        history as (
            partition by
                maps8.method,
                maps8.instance_id
            order by maps8.epoch
        ),
        whole as (
            partition by
                maps8.method,
                maps8.instance_id
            order by maps8.epoch
            rows between unbounded preceding and unbounded following
        )
    qualify count(*) over whole > 1
),
similarities as (
    select
        *,
        list_inner_product(ranks, previous_ranks) / nullif(sqrt(spread * previous_spread), 0) as to_previous,
        -- to 12 digits, as a map may miss itself by rounding
        round(list_inner_product(ranks, last_ranks) / nullif(sqrt(spread * last_spread), 0), 12) as to_last
    from histories
),
settled as (  -- from an epoch on to the last one
    select
        *,
        case when last_spread > 0 then bool_and(coalesce(to_last >= $settled::double, false)) over rest end
            as is_settled,
        bool_and(predicted = last_predicted) over rest as is_predicted
    from similarities
    window rest as (
        partition by
            method,
            instance_id
        order by epoch
        rows between current row and unbounded following
    )
)
select
    method,
    epoch,
    count(*) as n,
    avg(to_previous) as to_previous,
    avg(to_last) as to_last,
    avg(is_settled::integer) as share_settled,
    avg(is_predicted::integer) as share_prediction_settled
from settled
group by
    method,
    epoch
order by
    method,
    epoch
