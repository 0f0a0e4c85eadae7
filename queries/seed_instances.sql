-- Which images does the recipe get wrong with every seed, and on which do seeds disagree?
--
-- An image that every seed gets wrong is hard for the recipe, or its label is wrong; one that some get wrong is a matter of
-- chance. Images are the same by macro same_images, so runs whose validation images differ share some of them only;
-- n_seeds says how many runs predicted the image. predicted is the class that most seeds predict, the lowest at a tie.
-- el2n is as its paper defines it (Paul 2021, arXiv 2107.07075): the mean over seeds of the length of probabilities - one-hot
-- label, sqrt(p_sq - 2 p_true + 1), at one early epoch; the paper prunes training images (split train_seen) by it, from ten
-- seeds. cartography has the same for a single run, averaged over early epochs.
-- Images without a known label are left out. Those that most seeds get wrong come first.
--
-- seeds: together
--
-- params:
--   run_id          training run to look at, or several with commas
--   split           split to look at, train_seen too [test]
--   epoch           epoch to look at [null: the last of each run]
--   early_epoch     epoch of el2n [null: a tenth of the last epoch, at least 1]
--   limit           rows shown [null: all]
-- returns:
--   instance_id     image, row number in its split, as the first run numbers it
--   label           true class
--   label_name      its name
--   n_seeds         runs that predicted it
--   n_wrong         runs that got it wrong
--   fraction_wrong  n_wrong / n_seeds, 0..1
--   predicted       class that most runs predict
--   predicted_name  its name
--   agreement       fraction of the runs that predict it, 0..1
--   n_classes       different classes predicted
--   p_true          mean softmax probability of the label, 0..1; null without probabilities
--   p_true_sd       its standard deviation over the runs; null for a single one
--   el2n            error early in training, 0..1.4; null without predictions of the epoch
--   el2n_sd         its standard deviation over the runs; null for a single one
with images as materialized (
    from same_images($run_id, $split)
    where image is not null
),
aligned as (
    select
        images.image,
        predictions.*,
        predictions.epoch = coalesce($epoch::integer, last_epoch) as is_asked,
        predictions.epoch = coalesce($early_epoch::integer, greatest(last_epoch // 10, 1)) as is_early
    from predictions
    join last_epochs($run_id, $split) using (run_id)
    join images using (run_id, instance_id)
    where
        split = $split
        and label is not null
),
votes as (
    select
        image,
        label,
        predicted,
        count(*) as n
    from aligned
    where is_asked
    group by all
),
elected as (
    select
        image,
        label,
        min_by(predicted, (-n, predicted)) as predicted,
        max(n) / sum(n) as agreement,
        count(*) as n_classes
    from votes
    group by
        image,
        label
),
measured as (
    select
        image,
        label,
        count(*) filter (is_asked) as n_seeds,
        count(*) filter (is_asked and predicted <> label) as n_wrong,
        avg(p_true) filter (is_asked) as p_true,
        stddev_samp(p_true) filter (is_asked) as p_true_sd,
        avg(sqrt(greatest(p_sq - 2 * p_true + 1, 0))) filter (is_early) as el2n,
        stddev_samp(sqrt(greatest(p_sq - 2 * p_true + 1, 0))) filter (is_early) as el2n_sd
    from aligned
    where
        is_asked
        or is_early
    group by
        image,
        label
)
select
    measured.image as instance_id,
    measured.label,
    truth.name as label_name,
    measured.n_seeds,
    measured.n_wrong,
    measured.n_wrong / measured.n_seeds as fraction_wrong,
    elected.predicted,
    guess.name as predicted_name,
    elected.agreement,
    elected.n_classes,
    measured.p_true,
    measured.p_true_sd,
    measured.el2n,
    measured.el2n_sd
from measured
join elected using (image, label)
left join class_names(string_split($run_id, ',')[1]) as truth on truth.class_id = measured.label
left join class_names(string_split($run_id, ',')[1]) as guess on guess.class_id = elected.predicted
order by
    fraction_wrong desc,
    round(measured.p_true, 6) nulls last,  -- equal ones may differ in the last digits
    measured.image,
    measured.label
limit $limit::integer
