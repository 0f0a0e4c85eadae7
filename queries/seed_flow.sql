-- How many images go from one class predicted by a group of seeds to another class predicted by another group?
--
-- For two groups of runs, IDs with commas between them: means over all pairs of a run of A and a run of B, so n need not be
-- whole; all n add up to the number of images. For two single runs, n are those of compared_flow. Images are matched as in
-- fixed_and_broken; those that some run did not predict are left out, and those without a known label are counted too.
--
-- seeds: together
--
-- params:
--   run_id        training run A, or several runs
--   other_run_id  training run B to compare it with, or several runs
--   split         split to look at [test]
--   epoch         epoch of run_id [null: the last of each run]
--   other_epoch   epoch of other_run_id [null: the last of each run]
-- returns:
--   source        class predicted by A
--   source_name   its name
--   target        class predicted by B
--   target_name   its name
--   label         true class; null when unknown
--   label_name    its name
--   n             images, mean over pairs of runs
with votes as materialized (
    from group_votes($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
),
flows as (
    select
        here.predicted as source,
        other.predicted as target,
        here.label,
        sum(here.n * other.n / (here.n_seeds * other.n_seeds)) as n
    from votes as here
    join votes as other using (instance_id)
    where
        not here.is_other
        and other.is_other
    group by all
)
select
    flows.source,
    origin.name as source_name,
    flows.target,
    goal.name as target_name,
    flows.label,
    truth.name as label_name,
    flows.n
from flows
left join class_names(string_split($run_id, ',')[1]) as origin on origin.class_id = flows.source
left join class_names(string_split($run_id, ',')[1]) as goal on goal.class_id = flows.target
left join class_names(string_split($run_id, ',')[1]) as truth on truth.class_id = flows.label
order by
    flows.source,
    flows.target,
    flows.label nulls last
