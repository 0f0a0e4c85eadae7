-- Internal, for the InstanceFlow page: predictions of a split, and of images added later, at the epochs shown.
--
-- params:
--   run_id       training run
--   split        split of the page
--   epochs       epochs shown
-- returns:
--   split        split of the image
--   instance_id  image, row number in its split
--   epoch        0 is the network before training
--   predicted    class predicted
--   p_true       softmax probability of the label, 0..1
--   margin       logit of the label minus the largest other logit
select
    split,
    instance_id,
    epoch,
    predicted,
    p_true,
    margin
from predictions
where
    run_id = $run_id
    and (split = $split or split like 'extra:%')
    and epoch in (select unnest($epochs::integer[]))
