"""Connections that answer SQL at any time, also while trainings run or another program holds the index."""

import duckdb

from tracking.errors import InputError
from tracking.home import Home
from tracking.index import ALONE, UNREADABLE, ingest, no_study, up_to_date
from tracking.tables import SCHEMA, columns, committed_rows, quoted, views


def connect(home: Home) -> duckdb.DuckDBPyConnection:
    """A connection for questions: every committed row, nothing else, no way to write or to read other files.

    Tables come from the index; where that is locked, from views over the committed files.
    """
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    connection = _open_index(home) or _open_files(home)
    for name, select in views(home).items():
        connection.execute(f"create or replace temporary view {name} as {select}")
    with ALONE:  # connections of one process to one file share their settings
        _lock(connection, home)
    return connection


def _lock(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    [(locked,)] = connection.execute("select current_setting('lock_configuration')").fetchall()
    if not locked:
        connection.execute(f"set allowed_directories = ['{quoted(home.artifacts)}/']")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")


def _open_index(home: Home) -> duckdb.DuckDBPyConnection | None:
    if not up_to_date(home) and not ingest(home, wait=0.2):
        return None
    try:
        return duckdb.connect(str(home.database), read_only=True)
    except UNREADABLE:
        return None


def _open_files(home: Home) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(SCHEMA)
    for table in columns():
        if (select := committed_rows(home, table)) is not None:
            connection.execute(f"drop table {table}; create view {table} as {select}")
    return connection
