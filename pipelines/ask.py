"""Asking: the catalogue of queries and free SQL. Imports neither torch nor mlflow, so answers come quickly."""

import argparse
import os
import re
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

import duckdb

import queries
from pipelines.answers import FORMATS
from pipelines.asked import check_parameters
from pipelines.flags import Parser, utf8
from pipelines.settings import RebuildSettings, SqlSettings
from tracking.catalogue import TRAINED, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import rebuild as rebuild_index
from tracking.reading import connect

EXPLAIN = re.compile(
    r"^(\s|--[^\n]*\n|/\*.*?\*/)*explain\b\s*(analyze\b|\([^)]*\))?", re.IGNORECASE | re.DOTALL
)  # with comments before it
DEEPEST = 500  # brackets in one another; DuckDB evaluates 1000
FETCHED = 10_000  # rows at a time
READS = ("SELECT", "MULTI", "PRAGMA", "CALL")  # kinds of statement; MULTI is pivot
# parameters that mean a run, and the kinds of run they take
RUNS = {"run_id": TRAINED, "other_run_id": TRAINED, "compare_run": ("compare",)}
COMPARED = (*TRAINED, "explain", "compare")  # kinds that two runs to compare may have


def ask(flags: argparse.Namespace, rest: list[str], home: Home) -> str:
    """Answer the question `flags.question`, its parameters as flags in `rest`; or list the catalogue."""
    form = FORMATS[flags.format]
    if flags.question is None:
        if rest in (["-h"], ["--help"]):
            return flags.parser.format_help()
        if rest:
            raise InputError(f"no question given, but {' '.join(rest)}; `study ask` lists the questions")
        return form(["query", "question"], [(name, queries.header(name).question) for name in queries.NAMES])
    try:
        known = queries.header(flags.question)
        values = _parameters(flags.question, known, rest)
        values |= _run_ids(values, home)
        with connect(home) as connection:
            answer = queries.run(connection, flags.question, values)
            check_parameters(connection, values)
    except ValueError as error:
        raise InputError(str(error)) from None
    return form(answer.columns, answer.rows)


def sql(settings: SqlSettings, home: Home) -> str:
    """Answer any SQL that only reads, within the limits of time and memory."""
    _check_depth(settings.query)
    with connect(home, settings.memory) as connection, _stopped_after(settings.seconds, connection):
        try:
            statements = connection.extract_statements(settings.query)
            if len(statements) != 1:
                raise InputError(f"give one SQL statement, not {len(statements)}")
            _check_reads(connection, statements[0])
            result = connection.execute(statements[0])
            columns = [column for column, *_ in result.description or []]
            return FORMATS[settings.format](columns, _fetched(result, settings.memory))
        except duckdb.InterruptException:
            raise InputError(f"stopped after {settings.seconds} s; narrow it, or allow more: --seconds") from None
        except (duckdb.OutOfMemoryException, MemoryError):
            raise InputError(f"stopped at {settings.memory} GB; narrow it, or allow more: --memory") from None
        except duckdb.Error as error:
            raise InputError(_explained(error)) from None


def _check_depth(query: str) -> None:
    """Raise InputError on brackets in brackets so deep that DuckDB's parser would not come back."""
    depths = accumulate({"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0) for character in query)
    if max(depths, default=0) > DEEPEST:
        raise InputError(f"the SQL has over {DEEPEST} brackets in one another; simplify it")


def _fetched(result: duckdb.DuckDBPyConnection, memory: int) -> list[tuple]:
    """All rows; a MemoryError where they take more than `memory` GB, which DuckDB's own limit does not count."""
    before, rows = _peak(), []
    while part := result.fetchmany(FETCHED):
        rows += part
        if _peak() - before > memory * 1e9:
            raise MemoryError
    return rows


def _peak() -> int:
    """The most memory that this process has taken, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def _stopped_after(seconds: int, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Raise InputError on a statement that does more than read, as `copy` could to the runs' own files."""
    kind = statement.type.name
    if kind == "EXPLAIN":  # with `analyze` it does what it explains
        inner = EXPLAIN.sub("", statement.query, count=1)
        kind = connection.extract_statements(inner)[0].type.name
    if kind not in READS:
        raise InputError(
            f"`study sql` is read-only and takes no {kind.lower()} statement; ask with select, from, with, describe, "
            "summarize, show, pivot, pragma, call or explain"
        )


def rebuild(settings: RebuildSettings, home: Home) -> str:
    """Make the index again, with a MLflow server's runs where one is in use; returns where it lies."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        from tracking.remote import fetch  # brings mlflow, which asking does without

        fetch(home)
    rebuild_index(home)
    return str(home.database)


def _parameters(question: str, known: queries.Header, rest: list[str]) -> dict[str, str | None]:
    """A query's own parameters from flags; `latest` where a run is needed and none is given."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog=f"study ask {question}", description=known.question, epilog=known.notes, formatter_class=layout
    )
    for name, param in known.params.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help=param.doc.replace("%", "%%"))
    given = vars(parser.parse_args(rest)).items()
    values = {name: value if value is None else utf8(name, value) for name, value in given}
    if "run_id" in values and values["run_id"] is None:
        values["run_id"] = "latest"
    return values


def _run_ids(values: dict[str, str | None], home: Home) -> dict[str, str]:
    """The IDs of the runs that parameters mean. Raises InputError where two runs to compare are of different kinds."""
    asked = {name: reference for name, reference in values.items() if name in RUNS and reference is not None}
    two = "other_run_id" in values
    found = {name: resolve(home, reference, _kinds(name, reference, two)) for name, reference in asked.items()}
    one, other = found.get("run_id"), found.get("other_run_id")
    if one and other and one.kind != other.kind:
        kinds = f"run {one.run_id[:8]} is of kind {one.kind}, run {other.run_id[:8]} of kind {other.kind}"
        raise InputError(f"{kinds}; give two of one kind")
    return {name: record.run_id for name, record in found.items()}


def _kinds(name: str, reference: str, two: bool) -> tuple[str, ...]:
    """Kinds of run that a parameter takes; `latest` is the newest training also where two runs are compared."""
    return COMPARED if two and RUNS[name] == TRAINED and reference != "latest" else RUNS[name]


def _explained(error: duckdb.Error) -> str:
    """DuckDB's message up to the place in the query, and what there is to ask for."""
    message = str(error).split("\n\nLINE")[0]
    if isinstance(error, duckdb.CatalogException):
        message += '; `study sql "show tables"` lists the tables'
    return message
