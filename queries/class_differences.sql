-- Which classes are harder or easier than the others, beyond chance?
--
-- Each class's number of wrong predictions is compared with those of all other images by Fisher's exact test, two-sided,
-- which holds for any number of images. p_adjusted is corrected for all classes (Holm 1979): where all classes are
-- equally hard, any class has a verdict in at most `level` of studies, however many classes there are.
-- A model that tells no classes apart, such as one that always answers the same, has no verdicts: its accuracy in a
-- class is how often it answers that class, for any image.
-- No verdict does not mean that a class is as hard as the others: little can be said about few images (n).
-- Images without a known label, and classes without images in the split, are left out. Hardest first.
--
-- seeds: epoch class_id class_name
-- means: n accuracy others_accuracy
-- order: accuracy
-- params:
--   run_id           training run to look at
--   split            split to look at [test]
--   epoch            epoch to look at [null: the last]
--   level            probability of any false verdict among all classes [0.05]
-- returns:
--   epoch            0 is the network before training
--   class_id         true class
--   class_name       its name
--   n                its images
--   accuracy         fraction predicted correctly, 0..1
--   others_accuracy  the same for all other images; null for a single class
--   p_value          probability of such a difference by chance, for this class alone, 0..1
--   p_adjusted       the same, corrected for all classes
--   tells_apart      whether predictions agree with the labels more often than with shuffled ones, at `level`; the same in
--                    each row
--   verdict          harder or easier than the others; null unless p_adjusted is at most `level` and tells_apart
with counted as (
    select
        epoch,
        label,
        count(*) as n,
        count(*) filter (predicted <> label) as n_wrong
    from labelled_predictions_at($run_id, $split, $epoch::integer)
    group by all
),
beside as (
    select
        *,
        sum(n) over () as total,
        sum(n_wrong) over () as total_wrong
    from counted
),
tested as (
    select
        *,
        1 - n_wrong / n as accuracy,
        1 - (total_wrong - n_wrong) / nullif(total - n, 0) as others_accuracy,
        hypergeometric_two_sided(n_wrong, n, total_wrong, total) as p_value
    from beside
)
select
    corrected.epoch,
    corrected.label as class_id,
    names.name as class_name,
    corrected.n,
    corrected.accuracy,
    corrected.others_accuracy,
    corrected.p_value,
    corrected.p_adjusted,
    related.tells_apart,
    case
        when related.tells_apart and p_adjusted <= $level::double then if(accuracy < others_accuracy, 'harder', 'easier')
    end as verdict
from corrected_by_holm('tested') as corrected
cross join tells_classes_apart($run_id, $split, $epoch::integer, $level::double) as related
left join class_names($run_id) as names on names.class_id = corrected.label
order by
    accuracy,
    corrected.label
