-- Which explanations of a training run are there?
--
-- params:
--   run_id            training run to look at
-- returns:
--   explainer_run_id  run that made them
--   explainer_name    its name; null if the run is not in the table
--   method            explanation method
--   epoch             epoch of the checkpoint explained
--   split             split of the images
--   target_kind       predicted, label or class: how the class explained was chosen
--   n                 images explained
--   mean_score        mean logit of the class explained
--   mean_abs_delta    mean absolute completeness gap, in logits; null for methods without a baseline
with chosen as (
    select
        run_id,
        method,
        epoch,
        split,
        target_kind,
        instance_id,
        score,
        delta
    from attributions
    where source_run_id = $run_id
),
counted as (
    select
        run_id,
        method,
        epoch,
        split,
        target_kind,
        count(distinct instance_id) as n,
        avg(score) as mean_score,
        avg(abs(delta)) as mean_abs_delta
    from chosen
    group by all
)
select
    counted.run_id as explainer_run_id,
    runs.name as explainer_name,
    counted.method,
    counted.epoch,
    counted.split,
    counted.target_kind,
    counted.n,
    counted.mean_score,
    counted.mean_abs_delta
from counted
left join runs on runs.run_id = counted.run_id
order by
    counted.method,
    counted.epoch,
    counted.split,
    counted.target_kind,
    counted.run_id
