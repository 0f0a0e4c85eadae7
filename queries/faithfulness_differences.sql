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
with scores as (
    from comparison_scores($run_id, $compare_run::varchar)
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
resampled as (
    select
        pairs.metric,
        pairs.method_a,
        pairs.method_b,
        list_inner_product(pairs.differences, resamples.times) / n as difference
    from pairs
    join bootstrap_resamples((select list(distinct n) from pairs)) as resamples using (n)
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
        when differs is not true or better_direction(pairs.metric) is null then null
        when (low > 0) = (better_direction(pairs.metric) = 'higher') then pairs.method_a
        else pairs.method_b
    end as better_method
from pairs
left join intervals using (metric, method_a, method_b)
order by
    pairs.metric,
    pairs.method_a,
    pairs.method_b
