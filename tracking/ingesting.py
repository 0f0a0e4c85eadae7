"""Rows of one run, and of one committed unit, on their way into a database."""

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb

from tracking.catalogue import RunRecord
from tracking.commits import Commit, file_stamp, find_fault
from tracking.home import Home
from tracking.run_summaries import SUMMARY_COLUMNS
from tracking.tables import (
    LARGE_COLUMNS,
    LATEST_LABELS,
    WITH_PREVIOUS,
    FilesByTable,
    columns,
    exact_pattern,
    required_columns,
    select_all_values,
    select_incomplete_files,
    select_rows,
    select_sound_files,
    table_of,
)

# rows of an epoch, each with the same instance's last prediction before it: that of the epoch before, but for instances
# that were left out there
LINKED_ROWS = """
    with before as (
        select split, instance_id, epoch, predicted
        from predictions
        where run_id = $run_id and epoch = $epoch_before
    ),
    without_partner as (
        select split, instance_id
        from ({rows})
        anti join before using (split, instance_id)
    ),
    earlier as (
        select split, instance_id, max(epoch) as epoch, arg_max(predicted, epoch) as predicted
        from predictions
        semi join without_partner using (split, instance_id)
        where run_id = $run_id and epoch < $epoch_before
        group by all
    ),
    old as (
        from before
        union all
        from earlier
    )
    select new.*, old.epoch as previous_epoch, old.predicted as previous
    from ({rows}) as new
    left join old using (split, instance_id)"""
LATER_EPOCH = """
    select 1
    from predictions
    semi join ({rows}) as new using (split, instance_id)
    where run_id = $run_id and epoch > $epoch
    limit 1"""
EPOCH_BEFORE = "select max(epoch) from predictions where run_id = $run_id and epoch < $epoch"
RUNS_WITH_PREDICTIONS = """
    select distinct run_id
    from checked
    where run_id in (select unnest($1)) and path like 'predictions/%' and fault is null"""
READ_EVERY_VALUE = "select bit_xor(hash(found)) from ({rows}) as found"
# what the index holds, and which commits and files it was read from; those with a fault were left out
OWN_TABLES = {
    "ingested": {"run_id": "VARCHAR", "unit": "VARCHAR"},
    "checked": {"run_id": "VARCHAR", "path": "VARCHAR", "size": "BIGINT", "changed": "BIGINT", "fault": "VARCHAR"},
    "summaries": SUMMARY_COLUMNS,
    "stored_views": {"name": "VARCHAR", "sql": "VARCHAR"},
}


class TableFile(NamedTuple):
    """A file of a run that feeds a table."""

    path: str
    table: str


@dataclass(frozen=True)
class Unit:
    """A committed unit on its way in: size and time of change of its files, and what is wrong with those of tables."""

    commit: Commit
    stamps: dict[str, tuple[int, int]]
    faults: dict[TableFile, str | None]

    @property
    def is_sound(self) -> bool:
        return not any(self.faults.values())

    @property
    def size(self) -> int:
        """Bytes of the files that feed tables."""
        return sum(self.stamps[file.path][0] for file in self.faults)

    def checked_rows(self) -> list[tuple]:
        """Rows of table `checked`."""
        run_id, own_path = self.commit.run_id, self.commit.path
        files = [(run_id, file.path, *self.stamps[file.path], fault) for file, fault in self.faults.items()]
        return [*files, (run_id, own_path, *self.stamps[own_path], None)]


def add_records(connection: duckdb.DuckDBPyConnection, records: Sequence[RunRecord]) -> None:
    """Add runs to table `runs`, or replace them there."""
    connection.begin()
    run_ids = [record.run_id for record in records]
    connection.execute("delete from runs where run_id in (select unnest($1))", [run_ids])
    insert(connection, "runs", [run_row(record) for record in records])
    connection.commit()


def run_row(record: RunRecord) -> tuple:
    """The run's row of table `runs`."""
    content = record.content() | {"params": json.dumps(record.params), "seed_group": record.seed_group}
    return tuple(content[column] for column in columns()["runs"])


def metric_rows(commit: Commit) -> list[tuple]:
    """A commit's rows of table `metrics`."""
    values = commit.metrics | commit.details
    return [(commit.run_id, commit.epoch or 0, key, value) for key, value in values.items()]


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple]) -> None:
    """Insert rows of all columns of a table in one statement, a list per column."""
    if not rows:
        return
    types = (columns() | OWN_TABLES)[table].values()
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


def examine(home: Home, commit: Commit) -> Unit:
    """Compare a unit's files with what was committed."""
    folder = home.run_folder(commit.run_id)
    paths = [commit.path, *(file.path for file in commit.files)]
    stamps = {path: file_stamp(folder / path) for path in paths}  # before the files are read
    return Unit(commit, stamps, table_faults(home, commit))


def add_units(connection: duckdb.DuckDBPyConnection, home: Home, units: Sequence[Unit]) -> None:
    """Add the rows of units in one transaction. Of a unit with a file that is no table, only the fault is noted.

    Where DuckDB refuses them together, each half is tried, down to the unit that it refuses.
    """
    try:
        _add_at_once(connection, home, units)
    except duckdb.Error:
        with suppress(duckdb.Error):  # the transaction may have ended by itself
            connection.rollback()
        if len(units) > 1:
            middle = len(units) // 2
            add_units(connection, home, units[:middle])
            add_units(connection, home, units[middle:])
            return
        [unit] = units
        for file, fault in unit.faults.items():
            if not fault:
                path = home.run_folder(unit.commit.run_id) / file.path
                unit.faults[file] = find_misfit(home, path, file.table)
        if unit.is_sound:
            raise
        _add_at_once(connection, home, units)


def _add_at_once(connection: duckdb.DuckDBPyConnection, home: Home, units: Sequence[Unit]) -> None:
    connection.begin()
    run_ids = list({unit.commit.run_id for unit in units})
    begun = {run_id for (run_id,) in connection.execute(RUNS_WITH_PREDICTIONS, [run_ids]).fetchall()}
    insert(connection, "checked", [row for unit in units for row in unit.checked_rows()])
    sound_units = [unit for unit in units if unit.is_sound]
    paths_by_table: dict[str, list[str]] = defaultdict(list)
    for unit in sound_units:
        for file in unit.faults:
            paths_by_table[file.table].append(exact_pattern(home.run_folder(unit.commit.run_id) / file.path))
    for table, paths in paths_by_table.items():
        if connection.execute(select_incomplete_files(table, *paths)).fetchall():
            raise duckdb.BinderException("a column is missing")
        if table == "predictions":
            _check_large_columns(connection, home, paths)
            _add_predictions(connection, home, sound_units, begun)
        else:
            _add_rows(connection, home, table, paths)
    insert(connection, "metrics", [row for unit in units for row in metric_rows(unit.commit)])
    insert(connection, "ingested", [(unit.commit.run_id, unit.commit.unit) for unit in units])
    connection.commit()


def add_fault(connection: duckdb.DuckDBPyConnection, run_id: str, unit: str, stamp: tuple, fault: str) -> None:
    """Note a unit whose commit cannot be read, with the stamp of that file, and leave its rows out."""
    connection.begin()
    insert(connection, "checked", [(run_id, f"commits/{unit}.json", *stamp, fault)])
    insert(connection, "ingested", [(run_id, unit)])
    connection.commit()


def _add_rows(connection: duckdb.DuckDBPyConnection, home: Home, table: str, paths: Sequence[str]) -> None:
    rows, *other_selects = select_all_values(home, table, *paths)
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


def _check_large_columns(connection: duckdb.DuckDBPyConnection, home: Home, paths: Sequence[str]) -> None:
    """Read the columns of predictions that stay in their files where footers do not tell that they fit."""
    large = LARGE_COLUMNS["predictions"]
    sound = connection.execute(select_sound_files("predictions", *paths, of=large)).fetchall()
    if unclear := sorted(set(paths) - {exact_pattern(name) for (name,) in sound}):
        rows = f"select {', '.join(large)} from ({select_rows(home, 'predictions', *unclear)})"
        connection.execute(READ_EVERY_VALUE.format(rows=rows))


def _add_predictions(connection: duckdb.DuckDBPyConnection, home: Home, units: Sequence[Unit], begun: set[str]) -> None:
    """Add predictions, each with the same instance's before it. Runs that are not `begun` have none yet, so that all
    their epochs can be added at once, as can those of a unit that is of no epoch.
    """
    large = LARGE_COLUMNS["predictions"]
    of_new_runs: list[str] = []
    of_others: list[tuple[Commit, str]] = []
    for unit in units:
        for file in unit.faults:
            if file.table == "predictions":
                path = exact_pattern(home.run_folder(unit.commit.run_id) / file.path)
                # a unit of no epoch has all of its instances' epochs, so none of theirs is there yet
                if unit.commit.run_id in begun and unit.commit.epoch is not None:
                    of_others.append((unit.commit, path))
                else:
                    of_new_runs.append(path)
    if of_new_runs:
        rows = WITH_PREVIOUS.format(rows=select_rows(home, "predictions", *of_new_runs, without=large))
        connection.execute(f"insert into predictions by name {rows}")
    for commit, path in of_others:
        rows = select_rows(home, "predictions", path, without=large)
        before = connection.execute(EPOCH_BEFORE, {"run_id": commit.run_id, "epoch": commit.epoch}).fetchall()
        parameters = {"run_id": commit.run_id, "epoch_before": before[0][0]}
        connection.execute(f"insert into predictions by name {LINKED_ROWS.format(rows=rows)}", parameters)
        parameters = {"run_id": commit.run_id, "epoch": commit.epoch}
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
