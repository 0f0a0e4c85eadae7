-- How many images of which class does each split have?
--
-- A class without images in a split is listed with n = 0; images without a known label are a row with class_id null.
--
-- seeds: split class_id class_name
-- means: n share
-- params:
--   run_id      training run to look at
-- returns:
--   split       split of the images
--   class_id    true class; null when unknown
--   class_name  its name
--   n           images
--   share       n as a fraction of the split, 0..1
with chosen as (
    select
        split,
        label,
        count(*) as n
    from instances
    where run_id = $run_id
    group by all
),
cells as (
    select
        split,
        class_id
    from (select distinct split from chosen)
    cross join class_names($run_id) as names
    union
    select
        split,
        label
    from chosen
)
select
    cells.split,
    cells.class_id,
    names.name as class_name,
    coalesce(chosen.n, 0) as n,
    coalesce(chosen.n, 0) / sum(chosen.n) over (partition by cells.split) as share
from cells
left join chosen
    on chosen.split = cells.split
    and chosen.label is not distinct from cells.class_id
left join class_names($run_id) as names on names.class_id = cells.class_id
order by
    cells.split,
    cells.class_id nulls last
