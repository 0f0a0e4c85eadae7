-- Which explanations of a training run exist, and what do they show overall?
--
-- Means and share_against leave out images that were explained beside a random sample.
--
-- params:
--   run_id            training run to look at
--   together          yes: the maps of all runs as one, the newest of each image; no: run by run [no]
-- returns:
--   explainer_run_id  run that made them; null if together is yes
--   explainer_name    its name; null if the run is not in the table
--   method            explanation method
--   epoch             epoch of the checkpoint explained
--   split             split of the images
--   target_kind       predicted, label or class: how the class explained was chosen
--   n                 images explained
--   mean_score        mean logit of the class explained
--   mean_abs_delta    mean absolute completeness gap, in logits; null for methods without a baseline
--   n_wide_gaps       maps whose gap is over 1 % of the score's rise over the baseline; null without a baseline
--   n_zero            maps that are zero everywhere
--   share_against     fraction of the maps' magnitude (8x8) that counts against the class, 0..1; null if all are zero
with newest as (
    select made.*
    from attributions as made
    left join runs using (run_id)
    where
        made.source_run_id = $run_id
        and $together::varchar = 'yes'
    qualify row_number() over (
        partition by
            made.method,
            made.epoch,
            made.split,
            made.target_kind,
            made.target,
            made.instance_id
        order by
            runs.started_at desc nulls last,
            made.run_id desc
    ) = 1
),
considered as (
    select * replace (null as run_id)
    from newest
    union all
    from attributions
    where
        source_run_id = $run_id
        and $together::varchar <> 'yes'
),
chosen as (
    select
        run_id,
        method,
        epoch,
        split,
        target_kind,
        instance_id,
        score,
        delta,
        sampled is distinct from false
            or not bool_or(sampled is distinct from false) over (
                partition by
                    run_id,
                    method,
                    epoch,
                    split,
                    target_kind
            ) as counts,
        abs(delta) > 0.01 * abs(score - baseline_score) as has_wide_gap,
        list_sum([abs(value) for value in map8]) as magnitude,
        list_sum([greatest(-value, 0) for value in map8]) as against
    from considered
),
counted as (
    select
        run_id,
        method,
        epoch,
        split,
        target_kind,
        count(distinct instance_id) as n,
        avg(score) filter (counts) as mean_score,
        avg(abs(delta)) filter (counts) as mean_abs_delta,
        sum(has_wide_gap::bigint)::bigint as n_wide_gaps,
        count_if(magnitude = 0) as n_zero,
        sum(against) filter (counts) / nullif(sum(magnitude) filter (counts), 0) as share_against
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
    counted.mean_abs_delta,
    counted.n_wide_gaps,
    counted.n_zero,
    counted.share_against
from counted
left join runs on runs.run_id = counted.run_id
order by
    counted.method,
    counted.epoch,
    counted.split,
    counted.target_kind,
    counted.run_id
