-- Is the model worse on a split than on validation images, and in which classes?
--
-- Validation images are split off the training images, so they share what is special about them. A gap beyond chance
-- means that the split's images are of another kind: taken elsewhere, later, or without something that gives a class
-- away in training. `study ask shortcuts` says whether a patch at one place does that.
-- recall is the fraction of a class's images predicted correctly, precision that of the images predicted as the class.
-- A class without images in the split has neither: its precision could only be 0, for any model. Accuracy and
-- precision also differ where the split has other proportions of the classes; precision is marked only if the fraction
-- of images of other classes that are predicted as the class is higher too, beyond chance.
-- p_value is Fisher's exact test, one-sided (for precision, the larger of both tests), corrected by Holm for all rows of
-- the answer, so that with no gap at all is_lower is true somewhere in at most the fraction `level` of studies. Intervals
-- are Wilson's, at 95 %. Uses the last epoch with predictions of the split. Images without a known label are left out;
-- split val cannot be compared with itself. The whole model comes first, then the classes, lowest p_value first.
--
-- seeds: class_id class_name metric
-- means: n_val val n value
-- order: class_id is not null
-- params:
--   run_id      training run to look at
--   split       split to look at [test]
--   level       family-wise level of the marks [0.05]
-- returns:
--   class_id    class; null for the whole model
--   class_name  its name; null for the whole model
--   metric      accuracy, recall or precision
--   n_val       validation images that it is a fraction of
--   val         its value there, 0..1
--   val_low     lower end of its interval
--   val_high    upper end of its interval
--   n           images of the split that it is a fraction of
--   value       its value there, 0..1
--   low         lower end of its interval
--   high        upper end of its interval
--   p_value     probability of a value this much lower by chance, corrected, 0..1
--   is_lower    whether p_value is at most the level
with measured as (
    select
        *,
        val_hits / val_n as val,
        hits / n as value
    from split_gaps($run_id, $split)
)
select
    class_id,
    names.name as class_name,
    metric,
    val_n as n_val,
    val,
    wilson_low(val, val_n) as val_low,
    wilson_high(val, val_n) as val_high,
    n,
    value,
    wilson_low(value, n) as low,
    wilson_high(value, n) as high,
    p_value,
    p_value <= $level::double as is_lower
from measured
left join class_names($run_id) as names using (class_id)
order by
    class_id is not null,
    p_value,
    class_id,
    metric
