"""The process in which `study sql` asks. Its settings come by standard input; when that is closed, it ends."""

import json
import os
import re
import sys
import threading
import time
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import duckdb

from pipelines.asking.formats import FORMATS
from pipelines.asking.sql import ANSWERED, NO_MEMORY
from tracking.errors import InputError, from_outside
from tracking.home import Home
from tracking.reading import connect

BEFORE = r"(?:\s|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*"  # what may stand before a statement
WORD = re.compile(rf"{BEFORE}(\w*)", re.DOTALL)
EXPLAIN = re.compile(rf"{BEFORE}explain\b\s*(analyze\b|\([^)]*\))?", re.IGNORECASE | re.DOTALL)
READS = ("SELECT", "MULTI")  # kinds of statement; MULTI is pivot
CALLS = ("CALL", "PRAGMA")  # they read where they are written as such; import and checkpoint become calls too
DEEPEST = 500  # brackets in one another; DuckDB evaluates 1000
STATUS = Path("/proc/self/status")
LOOKED = 0.05  # seconds from one look at the memory taken to the next


def main() -> NoReturn:
    """Say `{}` once the tables are open, and once there is an answer, then give it; or say what is wrong."""
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _answer(**asked)
    except (MemoryError, duckdb.OutOfMemoryException):
        os._exit(NO_MEMORY)
    except InputError as error:
        _say({"wrong": str(error)})
    except Exception as error:
        if (reason := from_outside(error)) is None:
            raise
        _say({"failed": reason})
    os._exit(ANSWERED)  # without the time that closing takes


def _answer(home: str, query: str, memory: int, form: str) -> None:
    connection = connect(Home(Path(home)), memory)
    _say({})
    _limit_memory(memory)
    columns, rows = rows_of(connection, query)
    text = f"{FORMATS[form](columns, rows)}\n".encode()
    _say({})
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _say(message: dict[str, str]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing comes any more; it returns when the parent is gone
    os._exit(1)


def _limit_memory(gigabytes: int) -> None:
    """Limit the memory taken from now on, whatever allocates it: DuckDB, its answer in Python, or the answer's text."""
    try:
        import resource
    except ImportError:  # as on Windows, where DuckDB's own memory limit is the only one
        return
    threading.Thread(target=_watch_memory, args=(_peak() + gigabytes * 1e9,), daemon=True).start()
    if STATUS.exists():  # Linux, where this limit counts all that a process can write to
        taken = 1024 * int(re.findall(r"VmData:\s*(\d+)", STATUS.read_text())[0])
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = taken + gigabytes * 10**9
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _watch_memory(most: float) -> None:
    while _peak() <= most:
        time.sleep(LOOKED)
    os._exit(NO_MEMORY)


def _peak() -> int:
    """The most memory that this process has taken, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows. Raises InputError on a query that is wrong, or does more than read."""
    _check_depth(query)
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise InputError(f"give one SQL statement, not {len(statements)}")
        _check_reads(connection, statements[0])
        connection.execute("begin transaction read only")  # what reads by its kind may write inside
        result = connection.execute(statements[0])
        return [column for column, *_ in result.description or []], result.fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise InputError(_explained(error)) from None
    except (ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a value of the answer does not fit ({error}); make it a text: value::varchar") from None


def _check_depth(query: str) -> None:
    """Raise InputError on brackets in brackets so deep that DuckDB's parser would not come back."""
    depths = accumulate({"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0) for character in query)
    if max(depths, default=0) > DEEPEST:
        raise InputError(f"the SQL has over {DEEPEST} brackets in one another; simplify it")


def _check_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Raise InputError on a statement that does more than read, as `copy` could to the runs' own files."""
    kind, word = _kind(statement), _first_word(statement)
    if kind == "EXPLAIN":  # with `analyze` it does what it explains
        inner = EXPLAIN.sub("", statement.query, count=1)
        statement = connection.extract_statements(inner)[0]
        kind, word = _kind(statement), _first_word(statement)
    if kind not in READS and not (kind in CALLS and word.upper() == kind):
        raise InputError(
            f"`study sql` is read-only and takes no {word.lower()} statement; ask with select, from, with, describe, "
            "summarize, show, pivot, pragma, call or explain"
        )


def _first_word(statement: duckdb.Statement) -> str:
    """The word a statement begins with; empty where it begins with a sign."""
    return next(WORD.finditer(statement.query))[1]


def _kind(statement: duckdb.Statement) -> str | None:
    """The kind of a statement; None for one that DuckDB has and its Python module has no name for."""
    try:
        return statement.type.name
    except ValueError:
        return None


def _explained(error: duckdb.Error) -> str:
    """DuckDB's message up to the place in the query, and what there is to ask for."""
    message = str(error).split("\n\nLINE")[0]
    if isinstance(error, duckdb.CatalogException):
        message += '; `study sql "show tables"` lists the tables'
    return message
