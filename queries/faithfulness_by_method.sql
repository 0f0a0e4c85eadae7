-- How faithful is each method to the model, and does it beat random maps?
--
-- Means of a comparison's metrics over the images that have them. better says which values of a metric are better:
-- higher for insertion, road_lerf_*, road_gap, points_at_glyph and covers_all_parts; lower for deletion, road_morf_*,
-- points_at_decoy and the sanity checks randomized/*, randomized_signed/*, epoch_0 and epoch_0_signed, as a map that
-- stays when the weights are lost does not show the model (Adebayo 2018, arXiv 1810.03292). Other metrics are
-- descriptive.
-- low and high enclose the mean in 95 % of studies: Student's t interval or, where that is wider, the interval with one
-- more number at the end of the metric's range, so that it also holds for skewed and for mostly equal numbers.
-- They cover the choice of images, not another training run.
-- beats_random is decided as in faithfulness_differences, by sign flips and by intervals of the gain, for all rows here:
-- with nothing better than random, any row says otherwise in at most `level` of studies. A low p_adjusted is not enough:
-- a few unseen images may undo a gain that most images show, so gain_low to gain_high must exclude 0, too. That range
-- spans two intervals of the gain: one at `level`, which allows for any value of unseen images within the metric's
-- range, and one at `level` divided by the number of rows, with unseen gains as far beyond the seen ones as those are
-- apart. So a method whose gains vary from image to image may fail where one with a smaller but steadier gain passes.
-- why_not names what failed.
--
-- First come insertion, deletion and road_gap, by which methods are judged, then the sanity checks and pointing, last the
-- curves behind road_gap, single layers and descriptive metrics; within a metric the best method comes first.
--
-- seeds: epoch split metric method better
-- means: n mean random_mean
-- order: epoch, split, metric, if(better = 'lower', mean, -mean)
-- params:
--   run_id          training run to look at
--   compare_run     run ID of a comparison of it [null: the newest finished one, else the newest]
--   level           probability of any false beats_random among all rows [0.05]
-- returns:
--   compare_run_id  run that compared the methods
--   epoch           epoch of the checkpoint explained
--   split           split of the images
--   method          explanation method, or a reference: random or edge
--   metric          what was measured
--   better          higher or lower; null for a descriptive metric
--   n               images that have the metric
--   mean            mean over them
--   low             lower end of its 95 % interval; null with fewer than 20 images
--   high            upper end of its 95 % interval; null with fewer than 20 images
--   random_mean     mean of random over the images that have the metric for both; null without any
--   p_adjusted      probability of such a paired difference to random by chance, corrected for all rows, 0..1; null where
--                   beats_random has to be
--   beats_random    whether p_adjusted is at most `level` and gain_low to gain_high on the better side of 0; null for
--                   random, for a descriptive metric, and with fewer than 20 images in common
--   gain_low        lower end of both intervals of the mean minus that of random, on the images in common; null where
--                   beats_random is
--   gain_high       their upper end
--   why_not         why beats_random is false: p_adjusted above level, worse than random, or interval reaches 0; else
--                   null
with scores as (
    select
        *,
        dense_rank() over (order by epoch, split, instance_id) - 1 as place
    from comparison_scores($run_id, $compare_run::varchar)
),
paired as (
    select
        scores.*,
        random.value as random_value,
        scores.value - random.value as gain
    from scores
    left join (select * from scores where method = 'random') as random
        on random.method <> scores.method
        and random.place = scores.place
        and random.metric = scores.metric
),
means as materialized (
    select
        row_number() over (order by epoch, split, metric, method) as hypothesis,
        any_value(run_id) as run_id,
        epoch,
        split,
        method,
        metric,
        count(*) as n,
        avg(value) as mean,
        stddev_samp(value) as deviation,
        list_min([least_value(metric), min(value)]) as least,
        list_max([1, max(value)]) as most,
        avg(random_value) as random_mean,
        round(avg(gain), 12) as mean_gain,  -- as what is 0 may miss it by rounding
        stddev_samp(gain) as gain_deviation,
        least - list_max([1, max(random_value)]) as least_gain,
        most - list_min([least_value(metric), min(random_value)]) as most_gain,
        list(place order by place) filter (gain is not null) as places,
        list(round(gain, 12) order by place) filter (gain is not null) as numbers
    from paired
    group by
        epoch,
        split,
        method,
        metric
),
gains as (
    select
        hypothesis,
        places,
        numbers,
        mean_gain,
        $level::double / count(*) over () as level_of_each,
        least(
            mean_low(mean_gain, gain_deviation, len(numbers), reach_low(numbers, least_gain), level_of_each),
            mean_low(mean_gain, gain_deviation, len(numbers), least_gain, $level::double)
        ) as low_gain,
        greatest(
            mean_high(mean_gain, gain_deviation, len(numbers), reach_high(numbers, most_gain), level_of_each),
            mean_high(mean_gain, gain_deviation, len(numbers), most_gain, $level::double)
        ) as high_gain
    from means
    where
        better_direction(metric) is not null
        and len(numbers) >= images_for_interval()
)
select
    means.run_id as compare_run_id,
    means.epoch,
    means.split,
    means.method,
    means.metric,
    better_direction(means.metric) as better,
    means.n,
    means.mean,
    mean_low(mean, deviation, n, least, 0.05) as low,
    mean_high(mean, deviation, n, most, 0.05) as high,
    means.random_mean,
    tests.p_adjusted,
    case
        when tests.p_adjusted is not null
            then tests.p_adjusted <= $level::double and if(better = 'higher', low_gain > 0, high_gain < 0)
    end as beats_random,
    gains.low_gain as gain_low,
    gains.high_gain as gain_high,
    case
        when beats_random then null
        when tests.p_adjusted > $level::double then 'p_adjusted above level'
        when (better = 'higher') <> (gains.mean_gain > 0) then 'worse than random'
        when tests.p_adjusted is not null then 'interval reaches 0'
    end as why_not
from means
left join gains using (hypothesis)
left join sign_flip_tests('gains') as tests using (hypothesis)
order by
    means.epoch,
    means.split,
    coalesce(
        list_position(['insertion', 'deletion', 'road_gap'], means.metric),
        if(
            better is null
            or means.metric like 'road_%'
            or (means.metric like 'randomized%' and means.metric not like '%/everything'),
            5,
            4
        )
    ),
    means.metric,
    if(better = 'lower', means.mean, -means.mean),
    means.method
