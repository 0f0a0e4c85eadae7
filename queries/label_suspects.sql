-- Which labels does the model contradict, how likely are they to be wrong, and what may the images be instead?
--
-- Every labelled image has a row; the least supported label comes first. The order is by aum, the area under the margin
-- (Pleiss 2020, arXiv 2001.10528): the mean over the epochs of logit(label) - largest other logit. score is the same in
-- 0..1, 1 / (1 + e^aum); without margins it is the fraction of epochs misclassified.
-- Labels and predictions alone cannot tell a wrong label from a mistake that the model is sure of, so nothing here says
-- that a label is wrong. p_wrong is an estimate under an assumption: the surer the model is, the rarer its mistakes,
-- down to a few percent at most; and labels are wrong at one rate in all images. Then a label contradicted where
-- the model is surest is probably wrong; where it is often mistaken, a contradicted label is probably right. Macro
-- label_risks has the model. expected_precision is the fraction of the rows down to this one that would be wrong. If a
-- model is sure and yet often mistaken, as on images unlike those it was trained on, right labels get a high p_wrong;
-- labels of ambiguous images, where people err, are wrong more often than p_wrong says. To know, look at the images. Both
-- are null with under 100 images, without probabilities, if the model is equally sure of all images, or if it is not shown
-- to tell classes apart: see class_differences.
-- kind: suspect if p_wrong >= 0.5, so more likely wrong than right by the estimate, and if over 0.2 % of the labels are
-- wrong with 95 % confidence; else disputed if aum < 0; else supported; null without p_wrong.
-- Measured: simulated studies with right labels have hardly any suspects where at most 3 % of the surest answers are
-- mistakes, and more where 8 % are. train_seen ranks planted wrong labels about as well as test does (average precision
-- .92 to .998 on the digits, .57 to .93 on CIFAR-10), worst where those of a class all go to one other (.62 to .87, and
-- .42), which the estimate misses too.
-- train_folds, by models that have not seen the images (`study folds`), ranked those of the digits slightly worse (.97
-- against .997 with train_seen).
-- tests/benchmarks/README.md has the tables.
-- For val, test and extra images the late epochs count; for train and train_seen, on which the model was trained, all from
-- 1 on for score and the first half of them for p_wrong, before it learns wrong labels by heart.
-- Images without a known label are left out.
--
-- params:
--   run_id              training run to look at
--   split               split to look at, train_seen and train_folds too [test]
--   from_epoch          first epoch [null: the middle one of the logged epochs; of images trained on, 1]
--   to_epoch            last epoch [null: the last]
--   limit               rows shown [20]
-- returns:
--   instance_id         image, row number in its split
--   label               true class as the data set has it
--   label_name          its name
--   suggested           class it was misclassified as most often; at a tie the surer, then the lower one; null if never
--   suggested_name      its name
--   suggested_share     fraction of the epochs in which the image was predicted as it, 0..1
--   confidence          mean softmax probability of the label, 0..1
--   aum                 mean margin, in logits; negative speaks against the label
--   score               0..1, higher is more suspicious
--   kind                suspect, disputed or supported
--   out_of_sample       whether the model never trained on the split
--   p_wrong             estimated probability that the label is wrong, 0..1
--   p_wrong_low         lower end of its 95 % credible interval, 0..1
--   p_wrong_high        upper end of its 95 % credible interval, 0..1
--   expected_precision  mean p_wrong of this and all rows before it, 0..1
--   verdicts            what reviewers say about the image; null if nobody has judged it
with least_supported as (
    from label_risks($run_id, $split, $from_epoch::integer, $to_epoch::integer)
    order by
        round(aum, 6) nulls last,  -- equal ones may differ in the last digits
        round(score, 6) desc,
        instance_id
    limit $limit::integer
),
shown as materialized (
    select
        *,
        row_number() over ranks as place,
        round(avg(p_wrong) over ranks, 6) as expected_precision
    from least_supported
    window ranks as (
        order by
            round(aum, 6) nulls last,
            round(score, 6) desc,
            instance_id
    )
)
select
    shown.instance_id,
    shown.label,
    truth.name as label_name,
    classes.suggested,
    guess.name as suggested_name,
    classes.suggested_share,
    classes.confidence,
    shown.aum,
    shown.score,
    shown.kind,
    not trained_on($split) as out_of_sample,
    shown.p_wrong,
    shown.p_wrong_low,
    shown.p_wrong_high,
    shown.expected_precision,
    judged.said as verdicts
from shown
join suggested_classes('shown', $run_id, $split, $from_epoch::integer, $to_epoch::integer) as classes using (instance_id)
left join class_names($run_id) as truth on truth.class_id = shown.label
left join class_names($run_id) as guess on guess.class_id = classes.suggested
left join judged_images($run_id) as judged
    on judged.split = images_of($split)
    and judged.instance_id = shown.instance_id
order by shown.place
