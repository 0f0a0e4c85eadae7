"""The process that runs the query of `study sql`. Its request comes on standard input; when that closes, it ends."""

import io
import json
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import duckdb

from pipelines.asking.formats import format_answer
from pipelines.asking.sql import ANSWERED, ARROW, NO_MEMORY
from pipelines.common.terminal import Screen
from queries import fetch_batches
from tracking.errors import InputError, from_outside
from tracking.home import Home
from tracking.reading import connect

PREAMBLE = r"(?:\s|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*"  # what may stand before a statement
FIRST_WORD = re.compile(rf"{PREAMBLE}(\w*)", re.DOTALL)
EXPLAIN = re.compile(rf"{PREAMBLE}explain\b\s*(analyze\b|\([^)]*\))?", re.IGNORECASE | re.DOTALL)
READ_KINDS = ("SELECT", "MULTI")  # kinds of statement that read; MULTI is pivot
CALL_KINDS = ("CALL", "PRAGMA")  # read-only if written as such; DuckDB turns import and checkpoint into calls too
MAX_NESTING = 500  # levels of brackets; DuckDB evaluates 1000
STATUS_FILE = Path("/proc/self/status")
MEMORY_POLL_INTERVAL = 0.05  # seconds


def main() -> NoReturn:
    """Send `{}` once the tables are open, then the answer's pieces, each after a line with its size, then `{}`.

    An error may be sent instead of any of them.
    """
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _answer(request)
    except (MemoryError, duckdb.OutOfMemoryException):
        os._exit(NO_MEMORY)
    except InputError as error:
        _send({"input_error": str(error)})
    except Exception as error:
        reason = from_outside(error)
        if reason is None:
            raise
        _send({"run_error": reason})
    os._exit(ANSWERED)  # saves the time that closing takes


def _answer(request: dict[str, Any]) -> None:
    connection = connect(Home(Path(request["home"])), request["memory"], sql=request["query"], is_free=True)
    _send({})
    _limit_memory(request["memory"])
    if request["format"] == ARROW:
        _send_piece(fetch_arrow(connection, request["query"]))
    else:
        screen = Screen(**request["screen"]) if request["screen"] else None
        with executed(connection, request["query"]) as result:
            columns = [column for column, *_ in result.description or []]
            for text in format_answer(request["format"], columns, fetch_batches(result), screen):
                _send_piece(text.encode())
    _send({})


def _send(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def _send_piece(piece: bytes) -> None:
    sys.stdout.buffer.write(json.dumps({"size": len(piece)}).encode() + b"\n")
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing more is sent, so it returns when the parent is gone
    os._exit(1)


def _limit_memory(gigabytes: int) -> None:
    """Limit the memory used from now on, by DuckDB, the rows in Python and the answer's text together."""
    try:
        import resource
    except ImportError:  # as on Windows, where DuckDB's own memory limit is the only one
        return
    max_bytes = _peak_memory() + gigabytes * 10**9
    threading.Thread(target=_watch_memory, args=(max_bytes,), daemon=True).start()
    if STATUS_FILE.exists():  # Linux, where this limit counts all writable memory of a process
        [kilobytes] = re.findall(r"VmData:\s*(\d+)", STATUS_FILE.read_text())
        limit = 1024 * int(kilobytes) + gigabytes * 10**9
        _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
        if hard_limit != resource.RLIM_INFINITY:
            limit = min(limit, hard_limit)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _watch_memory(max_bytes: int) -> None:
    while _peak_memory() <= max_bytes:
        time.sleep(MEMORY_POLL_INTERVAL)
    os._exit(NO_MEMORY)


def _peak_memory() -> int:
    """The most memory that this process has used so far, in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fetch_arrow(connection: duckdb.DuckDBPyConnection, query: str) -> bytes:
    """The answer as a stream of Arrow's IPC format. Raises InputError as `executed` does."""
    from pyarrow import ipc

    with executed(connection, query) as result, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DuckDB's, that rows are copied once more
        table = result.to_arrow_table()
    assert table is not None, "what is read has columns"
    buffer = io.BytesIO()
    with ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue()


@contextmanager
def executed(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A query's result, to be fetched in the block. Raises InputError if it is wrong or does more than read."""
    _check_nesting(query)
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise InputError(f"give one SQL statement, not {len(statements)}")
        _check_reads(connection, statements[0])
        connection.execute("begin transaction read only")  # even a select may call what writes
        yield connection.execute(statements[0])
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        message = str(error).split("\n\nLINE")[0]  # without the excerpt of the query
        if isinstance(error, duckdb.CatalogException):
            message += '; `study sql "show tables"` lists the tables'
        raise InputError(message) from None
    except (ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a value of the answer does not fit ({error}); convert it to text: value::varchar") from None


def _check_nesting(query: str) -> None:
    """Raise InputError on brackets nested so deeply that DuckDB's parser would not return."""
    depth = 0
    for character in query:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if depth > MAX_NESTING:
            raise InputError(f"the SQL has over {MAX_NESTING} brackets nested in each other; simplify it")


def _check_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Raise InputError if a statement does more than read, as `copy` could overwrite the runs' own files."""
    kind = _kind(statement)
    if kind == "EXPLAIN":  # with `analyze` it executes what it explains
        inner = EXPLAIN.sub("", statement.query, count=1)
        statement = connection.extract_statements(inner)[0]
        kind = _kind(statement)
    word = next(FIRST_WORD.finditer(statement.query))[1]  # empty if it begins with punctuation
    is_written_call = kind in CALL_KINDS and word.upper() == kind
    if kind not in READ_KINDS and not is_written_call:
        raise InputError(
            f"`study sql` is read-only and takes no {word.lower()} statement; ask with select, from, with, describe, "
            "summarize, show, pivot, pragma, call or explain"
        )


def _kind(statement: duckdb.Statement) -> str | None:
    """The kind of a statement; None if DuckDB's Python module has no name for it."""
    try:
        return statement.type.name
    except ValueError:
        return None
