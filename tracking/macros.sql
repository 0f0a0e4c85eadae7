-- Rules that several questions share, as macros over the tables of schema.sql: each has one definition and one test.
-- study.duckdb holds them too, so that SQL copied from a question or a page runs in any DuckDB shell that opens it.
-- A parameter would hide a column of its name, so none has the name of a column; null means: not given.

-- Class names of a training run, to be joined by class_id.
create or replace macro class_names(training_run) as table
    select
        class_id,
        name
    from classes
    where run_id = training_run;

-- Predictions of a split's images whose label is known.
create or replace macro labelled_predictions(training_run, of_split) as table
    select *
    from predictions
    where
        run_id = training_run
        and split = of_split
        and label is not null;

-- Every image's way from one logged epoch to its next one, also where its class stays.
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

-- Wilson's 95 % interval of a share p of n (Wilson 1927), null if n is 0: centre -+ half with z = 1.96,
-- centre = (p + z^2/2n) / (1 + z^2/n), half = z sqrt(p (1 - p)/n + z^2/4n^2) / (1 + z^2/n).
create or replace macro wilson_centre(p, n) as
    (p + 1.96 ** 2 / (2 * n)) / (1 + 1.96 ** 2 / n);

create or replace macro wilson_half(p, n) as
    1.96 * sqrt(p * (1 - p) / n + 1.96 ** 2 / (4 * n ** 2)) / (1 + 1.96 ** 2 / n);

-- Its lower end, to 12 digits, as at p = 0 centre and half are equal but for the last bits.
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

-- Ranks of a list's numbers around 0, as a list; equal numbers share their mean rank. A number's place is told by where
-- it is first met in ascending and in descending order.
create or replace macro centred_ranks(numbers) as
    list_transform(
        [{up: list_sort(numbers), down: list_reverse_sort(numbers)}],
        lambda sorted: list_transform(
            numbers,
            lambda number: (list_position(sorted.up, number) - list_position(sorted.down, number)) / 2
        )
    )[1];

-- Spearman's correlation of two lists by their centred ranks, -1..1; null if one has all its numbers equal.
create or replace macro rank_correlation(ranks, other_ranks) as
    list_inner_product(ranks, other_ranks)
        / nullif(
            sqrt(list_inner_product(ranks, ranks) * list_inner_product(other_ranks, other_ranks)),
            0
        );

-- Maps of each image that a method explained at two epochs or more, beside the one before and the last, as similarities
-- of the 8x8 maps' absolute values; and whether the explanation and the prediction are settled: from the epoch on to
-- the last one the similarity with the last map is at least `settled_from`, and the class predicted is the last one.
-- Of an explanation that is null where the last map is the same everywhere.
create or replace macro explanation_histories(training_run, of_split, of_target_kind, settled_from) as table
    with ranked as (
        select
            method,
            epoch,
            instance_id,
            centred_ranks([abs(number) for number in map8]) as ranks
        from newest_of('attributions', training_run, of_split, of_target_kind)
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
            round(rank_correlation(ranks, last_ranks), 12) as to_last  -- a map may miss itself by rounding
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

-- Scores of one comparison of a training run: of the one wanted, else of the newest finished one, else of the newest.
create or replace macro comparison_scores(training_run, wanted_run) as table
    with comparison as (
        select attribution_scores.run_id
        from attribution_scores
        left join runs using (run_id)
        where
            attribution_scores.source_run_id = training_run
            and attribution_scores.run_id = coalesce(wanted_run, attribution_scores.run_id)
        order by
            runs.status = 'FINISHED' desc nulls last,
            runs.started_at desc nulls last,
            attribution_scores.run_id desc
        limit 1
    )
    select attribution_scores.*
    from attribution_scores
    join comparison using (run_id)
    where attribution_scores.source_run_id = training_run;

-- Which way a metric of a comparison speaks for a method: higher or lower; null for one that ranks nothing.
create or replace macro better_direction(metric_name) as
    case
        when metric_name in ('insertion', 'road_gap', 'points_at_glyph') then 'higher'
        when starts_with(metric_name, 'road_lerf_') then 'higher'
        when metric_name in ('deletion', 'points_at_decoy', 'epoch_0', 'epoch_0_signed') then 'lower'
        when starts_with(metric_name, 'road_morf_') then 'lower'
        when starts_with(metric_name, 'randomized/') then 'lower'
        when starts_with(metric_name, 'randomized_signed/') then 'lower'
    end;

-- 1000 resamples with replacement (Efron 1979) of n places for every n of a list: how often each place is drawn, in
-- their order. Drawn by a hash, so always the same; an n of 1 has none.
create or replace macro bootstrap_resamples(sizes) as table
    with places as (
        select
            sizes_wanted.n,
            places.place,
            resamples.resample
        from (select distinct unnest(sizes) as n) as sizes_wanted
        cross join range(sizes_wanted.n) as places(place)
        cross join range(1000) as resamples(resample)
        where sizes_wanted.n > 1
    ),
    draws as (
        select
            n,
            resample,
            hash(place * 1000 + resample) % n as place,  -- of one number: of two, it only reorders if n is a power of 2
            1 as times
        from places
        union all
        select
            n,
            resample,
            place,
            0 as times  -- places that are never drawn
        from places
    ),
    counts as (
        select
            n,
            resample,
            place,
            sum(times)::double as times
        from draws
        group by all
    )
    select
        n,
        resample,
        list(times order by place) as times
    from counts
    group by all;

-- Concepts of a training run at one epoch, by default the last with concepts; concept is the user's name, else the
-- description.
create or replace macro concepts_of_epoch(training_run, of_epoch) as table
    select
        *,
        coalesce(label, description) as concept
    from concepts
    where
        source_run_id = training_run
        and epoch = coalesce(of_epoch, (select max(epoch) from concepts where source_run_id = training_run));

-- Classes of which an explainer run scored images, for each of its epochs.
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

-- How each labelled image of a split was learned and lost over a range of epochs (Toneva 2019). A change counts if both
-- its epochs lie in the range; lost is also counted of an image that was never right, which cannot be.
create or replace macro learning_counts(training_run, of_split, first_epoch, final_epoch) as table
    with chosen as (
        select
            instance_id,
            epoch,
            label,
            predicted = label as ok,
            case when previous_epoch >= coalesce(first_epoch, 0) then previous = label end as ok_before
        from labelled_predictions(training_run, of_split)
        where epoch between coalesce(first_epoch, epoch) and coalesce(final_epoch, epoch)
    )
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
    from chosen
    group by instance_id;

-- Data set map (Swayamdipta 2020) of a split's labelled images over a range of epochs: mean and population standard
-- deviation of the label's probability, fraction of epochs predicted correctly, and el2n (Paul 2021) over the epochs up
-- to the early one. region is ambiguous in the upper third by deviation, else easy from confidence 0.5 on, else hard;
-- null without probabilities. Deviations have the 7 digits that a probability has, as the last ones depend on the order
-- of a sum, and are compared by 6.
create or replace macro data_map(training_run, of_split, first_epoch, final_epoch, early_epoch) as table
    with chosen as (
        select
            instance_id,
            label,
            predicted = label as ok,
            p_true,
            -- a perfect prediction may fall below 0 by rounding
            case when epoch <= early_epoch then sqrt(greatest(p_sq - 2 * p_true + 1, 0)) end as early_error
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
            round(avg(early_error), 7) as el2n
        from chosen
        group by instance_id
    ),
    ranked as (
        select
            *,
            percent_rank() over (order by round(p_true_std, 6) nulls first) as rank
        from measured
    )
    select
        * exclude (rank),
        case
            when confidence is null then null
            when rank >= 2 / 3 then 'ambiguous'
            when confidence >= 0.5 then 'easy'
            else 'hard'
        end as region
    from ranked;

-- What speaks against the labels of a split's images in the late epochs, from the one given on, else from the middle
-- one of the logged epochs: little confidence, a negative area under the margin (Pleiss 2020), and being misclassified
-- as one other class again and again; at a tie for the surer, then the lower one. score is the mean of the signs that a
-- run has logged, 0..1. Images that are never misclassified have no row.
create or replace macro label_doubts(training_run, of_split, late_epoch) as table
    with chosen as (
        select
            instance_id,
            epoch,
            label,
            predicted,
            p_true,
            p_predicted,
            margin
        from labelled_predictions(training_run, of_split)
    ),
    late as (
        select *
        from chosen
        where epoch >= coalesce(late_epoch, (select quantile_disc(epoch, 0.5) from (select distinct epoch from chosen)))
    ),
    measured as (
        select
            instance_id,
            any_value(label) as label,
            count(*) as n,
            avg(p_true) as confidence,
            avg(margin) as aum
        from late
        group by instance_id
    ),
    others as (
        select
            instance_id,
            predicted as suggested,
            count(*) as times
        from late
        where predicted <> label
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
    )
    select
        measured.*,
        others.suggested,
        others.times,
        others.times / measured.n as suggested_share,
        list_avg([1 - confidence, 1 / (1 + exp(aum)), suggested_share]) as score,  -- leaves nulls out
        case when suggested_share >= 0.75 and coalesce(aum < 0, true) then 'mislabelled' else 'ambiguous' end as kind
    from measured
    join others using (instance_id);
