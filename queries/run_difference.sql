-- What came out differently in two runs, and by how much?
--
-- Compares every prediction, map, concept, concept score, TCAV score, attribution score, cluster of maps and pasted patch
-- of two runs of one kind.
-- Identical runs have n_different 0, only_here 0 and only_other 0 in every row.
-- Images are matched by instances.source, as the seed of a training draws which images are in train and val; if several
-- images of a split have the same source, the k-th is matched with the k-th. If a run has no instances of a split,
-- instance_id is used. Both runs must use the same data: see runs.data_digest.
-- Predictions differ if the class or a probability does. The probabilities compared are those of every class; of the
-- likeliest classes that both runs keep, if one keeps no others; or of the predicted and the true class, if one keeps
-- none, as in train_seen. An imported log has none. Maps of one image are matched by method, target_kind and target, so a
-- map of another class has no partner; maps of different sizes differ. NaN equals NaN. Trials of patches are also matched
-- by class, trial and donor.
--
-- params:
--   run_id          run to look at
--   other_run_id    run of the same kind to compare it with
--   split           one split [null: all, and what has no split]
--   limit           image ids listed per row [20]
-- returns:
--   what            predictions, maps, concepts, concept_scores, tcav_scores, attribution_scores, map_clusters,
--                   patch_trials or patch_carriers
--   epoch           0 is the network before training
--   split           split of the images; null for concepts and tcav_scores
--   method          explanation method or a reference; null but for maps, attribution_scores and map_clusters
--   n               rows in both runs
--   n_different     rows of n in which any number differs at all
--   max_difference  largest absolute difference of a number over n, leaving out maps of different sizes; NaN if a
--                   number is NaN in one run only; null without numbers to compare
--   n_other_class   images of n predicted as different classes; null but for predictions
--   accuracy        fraction of the labelled images of n that run_id predicts correctly, 0..1; null but for predictions
--   other_accuracy  the same for other_run_id
--   only_here       rows only in run_id
--   only_other      rows only in other_run_id
--   instance_ids    the first images, as run_id numbers them, of predictions of another class or of maps or scores that
--                   differ, as many as limit says; empty for concepts and tcav_scores
with written as not materialized (  -- part tells apart the rows of an image or epoch
    select
        run_id,
        'predictions' as what,
        epoch,
        split,
        instance_id,
        label,
        predicted,
        probabilities,
        top_classes,
        top_probabilities,
        case when p_predicted is not null then [p_predicted, p_true] end as numbers
    from full_predictions
    union all by name
    select
        run_id,
        'maps' as what,
        epoch,
        method,
        split,
        instance_id,
        target_kind || ' ' || target as part,
        height,  -- with as many pixels also the width
        map as numbers
    from maps
    union all by name
    select
        run_id,
        'concepts' as what,
        epoch,
        layer || ' ' || concept_id as part,
        vector as numbers
    from concepts
    union all by name
    select
        run_id,
        'concept_scores' as what,
        epoch,
        split,
        instance_id,
        concept_id::varchar as part,
        [score] as numbers
    from concept_scores
    union all by name
    select
        run_id,
        'tcav_scores' as what,
        epoch,
        concept_id || ' ' || class_id as part,
        [prevalence, tcav_sign, tcav_magnitude, p_value] as numbers
    from tcav_scores
    union all by name
    select
        run_id,
        'attribution_scores' as what,
        epoch,
        method,
        split,
        instance_id,
        metric as part,
        value as number  -- of its own, as it has more digits than the others
    from attribution_scores
    union all by name
    select
        run_id,
        'map_clusters' as what,
        epoch,
        method,
        split,
        instance_id,
        target_kind || ' ' || class_id as part,
        [cluster] as numbers
    from map_clusters
    union all by name
    select
        run_id,
        'patch_trials' as what,
        epoch,
        split,
        instance_id,
        class_id || ' ' || trial || ' ' || donor_id as part,
        [patch_top, patch_left, patch_side, predicted_before, predicted_after] as numbers
    from patch_trials
    union all by name
    select
        run_id,
        'patch_carriers' as what,
        epoch,
        split,
        instance_id,
        class_id::varchar as part,
        [n_pasted, n_following, predicted_covered] as numbers
    from patch_carriers
),
known as (  -- images of the training runs that the two runs are, or look at
    select
        runs.run_id,
        instances.split,
        instances.instance_id,
        instances.source,
        row_number() over (
            partition by
                runs.run_id,
                instances.split,
                instances.source
            order by instances.instance_id
        ) as place
    from runs
    join instances
        on instances.run_id = case when runs.kind in ('explain', 'compare') then runs.source_run_id else runs.run_id end
    where runs.run_id in ($run_id, $other_run_id)
),
known_here as (
    select *
    from known
    where run_id = $run_id
),
moved as (  -- what an instance_id of other_run_id is in run_id; negative if the image is not there
    select
        known.split,
        known.instance_id,
        coalesce(known_here.instance_id, -1 - known.instance_id) as image
    from known
    left join known_here using (split, source, place)
    where
        known.run_id = $other_run_id
        and known.split in (select split from known_here)
),
here as (
    select
        *,
        instance_id as image
    from written
    where
        run_id = $run_id
        and ($split::varchar is null or split = $split)
),
other as (
    select
        written.*,
        coalesce(moved.image, written.instance_id) as image
    from written
    left join moved
        on moved.split = images_of(written.split)
        and moved.instance_id = written.instance_id
    where
        written.run_id = $other_run_id
        and ($split::varchar is null or written.split = $split)
),
pairs as (
    select
        coalesce(here.what, other.what) as what,
        coalesce(here.epoch, other.epoch) as epoch,
        coalesce(here.split, other.split) as split,
        coalesce(here.method, other.method) as method,
        here.instance_id,
        other.run_id is null as is_only_here,
        here.run_id is null as is_only_other,
        here.run_id is not null and other.run_id is not null as is_both,
        here.predicted <> other.predicted as is_other_class,
        here.predicted = here.label as ok,
        other.predicted = other.label as other_ok,
        here.probabilities is not null and other.probabilities is not null as has_all,
        case  -- classes whose probabilities are compared, unless of all or none
            when here.top_classes is null and here.probabilities is not null then other.top_classes
            when other.top_classes is null and other.probabilities is not null then here.top_classes
            else [class_id for class_id in here.top_classes if list_contains(other.top_classes, class_id)]
        end as shared,
        case
            when has_all then here.probabilities
            when shared is null then here.numbers
            else here.numbers
                || probabilities_of(shared, here.probabilities, here.top_classes, here.top_probabilities)
        end as compared,
        case
            when has_all then other.probabilities
            when shared is null then other.numbers
            else other.numbers
                || probabilities_of(shared, other.probabilities, other.top_classes, other.top_probabilities)
        end as other_compared,
        here.height is not distinct from other.height and len(compared) = len(other_compared) as fits,
        here.predicted is distinct from other.predicted
            or here.height is distinct from other.height
            or here.number is distinct from other.number
            or compared is distinct from other_compared as differs,
        here.number,
        other.number as other_number
    from here
    full join other
        on here.what = other.what
        and here.epoch = other.epoch
        and here.split is not distinct from other.split
        and here.method is not distinct from other.method
        and here.image is not distinct from other.image
        and here.part is not distinct from other.part
),
measured as (
    select
        *,
        case
            when number is null and compared is null then null
            when not differs then 0  -- most rows of most pairs of runs, so their lists are not gone through
            when number is not null then abs(number - other_number)
            when fits then list_max([
                case when pair[1] is distinct from pair[2] then abs(pair[1]::double - pair[2]) else 0 end
                for pair in list_zip(compared, other_compared)
            ])
        end as difference,
        case when what = 'predictions' then is_other_class else differs end as is_shown
    from pairs
),
differences as (
    select
        what,
        epoch,
        split,
        method,
        count(*) filter (is_both) as n,
        count(*) filter (is_both and differs) as n_different,
        max(difference) as max_difference,
        case when what = 'predictions' then count(*) filter (is_other_class) end as n_other_class,
        avg(ok::integer) filter (is_both) as accuracy,
        avg(other_ok::integer) filter (is_both) as other_accuracy,
        count(*) filter (is_only_here) as only_here,
        count(*) filter (is_only_other) as only_other,
        -- distinct, as an image may have maps of several classes and several scores; without null
        list_sort(list_distinct(coalesce(list(instance_id) filter (is_both and is_shown), []))) as shown
    from measured
    group by
        what,
        epoch,
        split,
        method
)
select
    what,
    epoch,
    split,
    method,
    n,
    n_different,
    max_difference,
    n_other_class,
    accuracy,
    other_accuracy,
    only_here,
    only_other,
    list_slice(shown, 1, coalesce($limit::integer, len(shown))) as instance_ids
from differences
order by
    array_position(
        [
            'predictions', 'maps', 'concepts', 'concept_scores', 'tcav_scores', 'attribution_scores', 'map_clusters',
            'patch_trials', 'patch_carriers'
        ],
        what
    ),
    epoch,
    split,
    method
