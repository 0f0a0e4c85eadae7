"""Connections that answer SQL at any time, even while trainings run or another program holds the index."""

import logging
import re
import threading
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from itertools import chain
from math import log2

import duckdb

from tracking.catalogue import Listing, deleted_experiments, list_runs, read_listing, read_records
from tracking.commits import Commit, readable_commits
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import FEW_FILES, checked_files, compare_with_runs, ingest, may_write_index, no_study, read_faults
from tracking.ingesting import TableFile, find_misfit, find_suspects, insert, metric_rows, run_row, table_faults
from tracking.run_summaries import RunSummary, family_of
from tracking.tables import (
    FILE_VIEWS,
    LARGE_COLUMNS,
    SCHEMA,
    FilesByTable,
    add_macros,
    columns,
    exact_pattern,
    holds_macros,
    quoted,
    select_table,
    view_definitions,
)

STRINGS_AND_COMMENTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
# words of SQL that reads a large column, or every column of a table: a star other than that of count(*), `from` without
# select, and statements about columns
LARGE = re.compile(
    rf"\b(?:{'|'.join(chain(*LARGE_COLUMNS.values()))})\b"
    r"|(?:\b(?:select|distinct|all)|,|\.|\bon\s*\([^)]*\))\s*\*"
    r"|(?:^|[(;]|\b(?:explain|analyze|union|except|intersect|all|name))\s*from\b"
    r"|\b(?:columns|table|table_info|describe|desc|summarize|show|pivot\w*|unpivot)\b",
    re.IGNORECASE,
)
MOST_DOUBTFUL = 100  # runs that a question compares unit by unit, again and again
MOST_PLACES = 1 << 22  # for groups, in the arrays of all threads together; a place takes some 100 bytes
INGEST_WAIT = 0.2  # seconds that a question waits to bring the index up to date, before it reads the files instead
ONE_AT_A_TIME = threading.Lock()  # threads of one process share the settings of a database


@dataclass(frozen=True)
class Scope:
    """What a connection is for: runs, by default all, and the text of a question, by default any of ours."""

    run_ids: frozenset[str] | None = None
    sql: str | None = None
    is_free: bool = False

    def needs(self, view: str) -> bool:
        """Whether a view that reads files may be asked."""
        return self.sql is None or view in self.sql.lower()

    @property
    def needs_large_columns(self) -> bool:
        """Whether free SQL may read columns of `predictions` that the index lacks."""
        if not self.is_free or self.sql is None or not self.needs("predictions"):
            return False
        return LARGE.search(STRINGS_AND_COMMENTS.sub(" ", self.sql)) is not None

    def find_named(self, runs: list[RunSummary]) -> list[str]:
        """The runs whose IDs stand in the question."""
        return [run.run_id for run in runs if run.run_id in (self.sql or "")]


EVERYTHING = Scope()


def connect(
    home: Home,
    memory: float | None = None,
    *,
    run_ids: Collection[str] | None = None,
    sql: str | None = None,
    is_free: bool = False,
    listing: Listing | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection for questions: every committed row, times in UTC, and no access to anything else.

    `memory` limits the memory of a question, in GB; the default is four fifths of the machine's. Tables come from the
    index or, while that is locked, from views over the committed files. Files that are not what was committed are named
    and left out.

    In a home of many runs, name those that the questions are about in `run_ids`: only their files, and those of runs
    about them, are checked and are in the views that read files. Such a view is made only if `sql`, when given, names
    it. If `sql` is free, so not written for these tables, `predictions` has the large columns too: it is then the view
    `full_predictions` where `sql` names these columns or a star. `listing` is that of this moment, if there is one.
    """
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    for line in deleted_experiments(home):
        _warn_once(line)
    runs = (listing or read_listing(home)).runs
    scope = Scope(None if run_ids is None else frozenset(family_of(run_ids, runs)), sql, is_free)
    connection = _open_index(home, runs, scope) or _open_files(home)
    with ONE_AT_A_TIME:
        _restrict(connection, home, memory)
    return connection


def _restrict(connection: duckdb.DuckDBPyConnection, home: Home, memory: float | None) -> None:
    [(is_restricted,)] = connection.execute("select current_setting('lock_configuration')").fetchall()
    if is_restricted:
        return
    # both forms, as DuckDB compares with the pattern that is asked for and with the paths that match it
    folders = ", ".join(f"'{quoted(path)}/'" for path in (home.artifacts, exact_pattern(home.artifacts)))
    connection.execute(f"set allowed_directories = [{folders}]")
    connection.execute("set global timezone = 'UTC'")  # of `runs`, so of now() too; the next connection has it
    [(has_progress_bar,)] = connection.execute("select current_setting('enable_progress_bar')").fetchall()
    if has_progress_bar:  # it would be written into the answer; in Jupyter, setting it needs ipywidgets, even to false
        connection.execute("set enable_progress_bar = false")
    connection.execute("set temp_directory = ''")  # else a large question fills the home's disk
    # groups by integers, such as sums by image, are kept in an array instead of a hash table, also with many images
    [(threads,)] = connection.execute("select current_setting('threads')").fetchall()
    connection.execute(f"set global perfect_ht_threshold = {int(log2(MOST_PLACES / threads))}")
    if memory:
        connection.execute(f"set memory_limit = '{memory}GB'")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _open_index(home: Home, runs: list[RunSummary], scope: Scope) -> duckdb.DuckDBPyConnection | None:
    """The index with all there is, brought up to date if needed; None if that is impossible now."""
    connection, doubtful_count = complete_index(home, runs, scope)
    # an earlier version's index lacks macros, which other programs need in the file; and in a copy of a home all runs
    # seem to have changed, so that each question would look at all of them
    if connection and (not holds_macros(connection) or doubtful_count > MOST_DOUBTFUL) and may_write_index(home):
        connection.close()
        ingest(home, wait=INGEST_WAIT)
        connection, _ = complete_index(home, list_runs(home), scope)
    if connection is None and ingest(home, wait=INGEST_WAIT):
        connection, _ = complete_index(home, list_runs(home), scope)
    if connection is None:
        return None

    if not holds_macros(connection):  # the file cannot be written now
        add_macros(connection, temporary=True)
    for fault in read_faults(connection):
        _warn_left_out(fault)
    views = {name for name in FILE_VIEWS if scope.needs(name)}
    if scope.needs_large_columns:
        views.add("full_predictions")
    if views:
        files = checked_files(connection, home, scope.run_ids)
        has_few = scope.run_ids is not None or len(files.get("predictions", ())) <= FEW_FILES
        only_runs = [] if has_few else scope.find_named(runs)
        if not has_few:
            files = {**files, "predictions": checked_files(connection, home, only_runs).get("predictions", ())}
        narrow = f"{home.database.stem}.main.predictions"
        definitions = view_definitions(home, files, has_few=has_few, only_runs=only_runs, narrow=narrow)
        for name in views:
            connection.execute(f"create or replace temporary view {name} as {definitions[name]}")
    if scope.needs_large_columns:
        connection.execute("create or replace temporary view predictions as from full_predictions")
    return connection


def complete_index(
    home: Home, runs: list[RunSummary], scope: Scope = EVERYTHING
) -> tuple[duckdb.DuckDBPyConnection | None, int]:
    """The index, open, if it is complete, with the number of runs that seemed to have changed.

    What is asked is thus answered by the very file that was checked.
    """
    try:
        connection = duckdb.connect(str(home.database), read_only=True)
        doubtful_count = compare_with_runs(connection, home, runs, scope.run_ids)
        if doubtful_count is not None:
            return connection, doubtful_count
        connection.close()
    except duckdb.Error:  # held, damaged, or missing
        pass
    return None, 0


def _open_files(home: Home) -> duckdb.DuckDBPyConnection:
    """A database in memory with views over the committed files."""
    connection = duckdb.connect()
    connection.execute(SCHEMA)
    add_macros(connection)  # before tables become views: creating a macro reads what it mentions

    all_records = read_records(home)
    all_commits: list[Commit] = []
    for record in all_records:
        commits, faults = readable_commits(home, record.run_id)
        all_commits += commits
        for fault in faults.values():
            _warn_left_out(fault)
    insert(connection, "runs", [run_row(record) for record in all_records])
    insert(connection, "metrics", [row for commit in all_commits for row in metric_rows(commit)])

    files = _find_sound_files(home, all_commits)
    for table in columns():
        select = select_table(home, table, files)
        if select is not None:
            connection.execute(f"drop table {table}; create view {table} as {select}")
    definitions = view_definitions(home, files) | {"full_predictions": "from predictions"}
    for name, select in definitions.items():
        connection.execute(f"create or replace temporary view {name} as {select}")
    return connection


def _find_sound_files(home: Home, commits: list[Commit]) -> FilesByTable:
    """The files of units that are what was committed and fit their tables, by table; the others are named."""
    units = [(commit, table_faults(home, commit)) for commit in commits]
    suspects = find_suspects(home, _files_without_fault(home, units))
    if suspects:
        for commit, faults in units:
            for file, fault in faults.items():
                path = home.run_folder(commit.run_id) / file.path
                if not fault and exact_pattern(path) in suspects:
                    faults[file] = find_misfit(home, path, file.table)
    for _, faults in units:
        for fault in filter(None, faults.values()):
            _warn_left_out(fault)
    return _files_without_fault(home, units)


def _files_without_fault(home: Home, units: list[tuple[Commit, dict[TableFile, str | None]]]) -> FilesByTable:
    """The files of those units that have no fault at all, by table."""
    files: dict[str, list[str]] = defaultdict(list)
    for commit, faults in units:
        if not any(faults.values()):
            for file in faults:
                files[file.table].append(exact_pattern(home.run_folder(commit.run_id) / file.path))
    return files


@cache  # so once per process
def _warn_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)


def _warn_left_out(fault: str) -> None:
    _warn_once(f"{fault}; its rows are left out until it is restored")
