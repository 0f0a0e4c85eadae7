-- Does an image's explanation settle before or after its prediction?
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
-- params:
--   run_id             training run to look at
--   split              split to look at [test]
--   target_kind        class explained: predicted, label or class [predicted]
--   settled            similarity from which two maps count as the same, -1..1 [0.8]
--   method             one method [null: all]
-- returns:
--   method             explanation method, or a reference: random or edge
--   split              split of the image
--   instance_id        image, row number in its split
--   label              true class; null when unknown
--   predicted          class predicted at the last epoch explained
--   prediction_since   explained epoch since which the prediction is settled
--   explanation_since  explained epoch since which the explanation is settled; null if the last map is uniform
--   settles            whether the explanation settles before, with or after its prediction
select
    method,
    $split as split,
    instance_id,
    any_value(label) as label,
    any_value(last_predicted) as predicted,
    min(epoch) filter (is_predicted) as prediction_since,
    min(epoch) filter (is_settled) as explanation_since,
    case
        when explanation_since < prediction_since then 'before'
        when explanation_since = prediction_since then 'with'
        when explanation_since > prediction_since then 'after'
    end as settles
from explanation_histories($run_id, $split, $target_kind::varchar, $settled::double)
where method = coalesce($method::varchar, method)
group by
    method,
    instance_id
order by
    method,
    instance_id
