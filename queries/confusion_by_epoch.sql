-- Which classes does the model confuse with each other at an epoch?
--
-- The confusion matrix as a list: a pair that is not listed has no images. Images without a known label are left out.
--
-- seeds: epoch label label_name predicted predicted_name
-- means: n=0 share=0
-- params:
--   run_id          training run to look at
--   split           split to look at [test]
--   epoch           epoch to look at [null: the last]
-- returns:
--   epoch           0 is the network before training
--   label           true class
--   label_name      its name
--   predicted       predicted class
--   predicted_name  its name
--   n               images of this true class predicted so
--   share           n as a fraction of the images of the true class, 0..1
with cells as (
    select
        epoch,
        label,
        predicted,
        count(*) as n
    from labelled_predictions_at($run_id, $split, $epoch::integer)
    group by all
)
select
    cells.epoch,
    cells.label,
    truth.name as label_name,
    cells.predicted,
    guess.name as predicted_name,
    cells.n,
    cells.n / sum(cells.n) over (partition by cells.label) as share
from cells
left join class_names($run_id) as truth on truth.class_id = cells.label
left join class_names($run_id) as guess on guess.class_id = cells.predicted
order by
    cells.label,
    cells.predicted
