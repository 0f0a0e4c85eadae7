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
from tracking.tables import LATEST, STEPS, Places, columns, exactly, lacking, required, selects_of, sound, table_of

# rows of an epoch with the last ones before it of the same instances
LINKED = """
    select new.*, old.epoch as previous_epoch, old.predicted as previous
    from ({rows}) as new
    left join (
        select split, instance_id, max(epoch) as epoch, arg_max(predicted, epoch) as predicted
        from predictions
        where run_id = $run_id and epoch < $epoch
        group by all
    ) as old using (split, instance_id)"""


def add_record(connection: duckdb.DuckDBPyConnection, record: RunRecord) -> None:
    connection.begin()
    connection.execute("delete from runs where run_id = $1", [record.run_id])
    insert(connection, "runs", [row_of(record)])
    connection.commit()


def row_of(record: RunRecord) -> tuple:
    """The run's row of table `runs`."""
    content = record.content() | {"params": json.dumps(record.params)}
    return tuple(content[name] for name in columns()["runs"])


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple]) -> None:
    """Insert rows of all columns, many at once."""
    if not rows:
        return
    kinds = columns()[table].values()
    values = ", ".join(f"unnest(${place}::{kind}[])" for place, kind in enumerate(kinds, 1))
    connection.execute(f"insert into {table} select {values}", [list(column) for column in zip(*rows, strict=True)])


def metrics_of(commit: Commit) -> list[tuple]:
    """A commit's rows of table `metrics`."""
    return [(commit.run_id, commit.epoch or 0, key, value) for key, value in commit.metrics.items()]


class TableFile(NamedTuple):
    """A file of a run that feeds a table."""

    path: str
    table: str


def table_faults(home: Home, commit: Commit) -> dict[TableFile, str | None]:
    """The unit's files that feed tables, each with what is wrong with it."""
    return {
        TableFile(file.path, table): find_fault(home, commit.run_id, file)
        for file in commit.files
        if (table := table_of(file.path))
    }


def misfit(home: Home, place: Path, table: str) -> str | None:
    """Why a file, though it is what was committed, cannot become rows of a table; None if it can."""
    try:
        _check_rows(home, table, exactly(place))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        return f"{place} does not hold rows of table {table} ({str(error).splitlines()[0]})"
    return None


def suspects(home: Home, places: Places) -> set[str]:
    """Those of the files that cannot become rows, maybe with others of their table.

    Footers tell of most files. The others are read, and together, as alone each takes far longer.
    """
    found: set[str] = set()
    with duckdb.connect() as scratch:
        unclear = {table: sorted(set(known) - _sound(scratch, table, known)) for table, known in places.items()}
    for table, patterns in unclear.items():
        try:
            if patterns:
                _check_rows(home, table, *patterns)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:
            found.update(patterns)
    return found


def _sound(scratch: duckdb.DuckDBPyConnection, table: str, patterns: Sequence[str]) -> set[str]:
    """Files whose footers say enough; none where one of them is no Parquet file, as DuckDB does not name it."""
    try:
        return {exactly(name) for (name,) in scratch.execute(sound(table, *patterns)).fetchall()}
    except duckdb.Error:
        return set()


def _check_rows(home: Home, table: str, *patterns: str) -> None:
    """Read every value of files, in its type. Raises duckdb.Error if one is no such value."""
    missing = " or ".join(f'"{name}" is null' for name in required()[table])
    rows, *others = selects_of(home, table, *patterns)
    with duckdb.connect(config={"temp_directory": ""}) as scratch:
        if scratch.execute(lacking(table, *patterns)).fetchall():
            raise duckdb.BinderException("a column is missing")
        sql = f"select bit_xor(hash(found)), count(*) filter ({missing}) from ({rows}) as found"
        [(_, incomplete)] = scratch.execute(sql).fetchall()
        if incomplete:
            raise duckdb.ConstraintException("a value is missing")
        for select in others:
            scratch.execute(f"select bit_xor(hash(found)) from ({select}) as found")


def add_unit(connection: duckdb.DuckDBPyConnection, home: Home, commit: Commit) -> None:
    """A unit with a file that is not what was committed, or no table, is left out, and the file remembered."""
    folder = home.run_folder(commit.run_id)
    paths = (commit.path, *(file.path for file in commit.files))
    stamps = {path: file_stamp(folder / path) for path in paths}  # before files are read
    faults = table_faults(home, commit)
    try:
        _add_unit(connection, home, commit, stamps, faults)
    except duckdb.Error:
        with suppress(duckdb.Error):  # where it ended by itself
            connection.rollback()
        faults |= {file: misfit(home, folder / file.path, file.table) for file, wrong in faults.items() if not wrong}
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
    connection.begin()
    for file, wrong in faults.items():
        connection.execute(
            "insert into checked values ($1, $2, $3, $4, $5)", [commit.run_id, file.path, *stamps[file.path], wrong]
        )
        if not any(faults.values()):
            place = exactly(home.run_folder(commit.run_id) / file.path)
            _add_file(connection, commit, file.table, selects_of(home, file.table, place))
    insert(connection, "metrics", metrics_of(commit))
    _note_unit(connection, commit.run_id, commit.unit, stamps[commit.path])
    connection.commit()


def add_fault(connection: duckdb.DuckDBPyConnection, run_id: str, unit: str, known: tuple, wrong: str) -> None:
    """A unit whose commit cannot be read is left out, and that file's stamp remembered."""
    connection.begin()
    _note_unit(connection, run_id, unit, known, wrong)
    connection.commit()


def _note_unit(
    connection: duckdb.DuckDBPyConnection, run_id: str, unit: str, known: tuple, wrong: str | None = None
) -> None:
    path = f"commits/{unit}.json"
    connection.execute("insert into checked values ($1, $2, $3, $4, $5)", [run_id, path, *known, wrong])
    connection.execute("insert into ingested values ($1, $2)", [run_id, unit])


def _add_file(connection: duckdb.DuckDBPyConnection, commit: Commit, table: str, selects: list[str]) -> None:
    rows, *others = selects
    if table == "predictions":
        _insert_predictions(connection, commit, rows)
    else:
        connection.execute(f"insert into {table} by name {rows}")
    for select in others:  # read where they lie, so nothing else would tell that they cannot be
        connection.execute(f"select bit_xor(hash(found)) from ({select}) as found")
    if table == "concept_labels":
        _update_labels(connection)


def _insert_predictions(connection: duckdb.DuckDBPyConnection, commit: Commit, rows: str) -> None:
    place = {"run_id": commit.run_id, "epoch": commit.epoch}
    connection.execute(f"insert into predictions by name {LINKED.format(rows=rows)}", place)
    later = f"""
        select 1
        from predictions
        semi join ({rows}) as new using (split, instance_id)
        where run_id = $run_id and epoch > $epoch
        limit 1"""
    if connection.execute(later, place).fetchall():  # an epoch that comes after its followers
        link(connection, commit.run_id)


def link(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Set the derived columns of a run's predictions anew."""
    rows = "select rowid as row, * exclude (previous_epoch, previous) from predictions where run_id = $run_id"
    connection.execute(
        f"""
        update predictions set previous_epoch = steps.previous_epoch, previous = steps.previous
        from ({STEPS.format(rows=rows)}) as steps
        where predictions.rowid = steps.row""",
        {"run_id": run_id},
    )


def _update_labels(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"""
        update concepts set label = latest.label
        from ({LATEST.format(labels="concept_labels")}) as latest
        where (concepts.run_id, concepts.epoch, concepts.concept_id)
            = (latest.run_id, latest.epoch, latest.concept_id)""")
