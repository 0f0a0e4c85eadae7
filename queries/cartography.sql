-- Which images are easy, ambiguous or hard to learn?
--
-- Data set map (Swayamdipta 2020, arXiv 2009.10795) over the epochs counted: confidence and p_true_std are mean and
-- population standard deviation of p_true, correctness the fraction of epochs predicted correctly. The paper measures
-- its training set while training: that is split train_seen; val and test map images never trained on.
-- p_true_std, which the paper calls variability and ambiguity, tells when an image was learned: it is greatest where
-- p_true rises halfway through. ambiguity is how unsure the model is between classes, regardless of the label: the mean
-- of 1 - p_sq, which is how often two classes drawn by its probabilities differ. Blends of two digits have a higher
-- ambiguity than 92 % of the other images, and a higher p_true_std than 33 %; see tests/benchmarks/README.md.
-- region follows a fixed rule, not the paper's thirds: ambiguous if ambiguity >= 0.5, as for an even choice between two
-- classes; else easy if confidence >= 0.5; else hard, as the model favours other classes.
-- el2n (Paul 2021, arXiv 2107.07075): mean length of probabilities - one-hot label, sqrt(p_sq - 2 p_true + 1), over the
-- early epochs; the paper averages it over ten runs or more.
-- Epoch 0, the network before training, is left out by default. Images without a known label are left out.
-- Most ambiguous first.
--
-- seeds: instance_id label label_name
-- means: n confidence p_true_std correctness threshold_closeness el2n ambiguity
-- order: round(ambiguity, 6) desc nulls last
-- params:
--   run_id               training run to look at
--   split                split to look at, train_seen and train_folds too [test]
--   from_epoch           first epoch [1]
--   to_epoch             last epoch [null: the last]
--   early_epochs         last epoch averaged for el2n [10]
--   limit                rows shown [null: all]
-- returns:
--   instance_id          image, row number in its split
--   label                true class
--   label_name           its name
--   n                    epochs counted
--   confidence           mean softmax probability of the label, 0..1
--   p_true_std           its standard deviation over the epochs, 0..0.5; null for a single one
--   correctness          fraction of the epochs predicted correctly, 0..1
--   threshold_closeness  confidence (1 - confidence), 0..0.25
--   el2n                 error early in training, 0..1.4; null without early epochs
--   region               easy, ambiguous or hard; null without probabilities
--   ambiguity            mean of 1 - p_sq, 0..1 - 1 / number of classes; null without probabilities
select
    images.instance_id,
    images.label,
    names.name as label_name,
    images.n,
    images.confidence,
    images.p_true_std,
    images.correctness,
    confidence * (1 - confidence) as threshold_closeness,
    images.el2n,
    images.region,
    images.ambiguity
from data_map($run_id, $split, $from_epoch::integer, $to_epoch::integer, $early_epochs::integer) as images
left join class_names($run_id) as names on names.class_id = images.label
order by
    round(images.ambiguity, 6) desc nulls last,  -- equal ones may differ in the last digits
    images.instance_id
limit $limit::integer
