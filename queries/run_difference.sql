-- Where do two runs predict differently?
--
-- Two runs made alike should agree everywhere (n_different 0, max_p_difference 0). The runs are compared image by
-- image, so both must speak of the same images: see runs.data_digest. p_true and
-- accuracy need labels, the rest does not.
--
-- params:
--   run_id            training run to look at
--   other_run_id      training run to compare it with
--   split             split to look at [test]
--   limit             image ids listed in a row [20]
-- returns:
--   epoch             0 is the untrained network
--   n                 images predicted by both runs
--   n_different       images of n predicted as different classes
--   share             n_different / n, 0..1; null if n is 0
--   max_p_difference  largest absolute difference of p_true over n, 0..1
--   accuracy          share of the labelled images of n that run_id has right, 0..1
--   other_accuracy    the same of other_run_id
--   only_here         images predicted by run_id alone
--   only_other        images predicted by other_run_id alone
--   instance_ids      the first images predicted differently, ascending, as many as limit says
with here as (
    select
        epoch,
        instance_id,
        label,
        predicted,
        p_true::double as p_true
    from predictions
    where
        run_id = $run_id
        and split = $split
),
other as (
    select
        epoch,
        instance_id,
        label,
        predicted,
        p_true::double as p_true
    from predictions
    where
        run_id = $other_run_id
        and split = $split
),
pairs as (
    select
        epoch,
        instance_id,
        here.predicted as predicted,
        other.predicted as other_predicted,
        here.predicted = here.label as ok,
        other.predicted = other.label as other_ok,
        abs(here.p_true - other.p_true) as p_difference
    from here
    full join other using (epoch, instance_id)
),
differences as (
    select
        epoch,
        count(*) filter (predicted is not null and other_predicted is not null) as n,
        max(p_difference) as max_p_difference,
        avg(ok::integer) filter (other_predicted is not null) as accuracy,
        avg(other_ok::integer) filter (predicted is not null) as other_accuracy,
        count(*) filter (other_predicted is null) as only_here,
        count(*) filter (predicted is null) as only_other,
        coalesce(list(instance_id order by instance_id) filter (predicted <> other_predicted), []) as different
    from pairs
    group by epoch
)
select
    epoch,
    n,
    len(different) as n_different,
    len(different) / nullif(n, 0) as share,
    max_p_difference,
    accuracy,
    other_accuracy,
    only_here,
    only_other,
    list_slice(different, 1, coalesce($limit::integer, len(different))) as instance_ids
from differences
order by epoch
