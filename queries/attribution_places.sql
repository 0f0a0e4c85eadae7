-- Where do the maps of each predicted class lie, place by place?
--
-- For every cell of the 8x8 map: the mean fraction of a map's magnitude that lies there, and the fraction of maps whose
-- strongest cell it is, for images predicted as the class. Beside them stand maps of images predicted otherwise, and maps
-- of the same images by the reference edge, which knows nothing of the model. A place that most maps of one class share,
-- and others and edges do not, is worth a look: an object always there, or a shortcut. `study ask shortcuts` tests that.
-- If several explainer runs made a map, the newest counts; maps that are zero everywhere are left out, as are images
-- chosen beside a random sample. Per method and class, the place that most maps share comes first.
--
-- params:
--   run_id         training run to look at
--   epoch          epoch to look at [null: the last explained]
--   split          split to look at [test]
--   limit          places per method and class, at most [64]
-- returns:
--   epoch          epoch of the checkpoint explained
--   method         explanation method
--   class_id       class predicted
--   class_name     its name
--   cell_row       row of the place, 0..7 from the top
--   cell_column    column of the place, 0..7 from the left
--   n              maps of images predicted as the class
--   strongest      fraction of them whose strongest cell it is, 0..1; an even chance is 1/64
--   fraction       mean fraction of their magnitude there, 0..1
--   others         the same fraction of maps of images predicted otherwise; null without any
--   edge           the same fraction of the edge reference's maps of the class's images; null without a comparison
with newest as (
    select
        epoch,
        method,
        run_id,
        instance_id,
        list_transform(map8, lambda number: abs(number)) as magnitudes
    from sampled_maps('attributions', $run_id, $split, 'predicted')
),
epochs as (
    select max(newest.epoch) as epoch
    from newest
    semi join explainer_runs($run_id) as explainers
        on explainers.run_id = newest.run_id
    where newest.epoch = coalesce($epoch::integer, newest.epoch)
),
chosen as (
    select
        newest.epoch,
        newest.method,
        newest.instance_id,
        known.predicted,
        newest.magnitudes,
        list_sum(newest.magnitudes) as total,
        list_position(newest.magnitudes, list_max(newest.magnitudes)) - 1 as strongest_cell
    from newest
    join epochs using (epoch)
    join labelled_predictions($run_id, $split) as known
        on known.epoch = newest.epoch
        and known.instance_id = newest.instance_id
    where
        newest.method <> 'random'
        and list_sum(newest.magnitudes) > 0
),
cells as (
    select
        chosen.epoch,
        chosen.method,
        chosen.predicted,
        cells.cell,
        chosen.magnitudes[cells.cell + 1] / chosen.total as fraction,
        (chosen.strongest_cell = cells.cell)::integer as is_strongest
    from chosen
    cross join range(64) as cells(cell)
),
by_class as (
    select
        epoch,
        method,
        predicted,
        cell,
        count(*) as n,
        avg(is_strongest) as strongest,
        avg(fraction) as fraction,
        sum(fraction) as total
    from cells
    group by all
),
beside as (
    select
        *,
        (sum(total) over whole - total) / nullif(sum(n) over whole - n, 0) as others
    from by_class
    window whole as (
        partition by
            epoch,
            method,
            cell
    )
)
select
    beside.epoch,
    beside.method,
    beside.predicted as class_id,
    names.name as class_name,
    beside.cell // 8 as cell_row,
    beside.cell % 8 as cell_column,
    beside.n,
    beside.strongest,
    beside.fraction,
    beside.others,
    edges.fraction as edge
from beside
left join by_class as edges
    on edges.method = 'edge'
    and edges.epoch = beside.epoch
    and edges.predicted = beside.predicted
    and edges.cell = beside.cell
left join class_names($run_id) as names
    on names.class_id = beside.predicted
where beside.method <> 'edge'
qualify row_number() over (
    partition by
        beside.method,
        beside.predicted
    order by
        round(beside.strongest, 9) desc,
        round(beside.fraction, 9) desc,
        beside.cell
) <= $limit::integer
order by
    method,
    class_id,
    round(beside.strongest, 9) desc,
    round(beside.fraction, 9) desc,
    cell_row,
    cell_column
