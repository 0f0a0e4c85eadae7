"""Answers questions of the catalogue. Imports neither torch nor mlflow, so answers come quickly."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from duckdb import DuckDBPyConnection

import queries
from pipelines.asking.checks import check_parameters, check_recorded
from pipelines.asking.formats import format_answer
from pipelines.asking.tables import as_table
from pipelines.common.flags import Parser, utf8
from pipelines.common.terminal import find_screen
from tracking.catalogue import TRAINED, Listing, read_listing, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

# parameters that refer to a run, and the kinds of run they accept
RUN_KINDS = {"run_id": TRAINED, "other_run_id": TRAINED, "compare_run": ("compare",)}
FULL_LINE = 90  # characters, above which a line of a header was broken and the sentence goes on in the next
COMPARABLE_KINDS = (*TRAINED, "explain", "compare")  # of which two runs can be compared


def ask(flags: argparse.Namespace, rest: list[str], home: Home) -> Iterator[str]:
    """Answer the question `flags.question`, whose parameters are flags in `rest`; without one, list the catalogue.

    Comes as text that a terminal may be given as it is, in pieces.
    """
    if flags.question is not None:
        try:
            values = _parse_parameters(flags.question, queries.header(flags.question), rest)
        except ValueError as error:
            raise InputError(str(error)) from None
        return _answer(flags.question, values, home, flags.format)
    is_help = rest in (["-h"], ["--help"])
    if rest and not is_help:
        raise InputError(f"no question given, but {' '.join(rest)}; `study ask` lists the questions")
    columns = ["query", "question"]
    catalogue = [(name, queries.header(name).question) for name in queries.NAMES]
    if is_help:
        return iter([flags.parser.format_help(), "\n", as_table(columns, catalogue, find_screen()), "\n"])
    return format_answer(flags.format, columns, [catalogue], find_screen(), is_whole=True)


def _answer(question: str, given: Mapping[str, str | None], home: Home, answer_format: str) -> Iterator[str]:
    with open_question(question, given, home) as (connection, values):
        result = connection.execute(*queries.prepare(connection, question, values))
        columns = [column for column, *_ in result.description]
        batches = queries.fetch_batches(result)
        is_whole = given.get("limit") is not None  # the user set how many rows
        yield from format_answer(answer_format, columns, batches, find_screen(), is_whole=is_whole)


@contextmanager
def open_question(
    question: str, given: Mapping[str, str | None], home: Home
) -> Iterator[tuple[DuckDBPyConnection, dict[str, str | None]]]:
    """A connection for a question, and the checked values of its parameters, for `queries.run`.

    Those `given` refer to runs as users do; where a run is needed and none is given, it is `latest`. Raises InputError
    on wrong values.
    """
    try:
        values = dict.fromkeys(queries.header(question).params) | dict(given)
        if "run_id" in values and values["run_id"] is None:
            values["run_id"] = "latest"
        listing = read_listing(home)
        values |= _resolve_runs(values, home, listing)
        run_ids = [run_id for name in RUN_KINDS if (run_id := values.get(name))]
        if not {run.run_id for run in listing.runs}.issuperset(run_ids):  # one was fetched from a server meanwhile
            listing = read_listing(home)
        connection = connect(home, run_ids=run_ids or None, sql=queries.text(question), listing=listing)
    except ValueError as error:
        raise InputError(str(error)) from None
    with connection:
        try:
            queries.prepare(connection, question, values)
        except ValueError as error:
            raise InputError(str(error)) from None
        check_recorded(connection, question, values.get("run_id"))
        check_parameters(connection, values)
        yield connection, values


def _parse_parameters(question: str, header: queries.Header, rest: list[str]) -> dict[str, str | None]:
    """The values of a query's parameters, None where a flag is not given."""
    width = max(map(len, header.returns))
    columns = "".join(f"\n  {name:{width}}  {doc}" for name, doc in header.returns.items())
    example = f"study ask {question} --run-id latest" if "run_id" in header.params else f"study ask {question}"
    parser = Parser(
        prog=f"study ask {question}",
        description=header.question,
        epilog=f"{join_lines(header.notes)}\n\ncolumns:{columns}\n\nexample:\n  {example} --format csv",
    )
    for name, param in header.params.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help=param.doc.replace("%", "%%"))
    flags = vars(parser.parse_args(rest))
    return {name: None if value is None else utf8(name, value) for name, value in flags.items()}


def join_lines(notes: str) -> str:
    """The notes of a header, whose lines were broken because they were full, as whole paragraphs."""
    text = ""
    for line in notes.splitlines():
        text += f"{line} " if len(line) > FULL_LINE and line[-1] not in ".:" else f"{line}\n"
    return text.strip()


def _resolve_runs(values: dict[str, str | None], home: Home, listing: Listing) -> dict[str, str]:
    """The IDs of the runs that parameters refer to. Raises InputError if two runs to compare are of different kinds."""
    compares_runs = "other_run_id" in values
    records = {}
    for name, reference in values.items():
        if name not in RUN_KINDS or reference is None:
            continue
        kinds = RUN_KINDS[name]
        # `latest` is the newest training even where runs are compared
        if compares_runs and kinds == TRAINED and reference != "latest":
            kinds = COMPARABLE_KINDS
        records[name] = resolve(home, reference, kinds, listing)

    run = records.get("run_id")
    other_run = records.get("other_run_id")
    if run and other_run and run.kind != other_run.kind:
        raise InputError(
            f"run {run.run_id[:8]} is of kind {run.kind}, run {other_run.run_id[:8]} of kind {other_run.kind}; give "
            "two of one kind"
        )
    return {name: record.run_id for name, record in records.items()}
