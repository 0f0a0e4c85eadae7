"""study.duckdb: an index of all committed files. It can be deleted; `rebuild` restores it.

DuckDB lets either one process write or many read, so the index is opened, filled and closed at once. An index that is
missing, damaged or of another version is built elsewhere and put in place in one step. Writers take turns by a lock.
"""

import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import duckdb

from tracking.catalogue import list_runs, read_current_record
from tracking.commits import commit_file, committed_units, file_stamp, readable_commits
from tracking.errors import InputError, from_outside
from tracking.home import Home
from tracking.ingesting import OWN_TABLES, Unit, add_fault, add_records, add_units, examine, insert
from tracking.locks import HeldError, writing_index
from tracking.run_summaries import UNSETTLED, RunSummary, forget_summaries, indexed_summaries
from tracking.tables import (
    LARGE_COLUMNS,
    SCHEMA,
    FilesByTable,
    add_macros,
    columns,
    exact_pattern,
    holds_macros,
    index_columns,
    read_columns,
    stored_view_definitions,
    table_of,
    view_definitions,
)

STORAGE: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.5.0",  # so that DuckDB's command line and other tools of today open it too
    # bytes; by default 262,144, of which an epoch of 50,000 images leaves a quarter empty in each column
    "default_block_size": "65536",
}
# what DuckDB says if another process, or another connection of this process, has the file open
HELD_MESSAGES = ("Could not set lock", "different configuration")
LOG_SUFFIXES = (".wal", ".wal.checkpoint", ".wal.recovery")  # of files that DuckDB keeps beside a database
UNITS_AT_ONCE = 2_000  # that are added in one step, if their files hold no more than
BYTES_AT_ONCE = 1 << 26
FEW_FILES = 5_000  # whose changes are looked for at every question; in larger homes, those of the runs that it names
REBUILD_WAIT = 60  # seconds to wait for another rebuild
POLL_INTERVAL = 0.05  # seconds
Progress = Callable[[int, int], None]
OWN_SCHEMA = "; ".join(
    f"create table {table} ({', '.join(' '.join(column) for column in types.items())})"
    for table, types in OWN_TABLES.items()
)
WITHOUT_LARGE_COLUMNS = "; ".join(
    f"alter table {table} drop column {column}" for table, left_out in LARGE_COLUMNS.items() for column in left_out
)
_reported: set[tuple[Home, type[Exception]]] = set()


def ingest(home: Home, run_ids: list[str] | None = None, wait: float = 0.5) -> bool:
    """Bring the index up to date with the committed files of `run_ids` (default: every run).

    Each unit is added whole or not at all. Returns False if another process held the index for `wait` seconds, or if it
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


def _update(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    run_ids: Collection[str] | None,
    progress: Progress | None = None,
) -> None:
    """Add what is new of `run_ids`, by default of all runs, whose current state replaces what is known of them."""
    unsettled = connection.execute("select run_id from summaries where changed = $1", [UNSETTLED]).fetchall()
    wanted = None if run_ids is None else {*run_ids, *(run_id for (run_id,) in unsettled)}
    current = {summary.run_id: summary for summary in list_runs(home, wanted)}
    known = indexed_summaries(connection)
    gone = set(known if wanted is None else wanted) - set(current)
    edited = _find_edited(connection, home, None if wanted is None else set(current))
    _forget_runs(connection, gone | edited)
    new = [
        run
        for run_id, run in current.items()
        if run_id in edited or run.changed == UNSETTLED or run != known.get(run_id)
    ]
    _store_summaries(connection, [run._replace(changed=UNSETTLED) for run in new])  # until all is in
    add_records(connection, [read_current_record(home, run) for run in new])
    # by ID, so that DuckDB passes over blocks of other runs' rows
    for units in _new_units(connection, home, sorted(run.run_id for run in new), progress):
        add_units(connection, home, units)
    _store_summaries(connection, new)
    _store_views(connection, home)
    if not holds_macros(connection):
        add_macros(connection)


def _read_ingested(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> set[tuple[str, str]]:
    """Run and unit of everything that the index holds of some runs."""
    sql = "select run_id, unit from ingested where run_id in (select unnest($1))"
    return set(connection.execute(sql, [run_ids]).fetchall())


def _store_summaries(connection: duckdb.DuckDBPyConnection, runs: list[RunSummary]) -> None:
    connection.begin()
    connection.execute("delete from summaries where run_id in (select unnest($1))", [[run.run_id for run in runs]])
    insert(connection, "summaries", runs)
    connection.commit()


def _new_units(
    connection: duckdb.DuckDBPyConnection, home: Home, run_ids: list[str], progress: Progress | None
) -> Iterator[list[Unit]]:
    """The units of runs that the index lacks, a limited number and size at a time. Unreadable ones are noted here."""
    ingested = _read_ingested(connection, run_ids)
    waiting: list[Unit] = []
    size = 0  # bytes
    for done, run_id in enumerate(run_ids, 1):
        names = [name for name in committed_units(home, run_id) if (run_id, name) not in ingested]
        stamps = {name: file_stamp(commit_file(home, run_id, name)) for name in names}  # before they are read
        commits, faults = readable_commits(home, run_id, names)
        for name, fault in faults.items():
            add_fault(connection, run_id, name, stamps[name], fault)
        for commit in commits:
            waiting.append(examine(home, commit))
            size += waiting[-1].size
            if len(waiting) >= UNITS_AT_ONCE or size >= BYTES_AT_ONCE:
                yield waiting
                waiting, size = [], 0
        if progress:
            progress(done, len(run_ids))
    if waiting:
        yield waiting


def _store_views(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Views by pattern show other programs later commits too, but would include faulty files, if there are any.

    DuckDB reads all files when it creates them, so they are left if they are as they would be.
    """
    has_few = _has_few_files(connection)
    if read_faults(connection):
        definitions = view_definitions(home, checked_files(connection, home), has_few=has_few)
    else:
        tables = [
            table
            for table in ("predictions", "attributions")
            if connection.execute("select 1 from checked where path like $1 limit 1", [f"{table}/%"]).fetchall()
        ]
        definitions = stored_view_definitions(home, tables, has_few)
    for name, select in definitions.items():
        if connection.execute("select sql from stored_views where name = $1", [name]).fetchall() != [(select,)]:
            connection.execute(f"create or replace view {name} as {select}")
            connection.execute("delete from stored_views where name = $1", [name])
            insert(connection, "stored_views", [(name, select)])


def checked_files(
    connection: duckdb.DuckDBPyConnection, home: Home, run_ids: Collection[str] | None = None
) -> FilesByTable:
    """The sound files that the index was read from, of some runs or of all, by table."""
    files: dict[str, list[str]] = defaultdict(list)
    for run_id, path in _select_checked(connection, "run_id, path", "fault is null", run_ids):
        if table := table_of(path):
            files[table].append(exact_pattern(home.run_folder(run_id) / path))
    return files


def read_faults(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """What is wrong with the files that were left out of the index."""
    return [fault for (fault,) in _select_checked(connection, "fault", "fault is not null", None)]


def _find_edited(connection: duckdb.DuckDBPyConnection, home: Home, run_ids: Collection[str] | None) -> set[str]:
    """Those of the runs, by default of all in a home of few files, with a file that may have changed since."""
    if run_ids is None and not _has_few_files(connection):
        return set()
    rows = _select_checked(connection, "run_id, path, size, changed", "true", run_ids)
    return {run_id for run_id, path, *stamp in rows if file_stamp(home.run_folder(run_id) / path) != tuple(stamp)}


def _has_few_files(connection: duckdb.DuckDBPyConnection) -> bool:
    [(count,)] = connection.execute("select count(*) from checked").fetchall()
    return count <= FEW_FILES


def _select_checked(
    connection: duckdb.DuckDBPyConnection, what: str, condition: str, run_ids: Collection[str] | None
) -> list[tuple]:
    sql = f"select {what} from checked where {condition}"
    if run_ids is None:
        return connection.execute(sql).fetchall()
    return connection.execute(f"{sql} and run_id in (select unnest($1))", [list(run_ids)]).fetchall()


def _forget_runs(connection: duckdb.DuckDBPyConnection, run_ids: set[str]) -> None:
    if not run_ids:
        return
    connection.begin()
    for table, types in (columns() | OWN_TABLES).items():
        if "run_id" in types:
            connection.execute(f"delete from {table} where run_id in (select unnest($1))", [list(run_ids)])
    connection.commit()


def rebuild(home: Home, progress: Progress | None = None) -> int:
    """Rebuild study.duckdb from the committed files; returns the number of runs in it.

    `progress` is told how many of how many runs are done. Programs that are reading the old index can continue. Raises
    InputError if another program has it open for writing.
    """
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    with writing_index(home, REBUILD_WAIT):
        _build(home, progress=progress)
    return len(list_runs(home))


def compare_with_runs(
    connection: duckdb.DuckDBPyConnection, home: Home, runs: list[RunSummary], run_ids: Collection[str] | None = None
) -> int | None:
    """How many runs seemed changed, if an index holds every committed unit and every run as listed; None otherwise.

    No file may have changed either: of any run in a home of few files, of `run_ids` in others.
    """
    if not _is_current(connection):
        return None
    if _find_edited(connection, home, None if _has_few_files(connection) else run_ids):
        return None
    indexed, listed = set(indexed_summaries(connection).values()), set(runs)
    before, now = indexed - listed, listed - indexed
    if {(run.run_id, run.name, run.status) for run in before} != {(run.run_id, run.name, run.status) for run in now}:
        return None
    doubtful = {run.run_id for run in runs if run.changed == UNSETTLED} | {run.run_id for run in now}
    committed = {(run_id, unit) for run_id in doubtful for unit in committed_units(home, run_id)}
    return len(doubtful) if committed == _read_ingested(connection, list(doubtful)) else None


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


def _build(home: Home, run_ids: Collection[str] | None = None, progress: Progress | None = None) -> None:
    """Build the index beside the old one, then replace that in one step.

    Raises HeldError if another program has the old one open for writing.
    """
    _check_place(home)
    forget_summaries(home)
    new = _path_of_new(home)
    _remove_database(new)
    try:
        with _keeping_writers_out(home):
            with duckdb.connect(str(new), config=STORAGE) as connection:
                connection.execute(f"begin; {SCHEMA}; {WITHOUT_LARGE_COLUMNS}; {OWN_SCHEMA}; commit")
                _update(connection, home, run_ids, progress)
                connection.execute("checkpoint")  # closing does it too, but without an error if the disk is full
            _remove_logs(home.database)  # the new index would use them as its own
            os.replace(new, home.database)
    finally:
        _remove_database(new)


@contextmanager
def _keeping_writers_out(home: Home) -> Iterator[None]:
    """Keep the old index open for reading during the block; no process writes to one that cannot be opened."""
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
    """Whether an index has the tables of schema.sql as they are now, without the large columns."""
    actual = read_columns(connection)
    expected = index_columns() | OWN_TABLES
    return all(actual.get(table) == types for table, types in expected.items())
