-- Which images did the model learn and then lose again?
--
-- Forgetting event (Toneva 2019, arXiv 1812.05159): a change from right to wrong between consecutive logged epochs.
-- Toneva counts while training, each time an image passes in a mini-batch: split train_seen is that measurement, one
-- presentation per epoch, augmented and with dropout on. val and test are snapshots after each epoch, of images never
-- trained on: they show which predictions are unstable, not which training images can be dropped.
-- An image never predicted correctly cannot be forgotten: it has null and a flag, whereas Toneva ranks it highest.
-- Epoch 0 is left out by default: before training most networks only guess. Of a run that begins with trained weights,
-- from_epoch 0 counts what the training makes it forget. Images without a known label are left out.
--
-- seeds: instance_id label label_name
-- means: n n_right forgetting learning
-- order: forgetting desc nulls last
-- params:
--   run_id          training run to look at
--   split           split to look at, train_seen and train_folds too [test]
--   from_epoch      first epoch [1]
--   to_epoch        last epoch [null: the last]
--   limit           rows shown [null: all]
-- returns:
--   instance_id     image, row number in its split
--   label           true class
--   label_name      its name
--   n               epochs counted
--   n_right         epochs predicted correctly
--   forgetting      changes from right to wrong; null if never learned
--   learning        changes from wrong to right, the first one included unless right from the start
--   first_learned   first epoch predicted correctly; null if never
--   last_forgotten  last epoch at which it turned wrong; null if never
--   right_at_end    whether it is predicted correctly at the last epoch counted
--   never_learned   whether it is wrong at every epoch
--   unforgettable   whether it is learned and never forgotten
select
    counts.instance_id,
    counts.label,
    names.name as label_name,
    counts.n,
    counts.n_right,
    case when n_right > 0 then lost end as forgetting,
    counts.learned as learning,
    counts.first_right as first_learned,
    counts.last_lost as last_forgotten,
    counts.right_at_end,
    n_right = 0 as never_learned,
    n_right > 0 and lost = 0 as unforgettable
from learning_counts($run_id, $split, $from_epoch::integer, $to_epoch::integer) as counts
left join class_names($run_id) as names on names.class_id = counts.label
order by
    forgetting desc nulls last,
    counts.instance_id
limit $limit::integer
