-- What do two runs predict of each image, and which of them is right?
--
-- Images are matched by where they lie in the data set (source), or by their pixels if the runs' data differ; those
-- without a partner of the same label are left out. instance_id and classes are those of run_id.
-- outcome says what the other run changes: kept (both right), fixed (wrong, right in the other), broken (right, wrong in
-- the other), rerouted (both wrong, as different classes), stuck (both wrong, as the same class). Changes of right and
-- wrong come first, then those whose probability of the label changes most.
--
-- params:
--   run_id                training run to look at
--   other_run_id          training run to compare it with
--   split                 split to look at [test]
--   epoch                 epoch of run_id [null: its last]
--   other_epoch           epoch of other_run_id [null: its last]
--   classes               true classes shown, names or ids, such as cat,dog or 3,5 [null: all]
--   limit                 rows shown [null: all]
-- returns:
--   instance_id           image, row number in its split
--   label                 true class; null when unknown
--   label_name            its name
--   predicted             class predicted by run_id
--   predicted_name        its name
--   other_predicted       class predicted by other_run_id
--   other_predicted_name  its name
--   outcome               kept, fixed, broken, rerouted or stuck; null when the label is unknown
--   p_true                softmax probability of the label in run_id, 0..1
--   other_p_true          the same in other_run_id
--   p_true_change         other_p_true minus p_true, -1..1
select
    compared.instance_id,
    compared.label,
    truth.name as label_name,
    compared.predicted,
    guess.name as predicted_name,
    compared.other_predicted,
    other_guess.name as other_predicted_name,
    compared.outcome,
    compared.p_true,
    compared.other_p_true,
    compared.other_p_true - compared.p_true as p_true_change
from compared_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer) as compared
left join class_names($run_id) as truth on truth.class_id = compared.label
left join class_names($run_id) as guess on guess.class_id = compared.predicted
left join class_names($run_id) as other_guess on other_guess.class_id = compared.other_predicted
where
    $classes::varchar is null
    or list_contains(string_split($classes::varchar, ',')::integer[], compared.label)
order by
    array_position(['broken', 'fixed', 'rerouted', 'stuck', 'kept'], compared.outcome) nulls last,
    abs(p_true_change) desc nulls last,
    compared.instance_id
limit $limit::integer
