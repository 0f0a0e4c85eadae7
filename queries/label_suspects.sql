-- Which images are probably mislabelled or ambiguous, and what may they be instead?
--
-- Over the late epochs three signs speak against a label, each 0..1: little confidence in it (1 - mean p_true), a
-- negative area under the margin (1 / (1 + e^aum); Pleiss 2020, arXiv 2001.10528), and being taken for one other class
-- again and again (suggested_share). score is their mean; signs a run has not logged are left out.
-- kind: mislabelled if suggested_share >= 0.75 and aum < 0, else ambiguous: a rule of thumb to sort by, not a verdict.
-- A hard image with a right label looks the same: look at it before changing anything.
-- Meaningful for val, test and extra images, which the model has not trained on (out of sample). Not for train_seen:
-- there late epochs have learned wrong labels by heart, so a low score clears nobody.
-- Listed are images taken for another class at least once; those without a known label are left out.
--
-- params:
--   run_id           training run to look at
--   split            split to look at [test]
--   from_epoch       first late epoch [null: the middle one of the logged epochs]
--   limit            rows shown [20]
-- returns:
--   instance_id      image, row number in its split
--   label            true class as the data set has it
--   label_name       its name
--   suggested        class it was taken for most often instead; at a tie the surer, then the lower one
--   suggested_name   its name
--   suggested_share  share of the late epochs predicted so, 0..1
--   confidence       mean softmax probability of the label over the late epochs, 0..1
--   aum              mean margin over the late epochs, in logits
--   score            0..1, higher is more suspicious
--   kind             mislabelled or ambiguous
--   out_of_sample    whether the model never trained on the split, so that the score can be trusted
with chosen as (
    select
        instance_id,
        epoch,
        label,
        predicted,
        p_true,
        p_predicted,
        margin
    from labelled_predictions($run_id, $split)
),
epochs as (
    select distinct epoch
    from chosen
),
late as (
    select *
    from chosen
    where epoch >= coalesce($from_epoch::integer, (select quantile_disc(epoch, 0.5) from epochs))
),
measured as (
    select
        instance_id,
        any_value(label) as label,
        count(*) as n,
        avg(p_true) as confidence,
        avg(margin) as aum
    from late
    group by instance_id
),
others as (
    select
        instance_id,
        predicted as suggested,
        count(*) as n
    from late
    where predicted <> label
    group by
        instance_id,
        predicted
    qualify row_number() over (
        partition by instance_id
        order by
            n desc,
            avg(p_predicted) desc,
            predicted
    ) = 1
),
signs as (
    select
        measured.instance_id,
        measured.label,
        others.suggested,
        others.n / measured.n as suggested_share,
        measured.confidence,
        measured.aum
    from measured
    join others using (instance_id)
)
select
    signs.instance_id,
    signs.label,
    truth.name as label_name,
    signs.suggested,
    guess.name as suggested_name,
    signs.suggested_share,
    signs.confidence,
    signs.aum,
    list_avg([1 - confidence, 1 / (1 + exp(aum)), suggested_share]) as score,  -- leaves nulls out
    case when suggested_share >= 0.75 and coalesce(aum < 0, true) then 'mislabelled' else 'ambiguous' end as kind,
    $split not in ('train', 'train_seen') as out_of_sample
from signs
left join class_names($run_id) as truth on truth.class_id = signs.label
left join class_names($run_id) as guess on guess.class_id = signs.suggested
order by
    round(score, 6) desc,  -- equal scores may differ in the last digits
    signs.instance_id
limit $limit::integer
