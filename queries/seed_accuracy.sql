-- How accurate is each run of a group of seeds, and the recipe on average?
--
-- A row per run. mean, sd, low and high are the same in each row: mean and sample standard deviation over the runs, and
-- Student's t interval of the mean over seeds, which assumes that their accuracies are roughly normal. The interval is about
-- training again with other seeds and testing on the same images; accuracy_by_epoch has intervals for other images.
-- Images without a known label are left out. By seed.
--
-- seeds: together
--
-- params:
--   run_id    training run to look at, or several with commas
--   split     split to look at [test]
--   epoch     epoch to look at [null: the last of each run]
--   level     probability that the interval misses the mean [0.05]
-- returns:
--   seed      seed of the run; null if it is not known
--   run_id    the run
--   name      its name
--   epoch     0 is the network before training
--   n         labelled images predicted
--   accuracy  fraction of n predicted correctly, 0..1
--   n_seeds   runs
--   mean      mean accuracy over them, 0..1
--   sd        its standard deviation over them; null for a single run
--   low       lower end of the interval of mean, 0..1; null for a single run
--   high      upper end of it
with scores as (
    select
        predictions.run_id,
        predictions.epoch,
        count(*) as n,
        avg((predicted = label)::integer) as accuracy
    from predictions
    join last_epochs($run_id, $split) using (run_id)
    where
        split = $split
        and label is not null
        and epoch = coalesce($epoch::integer, last_epoch)
    group by
        predictions.run_id,
        predictions.epoch
),
overall as (
    select
        count(*) as n_seeds,
        avg(accuracy) as mean,
        stddev_samp(accuracy) as sd,
        case when n_seeds > 1 then t_quantile(1 - $level::double / 2, n_seeds - 1) * sd / sqrt(n_seeds) end as half
    from scores
)
select
    runs.seed,
    scores.run_id,
    runs.name,
    scores.epoch,
    scores.n,
    scores.accuracy,
    overall.n_seeds,
    overall.mean,
    overall.sd,
    greatest(overall.mean - overall.half, case when overall.half is not null then 0 end) as low,
    least(overall.mean + overall.half, case when overall.half is not null then 1 end) as high
from scores
cross join overall
left join runs using (run_id)
order by
    runs.seed nulls last,
    scores.run_id
