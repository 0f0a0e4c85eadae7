-- Which images should someone look at, and why?
--
-- At most `limit` images for each of five reasons, the most telling first; an image may have several. Images without a
-- known label are left out.
-- suspect_label: kind mislabelled of label_suspects, so from the middle epoch on it was taken for one other class in at
-- least 75 % of the epochs, with a mean margin below 0; highest score first.
-- confident_wrong: wrong at the last epoch with a probability of 0.9 or more; surest first.
-- never_right: never_learned of forgetting, wrong at every epoch from 1 on; least mean probability of the label first.
-- forgotten: right at some epoch from 1 on, as in forgetting, but wrong at the last one; most often lost first.
-- ambiguous: region ambiguous of cartography, the upper third by deviation of p_true from epoch 1 on; greatest first.
-- A hard image with a right label looks the same: the list says where to look, not what is wrong.
--
-- params:
--   run_id          training run to look at
--   split           split to look at [test]
--   limit           images of each reason [20]
-- returns:
--   split           split of the image
--   instance_id     image, row number in its split
--   reason          suspect_label, forgotten, never_right, ambiguous or confident_wrong
--   detail          what speaks for the reason
--   label_name      true class as the data set has it
--   predicted_name  class predicted at the last epoch
--   source          where the image lies in the data set
with chosen as (
    select
        instance_id,
        epoch,
        label,
        predicted,
        predicted = label as ok,
        case when previous_epoch >= 1 then previous = label end as ok_before,
        p_true,
        p_predicted,
        margin
    from labelled_predictions($run_id, $split)
),
ends as (
    select
        instance_id,
        any_value(label) as label,
        arg_max(predicted, epoch) as predicted,
        arg_max(p_predicted, epoch) as p_predicted
    from chosen
    group by instance_id
),
trained as (
    select
        instance_id,
        count(*) as n,
        count(*) filter (ok) as n_right,
        count(*) filter (ok_before and not ok) as lost,
        max(epoch) filter (ok) as last_right,
        max(epoch) as last_epoch,
        avg(p_true) as confidence,
        -- to the digits that a probability has: the last ones depend on which thread comes first
        round(stddev_pop(p_true), 6) as p_true_std
    from chosen
    where epoch >= 1
    group by instance_id
),
uncertain as (
    select
        *,
        percent_rank() over (order by p_true_std) as rank
    from trained
    where p_true_std is not null
),
late as (
    select *
    from chosen
    where epoch >= (select quantile_disc(epoch, 0.5) from (select distinct epoch from chosen))
),
taken as (
    select
        instance_id,
        predicted as suggested,
        count(*) as times
    from late
    where not ok
    group by
        instance_id,
        predicted
    qualify row_number() over (
        partition by instance_id
        order by
            times desc,
            avg(p_predicted) desc,
            predicted
    ) = 1
),
doubted as (
    select
        instance_id,
        any_value(taken.suggested) as suggested,
        any_value(taken.times) as times,
        count(*) as n,
        any_value(taken.times) / count(*) as share,
        avg(late.p_true) as confidence,
        avg(late.margin) as aum
    from late
    join taken using (instance_id)
    group by instance_id
),
reasons as (
    select
        instance_id,
        'suspect_label' as reason,
        list_avg([1 - confidence, 1 / (1 + exp(aum)), share]) as weight,  -- leaves nulls out
        format('taken for {} in {} of {} late epochs', coalesce(names.name, suggested::varchar), times, n)
            || coalesce(format('; mean probability of its label {:.2f}', confidence), '') as detail
    from doubted
    left join class_names($run_id) as names on names.class_id = doubted.suggested
    where
        share >= 0.75
        and coalesce(aum < 0, true)
    union all
    select
        instance_id,
        'forgotten' as reason,
        lost as weight,
        format('last right at epoch {}, lost {} in all', last_right, if(lost = 1, 'once', lost || ' times')) as detail
    from trained
    where last_right < last_epoch
    union all
    select
        instance_id,
        'never_right' as reason,
        1 - confidence as weight,
        format('wrong at all {} epochs', n)
            || coalesce(format('; mean probability of its label {:.2f}', confidence), '') as detail
    from trained
    where n_right = 0
    union all
    select
        instance_id,
        'ambiguous' as reason,
        p_true_std as weight,
        format('probability of its label {:.2f} on average, deviation {:.2f}', confidence, p_true_std) as detail
    from uncertain
    where rank >= 2 / 3
    union all
    select
        instance_id,
        'confident_wrong' as reason,
        p_predicted as weight,
        format('taken for {} with probability {:.2f}', coalesce(names.name, predicted::varchar), p_predicted) as detail
    from ends
    left join class_names($run_id) as names on names.class_id = ends.predicted
    where
        predicted <> label
        and p_predicted >= 0.9
),
ranked as (
    select
        *,
        row_number() over (
            partition by reason
            order by
                round(weight, 6) desc nulls last,  -- equal ones may differ in the last digits
                instance_id
        ) as place
    from reasons
)
select
    $split as split,
    ranked.instance_id,
    ranked.reason,
    ranked.detail,
    coalesce(truth.name, ends.label::varchar) as label_name,
    coalesce(guess.name, ends.predicted::varchar) as predicted_name,
    instances.source
from ranked
join ends using (instance_id)
left join class_names($run_id) as truth on truth.class_id = ends.label
left join class_names($run_id) as guess on guess.class_id = ends.predicted
left join instances
    on instances.run_id = $run_id
    and instances.split = case when $split = 'train_seen' then 'train' else $split end
    and instances.instance_id = ranked.instance_id
where ranked.place <= $limit::integer
order by
    array_position(['suspect_label', 'confident_wrong', 'never_right', 'forgotten', 'ambiguous'], ranked.reason),
    ranked.place
