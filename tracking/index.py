"""study.duckdb: an index of all committed files. It can be deleted; `rebuild` restores it.

DuckDB lets either one process write or many read, so the index is opened, filled and closed at once. An index that is
missing, damaged or of another version is built elsewhere and put in place in one step. Writers take turns by a lock.
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

from tracking.catalogue import deleted_runs, read_records
from tracking.commits import commit_file, committed_units, file_stamp, readable_commits
from tracking.errors import InputError, from_outside
from tracking.home import Home
from tracking.ingesting import add_fault, add_record, add_unit
from tracking.locks import HeldError, writing_index
from tracking.tables import (
    SCHEMA,
    FilesByTable,
    add_macros,
    columns,
    exact_pattern,
    holds_macros,
    read_columns,
    stored_view_definitions,
    table_of,
    view_definitions,
)

# what the index holds, and which commits and files it was read from; those with a fault were left out
CHECKED = {"run_id": "VARCHAR", "path": "VARCHAR", "size": "BIGINT", "changed": "BIGINT", "fault": "VARCHAR"}
INGESTED = f"""
    create table ingested (run_id varchar, unit varchar, primary key (run_id, unit));
    create table checked ({", ".join(" ".join(column) for column in CHECKED.items())})"""
# storage of DuckDB 1.5, so that its command line and other tools of today open it too
STORAGE: dict[str, str | bool | int | float | list[str]] = {"storage_compatibility_version": "v1.5.0"}
# what DuckDB says if another process, or another connection of this process, has the file open
HELD_MESSAGES = ("Could not set lock", "different configuration")
LOG_SUFFIXES = (".wal", ".wal.checkpoint", ".wal.recovery")  # of files that DuckDB keeps beside a database
REBUILD_WAIT = 60  # seconds to wait for another rebuild
POLL_INTERVAL = 0.05  # seconds
_reported: set[tuple[Home, type[Exception]]] = set()


def ingest(home: Home, run_ids: list[str] | None = None, wait: float = 0.5) -> bool:
    """Bring the index up to date with the committed files of `run_ids` (default: every run).

    Each unit comes in whole or not at all. Returns False if another process held the index for `wait` seconds, or if it
    cannot be written, which is reported once. Nothing is lost then: the next call catches up.
    """
    try:
        with writing_index(home, wait):
            _remove_database(_path_of_new(home))  # what a killed rebuild left
            connection = _open_for_writing(home, wait)
            if connection is None:
                _build(home, run_ids)
            else:
                with connection:
                    _update(connection, home, run_ids)
        return True
    except HeldError:
        return False
    except (duckdb.Error, OSError, MemoryError, InputError) as error:
        if os.access(home.path, os.W_OK):  # expected in a read-only home
            _report_once(home, type(error), from_outside(error) or str(error))
        return False


def _report_once(home: Home, error_type: type[Exception], reason: str) -> None:
    """Report each type of error once per process, as a training meets it again with every epoch."""
    if (home, error_type) not in _reported:
        _reported.add((home, error_type))
        logging.getLogger(__name__).warning(f"study.duckdb is not up to date ({reason}); the runs' files are")


def _update(connection: duckdb.DuckDBPyConnection, home: Home, run_ids: list[str] | None) -> None:
    current = {record.run_id: record for record in read_records(home)}
    wanted = [run_id for run_id in run_ids or current if run_id in current]

    indexed_runs = {run_id for (run_id,) in connection.execute("select run_id from runs").fetchall()}
    _forget_runs(connection, (indexed_runs - set(current)) | _changed_runs(connection, home, wanted))

    ingested = set(connection.execute("select run_id, unit from ingested").fetchall())
    for run_id in wanted:
        add_record(connection, current[run_id])
        stamps = {unit: file_stamp(commit_file(home, run_id, unit)) for unit in committed_units(home, run_id)}
        commits, faults = readable_commits(home, run_id)
        for commit in commits:
            if (run_id, commit.unit) not in ingested:
                add_unit(connection, home, commit)
        for unit, fault in faults.items():
            if (run_id, unit) not in ingested and unit in stamps:
                add_fault(connection, run_id, unit, stamps[unit], fault)

    _store_views(connection, home)
    if not holds_macros(connection):
        add_macros(connection)


def _store_views(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Views by pattern show other programs later commits too, but would include faulty files, if there are any."""
    files, faults = checked_files(connection, home)
    definitions = view_definitions(home, files) if faults else stored_view_definitions(home, deleted_runs(home))
    for name, select in definitions.items():
        connection.execute(f"create or replace view {name} as {select}")


def checked_files(connection: duckdb.DuckDBPyConnection, home: Home) -> tuple[FilesByTable, list[str]]:
    """The files that the index was read from, by table, and what is wrong with the others."""
    files: dict[str, list[str]] = defaultdict(list)
    faults: list[str] = []
    for run_id, path, fault in connection.execute("select run_id, path, fault from checked").fetchall():
        if fault:
            faults.append(fault)
        elif table := table_of(path):
            files[table].append(exact_pattern(home.run_folder(run_id) / path))
    return files, faults


def _changed_runs(connection: duckdb.DuckDBPyConnection, home: Home, run_ids: Iterable[str]) -> set[str]:
    """Those of the runs with a file that may have changed since it was checked."""
    sql = "select run_id, path, size, changed from checked semi join (select unnest($1) as run_id) using (run_id)"
    rows = connection.execute(sql, [list(run_ids)]).fetchall()
    return {run_id for run_id, path, *stamp in rows if file_stamp(home.run_folder(run_id) / path) != tuple(stamp)}


def _forget_runs(connection: duckdb.DuckDBPyConnection, run_ids: set[str]) -> None:
    connection.begin()
    for run_id in run_ids:
        for table in (*columns(), "ingested", "checked"):
            connection.execute(f"delete from {table} where run_id = $1", [run_id])
    connection.commit()


def rebuild(home: Home) -> int:
    """Rebuild study.duckdb from the committed files; returns the number of runs in it.

    Programs that are reading the old one can continue. Raises InputError if another program has it open for writing.
    """
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    with writing_index(home, REBUILD_WAIT):
        _build(home)
    return len(read_records(home))


def is_complete(connection: duckdb.DuckDBPyConnection, home: Home) -> bool:
    """Whether an index holds every committed unit, and every run with its current status and name."""
    current = {record.run_id: (record.status, record.name) for record in read_records(home)}
    if not _is_current(connection) or _changed_runs(connection, home, current):
        return False
    rows = connection.execute("select run_id, status, name from runs").fetchall()
    if {run_id: (status, name) for run_id, status, name in rows} != current:
        return False
    ingested = connection.execute("select run_id, unit from ingested").fetchall()
    committed = {(run_id, unit) for run_id in current for unit in committed_units(home, run_id)}
    return set(ingested) == committed


def may_write_index(home: Home) -> bool:
    """Whether file permissions let this process change an existing index; another program may still hold it."""
    return os.access(home.path, os.W_OK) and os.access(home.database, os.W_OK)


def no_study(home: Home) -> str:
    return f"no study in {home.path}; `study train` makes one, --home names another study home"


def _open_for_writing(home: Home, wait: float) -> duckdb.DuckDBPyConnection | None:
    """The index; None if there is none that can be used: it is missing, damaged or of another version.

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
                    return None  # damaged
                raise  # another user's, who can rebuild it
            if time.monotonic() > deadline:
                raise _held_error(home) from None
            time.sleep(POLL_INTERVAL)


def _build(home: Home, run_ids: list[str] | None = None) -> None:
    """Build the index beside the old one, then replace that in one step.

    Raises HeldError if another program has the old one open for writing.
    """
    _check_place(home)
    new = _path_of_new(home)
    _remove_database(new)
    try:
        with _keeping_writers_out(home):
            with duckdb.connect(str(new), config=STORAGE) as connection:
                connection.execute(f"begin; {SCHEMA}; {INGESTED}; commit")
                _update(connection, home, run_ids)
                connection.execute("checkpoint")  # closing does it too, but without an error if the disk is full
            _remove_logs(home.database)  # the new index would use them as its own
            os.replace(new, home.database)
    finally:
        _remove_database(new)


@contextmanager
def _keeping_writers_out(home: Home) -> Iterator[None]:
    """Keep the old index open for reading during the block; nobody writes to one that cannot be opened."""
    old: AbstractContextManager[object] = nullcontext()
    try:
        old = duckdb.connect(str(home.database), read_only=True)
    except duckdb.Error as error:
        if _is_held(error):
            raise _held_error(home) from None
    with old:
        yield


def _is_held(error: duckdb.Error) -> bool:
    return any(message in str(error) for message in HELD_MESSAGES)


def _held_error(home: Home) -> HeldError:
    return HeldError(f"another program holds {home.database}; close it, then rebuild again")


def _check_place(home: Home) -> None:
    if home.database.is_dir():
        raise InputError(f"{home.database} is a folder; move it away, then rebuild again: study rebuild")


def _path_of_new(home: Home) -> Path:
    """Where a new index is built, before it replaces the old one."""
    return home.database.with_name(f".{home.database.name}.new")


def _remove_database(database: Path) -> None:
    _remove_logs(database)
    database.unlink(missing_ok=True)
    shutil.rmtree(f"{database}.tmp", ignore_errors=True)  # what did not fit into memory


def _remove_logs(database: Path) -> None:
    for suffix in LOG_SUFFIXES:
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether an index has the tables of schema.sql as they are now."""
    actual = read_columns(connection)
    expected = columns() | {"checked": CHECKED}
    return all(actual.get(table) == types for table, types in expected.items())
