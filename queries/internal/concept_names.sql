-- Internal, for explaining: names that users gave to concepts of a layer, to be found again in later runs.
--
-- params:
--   layer     layer the concepts are directions of
--   channels  its channels
-- returns:
--   label     the latest name of a concept
--   vector    its direction
select
    arg_max(label, labelled_at) as label,
    any_value(vector) as vector
from concept_labels
where
    layer = $layer
    and len(vector) = $channels::integer
group by
    run_id,
    epoch,
    concept_id
order by max(labelled_at)
