-- Which images should someone look at, and why?
--
-- At most `limit` images for each of five reasons, the most striking first; an image may have several. Images without a
-- known label are left out.
-- suspect_label: aum below 0 in label_suspects, so the model contradicts the label; least supported first, as there.
-- confident_wrong: wrong at the last epoch with a probability of 0.9 or more; surest first.
-- never_right: never_learned of forgetting, wrong at every epoch from 1 on; least mean probability of the label first.
-- forgotten: right at some epoch from 1 on, as in forgetting, but wrong at the last one; most often lost first.
-- ambiguous: region ambiguous of cartography, from epoch 1 on as unsure as between two equally probable classes; most
-- ambiguous first.
-- A hard image with a correct label looks the same: the list says where to look, not what is wrong.
--
-- params:
--   run_id          training run to look at
--   split           split to look at [test]
--   limit           images per reason [20]
-- returns:
--   split           split of the image
--   instance_id     image, row number in its split
--   reason          suspect_label, forgotten, never_right, ambiguous or confident_wrong
--   detail          the evidence for the reason
--   label_name      true class as the data set has it
--   predicted_name  class predicted at the last epoch
--   source          where the image lies in the data set
--   verdicts        what reviewers say about the image; null if nobody has judged it
with ends as (
    select
        instance_id,
        any_value(label) as label,
        arg_max(predicted, epoch) as predicted,
        arg_max(p_predicted, epoch) as p_predicted
    from labelled_predictions($run_id, $split)
    group by instance_id
),
learned as (
    from learning_counts($run_id, $split, 1, null)
),
mapped as (
    from data_map($run_id, $split, 1, null, null)
),
reasons as (
    select
        instance_id,
        'suspect_label' as reason,
        -aum as weight,
        format('misclassified as {} in {} of {} epochs', coalesce(names.name, suggested::varchar), times, n)
            || coalesce(format('; mean probability of its label {:.2f}', confidence), '')
            || coalesce(format('; estimated to be wrong with probability {:.2f}', p_wrong), '') as detail
    from label_errors($run_id, $split, null, null) as errors
    left join class_names($run_id) as names on names.class_id = errors.suggested
    where aum < 0
    union all
    select
        instance_id,
        'forgotten' as reason,
        lost as weight,
        format('last right at epoch {}, lost {} in all', last_right, if(lost = 1, 'once', lost || ' times')) as detail
    from learned
    where
        n_right > 0
        and not right_at_end
    union all
    select
        instance_id,
        'never_right' as reason,
        1 - confidence as weight,
        format('wrong at all {} epochs', learned.n)
            || coalesce(format('; mean probability of its label {:.2f}', confidence), '') as detail
    from learned
    join mapped using (instance_id)
    where n_right = 0
    union all
    select
        instance_id,
        'ambiguous' as reason,
        ambiguity as weight,
        format('ambiguity {:.2f}; mean probability of its label {:.2f}', ambiguity, confidence) as detail
    from mapped
    where region = 'ambiguous'
    union all
    select
        instance_id,
        'confident_wrong' as reason,
        p_predicted as weight,
        format('misclassified as {} with probability {:.2f}', coalesce(names.name, predicted::varchar), p_predicted)
            as detail
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
    instances.source,
    judged.said as verdicts
from ranked
join ends using (instance_id)
left join class_names($run_id) as truth on truth.class_id = ends.label
left join class_names($run_id) as guess on guess.class_id = ends.predicted
left join instances
    on instances.run_id = $run_id
    and instances.split = images_of($split)
    and instances.instance_id = ranked.instance_id
left join judged_images($run_id) as judged
    on judged.split = images_of($split)
    and judged.instance_id = ranked.instance_id
where ranked.place <= $limit::integer
order by
    array_position(['suspect_label', 'confident_wrong', 'never_right', 'forgotten', 'ambiguous'], ranked.reason),
    ranked.place
