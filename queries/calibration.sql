-- Is the model's confidence calibrated?
--
-- Reliability diagram and expected calibration error (Guo 2017, arXiv 1706.04599): the images fall into bins of equal
-- width by the softmax probability of the predicted class, bin b of B holding ((b - 1) / B, b / B], and
-- ece = sum of n / N |accuracy - confidence| over the bins. It depends on the number of bins, and chance keeps it above
-- 0 even for a calibrated model. Empty bins and images without a known label or without probabilities are left out.
-- ece_by_chance is its mean for a calibrated model, each image of a bin having the bin's mean confidence.
-- accuracy_low and accuracy_high are the Wilson 95 % interval, as in hard_classes, of each bin alone. is_off is decided
-- by an exact binomial test, corrected for all bins (Holm 1979): where confidence is right, any bin is off in at most
-- `level` of studies.
--
-- seeds: bin confidence_from confidence_to
-- means: n=0 confidence accuracy ece
-- params:
--   run_id           training run to look at
--   epoch            epoch to look at [null: the last]
--   split            split to look at [test]
--   bins             bins of the confidence, 0..1 [15]
--   level            probability of any false is_off among all bins [0.05]
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
--   ece_by_chance    its mean where confidence is right, 0..1; the same in each row
--   p_adjusted       probability of an accuracy this far from the confidence by chance, corrected for all bins, 0..1
--   is_off           whether p_adjusted is at most `level`
with binned as (
    select
        greatest(ceil(p_predicted::double * $bins::integer), 1)::integer as bin,
        predicted = label as ok,
        p_predicted::double as p_predicted
    from labelled_predictions_at($run_id, $split, $epoch::integer)
    where
        p_predicted is not null
        and $bins::integer > 0
),
measured as (
    select
        bin,
        count(*) as n,
        least(avg(p_predicted), 1) as confidence,
        avg(ok::integer) as p,
        count(*) filter (ok) as n_right
    from binned
    group by bin
),
tested as (
    select
        *,
        floor(n * confidence)::bigint + 1 as above,  -- the first number of right ones above the mean
        if(above > n, 0, 2 * above * (1 - confidence) * binomial(above, n, confidence) / n) as gap_by_chance,
        binomial_two_sided(n_right, n, confidence) as p_value
    from measured
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
    sum(n * abs(p - confidence)) over () / sum(n) over () as ece,
    sum(n * gap_by_chance) over () / sum(n) over () as ece_by_chance,
    p_adjusted,
    p_adjusted <= $level::double as is_off
from corrected_by_holm('tested')
order by bin
