-- Internal, for the InstanceFlow page: probabilities of every class, where they are logged, at the epochs shown.
--
-- params:
--   run_id         training run
--   split          split of the page
--   epochs         epochs shown
-- returns:
--   split          split of the image
--   instance_id    image, row number in its split
--   epoch          0 is the network before training
--   probabilities  softmax probability of every class, in the order of class_id
select
    split,
    instance_id,
    epoch,
    probabilities
from full_predictions
where
    run_id = $run_id
    and (split = $split or split like 'extra:%')
    and epoch in (select unnest($epochs::integer[]))
    and probabilities is not null
