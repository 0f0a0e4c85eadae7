"""Connections that answer SQL at any time, also while trainings run or another program holds the index."""

import logging
import threading
from collections import defaultdict
from functools import cache

import duckdb

from tracking.catalogue import deleted_experiments, records
from tracking.commits import Commit, readable_commits
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import checked_files, ingest, is_complete, no_study
from tracking.ingesting import TableFile, insert, metrics_of, misfit, row_of, suspects, table_faults
from tracking.tables import (
    SCHEMA,
    Places,
    add_macros,
    columns,
    completed_rows,
    exactly,
    holds_macros,
    quoted,
    views,
)

ALONE = threading.Lock()  # threads of one process share the settings of a database


def connect(home: Home, memory: int | None = None) -> duckdb.DuckDBPyConnection:
    """A connection for questions: every committed row in UTC, nothing else, no way to write or to read other files.

    `memory` limits what a question may take, in GB; the default is four fifths of the machine's.
    Tables come from the index; where that is locked, from views over the committed files. Files that are not what was
    committed are named and left out.
    """
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    for gone in deleted_experiments(home):
        _notice(gone)
    connection = _open_index(home) or _open_files(home)
    with ALONE:
        _lock(connection, home, memory)
    return connection


def _lock(connection: duckdb.DuckDBPyConnection, home: Home, memory: int | None) -> None:
    [(locked,)] = connection.execute("select current_setting('lock_configuration')").fetchall()
    if not locked:
        folders = ", ".join(f"'{quoted(place)}/'" for place in (home.artifacts, exactly(home.artifacts)))
        connection.execute(f"set allowed_directories = [{folders}]")  # both what is asked for and what is found there
        connection.execute("set global timezone = 'UTC'")  # of `runs`, so of now() too; the next connection has it
        connection.execute("set enable_progress_bar = false")  # it would be written among the answer
        connection.execute("set temp_directory = ''")  # else a large question fills the home's disk
        if memory:
            connection.execute(f"set memory_limit = '{memory}GB'")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")


def _open_index(home: Home) -> duckdb.DuckDBPyConnection | None:
    """The index with all there is, brought up to date if need be; None where that is impossible now."""
    connection = _complete_index(home)
    if connection and not holds_macros(connection):  # an earlier version's; other programs need them in the file
        connection.close()
        ingest(home, wait=0.2)
        connection = _complete_index(home)
    if connection is None and ingest(home, wait=0.2):
        connection = _complete_index(home)
    if connection:
        if not holds_macros(connection):  # the file cannot be written to now
            add_macros(connection, temporary=True)
        places, faults = checked_files(connection, home)
        for wrong in faults:
            _name(wrong)
        _add_views(connection, home, places)
    return connection


def _complete_index(home: Home) -> duckdb.DuckDBPyConnection | None:
    """The index, if it can be read and is complete; what is asked is answered by the file that was looked at."""
    try:
        connection = duckdb.connect(str(home.database), read_only=True)
        if is_complete(connection, home):
            return connection
        connection.close()
    except duckdb.Error:  # held, damaged, or not there
        pass
    return None


def _add_views(connection: duckdb.DuckDBPyConnection, home: Home, places: Places) -> None:
    for name, select in views(home, places).items():
        connection.execute(f"create or replace temporary view {name} as {select}")


def _open_files(home: Home) -> duckdb.DuckDBPyConnection:
    """A database in memory with views over the committed files."""
    connection, known = duckdb.connect(), records(home)
    connection.execute(SCHEMA)
    add_macros(connection)  # while the tables are tables: making a macro looks into what it reads
    made = []
    for record in known:
        found, faults = readable_commits(home, record.run_id)
        made += found
        for wrong in faults.values():
            _name(wrong)
    insert(connection, "runs", [row_of(record) for record in known])
    insert(connection, "metrics", [row for commit in made for row in metrics_of(commit)])
    places = _whole_files(home, made)
    for table in columns():
        if (select := completed_rows(home, table, places)) is not None:
            connection.execute(f"drop table {table}; create view {table} as {select}")
    _add_views(connection, home, places)
    return connection


def _whole_files(home: Home, made: list[Commit]) -> Places:
    """The files of units that are what was committed, and fit their tables; the others are named."""
    units = [(commit, table_faults(home, commit)) for commit in made]
    if suspected := suspects(home, _places(home, units)):
        for commit, faults in units:
            for file, wrong in faults.items():
                place = home.run_folder(commit.run_id) / file.path
                if not wrong and exactly(place) in suspected:
                    faults[file] = misfit(home, place, file.table)
    for _, faults in units:
        for wrong in filter(None, faults.values()):
            _name(wrong)
    return _places(home, units)


def _places(home: Home, units: list[tuple[Commit, dict[TableFile, str | None]]]) -> Places:
    """The files of the units without a fault, by table."""
    places = defaultdict(list)
    for commit, faults in units:
        if not any(faults.values()):
            for file in faults:
                places[file.table].append(exactly(home.run_folder(commit.run_id) / file.path))
    return places


@cache  # once a process
def _notice(text: str) -> None:
    logging.getLogger(__name__).warning(text)


@cache
def _name(wrong: str) -> None:
    logging.getLogger(__name__).warning(f"{wrong}; its rows are left out until it is restored")
