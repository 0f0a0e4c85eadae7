-- Rules that several questions share, as macros over the tables of schema.sql: each has one definition and one test.
-- study.duckdb holds them too, so that SQL copied from a question or a page runs in any DuckDB shell that opens it.
-- A parameter would hide a column of its name, so none has the name of a column; null stands for the default.

-- Class names of a training run, to be joined by class_id.
create or replace macro class_names(training_run) as table
    select
        class_id,
        name
    from classes
    where run_id = training_run;

-- The same, with Other, whose id is the number of classes: where flows put the classes that are not shown.
create or replace macro class_names_with_other(training_run) as table
    from class_names(training_run)
    union all
    select
        count(*),
        'Other'
    from class_names(training_run);

-- What becomes of an image from one prediction to another: kept (both right), fixed (wrong, then right), broken (right,
-- then wrong), rerouted (both wrong, as different classes) or stuck (both wrong, as the same class); null without a label.
create or replace macro outcome_of(truth, before, afterwards) as
    case
        when truth is null then null
        when before = truth and afterwards = truth then 'kept'
        when afterwards = truth then 'fixed'
        when before = truth then 'broken'
        when before <> afterwards then 'rerouted'
        else 'stuck'
    end;

-- Predictions of a split's images whose label is known.
create or replace macro labelled_predictions(training_run, of_split) as table
    select *
    from predictions
    where
        run_id = training_run
        and split = of_split
        and label is not null;

-- The same at one epoch, by default the split's last.
create or replace macro labelled_predictions_at(training_run, of_split, of_epoch) as table
    select *
    from labelled_predictions(training_run, of_split)
    where epoch = coalesce(
        of_epoch,
        (  -- not max(epoch), which reads all rows
            select epoch
            from labelled_predictions(training_run, of_split)
            order by epoch desc
            limit 1
        )
    );

-- The last epoch of a split of each of several runs, listed with commas between them.
create or replace macro last_epochs(listed_runs, of_split) as table
    select
        run_id,
        max(epoch) as last_epoch
    from predictions
    semi join (select unnest(string_split(listed_runs, ',')) as run_id) as listed using (run_id)
    where split = of_split
    group by run_id;

-- Each image's move from one logged epoch to its next, even if its class stays the same.
create or replace macro moves(training_run, of_split) as table
    select
        instance_id,
        previous_epoch as epoch,
        epoch as next_epoch,
        label,
        previous as predicted,
        predicted as next_predicted
    from predictions
    where
        run_id = training_run
        and split = of_split
        and previous_epoch is not null;

-- The split whose images the predictions of a split are of.
create or replace macro images_of(of_split) as
    if(of_split in ('train_seen', 'train_folds'), 'train', of_split);

-- Which image of the first of several runs, listed with commas between them, each image of a split of theirs is: image is
-- its number there, null if the first run does not have it. Images are the same if they lie in the same place (source). Of
-- runs on different data (data_digest), they are the same if their pixels are (content), unless no picture is in all of
-- them, as after resizing: then places count again. Of several alike in a run, the k-th is the k-th. Where no image of the
-- first run is recorded, and for a run without images, numbers count.
create or replace macro same_images(listed_runs, of_split) as table
    with listed as (
        select distinct unnest(string_split(listed_runs, ',')) as run_id
    ),
    known as materialized (
        select
            run_id,
            instance_id,
            source,
            content
        from instances
        semi join listed using (run_id)
        where split = images_of(of_split)
    ),
    shared_picture as (  -- a row if contents count
        select content
        from known
        where
            content is not null
            and (select count(distinct data_digest) > 1 from runs semi join listed using (run_id))
        group by content
        having count(distinct run_id) = (select count(*) from listed)
        limit 1
    ),
    located as (
        select
            run_id,
            instance_id,
            if(exists (from shared_picture), content, source) as place
        from known
    ),
    placed as (
        select
            *,
            row_number() over (
                partition by
                    run_id,
                    place
                order by instance_id
            ) as k
        from located
    ),
    originals as (
        select
            instance_id as image,
            place,
            k
        from placed
        where run_id = string_split(listed_runs, ',')[1]
    ),
    recorded as (
        select
            placed.run_id,
            placed.instance_id,
            originals.image
        from placed
        left join originals using (place, k)
        where exists (from originals)
    ),
    numbered as (
        select distinct
            predictions.run_id,
            predictions.instance_id
        from predictions
        semi join listed using (run_id)
        anti join recorded using (run_id)
        where predictions.split = of_split
    )
    from recorded
    union all
    select
        *,
        instance_id as image
    from numbered;

-- Which class of the first of several runs, listed with commas between them, each class of theirs is, by name: same_class
-- is its id there, and -1 - class_id if that run has no class of the name. No rows if it has no classes: then ids count.
create or replace macro same_classes(listed_runs) as table
    with originals as (
        from class_names(string_split(listed_runs, ',')[1])
    ),
    named as (
        select
            name,
            min(class_id) as class_id
        from originals
        group by name
    ),
    listed as (
        select distinct unnest(string_split(listed_runs, ',')) as run_id
    )
    select
        classes.run_id,
        classes.class_id,
        case
            when originals.name = classes.name then classes.class_id  -- also where two classes share a name
            else coalesce(named.class_id, -1 - classes.class_id)
        end as same_class
    from classes
    semi join listed using (run_id)
    left join originals using (class_id)
    left join named on named.name = classes.name
    where exists (from originals);

-- Predictions of two groups of runs, each listed with commas between its runs, at an epoch of each group, by default the
-- last of each run; is_other tells the groups apart. instance_id and the classes are those of the first run, by
-- same_images and same_classes; own_id is the image's number in its own run. is_shared says whether all runs predicted the
-- image, with the same label.
create or replace macro grouped_predictions(these_runs, those_runs, of_split, of_epoch, of_other_epoch) as table
    with grouped as (
        select distinct
            is_other,
            unnest(string_split(listed, ',')) as run_id,
            wanted
        from (values (false, these_runs, of_epoch::integer), (true, those_runs, of_other_epoch::integer))
            as sides(is_other, listed, wanted)
    ),
    aligned as materialized (
        select
            grouped.is_other,
            predictions.run_id,
            predictions.epoch,
            images.image as instance_id,
            predictions.instance_id as own_id,
            coalesce(truth.same_class, predictions.label) as label,
            coalesce(guess.same_class, predictions.predicted) as predicted,
            predictions.p_true,
            predictions.p_predicted,
            predictions.p_sq
        from predictions
        join grouped using (run_id)
        join last_epochs(these_runs || ',' || those_runs, of_split) as ends using (run_id)
        join same_images(these_runs || ',' || those_runs, of_split) as images
            on images.run_id = predictions.run_id
            and images.instance_id = predictions.instance_id
        left join same_classes(these_runs || ',' || those_runs) as truth
            on truth.run_id = predictions.run_id
            and truth.class_id = predictions.label
        left join same_classes(these_runs || ',' || those_runs) as guess
            on guess.run_id = predictions.run_id
            and guess.class_id = predictions.predicted
        where
            predictions.split = of_split
            and predictions.epoch = coalesce(grouped.wanted, ends.last_epoch)
    ),
    in_all as (
        select
            instance_id,
            label
        from aligned
        where instance_id is not null
        group by
            instance_id,
            label
        having count(*) = (select count(*) from grouped)
    )
    select
        aligned.*,
        in_all.instance_id is not null as is_shared
    from aligned
    left join in_all
        on in_all.instance_id = aligned.instance_id
        and in_all.label is not distinct from aligned.label;

-- How many runs of each of two groups predict each class of an image that all runs predicted, as in grouped_predictions,
-- and how many runs the group has.
create or replace macro group_votes(these_runs, those_runs, of_split, of_epoch, of_other_epoch) as table
    select
        instance_id,
        label,
        is_other,
        predicted,
        count(*) as n,
        (sum(count(*)) over (partition by instance_id, is_other))::bigint as n_seeds
    from grouped_predictions(these_runs, those_runs, of_split, of_epoch, of_other_epoch)
    where is_shared
    group by
        instance_id,
        label,
        is_other,
        predicted;

-- Each image of a split as two trainings predicted it, each at an epoch, by default its last. Images are the same by
-- same_images if their labels are the same too; classes are those of the first training. other_id is the image's number
-- in the other training. outcome is outcome_of, from the first to the other.
create or replace macro compared_predictions(training_run, other_training_run, of_split, of_epoch, of_other_epoch) as table
    with shared as materialized (
        from grouped_predictions(training_run, other_training_run, of_split, of_epoch, of_other_epoch)
        where is_shared
    )
    select
        here.instance_id,
        here.label,
        here.predicted,
        other.predicted as other_predicted,
        here.p_true,
        other.p_true as other_p_true,
        outcome_of(here.label, here.predicted, other.predicted) as outcome,
        other.own_id as other_id
    from shared as here
    join shared as other using (instance_id)
    where
        not here.is_other
        and other.is_other;

-- What identifies an image in other runs: its pixels. Where they are unknown, as in imported logs, no other run has it.
create or replace macro image_key(digest_of_pixels, of_run, of_split, image_number) as
    coalesce(digest_of_pixels, concat_ws(' ', of_run, of_split, image_number));

-- Each person's latest verdict on each image of a table or CTE with columns split, instance_id, source, image_key and
-- label_name, on whichever run it was given: on the image itself, or if that is not among them, on one of the same pixels
-- and label. So a verdict on one of two copies says nothing of the other, and none applies once the label has changed.
-- Classes are known by name. Withdrawn verdicts are left out.
create or replace macro verdicts_on(images_asked) as table
    with given as (
        select
            verdicts.* exclude (label, new_label),
            image_key(verdicts.content, verdicts.run_id, verdicts.split, verdicts.instance_id) as image_key,
            coalesce(truth.name, verdicts.label::varchar) as label_name,
            coalesce(better.name, verdicts.new_label::varchar) as new_label_name
        from verdicts
        left join classes as truth
            on truth.run_id = verdicts.run_id
            and truth.class_id = verdicts.label
        left join classes as better
            on better.run_id = verdicts.run_id
            and better.class_id = verdicts.new_label
    ),
    matched as (
        select
            images.split,
            images.instance_id,
            images.label_name,
            given.verdict,
            given.new_label_name,
            given.who,
            given.note,
            given.given_at,
            given.run_id as given_in,
            images.source <> given.source as is_other_source,
            given.split as given_split,
            given.instance_id as given_instance
        from query_table(images_asked) as images
        join given
            on given.image_key = images.image_key
            and given.label_name is not distinct from images.label_name
        qualify rank() over (
            partition by
                given.run_id,
                given.split,
                given.instance_id,
                given.who,
                given.given_at
            order by is_other_source
        ) = 1
    ),
    latest as (
        select *
        from matched
        qualify row_number() over (
            partition by
                split,
                instance_id,
                who
            order by
                given_at desc,
                is_other_source,
                given_in,
                given_split,
                given_instance
        ) = 1
    )
    select * exclude (is_other_source, given_split, given_instance)
    from latest
    where verdict <> 'withdrawn';

-- The same on the images of a run; new_label is the class_id in that run, null if it lacks the class.
create or replace macro current_verdicts(training_run) as table
    with images as (
        select
            instances.split,
            instances.instance_id,
            instances.source,
            image_key(instances.content, instances.run_id, instances.split, instances.instance_id) as image_key,
            coalesce(truth.name, instances.label::varchar) as label_name
        from instances
        left join class_names(training_run) as truth on truth.class_id = instances.label
        where instances.run_id = training_run
    )
    select
        judged.*,
        better.class_id as new_label
    from verdicts_on('images') as judged
    left join class_names(training_run) as better on better.name = judged.new_label_name;

-- What all who judged an image say of it, of a table or CTE with the columns of current_verdicts: a row per image. verdict
-- is the one that all give, else disputed; new_label_name the class that all name, else null. is_rejected says whether
-- nobody would keep the image with its label.
create or replace macro joint_verdicts(verdicts_given) as table
    select
        split,
        instance_id,
        any_value(label_name) as label_name,
        count(*) as n_people,
        if(count(distinct verdict) = 1, any_value(verdict), 'disputed') as verdict,
        case
            when count(new_label_name) = count(*) and count(distinct new_label_name) = 1 then any_value(new_label_name)
        end as new_label_name,
        bool_and(verdict in ('label_wrong', 'not_usable')) as is_rejected,
        string_agg(
            format('{}: {}', who, verdict) || coalesce(format(', is {}', new_label_name), ''), '; '
            order by who
        ) as said
    from query_table(verdicts_given)
    group by
        split,
        instance_id;

-- The same of the images of a run.
create or replace macro judged_images(training_run) as table
    with given as (
        from current_verdicts(training_run)
    )
    from joint_verdicts('given');

-- Wilson's 95 % interval of a fraction p of n (Wilson 1927), null if n is 0: centre -+ half with z = 1.96,
-- centre = (p + z^2/2n) / (1 + z^2/n), half = z sqrt(p (1 - p)/n + z^2/4n^2) / (1 + z^2/n).
create or replace macro wilson_centre(p, n) as
    (p + 1.96 ** 2 / (2 * n)) / (1 + 1.96 ** 2 / n);

create or replace macro wilson_half(p, n) as
    1.96 * sqrt(p * (1 - p) / n + 1.96 ** 2 / (4 * n ** 2)) / (1 + 1.96 ** 2 / n);

-- Its lower end, to 12 digits, because at p = 0 centre and half only differ in their last bits.
create or replace macro wilson_low(p, n) as
    case when n > 0 then round(greatest(wilson_centre(p, n) - wilson_half(p, n), 0), 12) end;

-- Its upper end.
create or replace macro wilson_high(p, n) as
    case when n > 0 then least(wilson_centre(p, n) + wilson_half(p, n), 1) end;

-- Explainer runs of a training run. Comparing runs also hold maps, of references such as random ones, which explain
-- nothing: `semi join explainer_runs(training_run) using (run_id)` leaves them out.
create or replace macro explainer_runs(training_run) as table
    select run_id
    from runs
    where
        source_run_id = training_run
        and kind = 'explain';

-- P-values corrected for all rows of a table or CTE by Holm (1979): with nothing to find, any p_adjusted is at most a
-- level with a probability of at most that level, however the p-values depend on each other. The rows' column
-- p_value is kept; where it is null, p_adjusted is null, and the row does not count.
create or replace macro corrected_by_holm(p_values) as table
    with multiplied as (
        select
            *,
            p_value * count(p_value) over (order by p_value desc) as p_in_order  -- by how many are as high or higher
        from query_table(p_values)
    )
    select
        * exclude (p_in_order),
        case when p_value is not null then least(max(p_in_order) over (order by p_value), 1) end as p_adjusted
    from multiplied;

-- Logarithm of the number of ways to choose k of n.
create or replace macro ln_choose(n, k) as
    lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);

-- Probability of k of n hits, each of probability p, which may be 0 or 1.
create or replace macro binomial(k, n, p) as
    exp(
        ln_choose(n, k)
        + if(k > 0, k * ln(greatest(p::double, 1e-300)), 0)
        + if(k < n, (n - k) * ln(greatest(1 - p::double, 1e-300)), 0)
    );

-- Two-sided p-value of k hits of n where each has probability p: twice the smaller tail (Clopper and Pearson 1934). Also
-- valid, and then too large, where hits have different probabilities with mean p (Hoeffding 1956).
create or replace macro binomial_two_sided(k, n, p) as
    least(
        1,
        2 * list_sum([binomial(hits, n, p) for hits in range(k, n + 1)]),
        2 * list_sum([binomial(hits, n, p) for hits in range(0, k + 1)])
    );

-- Two-sided p-value of k marked ones among as many drawn without return from a total of which some are marked, twice the
-- smaller tail: Fisher's exact test of two shares.
create or replace macro hypergeometric_two_sided(k, drawn, marked, total) as
    list_transform(
        [{
            low: greatest(0, drawn + marked - total)::bigint,
            high: least(drawn, marked)::bigint,
            ways: ln_choose(total, drawn)
        }],
        lambda x: least(
            1,
            2 * list_sum([
                exp(ln_choose(marked, hits) + ln_choose(total - marked, drawn - hits) - x.ways)
                for hits in range(k::bigint, x.high + 1)
            ]),
            2 * list_sum([
                exp(ln_choose(marked, hits) + ln_choose(total - marked, drawn - hits) - x.ways)
                for hits in range(x.low, k::bigint + 1)
            ])
        )
    )[1];

-- Quantile of the standard normal distribution, to 1e-9 relative (Acklam's rational approximations).
create or replace macro normal_quantile(p) as
    list_transform(
        [{q: p - 0.5, r: (p - 0.5) ** 2, tail: sqrt(-2 * ln(least(p, 1 - p)))}],
        lambda x: case
            when p between 0.02425 and 0.97575
                then x.q
                    * (((((-39.69683028665376 * x.r + 220.9460984245205) * x.r - 275.9285104469687) * x.r
                        + 138.357751867269) * x.r - 30.66479806614716) * x.r + 2.506628277459239)
                    / (((((-54.47609879822406 * x.r + 161.5858368580409) * x.r - 155.6989798598866) * x.r
                        + 66.80131188771972) * x.r - 13.28068155288572) * x.r + 1)
            else sign(x.q)
                * -(((((-0.007784894002430293 * x.tail - 0.3223964580411365) * x.tail - 2.400758277161838) * x.tail
                    - 2.549732539343734) * x.tail + 4.374664141464968) * x.tail + 2.938163982698783)
                / ((((0.007784695709041462 * x.tail + 0.3224671290700398) * x.tail + 2.445134137142996) * x.tail
                    + 3.754408661907416) * x.tail + 1)
        end
    )[1];

-- What a t variable with df degrees of freedom exceeds in absolute value with probability p, for df from 1 on, to 1e-5
-- relative; exact for df 1 and 2 (Hill 1970, Algorithm 396).
create or replace macro t_two_sided(p, df) as
    list_transform(
        list_transform(
            list_transform(
                [{a: 1 / (df - 0.5), b: 48 * (df - 0.5) ** 2}],
                lambda x: {
                    a: x.a,
                    b: x.b,
                    c: ((20700 * x.a / x.b - 98) * x.a - 16) * x.a + 96.36
                }
            ),
            lambda x: {
                a: x.a,
                b: x.b,
                c: x.c,
                d: ((94.5 / (x.b + x.c) - 3) / x.b + 1) * sqrt(x.a * pi() / 2) * df,
                z: normal_quantile(p / 2)
            }
        ),
        lambda x: case
            when df = 1 then 1 / tan(p * pi() / 2)
            when df = 2 then sqrt(2 / (p * (2 - p)) - 2)
            else sqrt(df * list_transform(
                [{
                    y: (x.d * p) ** (2 / df),
                    c: (((0.05 * x.d * x.z - 5) * x.z - 7) * x.z - 2) * x.z + x.b + x.c
                        + if(df < 5, 0.3 * (df - 4.5) * (x.z + 0.6), 0)
                }],
                lambda w: case
                    when w.y > 0.05 + x.a
                        then exp(
                            x.a * (
                                (((((0.4 * x.z ** 2 + 6.3) * x.z ** 2 + 36) * x.z ** 2 + 94.5) / w.c - x.z ** 2 - 3)
                                    / x.b + 1) * x.z
                            ) ** 2
                        ) - 1
                    else (
                        (1 / (((df + 6) / (df * w.y) - 0.089 * x.d - 0.822) * (df + 2) * 3) + 0.5 / (df + 4)) * w.y - 1
                    ) * (df + 1) / (df + 2) + 1 / w.y
                end
            )[1])
        end
    )[1];

-- Quantile of Student's t distribution with df degrees of freedom, from 1 on, to 1e-5 relative.
create or replace macro t_quantile(p, df) as
    case when p = 0.5 then 0 else sign(p - 0.5) * t_two_sided(2 * least(p, 1 - p), df) end;

-- Probability that a t variable with df degrees of freedom, a whole number from 1 on, is at least as far from 0 as a
-- statistic (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4). Of over 1000 it is that of 1000, a little too large.
create or replace macro t_tails(statistic, df) as
    list_transform(
        [{
            df: least(df, 1000)::bigint,
            t: abs(statistic)::double
        }],
        lambda x: list_transform(
            [{
                sine: x.t / sqrt(x.df + x.t ** 2),
                cosine: sqrt(x.df / (x.df + x.t ** 2)),
                half: (x.df % 2) / 2
            }],
            lambda angle: list_transform(
                [
                    angle.sine * coalesce(
                        list_sum([
                            angle.cosine ** (2 * (term + angle.half))
                                * exp(lgamma(term + 0.5 + angle.half) - lgamma(term + 1 + angle.half))
                            for term in range(0, x.df // 2)
                        ]),
                        0
                    ) / sqrt(pi())
                ],
                lambda within: greatest(1 - within - if(angle.half > 0, 2 / pi() * atan2(angle.sine, angle.cosine), 0), 0)
            )[1]
        )[1]
    )[1];

-- Images from which on the interval of a mean is shown. Of numbers in a known range it holds its level from 2 on, so
-- this is for ranges that are not known: skewed numbers (lognormal, exponential) need about as many.
create or replace macro images_for_interval() as 20;

-- Half of an interval of a mean: of n numbers with a mean and a sample standard deviation, and one number more at an end
-- of their range, which stands for what n numbers may not have shown: where all are equal, their deviation says nothing.
create or replace macro half_with_end(quantile_of_t, average, deviation, n, range_end) as
    quantile_of_t
        * sqrt(((n - 1) * deviation ** 2 + (range_end - average) ** 2 * n / (n + 1)) / (n * (n + 1)));

-- Lower end of the interval of a mean that misses it with a probability of at most level, the lowest of three, and no
-- lower than the range. They are that of Student's t, that with one number more at the lower end of the range, and the
-- mean if as many numbers lie there as n may have missed (of a share of 1 - (level / 2)^(1/n), n numbers show none with
-- probability level / 2). Level is held for any distribution within the range, also for numbers most of which are equal,
-- where Student's t alone fails. A single number says nothing.
create or replace macro bounded_low(average, deviation, n, range_low, level) as
    list_transform(
        [case when n > 1 then t_quantile(1 - level / 2, n - 1) end],
        lambda q: case
            when q is null then range_low
            else greatest(
                range_low,
                least(
                    average - q * deviation / sqrt(n),
                    average + (range_low - average) * (1 - (level / 2) ** (1 / n)),
                    average + (range_low - average) / (n + 1) - half_with_end(q, average, deviation, n, range_low)
                )
            )
        end
    )[1];

-- The same where the range is not known for sure: null for fewer than images_for_interval().
create or replace macro mean_low(average, deviation, n, range_low, level) as
    case when n >= images_for_interval() then bounded_low(average, deviation, n, range_low, level) end;

-- Its upper end.
create or replace macro mean_high(average, deviation, n, range_high, level) as
    -mean_low(-average, deviation, n, -range_high, level);

-- How low numbers may lie that were not seen, within a range: as far below the lowest as the highest is above it, or at the
-- end of the range if more than half of them are equal, as those say nothing of the others.
create or replace macro reach_low(numbers, range_low) as
    list_transform(
        [{low: list_min(numbers), high: list_max(numbers), middle: list_median(numbers)}],
        lambda x: case
            when 2 * len(list_filter(numbers, lambda number: number = x.middle)) > list_count(numbers) then range_low
            else greatest(range_low, 2 * x.low - x.high)
        end
    )[1];

-- How high.
create or replace macro reach_high(numbers, range_high) as
    -reach_low([-number for number in numbers], -range_high);

-- Probabilities of some classes, in their order, from the three columns of predictions that hold probabilities of classes:
-- of all, or of the likeliest. Null where a class is not kept.
create or replace macro probabilities_of(classes_asked, of_all, likeliest, of_likeliest) as
    [coalesce(of_all[asked + 1], of_likeliest[list_position(likeliest, asked)]) for asked in classes_asked];

-- Of several explainer runs' maps of an image by one method at one epoch, the one that counts: the run started last,
-- then the higher run ID; of one run's maps of several classes, that of the lowest. Rows of table attributions or of
-- view maps. References of comparing runs are methods of their own, such as random, so they displace no other map.
create or replace macro newest_of(maps_or_attributions, training_run, of_split, of_target_kind) as table
    select made.*
    from query_table(maps_or_attributions) as made
    left join runs using (run_id)
    where
        made.source_run_id = training_run
        and made.split = of_split
        and made.target_kind = of_target_kind
    qualify row_number() over (
        partition by
            made.epoch,
            made.method,
            made.instance_id
        order by
            runs.started_at desc nulls last,
            made.run_id desc,
            made.target
    ) = 1;

-- Of newest_of, the maps that means and tests count: where a method explained a random sample of the images at an epoch,
-- those of the sample alone, as images chosen by their outcome, such as misclassified ones, would shift a mean. Maps of
-- earlier versions, which do not say how their images were chosen, count as of a sample.
create or replace macro sampled_maps(maps_or_attributions, training_run, of_split, of_target_kind) as table
    with images as (
        select
            epoch,
            method,
            instance_id,
            bool_or(sampled is distinct from false) as is_sampled
        from attributions
        where
            source_run_id = training_run
            and split = of_split
            and target_kind = of_target_kind
        group by all
    ),
    beside as (
        select
            epoch,
            method,
            instance_id
        from images
        qualify
            not is_sampled
            and bool_or(is_sampled) over (
                partition by
                    epoch,
                    method
            )
    )
    from newest_of(maps_or_attributions, training_run, of_split, of_target_kind)
    anti join beside using (epoch, method, instance_id);

-- Maps of several trainings, whose IDs have commas between them, chosen of each as sampled_maps does; last_epoch is the
-- last with predictions of the split.
create or replace macro maps_of_trainings(training_runs, of_split, of_target_kind) as table
    with made as (
        select
            attributions.*,
            bool_or(sampled is distinct from false) over image as is_sampled,
            bool_or(sampled is distinct from false) over job as has_sample,
            row_number() over (
                image
                order by
                    runs.started_at desc nulls last,
                    attributions.run_id desc,
                    attributions.target
            ) as place
        from attributions
        left join runs using (run_id)
        where
            list_contains(string_split(training_runs, ','), attributions.source_run_id)
            and attributions.split = of_split
            and attributions.target_kind = of_target_kind
            and runs.kind = 'explain'
        window
            job as (
                partition by
                    attributions.source_run_id,
                    attributions.epoch,
                    attributions.method
            ),
            image as (
                partition by
                    attributions.source_run_id,
                    attributions.epoch,
                    attributions.method,
                    attributions.instance_id
            )
    )
    select
        made.* exclude (is_sampled, has_sample, place),
        reached.last_epoch
    from made
    join last_epochs(training_runs, of_split) as reached on reached.run_id = made.source_run_id
    where
        made.place = 1
        and (made.is_sampled or not made.has_sample);

-- Ways to divide n_all members, numbered from 0, into a first group of n_first and a second of the others, a row for each
-- way and member: all ways where there are up to 12 members, else 2047 that a hash draws, always the same ones. Way 0 has
-- members 0 to n_first - 1 in the first group.
create or replace macro regroupings(n_first, n_all) as table
    with ways as (
        select
            mask - 2 ** n_first::integer + 1 as regrouping,
            member,
            (mask >> member) & 1 = 1 as is_first
        from range(4096) as masks(mask)
        cross join range(12) as members(member)
        where
            n_all <= 12
            and mask < 2 ** n_all
            and bit_count(mask) = n_first
            and member < n_all
        union all
        select
            way as regrouping,
            member,
            case
                when way = 0 then member < n_first
                else row_number() over (
                    partition by way
                    order by hash(way * 4096 + member)
                ) <= n_first
            end as is_first
        from range(2048) as drawn(way)
        cross join range(4096) as members(member)
        where
            n_all > 12
            and member < n_all
    )
    select
        regrouping::bigint as regrouping,
        member,
        is_first
    from ways;

-- Whether two groups of trainings could be of one recipe: rows of a table or CTE with hypothesis, member, other_member and
-- similarity, one for each two of n_all members, the first n_first of which are a group. seeds_similarity is the mean over
-- pairs within a group, seed_pairs their number. The members are regrouped in all ways (regroupings): p_adjusted is how
-- often the gap between seeds_similarity and the mean over other pairs, over how it varies, is as wide in any hypothesis
-- (max-T, Westfall and Young 1993); null without pairs within a group. It can be no lower than p_least.
create or replace macro regrouping_tests(similarities, n_first, n_all) as table
    with gaps as (
        select
            pairs.hypothesis,
            here.regrouping,
            count(pairs.similarity) filter (here.is_first = other.is_first) as seed_pairs,
            avg(pairs.similarity) filter (here.is_first = other.is_first) as seeds_similarity,
            seeds_similarity - avg(pairs.similarity) filter (here.is_first <> other.is_first) as gap
        from query_table(similarities) as pairs
        join regroupings(n_first, n_all) as here using (member)
        join regroupings(n_first, n_all) as other
            on other.regrouping = here.regrouping
            and other.member = pairs.other_member
        group by
            pairs.hypothesis,
            here.regrouping
    ),
    statistics as (  -- to 9 digits, as what is equal may differ by rounding
        select
            *,
            round((gap - avg(gap) over every_way) / nullif(round(stddev_pop(gap) over every_way, 12), 0), 9) as statistic
        from gaps
        window every_way as (partition by hypothesis)
    ),
    observed as (
        select *
        from statistics
        where regrouping = 0
    ),
    largest as (
        select
            regrouping,
            max(statistic) as statistic
        from statistics
        group by regrouping
    )
    select
        observed.hypothesis,
        observed.seed_pairs,
        observed.seeds_similarity,
        case
            when observed.gap is not null
                then coalesce(avg((largest.statistic >= observed.statistic)::integer), 1)
        end as p_adjusted,
        case
            when observed.gap is not null
                then (1 + (2 * n_first = n_all)::integer) / least(round(exp(ln_choose(n_all, n_first))), 2048)
        end as p_least
    from observed
    cross join largest
    group by
        observed.hypothesis,
        observed.seed_pairs,
        observed.seeds_similarity,
        observed.gap;

-- Ranks of a list's numbers around 0, as a list; equal numbers share their mean rank. A number's rank follows from its
-- first position in ascending and in descending order.
create or replace macro centred_ranks(numbers) as
    list_transform(
        [{up: list_sort(numbers), down: list_reverse_sort(numbers)}],
        lambda sorted: list_transform(
            numbers,
            lambda number: (list_position(sorted.up, number) - list_position(sorted.down, number)) / 2
        )
    )[1];

-- Spearman's correlation of two lists, from their centred ranks, -1..1; null if all numbers of a list are equal.
create or replace macro rank_correlation(ranks, other_ranks) as
    list_inner_product(ranks, other_ranks)
        / nullif(
            sqrt(list_inner_product(ranks, ranks) * list_inner_product(other_ranks, other_ranks)),
            0
        );

-- For each image that a method explained at two epochs or more: the similarity of each map with the one before and with
-- the last, by the absolute values of the 8x8 maps; and whether the explanation and the prediction are settled: from
-- this epoch to the last, the similarity with the last map is at least `settled_from`, and the predicted class is the
-- last one. For an explanation, null if the last map is uniform.
create or replace macro explanation_histories(training_run, of_split, of_target_kind, settled_from) as table
    with ranked as (
        select
            method,
            epoch,
            instance_id,
            centred_ranks([abs(number) for number in map8]) as ranks
        from sampled_maps('attributions', training_run, of_split, of_target_kind)
    ),
    known as (
        select
            epoch,
            instance_id,
            label,
            predicted
        from predictions
        where
            run_id = training_run
            and split = of_split
    ),
    histories as (
        select
            ranked.method,
            ranked.epoch,
            ranked.instance_id,
            known.label,
            known.predicted,
            ranked.ranks,
            lag(ranked.ranks) over history as previous_ranks,
            last_value(known.predicted) over whole as last_predicted,
            last_value(ranked.ranks) over whole as last_ranks
        from ranked
        left join known using (epoch, instance_id)
        window
            history as (
                partition by
                    ranked.method,
                    ranked.instance_id
                order by ranked.epoch
            ),
            whole as (
                partition by
                    ranked.method,
                    ranked.instance_id
                order by ranked.epoch
                rows between unbounded preceding and unbounded following
            )
        qualify count(*) over whole > 1
    ),
    similarities as (
        select
            *,
            rank_correlation(ranks, previous_ranks) as to_previous,
            round(rank_correlation(ranks, last_ranks), 12) as to_last  -- rounding may make a map differ from itself
        from histories
    )
    select
        method,
        epoch,
        instance_id,
        label,
        predicted,
        last_predicted,
        to_previous,
        to_last,
        case
            when rank_correlation(last_ranks, last_ranks) is not null
                then bool_and(coalesce(to_last >= settled_from, false)) over rest
        end as is_settled,
        bool_and(predicted = last_predicted) over rest as is_predicted
    from similarities
    window rest as (
        partition by
            method,
            instance_id
        order by epoch
        rows between current row and unbounded following
    );

-- Comparing runs of a training run; the one that questions look at by default is that of the lowest place with rows.
create or replace macro ranked_comparisons(training_run) as table
    select
        run_id,
        row_number() over (
            order by
                status = 'FINISHED' desc,
                started_at desc,
                run_id desc
        ) as place
    from runs
    where
        source_run_id = training_run
        and kind = 'compare';

-- The comparison of a training run whose patches questions on shortcuts speak of; no row where none pasted any.
create or replace macro shortcut_comparison(training_run) as table
    select run_id
    from patch_trials
    join ranked_comparisons(training_run) using (run_id)
    where trial = 'pasted'
    order by place
    limit 1;

-- Scores of one comparison of a training run: the one wanted, otherwise the newest finished one, otherwise the newest.
create or replace macro comparison_scores(training_run, wanted_run) as table
    with comparison as (
        select run_id
        from attribution_scores
        left join ranked_comparisons(training_run) using (run_id)
        where
            source_run_id = training_run
            and run_id = coalesce(wanted_run, run_id)
        order by
            place nulls last,
            run_id desc
        limit 1
    )
    select attribution_scores.*
    from attribution_scores
    join comparison using (run_id)
    where attribution_scores.source_run_id = training_run;

-- Which values of a comparison's metric are better: higher or lower; null for a descriptive metric.
create or replace macro better_direction(metric_name) as
    case
        when metric_name in ('insertion', 'road_gap', 'points_at_glyph', 'covers_all_parts') then 'higher'
        when starts_with(metric_name, 'road_lerf_') then 'higher'
        when metric_name in ('deletion', 'points_at_decoy', 'epoch_0', 'epoch_0_signed') then 'lower'
        when starts_with(metric_name, 'road_morf_') then 'lower'
        when starts_with(metric_name, 'randomized/') then 'lower'
        when starts_with(metric_name, 'randomized_signed/') then 'lower'
    end;

-- The least value that a metric of a comparison can have: fractions and probabilities lie in 0..1, their differences and
-- rank correlations in -1..1. The largest is 1.
create or replace macro least_value(metric_name) as
    case
        when
            metric_name in ('road_gap', 'epoch_0', 'epoch_0_signed')
            or starts_with(metric_name, 'randomized/')
            or starts_with(metric_name, 'randomized_signed/')
            then -1
        else 0
    end;

-- Random signs for permutation tests: for every list of places, in its order, 2048 lists of 1 and -1, all of 1 for flip 0.
-- A place has the same sign in all lists of a flip. Of up to 12 places all ways there are to flip signs, without their
-- mirror images; else drawn by a hash, so always the same.
create or replace macro sign_flips(lists_of_places) as table
    with sets as (
        select distinct unnest(lists_of_places) as places
    ),
    extent as (
        select max(list_max(places)) + 1 as n
        from sets
    ),
    flips as (
        select
            flip,
            n
        from extent
        cross join range(2048) as flips(flip)
        where flip < 2 ** (n - 1)
    )
    select
        flip,
        places,
        list_transform(
            places,
            lambda place: case
                when flip = 0 then 1.0::double
                when n <= 12 then 1 - 2 * ((flip >> place) & 1)
                else 1 - 2 * (hash(place * 2048 + flip) & 1)::double
            end
        ) as signs
    from flips
    cross join sets;

-- Which of several paired differences are not 0 on average: p-values of permutation tests by sign flips (Fisher 1935),
-- which need no distribution, as both signs are equally likely where nothing differs; p_adjusted holds the level for all
-- together (step-down max-T, Westfall and Young 1993: each with the largest statistic of those not yet told from 0).
-- Rows of a table or CTE: hypothesis, places (of its images, for the signs), numbers (its difference there, null where
-- it has none).
create or replace macro sign_flip_tests(differences) as table
    with tested as materialized (
        select
            hypothesis,
            places,
            [coalesce(number, 0) for number in numbers] as numbers
        from query_table(differences)
    ),
    flips as materialized (
        select
            flip,
            places,
            signs
        from sign_flips((select list(distinct places) from tested))
    ),
    statistics as (  -- to 9 digits, as what is equal may differ by rounding
        select
            tested.hypothesis,
            flips.flip,
            round(
                coalesce(
                    abs(list_inner_product(tested.numbers, flips.signs))
                        / nullif(sqrt(list_inner_product(tested.numbers, tested.numbers)), 0),
                    0
                ),
                9
            ) as statistic
        from tested
        join flips using (places)  -- DuckDB gives lists that differ by a 0 in front the same hash()
    ),
    observed as (
        select
            hypothesis,
            statistic as seen,
            row_number() over (order by statistic desc, hypothesis) as place_in_order
        from statistics
        where flip = 0
    ),
    compared as (
        select
            hypothesis,
            place_in_order,
            statistic >= seen as reaches,
            max(statistic) over (partition by flip order by place_in_order desc) >= seen as is_reached
        from statistics
        join observed using (hypothesis)
    ),
    counted as (
        select
            hypothesis,
            place_in_order,
            avg(reaches::integer) as p_value,
            avg(is_reached::integer) as p_in_order
        from compared
        group by
            hypothesis,
            place_in_order
    )
    select
        hypothesis,
        p_value,
        max(p_in_order) over (order by place_in_order) as p_adjusted
    from counted;

-- Concepts of a training run at one epoch, by default the last with concepts; concept is the user's name for it,
-- otherwise its description.
create or replace macro concepts_of_epoch(training_run, of_epoch) as table
    select
        *,
        coalesce(label, description) as concept
    from concepts
    where
        source_run_id = training_run
        and epoch = coalesce(of_epoch, (select max(epoch) from concepts where source_run_id = training_run));

-- The newest job that found concepts of a training run at an epoch, by default the split's last, and scored images of the
-- split: its run, epoch and layer, and the fraction of the model's answers that its concepts keep; no row without any.
create or replace macro newest_concepts(training_run, of_split, of_epoch) as table
    select
        concepts.run_id,
        concepts.epoch,
        any_value(concepts.layer) as layer,
        any_value(metrics.value) as answers_kept
    from concepts
    left join runs using (run_id)
    left join metrics
        on metrics.run_id = concepts.run_id
        and metrics.epoch = concepts.epoch
        and metrics.key = 'answers_kept'
    where
        concepts.source_run_id = training_run
        and concepts.epoch = coalesce(of_epoch, (
            select max(epoch) from predictions where run_id = training_run and split = of_split
        ))
        and (concepts.run_id, concepts.epoch) in (select (run_id, epoch) from concept_scores where split = of_split)
    group by
        concepts.run_id,
        concepts.epoch
    order by
        max(runs.started_at) desc nulls last,
        concepts.run_id desc
    limit 1;

-- What concepts do to classes. p_value and significant are null in rows of an earlier version, whose test compared
-- fractions of signs: these saturate, so it called weak effects strong.
create or replace macro concept_effects() as table
    select * replace (
        case when alignment is not null then p_value end as p_value,
        case when alignment is not null then significant end as significant
    )
    from tcav_scores;

-- Classes whose images an explainer run scored, for each of its epochs.
create or replace macro scored_classes(training_run) as table
    select distinct
        concept_scores.run_id,
        concept_scores.epoch,
        instances.label as class_id
    from concept_scores
    join instances
        on instances.run_id = training_run
        and instances.split = concept_scores.split
        and instances.instance_id = concept_scores.instance_id;

-- Labelled predictions of a split over a range of epochs: whether each is right, and whether the same image's prediction
-- before it was, which is null at the image's first of the range.
create or replace macro rights_and_wrongs(training_run, of_split, first_epoch, final_epoch) as table
    select
        instance_id,
        epoch,
        label,
        predicted = label as ok,
        case when previous_epoch >= coalesce(first_epoch, 0) then previous = label end as ok_before
    from labelled_predictions(training_run, of_split)
    where epoch between coalesce(first_epoch, epoch) and coalesce(final_epoch, epoch);

-- The first images of a table or CTE with columns instance_id and weight, highest weight first; place counts them from 1.
create or replace macro most_striking(candidates, most) as table
    with first_ones as (
        select
            instance_id,
            round(weight, 6) as weight  -- equal ones may differ in the last digits
        from query_table(candidates)
        order by
            weight desc nulls last,
            instance_id
        limit most
    )
    select
        instance_id,
        row_number() over (
            order by
                weight desc nulls last,
                instance_id
        ) as place
    from first_ones;

-- How each labelled image of a split was learned and lost over a range of epochs (Toneva 2019). A change counts if both
-- its epochs lie in the range; lost is also counted of an image that was never right, which cannot be.
create or replace macro learning_counts(training_run, of_split, first_epoch, final_epoch) as table
    select
        instance_id,
        any_value(label) as label,
        count(*) as n,
        count(*) filter (ok) as n_right,
        count(*) filter (ok_before and not ok) as lost,
        count(*) filter (not ok_before and ok) as learned,
        min(epoch) filter (ok) as first_right,
        max(epoch) filter (ok) as last_right,
        max(epoch) filter (ok_before and not ok) as last_lost,
        coalesce(max(epoch) filter (ok) = max(epoch), false) as right_at_end
    from rights_and_wrongs(training_run, of_split, first_epoch, final_epoch)
    group by instance_id;

-- Data set map (Swayamdipta 2020) of a split's labelled images over a range of epochs: mean and population standard
-- deviation of the label's probability, fraction of epochs predicted correctly, and el2n (Paul 2021) over the epochs up
-- to the early one. ambiguity is the mean of 1 - p_sq, how often two classes drawn by the probabilities differ, regardless
-- of the label. region is ambiguous from 0.5 on, that of an even choice between two classes, else easy from confidence 0.5
-- on, else hard; null without probabilities. Means are rounded to the 7 digits of a probability, because further ones
-- depend on the order of a sum, and compared by 6.
create or replace macro data_map(training_run, of_split, first_epoch, final_epoch, early_epoch) as table
    with chosen as (
        select
            instance_id,
            label,
            predicted = label as ok,
            p_true,
            p_sq,
            -- a perfect prediction may fall below 0 by rounding
            case when epoch <= early_epoch and p_sq is not null then sqrt(greatest(p_sq - 2 * p_true + 1, 0)) end
                as early_error
        from labelled_predictions(training_run, of_split)
        where epoch between coalesce(first_epoch, epoch) and coalesce(final_epoch, epoch)
    ),
    measured as (
        select
            instance_id,
            any_value(label) as label,
            count(*) as n,
            avg(p_true) as confidence,
            case when count(p_true) > 1 then round(stddev_pop(p_true), 7) end as p_true_std,
            avg(ok::integer) as correctness,
            round(avg(early_error), 7) as el2n,
            round(if(avg(p_sq) > 1, 0, 1 - avg(p_sq)), 7) as ambiguity  -- over 1 by rounding
        from chosen
        group by instance_id
    )
    select
        *,
        case
            when confidence is null then null
            when round(ambiguity, 6) >= 0.5 then 'ambiguous'
            when confidence >= 0.5 then 'easy'
            else 'hard'
        end as region
    from measured;

-- Whether a split's predictions are by a model that was trained on its images. Those of train_folds are by others.
create or replace macro trained_on(of_split) as
    of_split in ('train', 'train_seen');

-- Labelled predictions that speak for and against labels: those of a range of epochs, by default the late half of the
-- logged ones, from the middle one on; of images trained on, all from 1 on. unlearned says which of them were made before
-- a model trained on the image had learned its label, wrong or not: up to the middle epoch; all, if the range has an end
-- or the model was not trained on the image.
create or replace macro telling_predictions(training_run, of_split, first_epoch, final_epoch) as table
    with middle as (
        select quantile_disc(epoch, 0.5) as middle_epoch
        from (
            select distinct epoch
            from labelled_predictions(training_run, of_split)
        )
    )
    select
        predictions.*,
        final_epoch is not null or not trained_on(of_split) or epoch <= middle_epoch as unlearned
    from labelled_predictions(training_run, of_split) as predictions
    cross join middle
    where
        epoch >= coalesce(first_epoch, if(trained_on(of_split), 1, middle_epoch))
        and epoch <= coalesce(final_epoch, epoch);

-- How far each of a split's labelled images supports its label, by the telling_predictions of a range of epochs. aum is
-- the area under the margin (Pleiss 2020), the mean margin; score is the same in 0..1, 1 / (1 + e^aum), higher against the
-- label, and without margins the fraction of epochs misclassified. The last two are for label_risks: disputed says whether
-- the margin is negative, and certainty is the mean log odds of the predicted class. They are of the unlearned
-- predictions, as later the model is less sure of images whose wrong label it has learned.
create or replace macro label_support(training_run, of_split, first_epoch, final_epoch) as table
    with telling as not materialized (  -- read twice, which takes less time and memory than keeping it
        from telling_predictions(training_run, of_split, first_epoch, final_epoch)
    ),
    measured as (
        select
            instance_id,
            any_value(label) as label,
            avg(margin) as aum,
            -- the second mean is left out where it would be the same
            if(trained_on(of_split), avg(margin) filter (unlearned), aum) < 0 as disputed,
            avg(ln(p_predicted / greatest(1 - p_predicted, 1e-6))) filter (unlearned) as certainty
        from telling
        group by instance_id
    ),
    unmeasured as (
        select
            instance_id,
            avg((predicted <> label)::integer) as misclassified
        from telling
        where margin is null
        group by instance_id
    )
    select
        measured.*,
        if(aum is null, misclassified, 1 / (1 + exp(least(aum, 700)))) as score
    from measured
    left join unmeasured using (instance_id);

-- What the images of a table or CTE with column instance_id were predicted as by the telling_predictions, of which there
-- are n: confidence is the mean probability of the label; suggested is the class an image was misclassified as most often,
-- at a tie the surer, then the lower one; null if it never was. times counts how often, suggested_share as a fraction of n.
create or replace macro suggested_classes(images_asked, training_run, of_split, first_epoch, final_epoch) as table
    with answers as (
        select
            instance_id,
            label,
            predicted,
            count(*) as times,
            sum(p_true) as sum_true,
            count(p_true) as n_true,
            avg(p_predicted) as sureness
        from telling_predictions(training_run, of_split, first_epoch, final_epoch)
        semi join query_table(images_asked) using (instance_id)
        group by
            instance_id,
            label,
            predicted
    ),
    counted as (
        select
            instance_id,
            sum(times)::bigint as n,
            sum(sum_true) / nullif(sum(n_true), 0) as confidence,
            first(
                predicted
                order by
                    times desc,
                    sureness desc,
                    predicted
            ) filter (predicted <> label) as suggested,
            coalesce(max(times) filter (predicted <> label), 0) as times
        from answers
        group by
            instance_id,
            label  -- of each image one; with it, few images take no array for all
    )
    select
        *,
        times / n as suggested_share
    from counted;

-- label_support with suggested_classes: what the predictions say for and against each label.
create or replace macro label_doubts(training_run, of_split, first_epoch, final_epoch) as table
    with support as materialized (
        from label_support(training_run, of_split, first_epoch, final_epoch)
    )
    from support
    join suggested_classes('support', training_run, of_split, first_epoch, final_epoch) using (instance_id);

-- Whether predictions of a split at an epoch, by default the last, agree with the labels more often than with shuffled
-- ones, at a level: one row, false without images. By mean and variance of the number of matches over all permutations;
-- a model that always answers the same, one trained on shuffled labels and an untrained one do not.
create or replace macro tells_classes_apart(training_run, of_split, of_epoch, at_level) as table
    with chosen as (
        from labelled_predictions_at(training_run, of_split, of_epoch)
    ),
    answered as (
        select
            predicted as label,
            count(*) as n_answered
        from chosen
        group by predicted
    ),
    counted as (
        select
            label,
            count(*) as n,
            count(*) filter (predicted = label) as n_right,
            sum(count(*)) over () as total_n
        from chosen
        group by label
    ),
    summed as (  -- total times the expected number of matches, and how that varies, by class
        select
            sum(n)::double as total,
            sum(n_right) as matches,
            sum(n * coalesce(n_answered, 0))::double as expected,
            sum((n * coalesce(n_answered, 0))::double ** 2) as squares,
            sum(n * coalesce(n_answered, 0) * (total_n - n)::double * (total_n - coalesce(n_answered, 0))) as varying
        from counted
        left join answered using (label)
    )
    select
        coalesce(
            matches - expected / total > normal_quantile(1 - at_level)
                * sqrt((varying + expected ** 2 - squares) / (total ** 2 * nullif(total - 1, 0))),
            false
        ) as tells_apart
    from summed;

-- label_support with p_wrong, the probability that the label is wrong, and its 95 % credible interval. Predictions and
-- labels alone cannot tell a wrong label from a mistake that the classifier is sure of, so it rests on a model of both:
-- labels are wrong at the same rate for all images, to any other class. The classifier is mistaken less often the surer
-- it is, by a logistic curve in the standardised certainty that may flatten, and that may end at a fraction of mistakes
-- left however sure it is. So contradicted labels where it is surest are wrong as far as they outnumber that fraction, and
-- elsewhere most are its own mistakes. Rate and curve have a posterior on a grid, from the fraction of
-- labels disputed in each of 30 bins of images of like certainty. It counts as of 2000 images at most, as no such curve
-- is exact (coarsened posterior, Miller 2019, arXiv 1506.06101). Its prior is even over the rates, which are closest
-- near 0, favours curves that do not flatten, and falls by e for every 4 % of mistakes left: of the labels of images
-- that the classifier is surest of, a few percent contradicted may be its mistakes, 20 % hardly. Null with under 100
-- images, without probabilities, if the classifier is equally sure of all images, or if it is not shown to tell classes
-- apart: then its contradictions say nothing of labels.
-- kind is suspect from a p_wrong of 0.5 on, if at 95 % over 0.2 % of the labels are wrong; else disputed or supported by
-- the sign of aum, which does not say who is mistaken; null without p_wrong.
create or replace macro label_risks(training_run, of_split, first_epoch, final_epoch) as table
    with binned as materialized (
        select
            *,
            (certainty - avg(certainty) over ()) / nullif(round(stddev_pop(certainty) over (), 6), 0) as z,
            ntile(30) over (
                order by
                    round(certainty, 6),
                    instance_id
            ) as bin
        from label_support(training_run, of_split, first_epoch, final_epoch)
    ),
    bins as materialized (
        select
            bin,
            count(*) as n,
            count(*) filter (disputed) as n_disputed,
            avg(z) as z
        from binned
        group by bin
        having
            (select count(*) >= 100 and bool_and(z is not null) from binned)
            and (select tells_apart from tells_classes_apart(training_run, of_split, null, 0.05))
    ),
    known as (
        select
            count(*) as n_images,
            greatest(count(distinct label) - 1, 1) as n_others
        from binned
    ),
    grid as (
        select
            rates.rate,
            range * 0.75 as intercept,
            slopes.slope,
            flattenings.flattening,
            remainders.remainder,
            flattenings.prior * exp(-remainders.remainder / 0.04) as prior
        from range(-1, 11)
        cross join (
            select unnest([
                0, 0.001, 0.002, 0.004, 0.007, 0.012, 0.02, 0.03, 0.045, 0.065, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36,
                0.42, 0.48
            ]) as rate
        ) as rates
        cross join (select unnest([0.5, 0.75, 1, 1.5, 2, 3, 5]) as slope) as slopes
        cross join (values (0, 1), (0.3, 0.5), (1, 0.25)) as flattenings(flattening, prior)
        cross join (select unnest([0, 0.01, 0.03, 0.06, 0.12]) as remainder) as remainders
    ),
    expected as materialized (
        select
            grid.*,
            bins.*,
            remainder
                + (1 - remainder) / (1 + exp(intercept + slope * z / (1 + flattening * greatest(z, 0)))) as mistaken,
            rate * (1 - mistaken / n_others) as wrong_and_disputed,
            rate * mistaken / n_others as wrong_and_not,
            least(greatest(wrong_and_disputed + (1 - rate) * mistaken, 1e-9), 1 - 1e-9) as p_disputed
        from grid
        cross join bins
        cross join known
    ),
    likelihoods as (
        select
            rate,
            intercept,
            slope,
            flattening,
            remainder,
            prior,
            sum(n_disputed * ln(p_disputed) + (n - n_disputed) * ln(1 - p_disputed)) as log_likelihood
        from expected
        group by all
    ),
    weights as (
        select
            * exclude (log_likelihood),
            prior * exp((log_likelihood - max(log_likelihood) over ()) * 2000 / (2000 + n_images)) as weight
        from likelihoods
        cross join known
        qualify weight > 1e-6
    ),
    probabilities as (
        select
            expected.bin,
            sides.disputed,
            weights.weight,
            if(sides.disputed, wrong_and_disputed / p_disputed, wrong_and_not / (1 - p_disputed)) as p
        from weights
        join expected using (rate, intercept, slope, flattening, remainder)
        cross join (values (true), (false)) as sides(disputed)
    ),
    no_errors as (
        select sum(weight) filter (rate <= 0.002) / sum(weight) as p_no_errors
        from weights
    ),
    cumulated as (
        select
            *,
            sum(weight) over (partition by bin, disputed order by p) / sum(weight) over (partition by bin, disputed)
                as up_to
        from probabilities
    ),
    estimates as (
        select
            bin,
            disputed,
            round(sum(weight * p) / sum(weight), 6) as p_wrong,  -- the last digits depend on the order of a sum
            round(min(p) filter (up_to >= 0.025), 6) as p_wrong_low,
            round(min(p) filter (up_to >= 0.975 - 1e-9), 6) as p_wrong_high
        from cumulated
        group by
            bin,
            disputed
    )
    select
        binned.* exclude (z, bin),
        estimates.p_wrong,
        estimates.p_wrong_low,
        estimates.p_wrong_high,
        case
            when p_wrong >= 0.5 and coalesce(p_no_errors, 0) < 0.05 then 'suspect'
            when p_wrong is not null then if(aum < 0, 'disputed', 'supported')
        end as kind
    from binned
    left join estimates using (bin, disputed)
    cross join no_errors;

-- label_risks with suggested_classes: how likely each label is to be wrong, and what the image may be instead.
create or replace macro label_errors(training_run, of_split, first_epoch, final_epoch) as table
    with risks as materialized (
        from label_risks(training_run, of_split, first_epoch, final_epoch)
    )
    from risks
    join suggested_classes('risks', training_run, of_split, first_epoch, final_epoch) using (instance_id);

-- Probability of k or more heads in n throws of a fair coin: the exact one-sided sign test, and McNemar's of pairs that
-- differ (McNemar 1947).
create or replace macro coin_tail(k, n) as
    least(list_sum([binomial(heads, n, 0.5) for heads in range(k, n + 1)]), 1);

-- Probability, if two groups of n and m have the same rate, that the first has hits or more of all_hits: Fisher's exact
-- one-sided test; null if a group is empty.
create or replace macro fisher_tail(hits, n, all_hits, m) as
    case
        when n > 0 and m > 0
            then least(
                list_sum([
                    exp(ln_choose(n, first) + ln_choose(m, all_hits - first) - ln_choose(n + m, all_hits))
                    for first in range(hits, least(n, all_hits) + 1)
                ]),
                1
            )
    end;

-- For every concept and class of the images scored: the probability by chance that as many more of the class's images
-- show the concept than of the others, by Fisher's exact test, one-sided; null where a single class is scored.
create or replace macro concept_prevalences(training_run) as table
    with shown as (
        select
            concept_scores.run_id,
            concept_scores.epoch,
            concept_scores.concept_id,
            instances.label as class_id,
            count(*) as n,
            count(*) filter (concept_scores.present) as hits
        from concept_scores
        join instances
            on instances.run_id = training_run
            and instances.split = concept_scores.split
            and instances.instance_id = concept_scores.instance_id
        where instances.label is not null
        group by all
    ),
    beside as (
        select
            *,
            (sum(n) over concept)::bigint as all_n,
            (sum(hits) over concept)::bigint as all_hits
        from shown
        window concept as (
            partition by
                run_id,
                epoch,
                concept_id
        )
    )
    select
        run_id,
        epoch,
        concept_id,
        class_id,
        fisher_tail(hits, n, all_hits, all_n - n) as p_value
    from beside;

-- How much worse a model is on a split than on validation images, at the split's last epoch: its accuracy (class_id is
-- null), and recall and precision of every class, as counts; of a class without images in a split none, where precision
-- could only be 0. p_value is Fisher's, one-sided, corrected for all rows by Holm (1979). Precision falls too where the
-- class is rarer in the split, for any model; so its p_value is the larger one of two: of the precision, and of how
-- many images of other classes are not predicted as the class.
create or replace macro split_gaps(training_run, of_split) as table
    with chosen as (
        select
            split,
            label,
            predicted,
            (label = predicted)::integer as ok
        from predictions
        where
            run_id = training_run
            and split in ('val', of_split)
            and label is not null
            and epoch = (
                select max(epoch)
                from predictions
                where
                    run_id = training_run
                    and split = of_split
                    and label is not null
            )
    ),
    counts as (
        select
            split,
            null as class_id,
            'accuracy' as metric,
            sum(ok) as hits,
            count(*) as n
        from chosen
        group by split
        union all
        select
            split,
            label as class_id,
            'recall' as metric,
            sum(ok) as hits,
            count(*) as n
        from chosen
        group by
            split,
            label
        union all
        select
            split,
            predicted as class_id,
            'precision' as metric,
            sum(ok) as hits,
            count(*) as n
        from chosen
        semi join (select split, label as predicted from chosen) using (split, predicted)
        group by
            split,
            predicted
    ),
    spared as (  -- of the images of other classes, those that are not predicted as the class
        select
            split,
            predictions_as.class_id,
            others - (predictions_as.n - predictions_as.hits) as hits,
            others
        from counts as predictions_as
        join (
            select
                of_class.split,
                of_class.class_id,
                whole.n - of_class.n as others
            from counts as of_class
            join counts as whole
                on whole.split = of_class.split
                and whole.metric = 'accuracy'
            where of_class.metric = 'recall'
        ) using (split, class_id)
        where predictions_as.metric = 'precision'
    ),
    pairs as (
        select
            here.class_id,
            here.metric,
            held_out.hits::bigint as val_hits,
            held_out.n as val_n,
            here.hits::bigint as hits,
            here.n,
            greatest(
                fisher_tail(held_out.hits::bigint, held_out.n, (held_out.hits + here.hits)::bigint, here.n),
                case
                    when here.metric = 'precision'
                        then coalesce(
                            fisher_tail(
                                val_spared.hits::bigint,
                                val_spared.others,
                                (val_spared.hits + spared.hits)::bigint,
                                spared.others
                            ),
                            1
                        )
                end
            ) as p_value
        from counts as here
        join counts as held_out
            on held_out.metric = here.metric
            and held_out.class_id is not distinct from here.class_id
            and held_out.split = 'val'
        left join spared
            on spared.split = here.split
            and spared.class_id = here.class_id
        left join spared as val_spared
            on val_spared.split = 'val'
            and val_spared.class_id = here.class_id
        where
            here.split = of_split
            and of_split <> 'val'
    )
    select * exclude (p_value) rename (p_adjusted as p_value)
    from corrected_by_holm('pairs');

-- How scores of two groups of runs differ, by hypothesis: rows of a table or CTE with hypothesis, images (how many there are
-- to be scored), seeds and other_seeds (runs of each group), is_other, run_id, instance_id and score, one for each run and
-- image, scores being at most `most` apart; rows of score 0 may be left out where a hypothesis has others. rate is the mean
-- over images and runs, change the other group's less the first's. p_value is two-sided; 0 lies inside
-- change_low..change_high, at 1 - level, if p_value is above the level, else outside or at an end.
-- Of a run and another: bounded_low of the changes, and of scores 0 and 1 alone McNemar's exact test (1947), else no p_value.
-- They speak of these two models on images like these, not of how they were trained.
-- Of two groups of two runs or more, runs and images are both drawn at random, and each run meets all images: a score is the
-- mean of the group, and what the run adds, what the image adds in this group, and noise. The variance of the change is that
-- over runs, at least that of the noise alone, and that over images less that of the noise, which is in both (Cameron,
-- Gelbach and Miller 2011; Owen 2007); over images it has one image more that changes fully, as in half_with_end. Student's
-- t has Welch's degrees of freedom (1947), rounded down. Of groups of different size these are too many for the part of
-- the runs, which has the smaller size less 1 (Mickey and Brown 1966).
-- Of a run and a group, p_value and interval are null: how much the run's like would vary is not known.
-- Of scores 0 and 1, only_here and only_other are how many images only one of a run of each group scores 1, and changed the
-- same of any two runs of both groups, on average over all pairs.
create or replace macro score_changes(scores, most, at_level) as table
    with runs_scores as (
        select
            hypothesis,
            is_other,
            sum(score)::double as total
        from query_table(scores)
        group by
            hypothesis,
            is_other,
            run_id
    ),
    over_runs as (
        select
            hypothesis,
            sum(total ** 2) filter (not is_other) as squares,
            sum(total ** 2) filter (is_other) as other_squares
        from runs_scores
        group by hypothesis
    ),
    images_scores as (
        select
            hypothesis,
            any_value(images)::double as n,
            any_value(seeds)::double as seeds,
            any_value(other_seeds)::double as other_seeds,
            coalesce(sum(score) filter (not is_other), 0)::double as total,
            coalesce(sum(score) filter (is_other), 0)::double as other_total,
            coalesce(sum(score ** 2) filter (not is_other), 0)::double as squares,
            coalesce(sum(score ** 2) filter (is_other), 0)::double as other_squares
        from query_table(scores)
        group by
            hypothesis,
            instance_id
    ),
    over_images as (
        select
            hypothesis,
            any_value(n) as n,
            any_value(seeds) as m,
            any_value(other_seeds) as other_m,
            sum(total) as total,
            sum(other_total) as other_total,
            sum((other_total / other_seeds - total / seeds) ** 2) as squares_of_changes,
            sum(seeds * squares - total ** 2) as mixed,
            sum(other_seeds * other_squares - other_total ** 2) as other_mixed,
            sum((seeds + other_seeds) * (squares + other_squares) - (total + other_total) ** 2) as all_mixed,
            sum(total * (other_seeds - other_total) / (seeds * other_seeds)) as only_here,
            sum((seeds - total) * other_total / (seeds * other_seeds)) as only_other,
            bool_and(squares = total and other_squares = other_total) as is_binary
        from images_scores
        group by hypothesis
    ),
    measured as (
        select
            hypothesis,
            n,
            m,
            other_m,
            total / (m * n) as rate,
            other_total / (other_m * n) as other_rate,
            other_rate - rate as change,
            is_binary,
            case when is_binary then only_here end as only_here,
            case when is_binary then only_other end as only_other,
            sqrt(greatest((squares_of_changes - n * change ** 2) / nullif(n - 1, 0), 0)) as deviation,
            greatest((coalesce(squares, 0) - total ** 2 / m) / nullif(m - 1, 0), 0) / n ** 2 as variance,
            greatest((coalesce(other_squares, 0) - other_total ** 2 / other_m) / nullif(other_m - 1, 0), 0) / n ** 2
                as other_variance,
            mixed / (nullif(m - 1, 0) * m ** 2 * n ** 2) as noise,
            other_mixed / (nullif(other_m - 1, 0) * other_m ** 2 * n ** 2) as other_noise,
            (squares_of_changes - n * change ** 2 + (most + abs(change)) ** 2 * n / (n + 1)) / (n * (n + 1))
                as image_variance,
            case when is_binary then all_mixed / ((m + other_m) * (m + other_m - 1) / 2) end as changed
        from over_images
        join over_runs using (hypothesis)
    ),
    modelled as (
        select
            *,
            greatest(variance / m, noise) as of_runs,
            greatest(other_variance / other_m, other_noise) as of_other_runs,
            greatest(image_variance - noise - other_noise, 0) as of_images,
            of_runs + of_other_runs + of_images as of_change,
            greatest(
                floor(
                    of_change ** 2 / (
                        case
                            when m = other_m then (of_runs ** 2 + of_other_runs ** 2) / nullif(m - 1, 0)
                            else (of_runs + of_other_runs) ** 2 / nullif(least(m, other_m) - 1, 0)
                        end
                        + of_images ** 2 / greatest(n - 1, 1)
                    )
                ),
                1
            ) as df
        from measured
    ),
    tested as (
        select
            *,
            case
                when m = 1 and other_m = 1 and is_binary
                    then binomial_two_sided(only_other::bigint, (only_here + only_other)::bigint, 0.5)
                when m > 1 and other_m > 1 then t_tails(change / sqrt(of_change), df)
            end as p_value,
            case
                when m = 1 and other_m = 1 then bounded_low(change, deviation, n, -most, at_level)
                when m > 1 and other_m > 1 then greatest(change - t_quantile(1 - at_level / 2, df) * sqrt(of_change), -most)
            end as low,
            case
                when m = 1 and other_m = 1 then -bounded_low(-change, deviation, n, -most, at_level)
                when m > 1 and other_m > 1 then least(change + t_quantile(1 - at_level / 2, df) * sqrt(of_change), most)
            end as high
        from modelled
    )
    select
        hypothesis,
        rate,
        other_rate,
        case when m > 1 then sqrt(variance) end as rate_sd,
        case when other_m > 1 then sqrt(other_variance) end as other_rate_sd,
        change,
        case
            when p_value > at_level then least(low, 0)
            when p_value is not null and change > 0 then greatest(low, 0)
            else low
        end as change_low,
        case
            when p_value > at_level then greatest(high, 0)
            when p_value is not null and change < 0 then least(high, 0)
            else high
        end as change_high,
        p_value,
        only_here,
        only_other,
        changed
    from tested;

-- P-values corrected for the rows of a table or CTE that can be significant at a level at all (Tarone 1990): least_p is the
-- least p_value that a row could have had, known without what is tested. Rows are left out, highest least_p first, until all
-- others could be significant by Bonferroni; of these p_adjusted is Holm's, of the rows left out it is null.
create or replace macro corrected_by_tarone(p_values, at_level) as table
    with ordered as (
        select
            *,
            row_number() over (order by least_p) as place,
            lead(least_p) over (order by least_p) as next_least
        from query_table(p_values)
    ),
    counted as (
        select
            * exclude (p_value, place, next_least),
            p_value as p_alone,
            case
                when least_p <= at_level / min(place) filter (next_least is null or next_least > at_level / place) over ()
                    then p_value
            end as p_value
        from ordered
    )
    select
        * exclude (p_value) rename (p_alone as p_value)
    from corrected_by_holm('counted');
