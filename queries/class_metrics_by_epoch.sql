-- How do precision, recall and F1 of each class develop?
--
-- A ratio whose denominator is 0 is given as 0, ConfusionFlow's convention: precision of a class never predicted,
-- recall of a class without images, F1 if both are 0. support and n_predicted show which case it is.
-- recall_low and recall_high are the Wilson 95 % interval of the recall, as in hard_classes.
-- Images without a known label are left out.
--
-- seeds: epoch class_id class_name
-- means: support n_predicted=0 precision recall f1
-- params:
--   run_id       training run to look at
--   split        split to look at [test]
-- returns:
--   epoch        0 is the network before training
--   class_id     class
--   class_name   its name
--   support      images of the class
--   n_predicted  images predicted as the class
--   precision    fraction of n_predicted that are of the class, 0..1
--   recall       fraction of support that is predicted as the class, 0..1
--   recall_low   lower end of its interval, 0..1; null without images of the class
--   recall_high  upper end of its interval, 0..1; null without images of the class
--   f1           harmonic mean of precision and recall, 0..1
with chosen as (
    select
        epoch,
        label,
        predicted,
        count(*) as n
    from labelled_predictions($run_id, $split)
    group by all
),
counts as (
    select
        chosen.epoch,
        names.class_id,
        names.name,
        sum(n) filter (label = class_id) as support,
        sum(n) filter (predicted = class_id) as n_predicted,
        sum(n) filter (label = class_id and predicted = class_id) as hits
    from chosen
    cross join class_names($run_id) as names
    group by all
),
filled as (
    select
        epoch,
        class_id,
        name,
        coalesce(support, 0)::bigint as support,
        coalesce(n_predicted, 0)::bigint as n_predicted,
        coalesce(hits, 0)::bigint as hits
    from counts
),
measured as (
    select
        *,
        hits / nullif(support, 0) as p
    from filled
)
select
    epoch,
    class_id,
    name as class_name,
    support,
    n_predicted,
    coalesce(hits / nullif(n_predicted, 0), 0) as precision,
    coalesce(p, 0) as recall,
    wilson_low(p, support) as recall_low,
    wilson_high(p, support) as recall_high,
    coalesce(2 * hits / nullif(n_predicted + support, 0), 0) as f1  -- the same as 2pr / (p + r)
from measured
order by
    epoch,
    class_id
