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
with now as (
    from labelled_predictions_at($run_id, $split, null)
),
ends as materialized (  -- of images that the last epoch lacks, their own last one
    select
        instance_id,
        label,
        predicted,
        p_predicted
    from now
    union all
    select
        instance_id,
        arg_max(label, epoch),
        arg_max(predicted, epoch),
        arg_max(p_predicted, epoch)
    from labelled_predictions($run_id, $split)
    semi join (
        select instance_id
        from predictions
        anti join now using (instance_id)
        where
            predictions.run_id = $run_id
            and predictions.split = $split
            and predictions.previous_epoch is null
    ) using (instance_id)
    group by instance_id
),
contradicted as materialized (
    select
        instance_id,
        aum,
        suggested,
        times,
        n,
        confidence,
        p_wrong
    from label_errors($run_id, $split, null, null)
    where aum < 0
),
unlearned as materialized (
    select
        instance_id,
        n,
        n_right,
        lost,
        last_right
    from learning_counts($run_id, $split, 1, null)
    where not right_at_end
),
mapped as materialized (
    select
        instance_id,
        confidence,
        ambiguity,
        region
    from data_map($run_id, $split, 1, null, null)
),
reasons as (
    select
        instance_id,
        'suspect_label' as reason,
        -aum as weight
    from contradicted
    union all
    select
        instance_id,
        'forgotten',
        lost
    from unlearned
    where n_right > 0
    union all
    select
        instance_id,
        'never_right',
        1 - confidence
    from unlearned
    join mapped using (instance_id)
    where n_right = 0
    union all
    select
        instance_id,
        'ambiguous',
        ambiguity
    from mapped
    where region = 'ambiguous'
    union all
    select
        instance_id,
        'confident_wrong',
        p_predicted
    from ends
    where
        predicted <> label
        and p_predicted >= 0.9
),
listed as (
    select
        instance_id,
        reason,
        row_number() over (
            partition by reason
            order by
                round(weight, 6) desc nulls last,  -- equal ones may differ in the last digits
                instance_id
        ) as place
    from reasons
    qualify place <= $limit::integer
)
select
    $split as split,
    listed.instance_id,
    listed.reason,
    case listed.reason
        when 'suspect_label' then
            format(
                'misclassified as {} in {} of {} epochs',
                coalesce(suggestion.name, contradicted.suggested::varchar),
                contradicted.times,
                contradicted.n
            )
                || coalesce(format('; mean probability of its label {:.2f}', contradicted.confidence), '')
                || coalesce(format('; estimated to be wrong with probability {:.2f}', contradicted.p_wrong), '')
        when 'forgotten' then
            format('last right at epoch {}, lost {} in all', last_right, if(lost = 1, 'once', lost || ' times'))
        when 'never_right' then
            format('wrong at all {} epochs', unlearned.n)
                || coalesce(format('; mean probability of its label {:.2f}', mapped.confidence), '')
        when 'ambiguous' then
            format('ambiguity {:.2f}; mean probability of its label {:.2f}', ambiguity, mapped.confidence)
        when 'confident_wrong' then
            format(
                'misclassified as {} with probability {:.2f}',
                coalesce(guess.name, ends.predicted::varchar),
                p_predicted
            )
    end as detail,
    coalesce(truth.name, ends.label::varchar) as label_name,
    coalesce(guess.name, ends.predicted::varchar) as predicted_name,
    instances.source,
    judged.said as verdicts
from listed
join ends using (instance_id)
left join contradicted using (instance_id)
left join unlearned using (instance_id)
left join mapped using (instance_id)
left join class_names($run_id) as suggestion on suggestion.class_id = contradicted.suggested
left join class_names($run_id) as truth on truth.class_id = ends.label
left join class_names($run_id) as guess on guess.class_id = ends.predicted
left join instances
    on instances.run_id = $run_id
    and instances.split = images_of($split)
    and instances.instance_id = listed.instance_id
left join judged_images($run_id) as judged
    on judged.split = images_of($split)
    and judged.instance_id = listed.instance_id
order by
    array_position(['suspect_label', 'confident_wrong', 'never_right', 'forgotten', 'ambiguous'], listed.reason),
    listed.place
