-- How much do the explanations still change while the model learns?
--
-- Similarity is Spearman's rank correlation of the absolute values of map8, the map averaged to 8x8, between epochs of
-- the same image; cells of equal value share their mean rank. If several explainer runs made a map, the
-- newest counts; images chosen beside a random sample are left out. Only images that a method explained at two epochs
-- or more are considered, each up to its last one.
-- An explanation is settled at an epoch if from then to the last epoch its similarity with the last map is at least
-- `settled`; a prediction, if from then on it is the last one, at the epochs explained. At the last epoch both are.
-- With target_kind predicted, the class explained changes with the prediction, which alone may change the map.
-- If the last map is uniform, nothing can be said about its explanation.
--
-- seeds: method epoch
-- means: n to_previous to_last share_settled share_prediction_settled
-- params:
--   run_id                    training run to look at
--   split                     split to look at [test]
--   target_kind               class explained: predicted, label or class [predicted]
--   settled                   similarity from which two maps count as the same, -1..1 [0.8]
-- returns:
--   method                    explanation method, or a reference: random or edge
--   epoch                     epoch of the checkpoint explained
--   n                         images explained there
--   to_previous               mean similarity with the epoch explained before, -1..1; null at the first
--   to_last                   mean similarity with the last epoch explained, -1..1
--   to_last_low               lower end of its 95 % interval, made as in faithfulness_by_method; null with fewer than 20
--                             images
--   to_last_high              upper end of it
--   share_settled             fraction of the images whose explanation is settled, 0..1
--   share_prediction_settled  fraction of the images whose prediction is settled, 0..1
select
    method,
    epoch,
    count(*) as n,
    avg(to_previous) as to_previous,
    avg(to_last) as to_last,
    mean_low(avg(to_last), stddev_samp(to_last), count(to_last), -1, 0.05) as to_last_low,
    mean_high(avg(to_last), stddev_samp(to_last), count(to_last), 1, 0.05) as to_last_high,
    avg(is_settled::integer) as share_settled,
    avg(is_predicted::integer) as share_prediction_settled
from explanation_histories($run_id, $split, $target_kind::varchar, $settled::double)
group by
    method,
    epoch
order by
    method,
    epoch
