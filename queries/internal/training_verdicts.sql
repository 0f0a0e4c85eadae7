-- Internal, for training: what all who judged an image say of it, of images that no run has yet.
--
-- params:
--   splits          split of each image
--   instance_ids    row number of each in its split
--   sources         where each lies in the data set
--   contents        as in table instances
--   label_names     class name of each
-- returns:
--   instance_id     image of split train
--   verdict         the one that all give, or disputed
--   new_label_name  class that all name; null if they do not
--   is_rejected     whether nobody would keep the image with its label
with images as (
    select
        unnest($splits::varchar[]) as split,
        unnest($instance_ids::integer[]) as instance_id,
        unnest($sources::varchar[]) as source,
        unnest($contents::varchar[]) as image_key,
        unnest($label_names::varchar[]) as label_name
),
given as (
    from verdicts_on('images')
)
select
    instance_id,
    verdict,
    new_label_name,
    is_rejected
from joint_verdicts('given')
where split = 'train'
order by instance_id
