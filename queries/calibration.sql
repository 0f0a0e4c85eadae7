-- Is the model's confidence calibrated?
--
-- Reliability diagram and expected calibration error (Guo 2017, arXiv 1706.04599): the images fall into bins of equal
-- width by the softmax probability of the predicted class, bin b of B holding ((b - 1) / B, b / B], and
-- ece = sum of n / N |accuracy - confidence| over the bins. It depends on the number of bins, and chance keeps it above
-- 0 even for a calibrated model. Empty bins and images without a known label or without probabilities are left out.
-- accuracy_low and accuracy_high are the Wilson 95 % interval, as in hard_classes.
--
-- params:
--   run_id           training run to look at
--   epoch            epoch to look at [null: the last]
--   split            split to look at [test]
--   bins             bins of the confidence, 0..1 [15]
-- returns:
--   bin              number of the bin, from 1
--   confidence_from  its lower end, exclusive
--   confidence_to    its upper end, inclusive
--   n                images in it
--   confidence       mean softmax probability of the predicted class, 0..1
--   accuracy         fraction predicted correctly, 0..1
--   accuracy_low     lower end of the interval, 0..1
--   accuracy_high    upper end of the interval, 0..1
--   ece              expected calibration error over all bins, 0..1; the same in each row
with chosen as (
    select
        epoch,
        predicted = label as ok,
        p_predicted::double as p_predicted
    from labelled_predictions($run_id, $split)
),
binned as (
    select
        greatest(ceil(p_predicted * $bins::integer), 1)::integer as bin,
        ok,
        p_predicted
    from chosen
    where
        epoch = coalesce($epoch::integer, (select max(epoch) from chosen))
        and p_predicted is not null
        and $bins::integer > 0
),
measured as (
    select
        bin,
        count(*) as n,
        avg(p_predicted) as confidence,
        avg(ok::integer) as p
    from binned
    group by bin
)
select
    bin,
    (bin - 1) / $bins::integer as confidence_from,
    bin / $bins::integer as confidence_to,
    n,
    confidence,
    p as accuracy,
    wilson_low(p, n) as accuracy_low,
    wilson_high(p, n) as accuracy_high,
    sum(n * abs(p - confidence)) over () / sum(n) over () as ece
from measured
order by bin
