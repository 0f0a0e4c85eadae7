-- How many images go from one class predicted by a run to another class predicted by another run?
--
-- Links between two models rather than two epochs: source is what run_id predicts at epoch, target what other_run_id
-- predicts at other_epoch. Images are matched by where they lie in the data set (source), or by their pixels if the
-- runs' data differ; those without a partner of the same label are left out. Classes are those of run_id.
-- outcome says what the other run changes: kept (both right), fixed (wrong, right in the other), broken (right, wrong in
-- the other), rerouted (both wrong, as different classes), stuck (both wrong, as the same class).
-- If classes are given, only images of these true classes are counted, and predictions outside them become Other, whose
-- id is the number of classes. Images without a known label are counted (label null) only if no classes are given.
--
-- params:
--   run_id        training run to look at
--   other_run_id  training run to compare it with
--   split         split to look at [test]
--   epoch         epoch of run_id [null: its last]
--   other_epoch   epoch of other_run_id [null: its last]
--   classes       true classes shown, names or ids, such as cat,dog or 3,5 [null: all]
-- returns:
--   source        class predicted by run_id; the number of classes for Other
--   source_name   its name
--   target        class predicted by other_run_id; the number of classes for Other
--   target_name   its name
--   label         true class; null when unknown
--   label_name    its name
--   outcome       kept, fixed, broken, rerouted or stuck; null when the label is unknown
--   n             images
with known as (
    select
        count(*) as other,
        string_split($classes::varchar, ',')::integer[] as shown
    from classes
    where run_id = $run_id
),
links as (
    select
        case when shown is null or list_contains(shown, predicted) then predicted else other end as source,
        case when shown is null or list_contains(shown, other_predicted) then other_predicted else other end as target,
        label,
        outcome,
        count(*) as n
    from compared_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer)
    cross join known
    where $classes::varchar is null or list_contains(shown, label)
    group by all
)
select
    links.source,
    origin.name as source_name,
    links.target,
    goal.name as target_name,
    links.label,
    truth.name as label_name,
    links.outcome,
    links.n
from links
left join class_names_with_other($run_id) as origin on origin.class_id = links.source
left join class_names_with_other($run_id) as goal on goal.class_id = links.target
left join class_names_with_other($run_id) as truth on truth.class_id = links.label
order by
    links.source,
    links.target,
    links.label nulls last,
    links.outcome
