-- Internal, for the InstanceFlow page: predictions of its images at the epochs shown.
--
-- params:
--   run_id        training run
--   splits        split of each image of the page
--   instance_ids  row number of each in its split
--   epochs        epochs shown
-- returns:
--   row           place of the image on the page
--   epoch         0 is the network before training
--   predicted     class predicted
--   p_true        softmax probability of the label, 0..1
--   margin        logit of the label minus the largest other logit
with page_images as (
    select
        unnest($splits::varchar[]) as split,
        unnest($instance_ids::integer[]) as instance_id,
        unnest(range(len($splits::varchar[]))) as row
)
select
    row,
    epoch,
    predicted,
    p_true,
    margin
from predictions
join page_images using (split, instance_id)
where
    run_id = $run_id
    and epoch in (select unnest($epochs::integer[]))
