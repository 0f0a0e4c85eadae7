-- Which runs exist?
--
-- Newest first.
--
-- returns:
--   run_id         MLflow run ID
--   kind           train, import, explain, compare, report or improve
--   name           run name as shown in MLflow
--   status         RUNNING, FINISHED, FAILED or KILLED
--   dataset        name of the data set
--   source_run_id  training run it looks at or continues (improve); null for other training runs
--   last_epoch     last epoch with metrics; null if there is none
--   seed           seed of the run
--   seed_group     name of the group of runs that share a recipe but for the seed; null if it is in none
--   git_commit     commit of the program that made it
--   started_at     UTC
--   finished_at    UTC; null while it is running
--   begins_from    whose weights training begins with: an epoch of another run, a file, or pretrained; null if it is
--                  untrained, or not known
with progress as (
    select
        run_id,
        max(epoch) as last_epoch
    from metrics
    group by run_id
)
select
    runs.run_id,
    runs.kind,
    runs.name,
    runs.status,
    runs.dataset,
    runs.source_run_id,
    progress.last_epoch,
    runs.seed,
    runs.seed_group,
    runs.git_commit,
    runs.started_at,
    runs.finished_at,
    case
        when runs.params ->> 'source_epoch' is not null
            then format(
                'epoch {} of run {}',
                runs.params ->> 'source_epoch',
                coalesce(source.name, left(runs.params ->> 'source_run_id', 8))
            )
        else runs.params ->> 'weights'
    end as begins_from
from runs
left join progress on progress.run_id = runs.run_id
left join runs as source on source.run_id = runs.params ->> 'source_run_id'
order by
    runs.started_at desc,
    runs.run_id
