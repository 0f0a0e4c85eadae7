-- Which images does another recipe get right in more of its seeds, or in fewer?
--
-- For two groups of runs, IDs with commas between them, that differ in their seeds alone within a group; of two single
-- runs, every fraction is 0 or 1. Images are matched as in fixed_and_broken; those that some run did not predict, those
-- without a known label, and those that equal fractions of both groups get wrong are left out. predicted is the class that
-- most runs predict, the lowest at a tie. An image may change because of the seeds alone: fixed_and_broken says whether the
-- recipes differ. Images that B gets wrong in more of its seeds come first, in the order of the change.
--
-- seeds: together
--
-- params:
--   run_id                training run A, or several runs
--   other_run_id          training run B to compare it with, or several runs
--   split                 split to look at [test]
--   epoch                 epoch of run_id [null: the last of each run]
--   other_epoch           epoch of other_run_id [null: the last of each run]
--   limit                 rows shown [null: all]
-- returns:
--   instance_id           image, row number in its split in the first run
--   label                 true class
--   label_name            its name
--   n_seeds               runs of A
--   n_wrong               those of them that get it wrong
--   other_n_seeds         runs of B
--   other_n_wrong         those of them that get it wrong
--   change                fraction of B's runs that are wrong minus that of A's, -1..1; positive is broken
--   predicted             class that most runs of A predict
--   predicted_name        its name
--   other_predicted       class that most runs of B predict
--   other_predicted_name  its name
with sides as (
    select
        instance_id,
        label,
        is_other,
        any_value(n_seeds) as n_seeds,
        coalesce(sum(n) filter (predicted <> label), 0)::bigint as n_wrong,
        min_by(predicted, (-n, predicted)) as predicted
    from group_votes($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    where label is not null
    group by
        instance_id,
        label,
        is_other
),
changes as (
    select
        here.instance_id,
        here.label,
        here.n_seeds,
        here.n_wrong,
        other.n_seeds as other_n_seeds,
        other.n_wrong as other_n_wrong,
        other.n_wrong / other.n_seeds - here.n_wrong / here.n_seeds as change,
        here.predicted,
        other.predicted as other_predicted
    from sides as here
    join sides as other using (instance_id)
    where
        not here.is_other
        and other.is_other
)
select
    changes.instance_id,
    changes.label,
    truth.name as label_name,
    changes.n_seeds,
    changes.n_wrong,
    changes.other_n_seeds,
    changes.other_n_wrong,
    changes.change,
    changes.predicted,
    guess.name as predicted_name,
    changes.other_predicted,
    other_guess.name as other_predicted_name
from changes
left join class_names(string_split($run_id, ',')[1]) as truth on truth.class_id = changes.label
left join class_names(string_split($run_id, ',')[1]) as guess on guess.class_id = changes.predicted
left join class_names(string_split($run_id, ',')[1]) as other_guess on other_guess.class_id = changes.other_predicted
where changes.change <> 0
order by
    changes.change > 0 desc,
    abs(changes.change) desc,
    changes.instance_id
limit $limit::integer
