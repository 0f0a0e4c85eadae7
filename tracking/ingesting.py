"""Rows of one run, and of one committed unit, on their way into a database."""

import json

import duckdb

from tracking.catalogue import RunRecord
from tracking.commits import Commit, fault, stamp
from tracking.home import Home
from tracking.tables import LATEST, STEPS, columns, exactly, rows_of, table_of

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


def table_faults(home: Home, commit: Commit) -> dict[str, str | None]:
    """The unit's files that feed tables, each with what is wrong with it."""
    return {file.path: fault(home, commit.run_id, file) for file in commit.files if table_of(file.path)}


def add_unit(connection: duckdb.DuckDBPyConnection, home: Home, commit: Commit) -> None:
    """A unit with a file that is not what was committed is left out, and the file remembered."""
    connection.begin()
    folder = home.run_folder(commit.run_id)
    stamps = {file.path: stamp(folder / file.path) for file in commit.files}  # before they are read
    faults = table_faults(home, commit)
    for path, wrong in faults.items():
        connection.execute(
            "insert into checked values ($1, $2, $3, $4, $5)", [commit.run_id, path, *stamps[path], wrong]
        )
        if not any(faults.values()):
            _add_file(connection, commit, table_of(path), rows_of(home, table_of(path), exactly(folder / path)))
    insert(connection, "metrics", metrics_of(commit))
    connection.execute("insert into ingested values ($1, $2)", [commit.run_id, commit.unit])
    connection.commit()


def _add_file(connection: duckdb.DuckDBPyConnection, commit: Commit, table: str, select: str) -> None:
    if table == "predictions":
        _insert_predictions(connection, commit, select)
    else:
        connection.execute(f"insert into {table} by name {select}")
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
