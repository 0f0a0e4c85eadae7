-- How good is the model after each epoch, in every split?
--
-- Images without a known label are counted as unlabelled and enter neither n nor the means.
-- train_seen is measured during the epoch, on augmented images with dropout on, so it lags behind and is lower.
-- train_folds, which `study folds` makes, holds predictions by models trained on the other folds of these images.
-- low and high are the Wilson 95 % interval of the accuracy, as in hard_classes: it covers the choice of images, not
-- another training run.
--
-- seeds: split epoch
-- means: n unlabelled accuracy mean_p_true
-- params:
--   run_id       training run to look at
-- returns:
--   split        split of the images
--   epoch        0 is the network before training
--   n            labelled images predicted
--   unlabelled   images predicted whose label is not known
--   accuracy     fraction of n predicted correctly, 0..1; null if n is 0
--   low          lower end of its interval, 0..1; null if n is 0
--   high         upper end of its interval, 0..1; null if n is 0
--   mean_p_true  mean softmax probability of the label, 0..1; null if n is 0
with chosen as (
    select
        split,
        epoch,
        label,
        predicted = label as ok,
        p_true
    from predictions
    where run_id = $run_id
),
counted as (
    select
        split,
        epoch,
        count(label) as n,
        count(*) - count(label) as unlabelled,
        avg(ok::integer) as p,
        avg(p_true) as mean_p_true
    from chosen
    group by all
)
select
    split,
    epoch,
    n,
    unlabelled,
    p as accuracy,
    wilson_low(p, n) as low,
    wilson_high(p, n) as high,
    mean_p_true
from counted
order by
    split,
    epoch
