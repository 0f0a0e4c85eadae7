-- At which epochs do predictions change most, and does it help?
--
-- A move is a prediction that differs from the one at the logged epoch before, right or wrong. ratio compares it
-- with the median transition of the run, which the first transitions, always large, hardly affect.
-- Images without a known label count as moves, but are neither fixed nor broken.
--
-- params:
--   run_id      training run to look at
--   split       split to look at [test]
--   limit       rows shown [20]
-- returns:
--   epoch       epoch before
--   next_epoch  epoch after
--   n           images
--   moves       images whose prediction changes
--   share       moves / n, 0..1
--   ratio       share / median share of all transitions; above 1: more moves than usual; null if the median is 0
--   fixed       moves from wrong to right
--   broken      moves from right to wrong
--   net         fixed minus broken
with transitions as (
    select
        epoch,
        next_epoch,
        count(*) as n,
        count(*) filter (predicted <> next_predicted) as moves,
        moves / n as share,
        count(*) filter (predicted <> label and next_predicted = label) as fixed,
        count(*) filter (predicted = label and next_predicted <> label) as broken
    from moves($run_id, $split)
    group by all
)
select
    epoch,
    next_epoch,
    n,
    moves,
    share,
    share / nullif(median(share) over (), 0) as ratio,
    fixed,
    broken,
    fixed - broken as net
from transitions
order by
    moves desc,
    epoch,
    next_epoch
limit $limit::integer
