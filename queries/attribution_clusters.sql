-- Which groups do the maps of each class form, where does each lie, and which images are in it?
--
-- `study compare` clusters the 8x8 maps of every method and predicted class by where their magnitude lies: spectral
-- relevance analysis (SpRAy, Lapuschkin 2019). A small cluster at a place of its own, with images of other labels or a
-- lower accuracy, may be a shortcut that some images of the class share; look at its members, and at `study ask
-- shortcuts`, which tries places on the model.
-- No verdict: clusters describe. Where the object may lie anywhere, they are pieces of one continuum. Fewer than 20 maps
-- of a class make one cluster; if a class has more than 1,000, then 1,000 are clustered. Maps that are zero everywhere are
-- left out. Uses the newest finished comparison of the split, else the newest, and the newest map of each image. The
-- largest cluster of a class comes first.
--
-- params:
--   run_id          training run to look at
--   epoch           epoch to look at [null: the last compared]
--   split           split to look at [test]
--   target_kind     class explained: predicted or label [predicted]
--   limit           image ids listed per cluster [20]
-- returns:
--   epoch           epoch of the checkpoint explained
--   method          explanation method
--   class_id        class explained
--   class_name      its name
--   cluster         number of the cluster, from 0
--   n               maps in it
--   fraction        fraction of the class's maps, 0..1
--   cell_row        row of the place with most of the maps' magnitude, 0..7 from the top
--   cell_column     its column, 0..7 from the left
--   magnitude       mean fraction of the maps' magnitude there, 0..1; even maps have 1/64
--   strongest       fraction of the maps whose strongest cell it is, 0..1
--   accuracy        fraction of the labelled images predicted correctly, 0..1; null without labels
--   label_id        most frequent label, the lowest of several; null without labels
--   label_name      its name
--   label_fraction  fraction of the labelled images that have it
--   instance_ids    the images whose maps are nearest to the cluster's mean, the nearest first
with comparison as (
    select
        run_id,
        map_clusters.epoch
    from map_clusters
    join ranked_comparisons($run_id) using (run_id)
    where
        split = $split
        and target_kind = $target_kind::varchar
        and epoch = coalesce($epoch::integer, epoch)
    order by
        epoch desc,
        place
    limit 1
),
members as (
    select
        map_clusters.*,
        list_transform(
            made.map8,
            lambda number: abs(number) / list_sum(list_transform(made.map8, lambda other: abs(other)))
        ) as fractions
    from map_clusters
    join comparison using (run_id, epoch)
    join newest_of('attributions', $run_id, $split, $target_kind::varchar) as made
        on made.epoch = map_clusters.epoch
        and made.method = map_clusters.method
        and made.instance_id = map_clusters.instance_id
    where
        map_clusters.split = $split
        and map_clusters.target_kind = $target_kind::varchar
),
described as (
    select
        members.*,
        known.label,
        known.predicted,
        list_position(fractions, list_max(fractions)) - 1 as strongest_cell
    from members
    left join labelled_predictions($run_id, $split) as known
        on known.epoch = members.epoch
        and known.instance_id = members.instance_id
),
means as (
    select
        method,
        class_id,
        cluster,
        list(mean order by cell) as mean
    from (
        select
            method,
            class_id,
            cluster,
            cells.cell,
            round(avg(fractions[cells.cell + 1]), 9) as mean
        from members
        cross join range(64) as cells(cell)
        group by all
    )
    group by all
),
placed as (
    select
        described.*,
        list_position(mean, list_max(mean)) - 1 as cell,
        list_max(mean) as magnitude,
        round(list_distance(fractions, mean), 9) as distance
    from described
    join means using (method, class_id, cluster)
),
labels as (
    select
        method,
        class_id,
        cluster,
        label,
        count(*) as n
    from placed
    where label is not null
    group by
        method,
        class_id,
        cluster,
        label
    qualify row_number() over (
        partition by
            method,
            class_id,
            cluster
        order by
            count(*) desc,
            label
    ) = 1
),
clusters as (
    select
        epoch,
        method,
        class_id,
        cluster,
        count(*) as n,
        any_value(cell) as cell,
        any_value(magnitude) as magnitude,
        avg((strongest_cell = cell)::integer) as strongest,
        avg((label = predicted)::integer) as accuracy,
        count(label) as n_labelled,
        list(instance_id order by distance, instance_id) as instance_ids
    from placed
    group by all
)
select
    clusters.epoch,
    clusters.method,
    clusters.class_id,
    names.name as class_name,
    clusters.cluster,
    clusters.n,
    clusters.n / sum(clusters.n) over (
        partition by
            clusters.method,
            clusters.class_id
    ) as fraction,
    clusters.cell // 8 as cell_row,
    clusters.cell % 8 as cell_column,
    clusters.magnitude,
    clusters.strongest,
    clusters.accuracy,
    labels.label as label_id,
    label_names.name as label_name,
    labels.n / clusters.n_labelled as label_fraction,
    list_slice(clusters.instance_ids, 1, $limit::integer) as instance_ids
from clusters
left join labels using (method, class_id, cluster)
left join class_names($run_id) as names
    on names.class_id = clusters.class_id
left join class_names($run_id) as label_names
    on label_names.class_id = labels.label
order by
    method,
    clusters.class_id,
    cluster
