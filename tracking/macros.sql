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
