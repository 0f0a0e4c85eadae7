"""study.duckdb: an index of all committed files. It can be deleted; `rebuild` makes it again.

DuckDB lets one process write or many read, so the index is opened, filled and closed at once.
"""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable

import duckdb

from tracking.catalogue import deleted, records
from tracking.commits import commits, stamp
from tracking.errors import InputError
from tracking.home import Home
from tracking.ingesting import add_record, add_unit
from tracking.tables import SCHEMA, Places, columns, columns_of, exactly, stored_views, table_of, views

# what the index holds, and the files that it was read from; those with a fault were left out
CHECKED = {"run_id": "VARCHAR", "path": "VARCHAR", "size": "BIGINT", "changed": "BIGINT", "fault": "VARCHAR"}
INGESTED = f"""
    create table ingested (run_id varchar, unit varchar, primary key (run_id, unit));
    create table checked ({", ".join(" ".join(column) for column in CHECKED.items())})"""
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
    except duckdb.IOException as error:
        if os.access(home.path, os.W_OK):  # a home that is only read has its files
            reason = str(error).splitlines()[0]
            logging.getLogger(__name__).warning(f"study.duckdb is not up to date ({reason}); the runs' files are")
        return False
    finally:
        ALONE.release()


def _ingest(home: Home, run_ids: list[str] | None, wait: float) -> bool:
    connection = _open_for_writing(home, wait)
    if connection is None:
        return False
    with connection:
        there = {record.run_id: record for record in records(home)}
        wanted = [run_id for run_id in run_ids or there if run_id in there]
        _forget(connection, _gone(connection, there) | _changed(connection, home, wanted))
        known = set(connection.execute("select run_id, unit from ingested").fetchall())
        for run_id in wanted:
            add_record(connection, there[run_id])
            for commit in commits(home, run_id):
                if (run_id, commit.unit) not in known:
                    add_unit(connection, home, commit)
        _store_views(connection, home)
    return True


def _store_views(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """With patterns, so that who opens the index sees what is committed later; they would read faulty files too."""
    places, faults = checked_files(connection, home)
    selects = views(home, places) if faults else stored_views(home, deleted(home))
    for name, select in selects.items():
        connection.execute(f"create or replace view {name} as {select}")


def checked_files(connection: duckdb.DuckDBPyConnection, home: Home) -> tuple[Places, list[str]]:
    """The files that the index was read from, by table, and what is wrong with the others."""
    places, faults = defaultdict(list), []
    for run_id, path, wrong in connection.execute("select run_id, path, fault from checked").fetchall():
        if wrong:
            faults.append(wrong)
        else:
            places[table_of(path)].append(exactly(home.run_folder(run_id) / path))
    return places, faults


def _gone(connection: duckdb.DuckDBPyConnection, there: Iterable[str]) -> set[str]:
    """Runs of the index that the home does not have any more."""
    return {run_id for (run_id,) in connection.execute("select run_id from runs").fetchall()} - set(there)


def _changed(connection: duckdb.DuckDBPyConnection, home: Home, run_ids: Iterable[str]) -> set[str]:
    """Those of the runs with a file that may be another than the one checked."""
    sql = "select run_id, path, size, changed from checked semi join (select unnest($1) as run_id) using (run_id)"
    rows = connection.execute(sql, [list(run_ids)]).fetchall()
    return {run_id for run_id, path, *known in rows if stamp(home.run_folder(run_id) / path) != tuple(known)}


def _forget(connection: duckdb.DuckDBPyConnection, run_ids: set[str]) -> None:
    connection.begin()
    for run_id in run_ids:
        for table in (*columns(), "ingested", "checked"):
            connection.execute(f"delete from {table} where run_id = $1", [run_id])
    connection.commit()


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
    """Whether the index can be read now, and holds every committed unit and every run as it is now."""
    there = {record.run_id: (record.status, record.name) for record in records(home)}
    try:
        with duckdb.connect(str(home.database), read_only=True) as connection:
            if not _is_current(connection) or _changed(connection, home, there):
                return False
            known = set(connection.execute("select run_id, unit from ingested").fetchall())
            rows = connection.execute("select run_id, status, name from runs").fetchall()
    except (*UNREADABLE, duckdb.CatalogException):
        return False
    paths = home.artifacts.glob("*/artifacts/commits/*.json")
    indexed = {run_id: tuple(row) for run_id, *row in rows}
    return indexed == there and known == {(p.parts[-4], p.stem) for p in paths if p.parts[-4] in there}


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
    expected = columns() | {"checked": CHECKED}
    return all(found.get(table) == known for table, known in expected.items())
