-- Which two classes does the model confuse most?
--
-- A pair is unordered; a_as_b and b_as_a are its two directions. Images without a known label are left out.
--
-- seeds: epoch class_a name_a class_b name_b
-- means: n=0 a_as_b=0 b_as_a=0 share=0
-- order: n desc
-- params:
--   run_id   training run to look at
--   split    split to look at [test]
--   epoch    epoch to look at [null: the last]
--   limit    rows shown [20]
-- returns:
--   epoch    0 is the network before training
--   class_a  class with the lower id
--   name_a   its name
--   class_b  class with the higher id
--   name_b   its name
--   n        images of one predicted as the other
--   a_as_b   images of a predicted as b
--   b_as_a   images of b predicted as a
--   share    n as a fraction of all wrong predictions of the epoch, 0..1
with pairs as (
    select
        epoch,
        least(label, predicted) as class_a,
        greatest(label, predicted) as class_b,
        count(*) as n,
        count(*) filter (label < predicted) as a_as_b,
        count(*) filter (label > predicted) as b_as_a
    from labelled_predictions_at($run_id, $split, $epoch::integer)
    where label <> predicted
    group by all
)
select
    pairs.epoch,
    pairs.class_a,
    a.name as name_a,
    pairs.class_b,
    b.name as name_b,
    pairs.n,
    pairs.a_as_b,
    pairs.b_as_a,
    pairs.n / sum(pairs.n) over () as share
from pairs
left join class_names($run_id) as a on a.class_id = pairs.class_a
left join class_names($run_id) as b on b.class_id = pairs.class_b
order by
    pairs.n desc,
    pairs.class_a,
    pairs.class_b
limit $limit::integer
