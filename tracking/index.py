"""study.duckdb: an index of all committed files. It can be deleted; `rebuild` makes it again.

DuckDB lets one process write or many read, so the index is opened, filled and closed at once.
"""

import threading
import time

import duckdb

from tracking.catalogue import records
from tracking.commits import Commit, commits
from tracking.errors import InputError
from tracking.home import Home
from tracking.tables import LATEST, SCHEMA, STEPS, columns, columns_of, quoted, rows_of, runs_of, table_of, views

INGESTED = "create table ingested (run_id varchar, unit varchar, primary key (run_id, unit))"
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
# storage of DuckDB 1.5: the command line and tools of today open it too
STORAGE = {"storage_compatibility_version": "v1.5.0"}
# what DuckDB says where another process, and where another connection of this process, has the file open
HELD = ("lock", "different configuration")
UNREADABLE = (duckdb.IOException, duckdb.ConnectionException)
# what it says of a file whose making was cut short
DAMAGED = ("not a valid DuckDB database", "Could not read enough bytes")
ALONE = threading.Lock()  # threads of one process share DuckDB's locks and settings, so they take turns


def ingest(home: Home, run_ids: list[str] | None = None, wait: float = 0.5) -> bool:
    """Bring the index up to date with the committed files of `run_ids` (default: every run).

    Each unit comes in whole or not at all. Returns False if someone else held the file for `wait` seconds;
    nothing is lost then, the next call catches up.
    """
    if not ALONE.acquire(timeout=wait):
        return False
    try:
        return _ingest(home, run_ids, wait)
    finally:
        ALONE.release()


def _ingest(home: Home, run_ids: list[str] | None, wait: float) -> bool:
    connection = _open_for_writing(home, wait)
    if connection is None:
        return False
    with connection:
        known = set(connection.execute("select run_id, unit from ingested").fetchall())
        for run_id in run_ids or [record.run_id for record in records(home)]:
            _ingest_record(connection, home, run_id)
            for commit in commits(home, run_id):
                if (run_id, commit.unit) not in known:
                    _ingest_unit(connection, home, commit)
        for name, select in views(home).items():
            connection.execute(f"create or replace view {name} as {select}")
    return True


def rebuild(home: Home) -> int:
    """Make study.duckdb again from the committed files; returns the number of runs in it."""
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    if (connection := _open_for_writing(home, wait=0.5)) is None:
        raise InputError(f"another program holds {home.database}; close it, then rebuild again")
    connection.close()
    _remove(home)
    ingest(home)
    return len(records(home))


def up_to_date(home: Home) -> bool:
    """Whether the index can be read now and holds every committed unit and every run's status."""
    try:
        with duckdb.connect(str(home.database), read_only=True) as connection:
            if not _is_current(connection):
                return False
            known = set(connection.execute("select run_id, unit from ingested").fetchall())
            status = dict(connection.execute("select run_id, status from runs").fetchall())
    except (*UNREADABLE, duckdb.CatalogException):
        return False
    there = {(path.parts[-4], path.stem) for path in home.artifacts.glob("*/artifacts/commits/*.json")}
    return known == there and status == {record.run_id: record.status for record in records(home)}


def no_study(home: Home) -> str:
    return f"no study in {home.path}; `study train` makes one, --home names another study home"


def _open_for_writing(home: Home, wait: float) -> duckdb.DuckDBPyConnection | None:
    deadline = time.monotonic() + wait
    while True:
        try:
            connection = duckdb.connect(str(home.database), config=STORAGE)
            break
        except UNREADABLE as error:
            if any(words in str(error) for words in DAMAGED):
                _remove(home)
                continue
            if not any(words in str(error) for words in HELD):
                raise
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)
    if _is_current(connection):
        return connection
    if columns_of(connection):  # made by another version
        connection.close()
        _remove(home)
        connection = duckdb.connect(str(home.database), config=STORAGE)
    connection.execute(f"begin; {SCHEMA}; {INGESTED}; commit")
    return connection


def _remove(home: Home) -> None:
    """The log goes first: beside a new index an old one's would be taken for its own."""
    home.database.with_name(home.database.name + ".wal").unlink(missing_ok=True)
    home.database.unlink(missing_ok=True)


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether an index has the tables of schema.sql as they are now."""
    found = columns_of(connection)
    return "ingested" in found and all(found.get(table) == known for table, known in columns().items())


def _ingest_record(connection: duckdb.DuckDBPyConnection, home: Home, run_id: str) -> None:
    connection.begin()
    connection.execute("delete from runs where run_id = $run_id", {"run_id": run_id})
    connection.execute(f"insert into runs by name {runs_of(quoted(home.run_folder(run_id) / 'run.json'))}")
    connection.commit()


def _ingest_unit(connection: duckdb.DuckDBPyConnection, home: Home, commit: Commit) -> None:
    connection.begin()
    for file in commit.files:
        if table := table_of(file.path):
            select = rows_of(table, quoted(home.run_folder(commit.run_id) / file.path))
            if table == "predictions":
                _insert_predictions(connection, commit, select)
            else:
                connection.execute(f"insert into {table} by name {select}")
            if table == "concept_labels":
                _update_labels(connection)
    for key, value in commit.metrics.items():
        row = [commit.run_id, commit.epoch or 0, key, value]
        connection.execute("insert into metrics values (?, ?, ?, ?)", row)
    connection.execute("insert into ingested values (?, ?)", [commit.run_id, commit.unit])
    connection.commit()


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
