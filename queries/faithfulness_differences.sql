-- Which methods differ in faithfulness by more than the choice of images explains?
--
-- Every two methods of a comparison, metric by metric, on the images that have the metric for both. The interval is a
-- paired percentile bootstrap (Efron 1979) of the mean difference: 1000 resamples of the images, drawn by a hash and so
-- the same each time, and the same for all pairs and metrics on as many images. An interval that holds 0 does not say
-- that two methods are equally good. It covers the choice of images, not another training run, and is not corrected for
-- the number of pairs.
-- Which way a metric speaks for a method: see faithfulness_by_method.
--
-- params:
--   run_id          training run to look at
--   compare_run     run ID of a comparison of it [null: the newest finished one, else the newest]
-- returns:
--   compare_run_id  run that compared the methods
--   metric          what was measured
--   method_a        method or reference, the alphabetically first of the two
--   method_b        the other one
--   n               images that have the metric for both
--   difference      mean of method_a minus mean of method_b over them
--   low             lower end of its 99 % interval; null with a single image
--   high            upper end of its 99 % interval
--   differs         whether the interval leaves out 0; null without one
--   better_method   the better one of the two; null unless they differ and the metric says which way is better
with comparison as (
    select attribution_scores.run_id
    from attribution_scores
    left join runs using (run_id)
    where
        attribution_scores.source_run_id = $run_id
        and attribution_scores.run_id = coalesce($compare_run::varchar, attribution_scores.run_id)
    order by
        runs.status = 'FINISHED' desc nulls last,
        runs.started_at desc nulls last,
        attribution_scores.run_id desc
    limit 1
),
scores as (
    select attribution_scores.*
    from attribution_scores
    join comparison using (run_id)
    where attribution_scores.source_run_id = $run_id
),
pairs as (
    select
        a.run_id,
        metric,
        a.method as method_a,
        b.method as method_b,
        count(*) as n,
        avg(a.value - b.value) as difference,
        list(a.value - b.value order by epoch, split, instance_id) as differences
    from scores as a
    join scores as b using (epoch, split, instance_id, metric)
    where a.method < b.method
    group by all
),
places as (
    select
        sizes.n,
        places.place,
        resamples.resample
    from (select distinct n from pairs where n > 1) as sizes
    cross join range(n) as places(place)
    cross join range(1000) as resamples(resample)
),
draws as (
    select
        n,
        resample,
        hash(place * 1000 + resample) % n as place,  -- of one number: of two, it only reorders if n is a power of two
        1 as times
    from places
    union all
    select
        n,
        resample,
        place,
        0 as times  -- places that are never drawn
    from places
),
counts as (
    select
        n,
        resample,
        place,
        sum(times)::double as times
    from draws
    group by all
),
resamples as (
    select
        n,
        resample,
        list(times order by place) as times
    from counts
    group by all
),
resampled as (
    select
        pairs.metric,
        pairs.method_a,
        pairs.method_b,
        list_inner_product(pairs.differences, resamples.times) / n as difference
    from pairs
    join resamples using (n)
),
intervals as (  -- to 12 digits, as what is 0 may miss it by rounding
    select
        metric,
        method_a,
        method_b,
        round(quantile_cont(difference, 0.005), 12) as low,
        round(quantile_cont(difference, 0.995), 12) as high
    from resampled
    group by all
),
directions as (
    select
        metric,
        case
            when metric in ('insertion', 'road_gap', 'points_at_glyph') then 'higher'
            when starts_with(metric, 'road_lerf_') then 'higher'
            when metric in ('deletion', 'points_at_decoy', 'epoch_0', 'epoch_0_signed') then 'lower'
            when starts_with(metric, 'road_morf_') then 'lower'
            when starts_with(metric, 'randomized/') then 'lower'
            when starts_with(metric, 'randomized_signed/') then 'lower'
        end as better
    from (select distinct metric from pairs)
)
select
    pairs.run_id as compare_run_id,
    pairs.metric,
    pairs.method_a,
    pairs.method_b,
    pairs.n,
    pairs.difference,
    intervals.low,
    intervals.high,
    low > 0 or high < 0 as differs,
    case
        when differs is not true or directions.better is null then null
        when (low > 0) = (directions.better = 'higher') then pairs.method_a
        else pairs.method_b
    end as better_method
from pairs
join directions using (metric)
left join intervals using (metric, method_a, method_b)
order by
    pairs.metric,
    pairs.method_a,
    pairs.method_b
