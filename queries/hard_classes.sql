-- Which classes does the model find hardest, and what does it confuse them with?
--
-- low and high are the Wilson 95 % interval of the accuracy, centre +- half with z = 1.96:
-- centre = (p + z^2/2n) / (1 + z^2/n), half = z sqrt(p (1 - p)/n + z^2/4n^2) / (1 + z^2/n).
-- If two intervals overlap, the order of the classes may be due to chance. Little can be said about a class with few
-- images (n): with 2 of 2 correct, low is 0.34, with 20 of 20 it is 0.84. Classes without images of the split are left
-- out. Overall accuracy is dominated by the largest classes; balanced accuracy is the mean of accuracy over classes.
-- forgetting_rate covers epochs 1 to the one asked for; at epoch 0 it is null.
-- Images without a known label are left out. Hardest first.
--
-- seeds: epoch class_id class_name
-- means: n accuracy mean_confidence forgetting_rate
-- order: accuracy
-- params:
--   run_id              training run to look at
--   split               split to look at [test]
--   epoch               epoch to look at [null: the last]
-- returns:
--   epoch               0 is the network before training
--   class_id            true class
--   class_name          its name
--   n                   its images
--   accuracy            fraction predicted correctly, 0..1: the class's recall
--   low                 lower end of the interval, 0..1
--   high                upper end of the interval, 0..1
--   mean_confidence     mean softmax probability of the label, 0..1
--   confused_with       class it is most often confused with; the lower one at a tie; null if never misclassified
--   confused_with_name  its name
--   confused_share      fraction of the class's wrong predictions that go there, 0..1
--   forgetting_rate     fraction of the class's images that turned from right to wrong at least once, 0..1
with now as (
    from labelled_predictions_at($run_id, $split, $epoch::integer)
),
scores as (
    select
        epoch,
        label,
        count(*) as n,
        avg((predicted = label)::integer) as p,
        avg(p_true) as mean_confidence
    from now
    group by all
),
confusions as (
    select
        label,
        predicted,
        count(*) / sum(count(*)) over (partition by label) as share
    from now
    where predicted <> label
    group by
        label,
        predicted
    qualify row_number() over (
        partition by label
        order by
            count(*) desc,
            predicted
    ) = 1
),
losses as (  -- from the few rows that say it: an image's first of the range, and those where it turned wrong
    select
        label,
        count(distinct instance_id) filter (ok_before) / count(*) filter (ok_before is null)
            as forgetting_rate
    from rights_and_wrongs($run_id, $split, 1, (select max(epoch) from now))
    where
        ok_before is null
        or (ok_before and not ok)
    group by label
)
select
    scores.epoch,
    scores.label as class_id,
    truth.name as class_name,
    scores.n,
    p as accuracy,
    wilson_low(p, n) as low,
    wilson_high(p, n) as high,
    scores.mean_confidence,
    confusions.predicted as confused_with,
    guess.name as confused_with_name,
    confusions.share as confused_share,
    losses.forgetting_rate
from scores
left join confusions using (label)
left join losses using (label)
left join class_names($run_id) as truth on truth.class_id = scores.label
left join class_names($run_id) as guess on guess.class_id = confusions.predicted
order by
    accuracy,
    class_id
