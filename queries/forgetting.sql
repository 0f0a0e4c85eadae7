-- Which images did the model learn and then lose again?
--
-- Forgetting event (Toneva 2019, arXiv 1812.05159): a change from right to wrong between consecutive logged epochs.
-- Toneva counts while training, each time an image passes in a mini-batch: split train_seen is that measurement, one
-- presentation an epoch, augmented and with dropout on. val and test are snapshots after each epoch, of images never
-- trained on: they show which knowledge wavers, not which training images can be dropped.
-- An image never predicted right cannot be forgotten: null and a flag, where Toneva ranks it above all.
-- Epoch 0 is left out by default: the untrained network only guesses. Images without a known label are left out.
--
-- params:
--   run_id          training run to look at
--   split           split to look at, train_seen too [test]
--   from_epoch      first epoch [1]
--   to_epoch        last epoch [null: the last there is]
--   limit           rows shown [null: all]
-- returns:
--   instance_id     image, row number in its split
--   label           true class
--   label_name      its name
--   n               epochs counted
--   n_right         epochs predicted right
--   forgetting      changes from right to wrong; null if never learned
--   learning        changes from wrong to right, the first one included unless right from the start
--   first_learned   first epoch predicted right; null if never
--   last_forgotten  last epoch at which it turned wrong; null if never
--   right_at_end    whether it is predicted right at the last epoch counted
--   never_learned   whether it is wrong at every epoch
--   unforgettable   whether it is learned and never forgotten
with chosen as (
    select
        instance_id,
        epoch,
        label,
        predicted = label as ok,
        case when previous_epoch >= coalesce($from_epoch::integer, 0) then previous = label end as ok_before
    from labelled_predictions($run_id, $split)
    where epoch between coalesce($from_epoch::integer, epoch) and coalesce($to_epoch::integer, epoch)
),
counted as (
    select
        instance_id,
        any_value(label) as label,
        count(*) as n,
        count(*) filter (ok) as n_right,
        count(*) filter (ok_before and not ok) as lost,
        count(*) filter (not ok_before and ok) as learning,
        min(epoch) filter (ok) as first_learned,
        max(epoch) filter (ok_before and not ok) as last_forgotten,
        coalesce(max(epoch) filter (ok) = max(epoch), false) as right_at_end
    from chosen
    group by instance_id
)
select
    counted.instance_id,
    counted.label,
    names.name as label_name,
    counted.n,
    counted.n_right,
    case when n_right > 0 then lost end as forgetting,
    counted.learning,
    counted.first_learned,
    counted.last_forgotten,
    counted.right_at_end,
    n_right = 0 as never_learned,
    n_right > 0 and lost = 0 as unforgettable
from counted
left join class_names($run_id) as names on names.class_id = counted.label
order by
    forgetting desc nulls last,
    counted.instance_id
limit $limit::integer
