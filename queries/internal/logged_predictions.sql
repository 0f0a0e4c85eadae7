-- Internal, for verification: what was logged of some images of a split at an epoch.
--
-- params:
--   run_id             training run
--   epoch              epoch of the checkpoint
--   split              split of the images
--   instances          images
-- returns:
--   instance_id        image, row number in its split
--   predicted          class predicted
--   p_true             softmax probability of the label
--   p_predicted        softmax probability of predicted
--   margin             logit of the label minus the largest other logit
--   probabilities      softmax probability of every class, in the order of class_id; null where they are not kept
--   top_classes        likeliest classes, where these alone are kept
--   top_probabilities  their softmax probabilities
select
    instance_id,
    predicted,
    p_true,
    p_predicted,
    margin,
    probabilities,
    top_classes,
    top_probabilities
from full_predictions
where
    run_id = $run_id
    and epoch = $epoch::integer
    and split = $split
    and instance_id in (select unnest($instances::integer[]))
order by instance_id
