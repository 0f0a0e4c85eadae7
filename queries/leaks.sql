-- Which held-out images are also, pixel by pixel, in a split used for training or for choosing an epoch?
--
-- Images of val are looked for in train, those of test in train and val, and those of extra splits in all of these. An
-- accuracy on images that were trained on is too high; an epoch chosen by test images favours them. Pictures are compared
-- by content, as they were given to the model and at that size, so a resized or recompressed copy is not found. Runs of
-- earlier versions recorded no content, and are refused. Repeats within one split are reported when the data is loaded.
--
-- params:
--   run_id             training run to look at
--   limit              rows shown [20]
-- returns:
--   split              split of the held-out image
--   instance_id        image, row number in its split
--   label_name         its class; null when unknown
--   source             where it lies in the data set
--   other_split        split that has the same picture
--   other_instance_id  the first such image there
--   other_label_name   its class, which may differ
--   other_source       where it lies in the data set
--   n_others           how many such images that split has
--   share              images of the split that are in other_split too, as a fraction of the split, 0..1
with images as (
    select
        instances.*,
        case when split = 'train' then 0 when split = 'val' then 1 when split = 'test' then 2 else 3 end as place,
        names.name as label_name,
        count(*) over (partition by split) as split_size
    from instances
    left join class_names($run_id) as names on names.class_id = instances.label
    where run_id = $run_id
),
pictures as (  -- each picture of each split once
    select
        split as other_split,
        place as other_place,
        content,
        min(instance_id) as other_instance_id,
        arg_min(label_name, instance_id) as other_label_name,
        arg_min(source, instance_id) as other_source,
        count(*) as n_others
    from images
    where content is not null
    group by
        split,
        place,
        content
)
select
    split,
    instance_id,
    label_name,
    source,
    other_split,
    other_instance_id,
    other_label_name,
    other_source,
    n_others,
    count(*) over (partition by split, other_split) / split_size as share
from images
join pictures using (content)
where other_place < place
order by
    place,
    split,
    other_place,
    instance_id
limit $limit::integer
