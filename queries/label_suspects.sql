-- Which images are probably mislabelled or ambiguous, and what may they be instead?
--
-- Over the late epochs, three signs count against a label, each 0..1: little confidence in it (1 - mean p_true), a
-- negative area under the margin (1 / (1 + e^aum); Pleiss 2020, arXiv 2001.10528), and being misclassified as one other
-- class again and again (suggested_share). score is their mean; signs that a run has not logged are left out.
-- kind: mislabelled if suggested_share >= 0.75 and aum < 0, else ambiguous: a rule of thumb to sort by, not a verdict.
-- A hard image with a correct label looks the same: look at it before changing anything.
-- Meaningful for val, test and extra images, which the model has not trained on (out of sample). Not for train_seen:
-- by the late epochs the model has memorised wrong labels, so a low score does not clear an image.
-- Only images misclassified at least once are listed; those without a known label are left out.
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
--   suggested        class it was misclassified as most often; at a tie the surer, then the lower one
--   suggested_name   its name
--   suggested_share  fraction of the late epochs predicted so, 0..1
--   confidence       mean softmax probability of the label over the late epochs, 0..1
--   aum              mean margin over the late epochs, in logits
--   score            0..1, higher is more suspicious
--   kind             mislabelled or ambiguous
--   out_of_sample    whether the model never trained on the split, so that the score can be trusted
select
    doubts.instance_id,
    doubts.label,
    truth.name as label_name,
    doubts.suggested,
    guess.name as suggested_name,
    doubts.suggested_share,
    doubts.confidence,
    doubts.aum,
    doubts.score,
    doubts.kind,
    $split not in ('train', 'train_seen') as out_of_sample
from label_doubts($run_id, $split, $from_epoch::integer) as doubts
left join class_names($run_id) as truth on truth.class_id = doubts.label
left join class_names($run_id) as guess on guess.class_id = doubts.suggested
order by
    round(doubts.score, 6) desc,  -- equal scores may differ in the last digits
    doubts.instance_id
limit $limit::integer
