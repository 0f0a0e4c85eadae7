-- Which training images should a continued training see more often, and why?
--
-- `study improve` draws the images that an epoch sees again from these, in proportion to weight, the number of reasons:
-- weak_class: its class is one of those with the lowest recall on val, unless all of its val images are right;
-- confused_pair: val images of its class are often predicted as one other class, one of the most frequent such pairs;
-- forgotten: train_seen was right and then wrong again at least once (Toneva 2019), up to the epoch asked for;
-- never_learned: train_seen was never right;
-- ambiguous: its region in `cartography` of train_seen is ambiguous, and it is in the most ambiguous quarter of the images.
-- Images whose label is a suspect in `label_suspects` of train_seen are left out: a wrong label is forgotten and hard to
-- learn, and should not be seen more often. Images named by ID are all listed, with weight 1.
-- Only val and train_seen are read: nothing here depends on test images. Largest weight first.
--
-- params:
--   run_id              training run to continue
--   epoch               epoch to continue from [null: the last with train_seen]
--   weak_classes        how many classes may be weak [3]
--   pairs               how many pairs of classes may be confused [3]
--   instances           IDs of training images to list instead, such as 0,7,42 [null: those with a reason]
--   limit               rows shown [null: all]
-- returns:
--   instance_id         training image, row number in split train
--   label               true class
--   label_name          its name
--   weight              how often it is drawn, relative to the others
--   reasons             why, with commas between them
--   confused_with       class that it may be mixed with: the one train_seen misclassifies it as at the epoch, else the one
--                       val images of its class are misclassified as most often; null without any
--   confused_with_name  its name
with asked as (
    select coalesce($epoch::integer, max(epoch)) as epoch
    from predictions
    where
        run_id = $run_id
        and split = 'train_seen'
),
val as materialized (
    select
        label,
        predicted,
        count(*) as n
    from labelled_predictions($run_id, 'val')
    semi join asked using (epoch)
    group by all
),
weak as (
    select
        label,
        sum(n) filter (predicted = label) as n_right
    from val
    group by label
    having coalesce(n_right, 0) < sum(n)
    qualify row_number() over (
        order by
            coalesce(n_right, 0) / sum(n),
            label
    ) <= $weak_classes::integer
),
confusions as (
    select
        label,
        predicted,
        row_number() over (
            order by
                n desc,
                label,
                predicted
        ) as place
    from val
    where predicted <> label
),
learned as (
    select
        images.*,
        map.region = 'ambiguous'
            and row_number() over (
                order by
                    round(map.ambiguity, 6) desc,  -- equal ones may differ in the last digits
                    images.instance_id
            ) <= count(*) over () / 4 as is_ambiguous
    from learning_counts($run_id, 'train_seen', 1, (select epoch from asked)) as images
    join data_map($run_id, 'train_seen', 1, (select epoch from asked), null) as map using (instance_id)
),
chosen as (
    select
        images.instance_id,
        images.label,
        list_filter(
            [
                if(images.label in (select label from weak), 'weak_class', null),
                if(images.label in (select label from confusions where place <= $pairs::integer), 'confused_pair', null),
                if(images.n_right > 0 and images.lost > 0, 'forgotten', null),
                if(images.n_right = 0, 'never_learned', null),
                if(images.is_ambiguous, 'ambiguous', null)
            ],
            lambda reason: reason is not null
        ) as reasons
    from learned as images
    where
        $instances::varchar is null
        and images.instance_id not in (
            select instance_id
            from label_risks($run_id, 'train_seen', null, null)
            where kind = 'suspect'
        )
),
named as (
    select
        instance_id,
        label,
        ['named'] as reasons
    from instances
    where
        run_id = $run_id
        and split = 'train'
        and list_contains(string_split($instances::varchar, ',')::integer[], instance_id)
),
listed as (
    from chosen
    where len(reasons) > 0
    union all
    from named
)
select
    listed.instance_id,
    listed.label,
    truth.name as label_name,
    len(listed.reasons) as weight,
    array_to_string(listed.reasons, ', ') as reasons,
    coalesce(seen.predicted, likeliest.predicted) as confused_with,
    guess.name as confused_with_name
from listed
left join (
    from labelled_predictions($run_id, 'train_seen')
    semi join asked using (epoch)
) as seen
    on seen.instance_id = listed.instance_id
    and seen.predicted <> seen.label
left join (
    from confusions
    qualify place = min(place) over (partition by label)
) as likeliest on likeliest.label = listed.label
left join class_names($run_id) as truth on truth.class_id = listed.label
left join class_names($run_id) as guess on guess.class_id = coalesce(seen.predicted, likeliest.predicted)
order by
    weight desc,
    listed.instance_id
limit $limit::integer
