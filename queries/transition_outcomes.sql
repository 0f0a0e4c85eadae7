-- What does each further epoch fix, break or leave unchanged?
--
-- Every labelled image falls into one of five outcomes between two consecutive logged epochs, so fixed + broken +
-- rerouted + kept + stuck = n. Images without a known label have no outcome; they are counted as unlabelled.
-- An image missing at an epoch is compared with its own next one, in a row of its own.
--
-- seeds: epoch next_epoch
-- means: n fixed broken rerouted kept stuck net unlabelled
-- params:
--   run_id      training run to look at
--   split       split to look at [test]
--   from_epoch  first epoch [null: the first there is]
--   to_epoch    last epoch [null: the last]
--   classes     true classes counted, names or ids, such as cat,dog or 3,5 [null: all]
-- returns:
--   epoch       epoch before
--   next_epoch  epoch after
--   n           labelled images
--   fixed       wrong before, right after
--   broken      right before, wrong after
--   rerouted    wrong before and after, as different classes
--   kept        right before and after
--   stuck       wrong before and after, as the same class
--   net         fixed minus broken: change in the number of right predictions
--   unlabelled  images whose label is not known
with chosen as (
    select
        epoch,
        next_epoch,
        label,
        predicted = label as ok,
        next_predicted = label as next_ok,
        predicted = next_predicted as same
    from moves($run_id, $split)
    where
        epoch >= coalesce($from_epoch::integer, 0)
        and next_epoch <= coalesce($to_epoch::integer, next_epoch)
        and ($classes::varchar is null or list_contains(string_split($classes::varchar, ',')::integer[], label))
)
select
    epoch,
    next_epoch,
    count(label) as n,
    count(*) filter (not ok and next_ok) as fixed,
    count(*) filter (ok and not next_ok) as broken,
    count(*) filter (not ok and not next_ok and not same) as rerouted,
    count(*) filter (ok and next_ok) as kept,
    count(*) filter (not ok and not next_ok and same) as stuck,
    fixed - broken as net,
    count(*) - count(label) as unlabelled
from chosen
group by
    epoch,
    next_epoch
order by
    epoch,
    next_epoch
