-- Which images have no prediction at some epoch?
--
-- Empty when complete. Every epoch that has predictions at all is expected to cover every image of val, test and the
-- extra splits. Predictions on training images are optional: train and train_seen are compared with the images of train
-- once the run has any, train_seen from epoch 1 on, as nothing is seen during epoch 0.
--
-- params:
--   run_id        training run to look at
--   limit         image ids listed in a row [20]
-- returns:
--   split         split of the missing predictions
--   epoch         0 is the untrained network
--   n_missing     images without a prediction
--   instance_ids  the first of them, ascending, as many as limit says
with seen as (
    select distinct
        split,
        epoch
    from predictions
    where run_id = $run_id
),
wanted as (
    select
        split,
        instance_id
    from instances
    where run_id = $run_id
),
expected as (
    select distinct
        split,
        split as home
    from wanted
    where split <> 'train'
    union all
    select distinct
        split,
        'train' as home
    from seen
    where split in ('train', 'train_seen')
),
epochs as (
    select distinct epoch
    from seen
),
due as (
    select
        expected.split,
        epochs.epoch,
        wanted.instance_id
    from expected
    join wanted on wanted.split = expected.home
    cross join epochs
    where epochs.epoch > 0 or expected.split <> 'train_seen'
),
missing as (
    select
        due.split,
        due.epoch,
        due.instance_id
    from due
    anti join predictions
        on predictions.run_id = $run_id
        and predictions.split = due.split
        and predictions.epoch = due.epoch
        and predictions.instance_id = due.instance_id
)
select
    split,
    epoch,
    count(*) as n_missing,
    list_slice(list(instance_id order by instance_id), 1, coalesce($limit::integer, count(*))) as instance_ids
from missing
group by
    split,
    epoch
order by
    split,
    epoch
