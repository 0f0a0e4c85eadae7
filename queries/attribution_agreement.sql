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
-- agrees compares intervals, of all right and wrong rows, that hold together with probability 1 - level.
-- subset: all images, those predicted correctly or wrongly at the epoch, and those of each label.
--
-- seeds: epoch method_a method_b subset class_id class_name
-- means: n spearman spearman_signed top10_overlap sign_agreement
-- params:
--   run_id           training run to look at
--   epoch            epoch to look at [null: the last one explained by two methods or more]
--   split            split to look at [test]
--   target_kind      class explained: predicted, label or class [predicted]
--   level            probability of any false agrees among all rows [0.05]
-- returns:
--   epoch            epoch of the checkpoint explained
--   method_a         method or reference, the alphabetically first of the two
--   method_b         the second one
--   subset           all, right, wrong or class
--   class_id         label of the images; null unless subset is class
--   class_name       its name
--   n                images compared
--   spearman         mean rank correlation of the absolute values, -1..1
--   spearman_low     lower end of its 95 % interval, made as in faithfulness_by_method; null with fewer than 20 images
--   spearman_high    upper end of it
--   spearman_signed  mean rank correlation of the values, -1..1
--   top10_overlap    mean overlap of the tenths that matter most, 0..1
--   sign_agreement   mean fraction of the pixels in both tenths that have the same sign, 0..1; null if one of the
--                    methods has no negative value in any of its maps
--   agrees           for subset wrong, whether spearman is higher or lower than where predictions are right; null if
--                    not shown
with recursive found as (
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
signs as (
    select
        method,
        bool_or(list_min(map) < 0) as is_signed
    from chosen
    group by method
),
paired as (  -- the maps of images that have two or more that compare
    select *
    from chosen
    qualify count(distinct method) over (partition by instance_id, target, height, width) > 1
),
batches as (  -- of whole images and about 200,000 pixels, so that memory does not grow with the number of maps
    select
        *,
        dense_rank() over (order by pixels_before // 200000) as batch
    from (
        select
            *,
            sum(len(map)) over (order by instance_id) - len(map) as pixels_before
        from paired
    )
),
pairs as (  -- one batch after the other, beginning with none
    select
        0::bigint as batch,
        null::integer as epoch,
        null::integer as instance_id,
        null::varchar as method_a,
        null::varchar as method_b,
        null::double as top,
        null::double as spearman,
        null::double as spearman_signed,
        null::double as shared,
        null::double as same
    union all
    (
        with pixels as (
            select
                map_id,
                len(map)::integer as size,
                generate_subscripts(map, 1)::integer as pixel,
                unnest(map) as value
            from batches
            where batch = (select max(batch) + 1 from pairs)
        ),
        placed as (  -- the first and the last place of the pixels of equal magnitude, and of equal value
            select
                *,
                (rank() over magnitudes)::integer as first_place,
                round(size * cume_dist() over magnitudes)::integer as last_place,
                (rank() over signed)::integer as first_signed,
                round(size * cume_dist() over signed)::integer as last_signed
            from pixels
            window
                magnitudes as (partition by map_id order by abs(value)),
                signed as (partition by map_id order by value)
        ),
        ranked as (  -- ranks around 0
            select
                map_id,
                pixel,
                sign(value)::tinyint as sign,
                ((first_place + last_place - size - 1) / 2)::double as rank,
                ((first_signed + last_signed - size - 1) / 2)::double as signed_rank,
                greatest(round(size / 10), 1) as top,
                least(greatest((last_place - size + top) / (last_place - first_place + 1), 0), 1) as share
            from placed
        ),
        lists as (
            select
                map_id,
                any_value(top) as top,
                list(rank order by pixel) as ranks,
                list(signed_rank order by pixel) as signed_ranks,
                list_inner_product(ranks, ranks) as spread,
                list_inner_product(signed_ranks, signed_ranks) as signed_spread
            from ranked
            group by map_id
        ),
        vectors as (
            select
                batches.* exclude (map),
                lists.* exclude (map_id)
            from lists
            join batches using (map_id)
        ),
        correlations as (
            select
                a.batch,
                a.epoch,
                a.instance_id,
                a.map_id as map_a,
                b.map_id as map_b,
                a.method as method_a,
                b.method as method_b,
                a.top,
                case
                    when a.spread > 0 and b.spread > 0
                        then list_inner_product(a.ranks, b.ranks) / sqrt(a.spread * b.spread)
                end as spearman,
                case
                    when a.spread > 0 and b.spread > 0
                        then list_inner_product(a.signed_ranks, b.signed_ranks)
                            / sqrt(a.signed_spread * b.signed_spread)
                end as spearman_signed
            from vectors as a
            join vectors as b using (instance_id, target, height, width)
            where a.method < b.method
        ),
        intersections as (
            select
                map_a,
                map_b,
                sum(least(a.share, b.share)) as shared,
                sum(least(a.share, b.share)) filter (a.sign = b.sign) as same
            from correlations
            join ranked as a on a.map_id = map_a
            join ranked as b on b.map_id = map_b and a.pixel = b.pixel
            where
                a.share > 0
                and b.share > 0
            group by
                map_a,
                map_b
        )
        select
            batch,
            epoch,
            instance_id,
            method_a,
            method_b,
            top,
            spearman,
            spearman_signed,
            shared,
            same
        from correlations
        left join intersections using (map_a, map_b)
    )
),
compared as (
    select
        pairs.*,
        coalesce(shared, 0) / (2 * top - coalesce(shared, 0)) as top10_overlap,
        case when a.is_signed and b.is_signed then coalesce(same, 0) / shared end as sign_agreement
    from pairs
    join signs as a on a.method = pairs.method_a
    join signs as b on b.method = pairs.method_b
    where spearman is not null
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
