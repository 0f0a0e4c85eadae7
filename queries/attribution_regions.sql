-- Where in the image does each method look?
--
-- Fractions of the absolute values of map8, the map averaged to 8x8: in the middle 4x4 cells, in the 28 cells of the
-- border, and with a positive sign. A uniform map has 16/64 = 0.25 in the centre and 28/64 = 0.4375 at the border.
-- Objects in the middle attract maps there, so the centre says nothing about faithfulness. If several explainer runs
-- made a map, the newest counts; maps that are zero everywhere are left out, as are images chosen beside a random sample.
-- object is metric share_object of the newest finished comparison, else of the newest, if that compared this epoch; its
-- chance level is the value of method random.
-- Each interval by itself misses its mean with probability `level`; see faithfulness_by_method for how they are made. To
-- compare ends of intervals, divide the level by their number, so that none of them misses.
--
-- seeds: epoch method subset
-- means: n centre border positive object
-- params:
--   run_id       training run to look at
--   epoch        epoch to look at [null: the last explained]
--   split        split to look at [test]
--   target_kind  class explained: predicted, label or class [predicted]
--   level        probability that an interval misses its mean [0.05]
-- returns:
--   epoch        epoch of the checkpoint explained
--   method       explanation method, or a reference: random or edge
--   subset       all images, or those predicted correctly or wrongly at the epoch
--   n            images counted
--   centre       mean fraction in the middle 4x4 cells, 0..1
--   centre_low   lower end of its interval; null with fewer than 20 images
--   centre_high  upper end of it
--   border       mean fraction in the outer ring of cells, 0..1
--   border_low   lower end of its interval
--   border_high  upper end of it
--   positive     mean fraction that supports the class, 0..1
--   object       mean fraction on the object-like region of the image, 0..1; null without a comparison
--   object_low   lower end of its interval
--   object_high  upper end of it
with found as (
    select
        epoch,
        method,
        instance_id,
        map8
    from sampled_maps('attributions', $run_id, $split, $target_kind::varchar)
    where epoch = coalesce($epoch::integer, epoch)
),
chosen as (
    select
        epoch,
        method,
        instance_id,
        [abs(value) for value in map8] as magnitudes,
        [greatest(value, 0) for value in map8] as positives
    from found
    where epoch = (select max(epoch) from found)
),
regions as (  -- 1 where a cell belongs to the region
    select
        [(cell // 8 between 2 and 5 and cell % 8 between 2 and 5)::real for cell in range(64)] as centre,
        [(cell // 8 in (0, 7) or cell % 8 in (0, 7))::real for cell in range(64)] as border
),
objects as (
    select
        epoch,
        method,
        instance_id,
        value as object
    from comparison_scores($run_id, null)
    where
        split = $split
        and metric = 'share_object'
),
known as (
    select
        epoch,
        instance_id,
        predicted = label as ok
    from labelled_predictions($run_id, $split)
),
shares as (
    select
        chosen.epoch,
        chosen.method,
        known.ok,
        list_inner_product(chosen.magnitudes, regions.centre) / list_sum(chosen.magnitudes) as centre,
        list_inner_product(chosen.magnitudes, regions.border) / list_sum(chosen.magnitudes) as border,
        list_sum(chosen.positives) / list_sum(chosen.magnitudes) as positive,
        objects.object
    from chosen
    cross join regions
    left join objects using (epoch, method, instance_id)
    left join known using (epoch, instance_id)
    where list_sum(chosen.magnitudes) > 0
),
members as (
    select
        *,
        'all' as subset
    from shares
    union all
    select
        *,
        case when ok then 'right' else 'wrong' end as subset
    from shares
    where ok is not null
),
measured as (
    select
        epoch,
        method,
        subset,
        count(*) as n,
        avg(centre) as centre,
        avg(border) as border,
        avg(positive) as positive,
        avg(object) as object,
        count(object) as n_object,
        stddev_samp(centre) as centre_deviation,
        stddev_samp(border) as border_deviation,
        stddev_samp(object) as object_deviation
    from members
    group by all
)
select
    epoch,
    method,
    subset,
    n,
    centre,
    mean_low(centre, centre_deviation, n, 0, $level::double) as centre_low,
    mean_high(centre, centre_deviation, n, 1, $level::double) as centre_high,
    border,
    mean_low(border, border_deviation, n, 0, $level::double) as border_low,
    mean_high(border, border_deviation, n, 1, $level::double) as border_high,
    positive,
    object,
    mean_low(object, object_deviation, n_object, 0, $level::double) as object_low,
    mean_high(object, object_deviation, n_object, 1, $level::double) as object_high
from measured
order by
    method,
    subset
