-- Which methods differ in faithfulness by more than the choice of images explains?
--
-- Every two methods of a comparison, metric by metric, on the images that have the metric for both. Where methods make
-- no difference, both signs of an image's difference are equally likely: the tests flip signs image by image, the same
-- for all pairs and metrics, 2048 ways drawn by a hash and so the same each time, or all ways of up to 12 images.
-- p_adjusted counts how often the largest of all rows' statistics reaches this one's (step-down max-T, Westfall and
-- Young 1993): with no difference anywhere, any row differs in at most `level` of studies. Where a small difference on
-- most images may be undone by a few, signs are not equally likely even if the mean is 0, so two intervals must exclude
-- 0, too: low to high, which allows for any difference of unseen images within the metric's range, and one at `level`
-- divided by the number of rows, with unseen differences as far beyond the seen ones as those are apart. Rows that do
-- not differ are not shown to be equally good. Only the choice of images is covered, not another training run.
-- low and high are of the pair alone, not corrected for the number of pairs; see faithfulness_by_method for how they
-- are made, and which values of a metric are better.
--
-- params:
--   run_id          training run to look at
--   compare_run     run ID of a comparison of it [null: the newest finished one, else the newest]
--   level           probability of any false difference among all rows, and of an interval that misses [0.05]
-- returns:
--   compare_run_id  run that compared the methods
--   metric          what was measured
--   method_a        method or reference, the alphabetically first of the two
--   method_b        the second one
--   n               images that have the metric for both
--   difference      mean of method_a minus mean of method_b over them
--   low             lower end of its interval, which misses it with probability `level`; null with fewer than 20 images
--   high            upper end of its interval
--   p_value         probability of such a difference by chance, for this pair alone, 0..1
--   p_adjusted      the same, corrected for all rows
--   differs         whether p_adjusted is at most `level` and both intervals exclude 0; null with fewer than 20 images
--   better_method   the better one of the two; null unless they differ and the metric says which way is better
with scores as (
    select
        *,
        dense_rank() over (order by epoch, split, instance_id) - 1 as place
    from comparison_scores($run_id, $compare_run::varchar)
),
grid as (  -- every method of a metric with every image of it
    select
        images.metric,
        images.place,
        methods.method
    from (select distinct metric, place from scores) as images
    join (select distinct metric, method from scores) as methods using (metric)
),
vectors as (
    select
        any_value(scores.run_id) as run_id,
        metric,
        method,
        list(grid.place order by grid.place) as places,
        list(scores.value order by grid.place) as numbers,
        list_min([least_value(metric), min(scores.value)]) as least,
        list_max([1, max(scores.value)]) as most
    from grid
    left join scores using (metric, place, method)
    group by
        metric,
        method
),
pairs as materialized (
    select
        row_number() over (order by metric, a.method, b.method) as hypothesis,
        a.run_id,
        metric,
        a.method as method_a,
        b.method as method_b,
        a.places,
        [round(pair[1] - pair[2], 12) for pair in list_zip(a.numbers, b.numbers)] as numbers,
        a.least - b.most as least,
        a.most - b.least as most
    from vectors as a
    join vectors as b using (metric)
    where
        a.method < b.method
        and list_count([pair[1] - pair[2] for pair in list_zip(a.numbers, b.numbers)]) > 0
),
measured as (
    select
        * exclude (places, numbers),
        reach_low(numbers, least) as least_reached,
        reach_high(numbers, most) as most_reached,
        list_count(numbers) as n,
        round(list_avg(numbers), 12) as difference,  -- as what is 0 may miss it by rounding
        list_stddev_samp(numbers) as deviation,
        $level::double / count(*) over () as level_of_each
    from pairs
)
select
    measured.run_id as compare_run_id,
    measured.metric,
    measured.method_a,
    measured.method_b,
    measured.n,
    measured.difference,
    mean_low(difference, deviation, n, least, $level::double) as low,  -- for any values of unseen images
    mean_high(difference, deviation, n, most, $level::double) as high,
    tests.p_value,
    tests.p_adjusted,
    case
        when n >= images_for_interval()
            then tests.p_adjusted <= $level::double
                and (
                    least(low, mean_low(difference, deviation, n, least_reached, level_of_each)) > 0
                    or greatest(high, mean_high(difference, deviation, n, most_reached, level_of_each)) < 0
                )
    end as differs,
    case
        when differs is not true or better_direction(measured.metric) is null then null
        when (difference > 0) = (better_direction(measured.metric) = 'higher') then measured.method_a
        else measured.method_b
    end as better_method
from measured
join sign_flip_tests('pairs') as tests using (hypothesis)
order by
    measured.metric,
    measured.method_a,
    measured.method_b
