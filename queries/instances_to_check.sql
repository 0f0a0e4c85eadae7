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
        p_wrong
    from label_risks($run_id, $split, null, null)
    where aum < 0
),
mapped as materialized (
    select
        instance_id,
        confidence,
        correctness,
        ambiguity,
        region
    from data_map($run_id, $split, 1, null, null)
),
losses as (
    select
        instance_id,
        count(*) as lost
    from rights_and_wrongs($run_id, $split, 1, null)
    where
        ok_before
        and not ok
    group by instance_id
),
wrong_at_end as (
    select
        instance_id,
        p_predicted
    from ends
    where predicted <> label
),
suspect_label as (
    select
        instance_id,
        -aum as weight
    from contradicted
),
confident_wrong as (
    select
        instance_id,
        p_predicted as weight
    from wrong_at_end
    where p_predicted >= 0.9
),
never_right as (
    select
        instance_id,
        1 - confidence as weight
    from wrong_at_end
    join mapped using (instance_id)
    where correctness = 0
),
forgotten as (
    select
        instance_id,
        coalesce(lost, 0) as weight
    from wrong_at_end
    join mapped using (instance_id)
    left join losses using (instance_id)
    where correctness > 0
),
ambiguous as (
    select
        instance_id,
        ambiguity as weight
    from mapped
    where region = 'ambiguous'
),
listed as materialized (
    select
        'suspect_label' as reason,
        *
    from most_striking('suspect_label', $limit::integer)
    union all
    select
        'confident_wrong',
        *
    from most_striking('confident_wrong', $limit::integer)
    union all
    select
        'never_right',
        *
    from most_striking('never_right', $limit::integer)
    union all
    select
        'forgotten',
        *
    from most_striking('forgotten', $limit::integer)
    union all
    select
        'ambiguous',
        *
    from most_striking('ambiguous', $limit::integer)
),
suspects as materialized (
    select instance_id
    from listed
    where reason = 'suspect_label'
),
counted as (
    from learning_counts($run_id, $split, 1, null)
    semi join listed using (instance_id)
)
select
    $split as split,
    listed.instance_id,
    listed.reason,
    case listed.reason
        when 'suspect_label' then
            format(
                'misclassified as {} in {} of {} epochs',
                coalesce(suggestion.name, classes.suggested::varchar),
                classes.times,
                classes.n
            )
                || coalesce(format('; mean probability of its label {:.2f}', classes.confidence), '')
                || coalesce(format('; estimated to be wrong with probability {:.2f}', contradicted.p_wrong), '')
        when 'forgotten' then
            format('last right at epoch {}, lost {} in all', last_right, if(lost = 1, 'once', lost || ' times'))
        when 'never_right' then
            format('wrong at all {} epochs', counted.n)
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
left join suggested_classes('suspects', $run_id, $split, null, null) as classes using (instance_id)
left join counted using (instance_id)
left join mapped using (instance_id)
left join class_names($run_id) as suggestion on suggestion.class_id = classes.suggested
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
