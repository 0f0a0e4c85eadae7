-- Do the explanation methods agree on what matters in an image?
--
-- Every two methods are compared pixel by pixel on the images for which both have a map of the same class; if several
-- explainer runs made one, the newest counts; images chosen beside a random sample are left out. Methods that agree may
-- both be wrong, and a mean says little about a single image.
-- spearman compares absolute values, spearman_signed the values as they are; equal pixels share their mean rank.
-- top10_overlap is the intersection over union of the tenth of the pixels with the largest absolute values; pixels
-- tied at its edge share the remaining places. Two random maps have 0.05. sign_agreement covers the pixels in both
-- tenths.
-- Maps whose absolute values are all equal have no ranks and are left out.
-- agrees compares intervals that hold together with probability 1 - level, of all right and wrong rows.
-- subset: all images, those predicted correctly or wrongly at the epoch, and those of each label.
--
-- params:
--   run_id           training run to look at
--   epoch            epoch to look at [null: the last one explained by two methods or more]
--   split            split to look at [test]
--   target_kind      class explained: predicted, label or class [predicted]
--   level            probability of any false agrees among all rows [0.05]
-- returns:
--   epoch            epoch of the checkpoint explained
--   method_a         method or reference, the alphabetically first of the two
--   method_b         the other one
--   subset           all, right, wrong or class
--   class_id         label of the images; null unless subset is class
--   class_name       its name
--   n                images compared
--   spearman         mean rank correlation of the absolute values, -1..1
--   spearman_low     lower end of its 95 % interval, made as in faithfulness_by_method; null with less than 20 images
--   spearman_high    upper end of it
--   spearman_signed  mean rank correlation of the values, -1..1
--   top10_overlap    mean overlap of the tenths that matter most, 0..1
--   sign_agreement   mean fraction of the pixels in both tenths that have the same sign, 0..1; null if one of the
--                    methods has no negative value in any of its maps
--   agrees           of subset wrong, whether spearman is higher or lower than where predictions are right; null if not
--                    shown
with found as (
    select
        run_id,
        epoch,
        method,
        instance_id,
        target
    from sampled_maps('maps', $run_id, $split, $target_kind::varchar)
    where epoch = coalesce($epoch::integer, epoch)
),
asked as (
    select max(epoch) as epoch
    from (select epoch from found group by epoch having count(distinct method) > 1)
),
chosen as (
    select
        (row_number() over ())::integer as map_id,
        found.epoch,
        found.method,
        found.instance_id,
        found.target,
        maps.height,
        maps.width,
        maps.map
    from found
    join asked using (epoch)
    join maps using (run_id, epoch, method, instance_id, target)
    where
        maps.split = $split
        and maps.target_kind = $target_kind::varchar
),
pixels as (
    select
        map_id,
        len(map)::integer as size,
        generate_subscripts(map, 1)::integer as pixel,
        unnest(map) as value
    from chosen
),
placed as (  -- the first and the last place of the pixels of equal magnitude
    select
        *,
        (rank() over magnitudes)::integer as first_place,
        round(size * cume_dist() over magnitudes)::integer as last_place
    from pixels
    window magnitudes as (partition by map_id order by abs(value))
),
ranked as (
    select
        map_id,
        pixel,
        sign(value)::tinyint as sign,
        ((first_place + last_place - size - 1) / 2)::float as rank,  -- around 0; halves are exact in four bytes
        greatest(round(size / 10), 1) as top,
        least(greatest((last_place - size + top) / (last_place - first_place + 1), 0), 1) as share
    from placed
),
magnitudes as (
    select
        map_id,
        any_value(top) as top,
        min(sign) < 0 as has_negative,
        list(rank order by pixel) as ranks,
        list({pixel: pixel, share: share, sign: sign}) filter (share > 0) as most
    from ranked
    group by map_id
),
placed_signed as (  -- the same with their signs
    select
        *,
        (rank() over signed)::integer as first_place,
        round(size * cume_dist() over signed)::integer as last_place
    from pixels
    window signed as (partition by map_id order by value)
),
signed_lists as (
    select
        map_id,
        list(((first_place + last_place - size - 1) / 2)::float order by pixel) as signed_ranks
    from placed_signed
    group by map_id
),
lists as (
    from magnitudes
    join signed_lists using (map_id)
),
signs as (
    select
        method,
        bool_or(has_negative) as is_signed
    from chosen
    join magnitudes using (map_id)
    group by method
),
vectors as (
    select
        chosen.* exclude (map),
        lists.top,
        lists.most,
        lists.ranks,
        lists.signed_ranks,
        signs.is_signed,
        list_inner_product(lists.ranks::double[], lists.ranks::double[]) as spread,
        list_inner_product(lists.signed_ranks::double[], lists.signed_ranks::double[]) as signed_spread
    from chosen
    join lists using (map_id)
    join signs using (method)
),
correlations as (
    select
        epoch,
        instance_id,
        a.method as method_a,
        b.method as method_b,
        a.top,
        a.is_signed and b.is_signed as are_signed,
        list_inner_product(a.ranks::double[], b.ranks::double[]) / sqrt(a.spread * b.spread) as spearman,
        list_inner_product(a.signed_ranks::double[], b.signed_ranks::double[])
            / sqrt(a.signed_spread * b.signed_spread) as spearman_signed
    from vectors as a
    join vectors as b using (epoch, instance_id, target, height, width)
    where
        a.method < b.method
        and a.spread > 0
        and b.spread > 0
),
tenths as (
    select
        instance_id,
        method,
        unnest(most, recursive := true)
    from vectors
),
intersections as (
    select
        instance_id,
        a.method as method_a,
        b.method as method_b,
        sum(least(a.share, b.share)) as shared,
        sum(least(a.share, b.share)) filter (a.sign = b.sign) as same
    from tenths as a
    join tenths as b using (instance_id, pixel)
    where a.method < b.method
    group by all
),
compared as (
    select
        correlations.*,
        coalesce(shared, 0) / (2 * top - coalesce(shared, 0)) as top10_overlap,
        case when are_signed then coalesce(same, 0) / shared end as sign_agreement
    from correlations
    left join intersections using (instance_id, method_a, method_b)
),
known as (
    select
        epoch,
        instance_id,
        label,
        predicted
    from labelled_predictions($run_id, $split)
),
members as (
    select
        compared.*,
        known.label,
        unnest(
            [
                {subset: 'all', class_id: null},
                {subset: if(predicted = label, 'right', 'wrong'), class_id: null},
                {subset: 'class', class_id: label}
            ],
            recursive := true
        )
    from compared
    left join known using (epoch, instance_id)
),
measured as (
    select
        epoch,
        method_a,
        method_b,
        subset,
        class_id,
        count(*) as n,
        avg(spearman) as spearman,
        stddev_samp(spearman) as deviation,
        avg(spearman_signed) as spearman_signed,
        avg(top10_overlap) as top10_overlap,
        avg(sign_agreement) as sign_agreement
    from members
    where
        subset = 'all'
        or label is not null
    group by all
),
shared as (  -- the level, over the intervals that are compared
    select $level::double / count(*) as level
    from measured
    where
        subset in ('right', 'wrong')
        and n >= images_for_interval()
),
bounded as (
    select
        *,
        mean_low(spearman, deviation, n, -1, level) as low,
        mean_high(spearman, deviation, n, 1, level) as high
    from measured
    cross join shared
),
beside as (
    select
        *,
        max(low) filter (subset = 'right') over pair as right_low,
        max(high) filter (subset = 'right') over pair as right_high
    from bounded
    window pair as (
        partition by
            epoch,
            method_a,
            method_b
    )
)
select
    beside.epoch,
    beside.method_a,
    beside.method_b,
    beside.subset,
    beside.class_id,
    coalesce(names.name, beside.class_id::varchar) as class_name,
    beside.n,
    beside.spearman,
    mean_low(spearman, deviation, n, -1, 0.05) as spearman_low,
    mean_high(spearman, deviation, n, 1, 0.05) as spearman_high,
    beside.spearman_signed,
    beside.top10_overlap,
    beside.sign_agreement,
    case
        when beside.subset <> 'wrong' then null
        when beside.low > beside.right_high then 'higher'
        when beside.high < beside.right_low then 'lower'
    end as agrees
from beside
left join class_names($run_id) as names using (class_id)
order by
    beside.epoch,
    beside.method_a,
    beside.method_b,
    beside.class_id nulls first,
    beside.subset
