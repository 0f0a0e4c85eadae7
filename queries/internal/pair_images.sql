-- Internal, for the page of two models: images that they predict differently, and where they are.
--
-- params:
--   run_id         training run
--   other_run_id   training run to compare it with
--   split          split of the images
--   epoch          epoch of run_id
--   other_epoch    epoch of other_run_id
-- returns:
--   instance_id    image, row number in its split in run_id
--   other_id       its row number in other_run_id
--   source         where it lies in the data set; null if that is not known
select
    compared.instance_id,
    compared.other_id,
    instances.source
from compared_predictions($run_id, $other_run_id, $split, $epoch::integer, $other_epoch::integer) as compared
left join instances
    on instances.run_id = $run_id
    and instances.split = $split
    and instances.instance_id = compared.instance_id
where compared.predicted <> compared.other_predicted
order by compared.instance_id
