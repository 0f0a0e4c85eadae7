-- Internal, for exports in InstanceFlow's format: classes predicted at each epoch, in the order of the images.
--
-- params:
--   run_id           training run
--   split            split exported
--   instances        images exported
-- returns:
--   epoch            0 is the network before training
--   classifications  class predicted of each image
select
    epoch,
    list(predicted order by instance_id) as classifications
from predictions
semi join (select unnest($instances::integer[]) as instance_id) using (instance_id)
where
    run_id = $run_id
    and split = $split
group by epoch
order by epoch
