-- Internal, for the InstanceFlow page: class probabilities of some of its images at an epoch, where they are logged.
--
-- params:
--   run_id             training run
--   splits             split of each image
--   instance_ids       row number of each in its split
--   epoch              one of those shown; all at once would read several large files side by side
-- returns:
--   row                place among these images
--   probabilities      softmax probability of every class, in the order of class_id; null if only the likeliest are kept
--   top_classes        likeliest classes, likeliest first; null if all are kept
--   top_probabilities  their softmax probabilities; null like them
with page_images as (
    select
        unnest($splits::varchar[]) as split,
        unnest($instance_ids::integer[]) as instance_id,
        unnest(range(len($splits::varchar[]))) as row
)
select
    row,
    probabilities,
    top_classes,
    top_probabilities
from full_predictions
join page_images using (split, instance_id)
where
    run_id = $run_id
    and epoch = $epoch::integer
    and (probabilities is not null or top_classes is not null)
