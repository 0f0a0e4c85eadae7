-- How do the logged metrics develop?
--
-- seeds: epoch key
-- means: value
-- params:
--   run_id  run to look at
--   key     name of one metric, such as test_accuracy [null: all]
-- returns:
--   epoch   0 is the network before training
--   key     name of the metric
--   value   accuracies 0..1, losses in nats, durations in seconds
select
    epoch,
    key,
    value
from metrics
where
    run_id = $run_id
    and key = coalesce($key::varchar, key)
order by
    epoch,
    key
