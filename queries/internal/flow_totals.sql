-- Internal, for the InstanceFlow page of a sample: what became of all images, by their true class, at each epoch.
--
-- params:
--   run_id       training run
--   splits       splits of the page
-- returns:
--   split_index  place of the split among these
--   label        true class; null when unknown
--   epoch        0 is the network before training
--   n            labelled images predicted
--   correct      those predicted correctly
--   fixed        incorrect at the logged epoch before, correct at this one
--   broken       correct before, incorrect now
--   rerouted     incorrect at both, as different classes
--   kept         correct at both
--   stuck        incorrect at both, as the same class
--   unlabelled   images predicted at both whose label is not known
select
    list_position($splits::varchar[], split) - 1 as split_index,
    label,
    epoch,
    count(label) as n,
    count(*) filter (predicted = label) as correct,
    count(*) filter (previous <> label and predicted = label) as fixed,
    count(*) filter (previous = label and predicted <> label) as broken,
    count(*) filter (previous <> label and predicted <> label and previous <> predicted) as rerouted,
    count(*) filter (previous = label and predicted = label) as kept,
    count(*) filter (previous = predicted and predicted <> label) as stuck,
    count(*) filter (label is null and previous is not null) as unlabelled
from predictions
where
    run_id = $run_id
    and split in (select unnest($splits::varchar[]))
group by
    split,
    label,
    epoch
