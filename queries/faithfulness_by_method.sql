-- How faithful is each method to the model, and does it beat random maps?
--
-- Means of a comparison's metrics over the images that have them. better says which way a metric speaks for a method:
-- higher for insertion, road_lerf_*, road_gap and points_at_glyph; lower for deletion, road_morf_*, points_at_decoy and
-- the sanity checks randomized/*, randomized_signed/*, epoch_0 and epoch_0_signed, as a map that stays when the model
-- forgets does not show the model (Adebayo 2018, arXiv 1810.03292). Other metrics describe and rank nothing.
-- Intervals are percentile bootstraps (Efron 1979): 1000 resamples of the images, drawn by a hash and so the same each
-- time, and the same for all methods and metrics on as many images. They cover the choice of images, not another
-- training run, and are not corrected for the number of methods and metrics looked at.
--
-- params:
--   run_id          training run to look at
--   compare_run     run ID of a comparison of it [null: the newest finished one, else the newest]
-- returns:
--   compare_run_id  run that compared the methods
--   epoch           epoch of the checkpoint explained
--   split           split of the images
--   method          explanation method, or a reference: random or edge
--   metric          what was measured
--   better          higher or lower; null for a metric that ranks nothing
--   n               images that have the metric
--   mean            mean over them
--   low             lower end of its 95 % interval; null with a single image
--   high            upper end of its 95 % interval; null with a single image
--   random_mean     mean of random over the images that have the metric for both; null without any
--   beats_random    whether the 99 % interval of the paired difference to random lies wholly on the better side; null
--                   for random, for a metric that ranks nothing, and with less than two images in common
with scores as (
    from comparison_scores($run_id, $compare_run::varchar)
),
means as (
    select
        scores.run_id,
        scores.epoch,
        scores.split,
        scores.method,
        scores.metric,
        count(*) as n,
        avg(scores.value) as mean,
        list(scores.value order by scores.instance_id) as measured,
        count(random.value) as n_paired,
        avg(random.value) as random_mean,
        list(scores.value - random.value order by scores.instance_id) filter (random.value is not null) as gains
    from scores
    left join (select * from scores where method = 'random') as random
        on random.method <> scores.method
        and random.epoch = scores.epoch
        and random.split = scores.split
        and random.instance_id = scores.instance_id
        and random.metric = scores.metric
    group by all
),
lists as (
    select
        epoch,
        split,
        method,
        metric,
        'mean' as kind,
        n,
        measured as numbers
    from means
    union all
    select
        epoch,
        split,
        method,
        metric,
        'gain' as kind,
        n_paired as n,
        gains as numbers
    from means
),
resampled as (
    select
        lists.epoch,
        lists.split,
        lists.method,
        lists.metric,
        lists.kind,
        list_inner_product(lists.numbers, resamples.times) / n as mean
    from lists
    join bootstrap_resamples((select list(distinct n) from lists)) as resamples using (n)
),
intervals as (  -- to 12 digits, as what is 0 may miss it by rounding
    select
        epoch,
        split,
        method,
        metric,
        round(quantile_cont(mean, 0.025) filter (kind = 'mean'), 12) as low,
        round(quantile_cont(mean, 0.975) filter (kind = 'mean'), 12) as high,
        round(quantile_cont(mean, 0.005) filter (kind = 'gain'), 12) as least_gain,
        round(quantile_cont(mean, 0.995) filter (kind = 'gain'), 12) as most_gain
    from resampled
    group by all
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
    intervals.low,
    intervals.high,
    means.random_mean,
    case better
        when 'higher' then intervals.least_gain > 0
        when 'lower' then intervals.most_gain < 0
    end as beats_random
from means
left join intervals using (epoch, split, method, metric)
order by
    means.epoch,
    means.split,
    means.metric,
    means.method
