-- What do the maps of an explainer run say on the whole?
--
-- params:
--   run_id          explainer run to look at
-- returns:
--   epoch           epoch of the checkpoint explained
--   method          explanation method
--   target_kind     predicted, label or class: how the class explained was chosen
--   n               maps
--   mean_score      mean logit of the class explained
--   mean_abs_delta  mean absolute completeness gap, in logits; null for methods without a baseline
--   n_wide_gaps     maps whose gap is over 1 % of the score's rise over the baseline; null without a baseline
--   n_zero          maps that are zero everywhere
--   share_against   share of the maps' magnitude (8x8) that speaks against the class, 0..1; null if all are zero
with chosen as (
    select
        epoch,
        method,
        target_kind,
        score,
        baseline_score,
        delta,
        map8
    from attributions
    where run_id = $run_id
),
measured as (
    select
        epoch,
        method,
        target_kind,
        score,
        delta,
        abs(delta) > 0.01 * abs(score - baseline_score) as is_wide,
        list_sum([greatest(value, -value) for value in map8]) as magnitude,
        list_sum([greatest(-value, 0) for value in map8]) as against
    from chosen
)
select
    epoch,
    method,
    target_kind,
    count(*) as n,
    avg(score) as mean_score,
    avg(abs(delta)) as mean_abs_delta,
    count_if(is_wide) filter (where delta is not null) as n_wide_gaps,
    count_if(magnitude = 0) as n_zero,
    sum(against) / nullif(sum(magnitude), 0) as share_against
from measured
group by all
order by
    epoch,
    method,
    target_kind
