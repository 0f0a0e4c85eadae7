"""study.duckdb: an index of all committed files. It can be deleted; `rebuild` makes it again.

DuckDB lets one process write or many read, so the index is opened, filled and closed at once. One that is missing,
damaged or of another version is made beside it, and put in its place in one step. Writers take turns by a lock.
"""

import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import duckdb

from tracking.catalogue import deleted, records
from tracking.commits import commit_file, committed_units, file_stamp, readable_commits
from tracking.errors import InputError, from_outside
from tracking.home import Home
from tracking.ingesting import add_fault, add_record, add_unit
from tracking.locks import HeldError, writing_index
from tracking.tables import (
    SCHEMA,
    Places,
    add_macros,
    columns,
    columns_of,
    exactly,
    holds_macros,
    stored_views,
    table_of,
    views,
)

# what the index holds, and the commits and files that it was read from; those with a fault were left out
CHECKED = {"run_id": "VARCHAR", "path": "VARCHAR", "size": "BIGINT", "changed": "BIGINT", "fault": "VARCHAR"}
INGESTED = f"""
    create table ingested (run_id varchar, unit varchar, primary key (run_id, unit));
    create table checked ({", ".join(" ".join(column) for column in CHECKED.items())})"""
# storage of DuckDB 1.5: the command line and tools of today open it too
STORAGE: dict[str, str | bool | int | float | list[str]] = {"storage_compatibility_version": "v1.5.0"}
# what DuckDB says where another process, and where another connection of this process, has the file open
HELD = ("Could not set lock", "different configuration")
LOGS = (".wal", ".wal.checkpoint", ".wal.recovery")  # what DuckDB keeps beside a database
REBUILD_WAIT = 60  # seconds for another rebuild
_said: set[tuple[Home, type[Exception]]] = set()


def ingest(home: Home, run_ids: list[str] | None = None, wait: float = 0.5) -> bool:
    """Bring the index up to date with the committed files of `run_ids` (default: every run).

    Each unit comes in whole or not at all. Returns False if someone else held the file for `wait` seconds, or if it
    cannot be written, which is said once; nothing is lost then, the next call catches up.
    """
    try:
        with writing_index(home, wait):
            _remove(_beside(home))  # what a killed rebuild left
            if (connection := _open_for_writing(home, wait)) is None:
                _build(home, run_ids)
            else:
                with connection:
                    _update(connection, home, run_ids)
        return True
    except HeldError:
        return False
    except (duckdb.Error, OSError, MemoryError, InputError) as error:
        if os.access(home.path, os.W_OK):  # a home that is only read has its files
            _say_once(home, type(error), from_outside(error) or str(error))
        return False


def _say_once(home: Home, kind: type[Exception], reason: str) -> None:
    """Each kind of trouble once a process, as a training meets it again with every epoch."""
    if (home, kind) not in _said:
        _said.add((home, kind))
        logging.getLogger(__name__).warning(f"study.duckdb is not up to date ({reason}); the runs' files are")


def _update(connection: duckdb.DuckDBPyConnection, home: Home, run_ids: list[str] | None) -> None:
    there = {record.run_id: record for record in records(home)}
    wanted = [run_id for run_id in run_ids or there if run_id in there]
    _forget(connection, _gone(connection, there) | _changed(connection, home, wanted))
    known = set(connection.execute("select run_id, unit from ingested").fetchall())
    for run_id in wanted:
        add_record(connection, there[run_id])
        stamps = {unit: file_stamp(commit_file(home, run_id, unit)) for unit in committed_units(home, run_id)}
        found, faults = readable_commits(home, run_id)
        for commit in found:
            if (run_id, commit.unit) not in known:
                add_unit(connection, home, commit)
        for unit, wrong in faults.items():
            if (run_id, unit) not in known and unit in stamps:
                add_fault(connection, run_id, unit, stamps[unit], wrong)
    _store_views(connection, home)
    if not holds_macros(connection):
        add_macros(connection)


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
        elif table := table_of(path):
            places[table].append(exactly(home.run_folder(run_id) / path))
    return places, faults


def _gone(connection: duckdb.DuckDBPyConnection, there: Iterable[str]) -> set[str]:
    """Runs of the index that the home does not have any more."""
    return {run_id for (run_id,) in connection.execute("select run_id from runs").fetchall()} - set(there)


def _changed(connection: duckdb.DuckDBPyConnection, home: Home, run_ids: Iterable[str]) -> set[str]:
    """Those of the runs with a file that may be another than the one checked."""
    sql = "select run_id, path, size, changed from checked semi join (select unnest($1) as run_id) using (run_id)"
    rows = connection.execute(sql, [list(run_ids)]).fetchall()
    return {run_id for run_id, path, *known in rows if file_stamp(home.run_folder(run_id) / path) != tuple(known)}


def _forget(connection: duckdb.DuckDBPyConnection, run_ids: set[str]) -> None:
    connection.begin()
    for run_id in run_ids:
        for table in (*columns(), "ingested", "checked"):
            connection.execute(f"delete from {table} where run_id = $1", [run_id])
    connection.commit()


def rebuild(home: Home) -> int:
    """Make study.duckdb again from the committed files; returns the number of runs in it.

    Whoever reads the old one goes on reading it. Raises InputError if another program has it open for writing.
    """
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    with writing_index(home, REBUILD_WAIT):
        _build(home)
    return len(records(home))


def is_complete(connection: duckdb.DuckDBPyConnection, home: Home) -> bool:
    """Whether an index holds every committed unit of today's files and every run as it is now."""
    there = {record.run_id: (record.status, record.name) for record in records(home)}
    if not _is_current(connection) or _changed(connection, home, there):
        return False
    rows = connection.execute("select run_id, status, name from runs").fetchall()
    known = connection.execute("select run_id, unit from ingested").fetchall()
    units = [(run_id, unit) for run_id in there for unit in committed_units(home, run_id)]
    return {run_id: tuple(row) for run_id, *row in rows} == there and set(known) == set(units)


def no_study(home: Home) -> str:
    return f"no study in {home.path}; `study train` makes one, --home names another study home"


def _open_for_writing(home: Home, wait: float) -> duckdb.DuckDBPyConnection | None:
    """The index; None where there is none of use: missing, damaged or of another version.

    Raises HeldError if another program still holds it after `wait` seconds.
    """
    _check_place(home)
    if not home.database.exists():
        return None
    deadline = time.monotonic() + wait
    while True:
        try:
            connection = duckdb.connect(str(home.database), config=STORAGE)
            if _is_current(connection):
                return connection
            connection.close()
            return None
        except duckdb.Error as error:
            if not _is_held(error):
                if os.access(home.database, os.R_OK | os.W_OK):
                    return None
                raise  # someone else's, who can rebuild it
            if time.monotonic() > deadline:
                raise _held(home) from None
            time.sleep(0.05)


def _build(home: Home, run_ids: list[str] | None = None) -> None:
    """Make the index beside the old one, then put it in the place of that in one step.

    Raises HeldError if another program has the old one open for writing.
    """
    _check_place(home)
    new = _beside(home)
    _remove(new)
    try:
        with _kept_from_writers(home):
            with duckdb.connect(str(new), config=STORAGE) as connection:
                connection.execute(f"begin; {SCHEMA}; {INGESTED}; commit")
                _update(connection, home, run_ids)
                connection.execute("checkpoint")  # closing does it too, but says nothing where the disk is full
            _remove_logs(home.database)  # the new index would take them for its own
            os.replace(new, home.database)
    finally:
        _remove(new)


@contextmanager
def _kept_from_writers(home: Home) -> Iterator[None]:
    """Have the old index open for reading meanwhile; one that cannot be opened nobody writes to."""
    old: AbstractContextManager[object] = nullcontext()
    try:
        old = duckdb.connect(str(home.database), read_only=True)
    except duckdb.Error as error:
        if _is_held(error):
            raise _held(home) from None
    with old:
        yield


def _is_held(error: duckdb.Error) -> bool:
    return any(words in str(error) for words in HELD)


def _held(home: Home) -> HeldError:
    return HeldError(f"another program holds {home.database}; close it, then rebuild again")


def _check_place(home: Home) -> None:
    if home.database.is_dir():
        raise InputError(f"{home.database} is a folder; move it away, then rebuild again: study rebuild")


def _beside(home: Home) -> Path:
    """Where a new index is made."""
    return home.database.with_name(f".{home.database.name}.new")


def _remove(database: Path) -> None:
    _remove_logs(database)
    database.unlink(missing_ok=True)
    shutil.rmtree(f"{database}.tmp", ignore_errors=True)  # what did not fit into memory


def _remove_logs(database: Path) -> None:
    for suffix in LOGS:
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether an index has the tables of schema.sql as they are now."""
    found = columns_of(connection)
    expected = columns() | {"checked": CHECKED}
    return all(found.get(table) == known for table, known in expected.items())
