-- Which images have no prediction at some epoch?
--
-- Empty when complete. Every epoch that has predictions at all is expected to cover every image of val, test and the
-- extra splits. Predictions on training images are optional: train, train_seen and train_folds are compared with the images
-- of train once the run has any, train_seen from epoch 1 on, as nothing is seen during epoch 0, and without the images
-- that verdicts left out of training.
--
-- params:
--   run_id        training run to look at
--   limit         image ids listed per row [20]
-- returns:
--   split         split of the missing predictions
--   epoch         0 is the network before training
--   n_missing     images without a prediction
--   instance_ids  the first of them, ascending, as many as limit says
with wanted as (
    select
        split,
        instance_id
    from instances
    where run_id = $run_id
),
found as not materialized (
    select
        split,
        epoch,
        instance_id
    from predictions
    where run_id = $run_id
),
sizes as (
    select
        split as home,
        count(*) as n
    from wanted
    group by split
),
counts as (
    select
        split,
        epoch,
        count(*) as n
    from found
    group by all
),
epochs as (
    select distinct epoch
    from counts
),
splits as (
    select
        home as split,
        home
    from sizes
    where home <> 'train'
    union
    select
        split,
        'train' as home
    from counts
    where images_of(split) = 'train'
),
incomplete as (  -- most epochs are whole, which counting tells
    select
        splits.split,
        splits.home,
        epochs.epoch
    from splits
    join sizes using (home)
    cross join epochs
    left join counts on counts.split = splits.split and counts.epoch = epochs.epoch
    where
        coalesce(counts.n, 0) < sizes.n
        and (epochs.epoch > 0 or splits.split <> 'train_seen')
),
due as (
    select
        incomplete.split,
        incomplete.epoch,
        wanted.instance_id
    from incomplete
    join wanted on wanted.split = incomplete.home
),
there as (
    select found.*
    from found
    semi join incomplete using (split, epoch)
),
left_out as (
    select
        'train_seen' as split,
        instance_id
    from label_changes
    where
        run_id = $run_id
        and new_label is null
),
missing as (
    select *
    from due
    anti join there using (split, epoch, instance_id)
    anti join left_out using (split, instance_id)
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
