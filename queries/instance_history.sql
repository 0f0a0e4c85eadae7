-- What did the model think of one image, epoch by epoch?
--
-- event compares with the logged epoch before: kept (right, still right), fixed (wrong, now right), broken (right, now
-- wrong), rerouted (wrong as another class), stuck (wrong as the same class), first (no epoch before). Without a known
-- label, event is first or null.
--
-- params:
--   run_id          training run to look at
--   instance_id     image, row number in its split
--   split           split of the image [test]
-- returns:
--   epoch           0 is the network before training
--   label           true class; null when unknown
--   label_name      its name
--   predicted       predicted class
--   predicted_name  its name
--   p_true          softmax probability of the label, 0..1
--   p_predicted     softmax probability of the predicted class, 0..1
--   margin          logit of the label minus the largest other logit; positive when right
--   event           first, kept, fixed, broken, rerouted, stuck; null without a label
with chosen as (
    select
        epoch,
        label,
        predicted,
        previous as before,
        p_true,
        p_predicted,
        margin
    from predictions
    where
        run_id = $run_id
        and split = $split
        and instance_id = $instance_id::integer
)
select
    chosen.epoch,
    chosen.label,
    truth.name as label_name,
    chosen.predicted,
    guess.name as predicted_name,
    chosen.p_true,
    chosen.p_predicted,
    chosen.margin,
    case when before is null then 'first' else outcome_of(label, before, predicted) end as event
from chosen
left join class_names($run_id) as truth on truth.class_id = chosen.label
left join class_names($run_id) as guess on guess.class_id = chosen.predicted
order by chosen.epoch
