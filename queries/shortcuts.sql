-- Does a patch at one place decide a class, and does the model fail where it is missing or misleading?
--
-- For every class `study compare` finds the patch whose pixels, taken from training images of the class and pasted into
-- validation images that are predicted otherwise (of the split compared, where these are few), make the model predict
-- the class; nothing is known of its place or size beforehand, but it is a square of at most half the image's side at
-- one place of all images, so a tag that moves is missed. Other images then show how often the prediction follows the
-- patch, how often it follows a patch of the same images from elsewhere, and how often it follows one from the same place
-- of images of other classes. rivals is how often a prediction follows such a patch to that other class: where it is as
-- high, all classes show at this place, as with an object that always lies there, and nothing is claimed; nor where it is
-- as high for one of the other classes (as if four more images followed at the mean rate: each has few). Covering is tested
-- on validation images of the class that are predicted correctly: a patch from images of other classes replaces theirs.
-- p_value is the largest p-value of McNemar's exact tests against these controls, corrected by Holm for all classes of the
-- answer; gap_p_value is the lower of the p-values of the class's recall and precision in split_gap. verdict is
--   found      follows at least 30 points more often than each control, and recall or precision of the class is lower
--              in the split than on validation images, both at the level: what decides the class in training misleads;
--   suspected  follows at least 50 points more often, at the level, but no such gap: the split may hold the patch too,
--              or the patch is a part of the object, as in digits, which are centred; no report claims it;
--   null       nothing is claimed.
-- With two classes there are no rivals, so none is suspected. maps_inside is the fraction of maps, of all methods and of
-- images predicted as the class, whose strongest cell of the 8x8 map lies in the patch.
-- Of the newest finished comparison, else the newest.
--
-- params:
--   run_id             training run to look at
--   split              split to look at [test]
--   level              family-wise level of the verdicts [0.05]
-- returns:
--   class_id           class
--   class_name         its name
--   verdict            found, suspected or null
--   val_recall         recall on validation images, 0..1; null without images of the class
--   recall             recall in the split; null without images of the class
--   val_precision      precision on validation images; null if never predicted, or without images of the class
--   precision          precision in the split; null as for val_precision
--   gap_p_value        probability of a recall or precision this much lower by chance, corrected, 0..1
--   patch_top          first row of the patch, in eighths of the image's height; null without a comparison
--   patch_left         first column of the patch, in eighths of its width
--   patch_side         side of the patch, in eighths of both
--   n                  images that it is pasted into
--   follows            fraction of them that are then predicted as the class, 0..1
--   follows_low        lower end of its 95 % interval (Wilson)
--   follows_high       upper end of it
--   follows_elsewhere  the same for patches from elsewhere in the same training images
--   follows_others     the same for patches from the same place of images of other classes
--   rivals             fraction that is predicted as the class that such a patch comes from
--   p_value            probability of following this much more often than the controls by chance, corrected, 0..1
--   n_covered          validation images of the class whose patch is covered
--   leaves             fraction of them that are then no longer predicted as the class
--   leaves_elsewhere   the same for patches of that size elsewhere
--   n_maps             maps of images predicted as the class
--   maps_inside        fraction of them whose strongest cell lies in the patch
--   others_inside      the same for maps of images predicted otherwise
with gaps as (
    select
        class_id,
        max(val_hits / val_n) filter (metric = 'recall') as val_recall,
        max(hits / n) filter (metric = 'recall') as recall,
        max(val_hits / val_n) filter (metric = 'precision') as val_precision,
        max(hits / n) filter (metric = 'precision') as precision,
        min(p_value) as gap_p_value
    from split_gaps($run_id, $split)
    where class_id is not null
    group by class_id
),
trials as (
    select
        *,
        predicted_after = class_id as is_class,
        predicted_after = donor_class as is_donor
    from patch_trials
    join shortcut_comparison($run_id) using (run_id)
    where source_run_id = $run_id
),
pairs as (  -- what each image is predicted as with the patch, and with those of the controls
    select
        class_id,
        instance_id,
        bool_or(is_class) filter (trial = 'pasted') as here,
        bool_or(is_class) filter (trial = 'pasted_elsewhere') as elsewhere,
        bool_or(is_class) filter (trial = 'pasted_from_others') as others,
        bool_or(is_donor) filter (trial = 'pasted_from_others' and donor_class <> predicted_before) as rival,
        any_value(donor_class) filter (trial = 'pasted_from_others' and donor_class <> predicted_before) as rival_class
    from trials
    where trial in ('pasted', 'pasted_elsewhere', 'pasted_from_others')
    group by
        class_id,
        instance_id
),
pasted as (
    select
        class_id,
        count(*) as n,
        avg(here::integer) as follows,
        avg(elsewhere::integer) as follows_elsewhere,
        avg(others::integer) as follows_others,
        avg(rival::integer) as rivals,
        greatest(
            coin_tail(count(*) filter (here and not elsewhere), count(*) filter (here <> elsewhere)),
            coin_tail(count(*) filter (here and not others), count(*) filter (here <> others)),
            case  -- greatest leaves null out
                when count(rival) > 0
                    then coin_tail(count(*) filter (here and not rival), count(*) filter (here <> rival))
            end
        ) as p_value
    from pairs
    group by class_id
),
rival_classes as (  -- each has few images, so its rate is drawn to the mean of all, as if by four more
    select
        pairs.class_id,
        (count_if(rival) + 4 * any_value(rivals)) / (count(*) + 4) as rate
    from pairs
    join pasted using (class_id)
    where rival_class is not null
    group by
        pairs.class_id,
        rival_class
),
best_rivals as (
    select
        class_id,
        max(rate) as best_rival
    from rival_classes
    group by class_id
),
corrected as (
    select
        * exclude (p_value) rename (p_adjusted as p_value),
        follows - greatest(follows_elsewhere, follows_others, coalesce(rivals, 0), coalesce(best_rival, 0)) as excess
    from corrected_by_holm('pasted')
    left join best_rivals using (class_id)
),
covered as (
    select
        class_id,
        count(*) filter (trial = 'covered') as n_covered,
        avg((not is_class)::integer) filter (trial = 'covered') as leaves,
        avg((not is_class)::integer) filter (trial = 'covered_elsewhere') as leaves_elsewhere
    from trials
    where trial in ('covered', 'covered_elsewhere')
    group by class_id
),
patches as (
    select distinct
        class_id,
        epoch,
        patch_top,
        patch_left,
        patch_side
    from trials
    where trial = 'pasted'
),
strongest as (  -- cell of each map's largest magnitude
    select
        made.epoch,
        known.predicted,
        list_position(
            list_transform(made.map8, lambda number: abs(number)),
            list_max(list_transform(made.map8, lambda number: abs(number)))
        ) - 1 as cell
    from sampled_maps('attributions', $run_id, $split, 'predicted') as made
    semi join explainer_runs($run_id) as explainers
        on explainers.run_id = made.run_id
    join labelled_predictions($run_id, $split) as known
        on known.epoch = made.epoch
        and known.instance_id = made.instance_id
),
located as (
    select
        patches.class_id,
        strongest.predicted = patches.class_id as is_own,
        (
            strongest.cell // 8 between patches.patch_top and patches.patch_top + patches.patch_side - 1
            and strongest.cell % 8 between patches.patch_left and patches.patch_left + patches.patch_side - 1
        )::integer as is_inside
    from patches
    join strongest using (epoch)
),
maps_located as (
    select
        class_id,
        count(*) filter (is_own) as n_maps,
        avg(is_inside) filter (is_own) as maps_inside,
        avg(is_inside) filter (not is_own) as others_inside
    from located
    group by class_id
)
select
    class_id,
    names.name as class_name,
    case
        when p_value <= $level::double and gap_p_value <= $level::double and excess >= 0.3 then 'found'
        when p_value <= $level::double and excess >= 0.5 and rivals is not null then 'suspected'
    end as verdict,
    val_recall,
    recall,
    val_precision,
    precision,
    gap_p_value,
    patch_top,
    patch_left,
    patch_side,
    n,
    follows,
    wilson_low(follows, n) as follows_low,
    wilson_high(follows, n) as follows_high,
    follows_elsewhere,
    follows_others,
    rivals,
    p_value,
    n_covered,
    leaves,
    leaves_elsewhere,
    n_maps,
    maps_inside,
    others_inside
from gaps
full join corrected using (class_id)
left join patches using (class_id)
left join covered using (class_id)
left join maps_located using (class_id)
left join class_names($run_id) as names using (class_id)
order by
    verdict nulls last,  -- found before suspected
    excess desc nulls last,
    class_id
