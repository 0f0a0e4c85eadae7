"""Rows of one run, and of one committed unit, on their way into a database."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import duckdb

from tracking.catalogue import RunRecord
from tracking.commits import Commit, file_stamp, find_fault
from tracking.home import Home
from tracking.tables import (
    LATEST_LABELS,
    WITH_PREVIOUS,
    FilesByTable,
    columns,
    exact_pattern,
    required_columns,
    select_all_values,
    select_incomplete_files,
    select_sound_files,
    table_of,
)

# rows of an epoch, each with the same instance's last prediction before it
LINKED_ROWS = """
    select new.*, old.epoch as previous_epoch, old.predicted as previous
    from ({rows}) as new
    left join (
        select split, instance_id, max(epoch) as epoch, arg_max(predicted, epoch) as predicted
        from predictions
        where run_id = $run_id and epoch < $epoch
        group by all
    ) as old using (split, instance_id)"""
LATER_EPOCH = """
    select 1
    from predictions
    semi join ({rows}) as new using (split, instance_id)
    where run_id = $run_id and epoch > $epoch
    limit 1"""
READ_EVERY_VALUE = "select bit_xor(hash(found)) from ({rows}) as found"
INSERT_CHECKED = "insert into checked values ($1, $2, $3, $4, $5)"


class TableFile(NamedTuple):
    """A file of a run that feeds a table."""

    path: str
    table: str


def add_record(connection: duckdb.DuckDBPyConnection, record: RunRecord) -> None:
    connection.begin()
    connection.execute("delete from runs where run_id = $1", [record.run_id])
    insert(connection, "runs", [run_row(record)])
    connection.commit()


def run_row(record: RunRecord) -> tuple:
    """The run's row of table `runs`."""
    content = record.content() | {"params": json.dumps(record.params)}
    return tuple(content[column] for column in columns()["runs"])


def metric_rows(commit: Commit) -> list[tuple]:
    """A commit's rows of table `metrics`."""
    values = commit.metrics | commit.details
    return [(commit.run_id, commit.epoch or 0, key, value) for key, value in values.items()]


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple]) -> None:
    """Insert rows of all columns in one statement, a list per column."""
    if not rows:
        return
    types = columns()[table].values()
    lists = ", ".join(f"unnest(${number}::{data_type}[])" for number, data_type in enumerate(types, 1))
    values = [list(column) for column in zip(*rows, strict=True)]
    connection.execute(f"insert into {table} select {lists}", values)


def table_faults(home: Home, commit: Commit) -> dict[TableFile, str | None]:
    """The unit's files that feed tables, each with what is wrong with it."""
    faults: dict[TableFile, str | None] = {}
    for file in commit.files:
        if table := table_of(file.path):
            faults[TableFile(file.path, table)] = find_fault(home, commit.run_id, file)
    return faults


def find_misfit(home: Home, path: Path, table: str) -> str | None:
    """Why a file cannot become rows of a table although it is what was committed; None if it can."""
    try:
        _check_rows(home, table, exact_pattern(path))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        return f"{path} does not hold rows of table {table} ({str(error).splitlines()[0]})"
    return None


def find_suspects(home: Home, files: FilesByTable) -> set[str]:
    """Those of the files that cannot become rows, possibly with others of the same table.

    Most files are cleared by their footers. The rest are read, all of a table at once, as each alone takes far longer.
    """
    suspects: set[str] = set()
    with duckdb.connect() as scratch:
        unclear = {table: sorted(set(names) - _find_sound(scratch, table, names)) for table, names in files.items()}
    for table, names in unclear.items():
        try:
            if names:
                _check_rows(home, table, *names)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:
            suspects.update(names)
    return suspects


def _find_sound(scratch: duckdb.DuckDBPyConnection, table: str, names: Sequence[str]) -> set[str]:
    """Files that their footers clear; none if one of them is not Parquet at all, as DuckDB does not say which."""
    try:
        rows = scratch.execute(select_sound_files(table, *names)).fetchall()
    except duckdb.Error:
        return set()
    return {exact_pattern(name) for (name,) in rows}


def _check_rows(home: Home, table: str, *names: str) -> None:
    """Read every value of files in its type. Raises duckdb.Error if one is missing or has another type."""
    is_incomplete = " or ".join(f'"{column}" is null' for column in required_columns()[table])
    rows, *other_selects = select_all_values(home, table, *names)
    with duckdb.connect(config={"temp_directory": ""}) as scratch:
        if scratch.execute(select_incomplete_files(table, *names)).fetchall():
            raise duckdb.BinderException("a column is missing")
        sql = f"select bit_xor(hash(found)), count(*) filter ({is_incomplete}) from ({rows}) as found"
        [(_, incomplete_count)] = scratch.execute(sql).fetchall()
        if incomplete_count:
            raise duckdb.ConstraintException("a value is missing")
        for select in other_selects:
            scratch.execute(READ_EVERY_VALUE.format(rows=select))


def add_unit(connection: duckdb.DuckDBPyConnection, home: Home, commit: Commit) -> None:
    """Add a unit's rows. If one of its files is not what was committed, or no table, only note the fault."""
    folder = home.run_folder(commit.run_id)
    paths = [commit.path, *(file.path for file in commit.files)]
    stamps = {path: file_stamp(folder / path) for path in paths}  # before the files are read
    faults = table_faults(home, commit)
    try:
        _add_unit(connection, home, commit, stamps, faults)
    except duckdb.Error:
        with suppress(duckdb.Error):  # the transaction may have ended by itself
            connection.rollback()
        for file, fault in faults.items():
            if not fault:
                faults[file] = find_misfit(home, folder / file.path, file.table)
        if not any(faults.values()):
            raise
        _add_unit(connection, home, commit, stamps, faults)


def _add_unit(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    commit: Commit,
    stamps: dict[str, tuple[int, int]],
    faults: dict[TableFile, str | None],
) -> None:
    is_sound = not any(faults.values())
    connection.begin()
    for file, fault in faults.items():
        connection.execute(INSERT_CHECKED, [commit.run_id, file.path, *stamps[file.path], fault])
        if is_sound:
            path = home.run_folder(commit.run_id) / file.path
            _add_rows(connection, commit, file.table, select_all_values(home, file.table, exact_pattern(path)))
    insert(connection, "metrics", metric_rows(commit))
    _note_unit(connection, commit.run_id, commit.unit, stamps[commit.path])
    connection.commit()


def add_fault(connection: duckdb.DuckDBPyConnection, run_id: str, unit: str, stamp: tuple, fault: str) -> None:
    """Note a unit whose commit cannot be read, with the stamp of that file, and leave its rows out."""
    connection.begin()
    _note_unit(connection, run_id, unit, stamp, fault)
    connection.commit()


def _note_unit(
    connection: duckdb.DuckDBPyConnection, run_id: str, unit: str, stamp: tuple, fault: str | None = None
) -> None:
    connection.execute(INSERT_CHECKED, [run_id, f"commits/{unit}.json", *stamp, fault])
    connection.execute("insert into ingested values ($1, $2)", [run_id, unit])


def _add_rows(connection: duckdb.DuckDBPyConnection, commit: Commit, table: str, selects: list[str]) -> None:
    rows, *other_selects = selects
    if table == "predictions":
        _add_predictions(connection, commit, rows)
    else:
        connection.execute(f"insert into {table} by name {rows}")
    for select in other_selects:  # views read these in place, so a fault must be found now
        connection.execute(READ_EVERY_VALUE.format(rows=select))
    if table == "concept_labels":
        latest = LATEST_LABELS.format(labels="concept_labels")
        connection.execute(f"""
            update concepts set label = latest.label
            from ({latest}) as latest
            where (concepts.run_id, concepts.epoch, concepts.concept_id)
                = (latest.run_id, latest.epoch, latest.concept_id)""")


def _add_predictions(connection: duckdb.DuckDBPyConnection, commit: Commit, rows: str) -> None:
    parameters = {"run_id": commit.run_id, "epoch": commit.epoch}
    connection.execute(f"insert into predictions by name {LINKED_ROWS.format(rows=rows)}", parameters)
    if connection.execute(LATER_EPOCH.format(rows=rows), parameters).fetchall():
        link(connection, commit.run_id)  # this epoch precedes some that came before it


def link(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Recompute the derived columns of all predictions of a run."""
    rows = "select rowid as row, * exclude (previous_epoch, previous) from predictions where run_id = $run_id"
    connection.execute(
        f"""
        update predictions set previous_epoch = steps.previous_epoch, previous = steps.previous
        from ({WITH_PREVIOUS.format(rows=rows)}) as steps
        where predictions.rowid = steps.row""",
        {"run_id": run_id},
    )
