-- Which images are easy, ambiguous or hard to learn?
--
-- Data set map (Swayamdipta 2020, arXiv 2009.10795) over the epochs counted: confidence and p_true_std are mean and
-- population deviation of p_true, correctness the share of epochs predicted right. The paper measures its training set
-- while training: that is split train_seen; val and test map images never trained on.
-- region, a fixed rule: ambiguous = p_true_std in the upper third of the split (percent_rank >= 2/3); the others are
-- easy if confidence >= 0.5, else hard. The paper picks thirds that overlap. A single epoch has no ambiguous images.
-- el2n (Paul 2021, arXiv 2107.07075): mean length of probabilities - one-hot label, sqrt(p_sq - 2 p_true + 1), over the
-- early epochs; the paper averages it over ten runs or more.
-- Epoch 0, the untrained network, is left out by default. Images without a known label are left out.
-- Most uncertain first.
--
-- params:
--   run_id               training run to look at
--   split                split to look at, train_seen too [test]
--   from_epoch           first epoch [1]
--   to_epoch             last epoch [null: the last there is]
--   early_epochs         last epoch averaged for el2n [10]
--   limit                rows shown [null: all]
-- returns:
--   instance_id          image, row number in its split
--   label                true class
--   label_name           its name
--   n                    epochs counted
--   confidence           mean softmax probability of the label, 0..1
--   p_true_std           its standard deviation over the epochs, 0..0.5; null with a single one
--   correctness          share of the epochs predicted right, 0..1
--   threshold_closeness  confidence (1 - confidence), 0..0.25
--   el2n                 error early in training, 0..1.4; null without early epochs
--   region               easy, ambiguous or hard; null without probabilities
with chosen as (
    select
        instance_id,
        label,
        predicted = label as ok,
        p_true,
        -- a perfect prediction may fall below 0 by rounding
        case when epoch <= $early_epochs::integer then sqrt(greatest(p_sq - 2 * p_true + 1, 0)) end as early_error
    from labelled_predictions($run_id, $split)
    where epoch between coalesce($from_epoch::integer, epoch) and coalesce($to_epoch::integer, epoch)
),
measured as (
    select
        instance_id,
        any_value(label) as label,
        count(*) as n,
        avg(p_true) as confidence,
        -- to the digits that a probability has: the last ones depend on which thread comes first
        case when count(p_true) > 1 then round(stddev_pop(p_true), 7) end as p_true_std,
        avg(ok::integer) as correctness,
        round(avg(early_error), 7) as el2n
    from chosen
    group by instance_id
),
ranked as (
    select
        *,
        -- equal deviations may differ in the last digits
        percent_rank() over (order by round(p_true_std, 6) nulls first) as rank
    from measured
)
select
    ranked.instance_id,
    ranked.label,
    names.name as label_name,
    ranked.n,
    ranked.confidence,
    ranked.p_true_std,
    ranked.correctness,
    confidence * (1 - confidence) as threshold_closeness,
    ranked.el2n,
    case
        when confidence is null then null
        when rank >= 2 / 3 then 'ambiguous'
        when confidence >= 0.5 then 'easy'
        else 'hard'
    end as region
from ranked
left join class_names($run_id) as names on names.class_id = ranked.label
order by
    round(ranked.p_true_std, 6) desc nulls last,
    ranked.instance_id
limit $limit::integer
