"""Answers questions of the catalogue. Imports neither torch nor mlflow, so answers come quickly."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from duckdb import DuckDBPyConnection

import queries
from pipelines.asking.checks import check_parameters, check_recorded
from pipelines.asking.formats import format_answer
from pipelines.asking.tables import as_table
from pipelines.common.flags import Parser, utf8
from pipelines.common.terminal import find_screen, say
from queries import Batch
from tracking.catalogue import TRAINED, WITH_CHECKPOINTS, Listing, RunRecord, read_listing, resolve_all
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

if TYPE_CHECKING:
    import pyarrow

# parameters that refer to a run, and the kinds of run they accept
RUN_KINDS = {"run_id": TRAINED, "other_run_id": TRAINED, "compare_run": ("compare",)}
FULL_LINE = 90  # characters, above which a line of a header was broken and the sentence continues in the next
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
    with open_question(question, given, home) as opened:
        columns, batches = opened.fetch()
        is_whole = given.get("limit") is not None  # the user set how many rows
        yield from format_answer(answer_format, columns, batches, find_screen(), is_whole=is_whole)


@dataclass(frozen=True)
class OpenQuestion:
    """A question about a run, or about each run of a group of seeds, ready to be answered."""

    connection: DuckDBPyConnection
    name: str
    runs: Sequence[dict[str, str | None]]  # checked values of the parameters, for `queries.run`, per run
    seeds: Sequence[int | None] | None  # of the runs; None if the question is not asked of a group, or of all at once

    def fetch(self) -> tuple[list[str], Iterator[Batch]]:
        """The columns of the answer, and its rows as they come."""
        if self.seeds is not None and queries.header(self.name).over_seeds:
            table = queries.run_over_seeds(self.connection, self.name, self.runs)
            return table.column_names, iter([list(zip(*table.to_pydict().values(), strict=True))])
        if self.seeds is None:
            result = self.connection.execute(*queries.prepare(self.connection, self.name, self.runs[0]))
            return [column for column, *_ in result.description], queries.fetch_batches(result)
        batches = (
            [(seed, *row) for row in queries.run(self.connection, self.name, values).rows]
            for seed, values in zip(self.seeds, self.runs, strict=True)
        )
        return ["seed", *queries.header(self.name).returns], batches

    def to_table(self) -> pyarrow.Table:
        """The answer as an Arrow table."""
        if self.seeds is not None and queries.header(self.name).over_seeds:
            return queries.run_over_seeds(self.connection, self.name, self.runs)
        tables = [queries.run_to_table(self.connection, self.name, values) for values in self.runs]
        if self.seeds is None:
            return tables[0]
        import pyarrow

        seeds = zip(self.seeds, tables, strict=True)
        columns = [pyarrow.array([seed] * len(table), pyarrow.int64()) for seed, table in seeds]
        return pyarrow.concat_tables(
            table.add_column(0, "seed", column) for table, column in zip(tables, columns, strict=True)
        )


@contextmanager
def open_question(question: str, given: Mapping[str, str | None], home: Home) -> Iterator[OpenQuestion]:
    """A question, with a connection and the checked values of its parameters.

    Those `given` refer to runs and groups as users do; where a run is needed and none is given, it is `latest`. Raises
    InputError on wrong values.
    """
    try:
        values = dict.fromkeys(queries.header(question).params) | dict(given)
        if "run_id" in values and values["run_id"] is None:
            values["run_id"] = "latest"
        listing = read_listing(home)
        takes_several = queries.header(question).takes_several
        records = _resolve_runs(values, home, listing)
        groups = [name for name, named in records.items() if any(one.seed_group == values[name] for one in named)]
        combined = combine_runs(records, () if takes_several else groups)
        run_ids = {record.run_id for named in records.values() for record in named}
        if not {run.run_id for run in listing.runs}.issuperset(run_ids):  # one was fetched from a server meanwhile
            listing = read_listing(home)
        connection = connect(home, run_ids=run_ids or None, sql=queries.text(question), listing=listing)
    except ValueError as error:
        raise InputError(str(error)) from None
    single_runs = [values | {name: record.run_id for name, record in one.items()} for one in combined]
    joined = {name: ",".join(record.run_id for record in named) for name, named in records.items()}
    runs = [values | joined] if takes_several else single_runs
    seeds = [one[groups[0]].seed for one in combined] if groups and not takes_several else None
    with connection:
        try:
            for one in runs:
                queries.prepare(connection, question, one)
        except ValueError as error:
            raise InputError(str(error)) from None
        for one in single_runs:
            check_recorded(connection, question, one.get("run_id"))
            check_parameters(connection, one)
        yield OpenQuestion(connection, question, runs, seeds)


def _parse_parameters(question: str, header: queries.Header, rest: list[str]) -> dict[str, str | None]:
    """The values of a query's parameters, None where a flag is not given."""
    width = max(map(len, header.returns))
    columns = "".join(f"\n  {name:{width}}  {doc}" for name, doc in header.returns.items())
    example = f"study ask {question} --run-id latest" if "run_id" in header.params else f"study ask {question}"
    parser = Parser(
        prog=f"study ask {question}",
        description=header.question,
        epilog=f"{join_lines(header.notes)}\n\n{describe_seeds(header)}columns:{columns}\n\n"
        f"example:\n  {example} --format csv",
    )
    for name, param in header.params.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help=param.doc.replace("%", "%%"))
    flags = vars(parser.parse_args(rest))
    return {name: None if value is None else utf8(name, value) for name, value in flags.items()}


def describe_seeds(header: queries.Header) -> str:
    """What the answer about a group of seeds is; empty of a question about no run."""
    if "run_id" not in header.params:
        return ""
    if header.takes_several:
        return "Of a group of seeds, all runs count.\n\n"
    if header.over_seeds is None:
        both = " Two groups are compared seed by seed." if "other_run_id" in header.params else ""
        return f"Of a group of seeds: the rows of each run, with a column seed in front.{both}\n\n"
    return (
        f"Of a group of seeds: per {', '.join(header.over_seeds.keys)} the means over seeds of "
        f"{', '.join(header.over_seeds.means)}, each with its standard deviation beside it (NAME_sd), and n_seeds, the "
        "number of seeds that have the row.\n\n"
    )


def join_lines(notes: str) -> str:
    """The notes of a header, whose lines were broken because they were full, as whole paragraphs."""
    text = ""
    for line in notes.splitlines():
        text += f"{line} " if len(line) > FULL_LINE and line[-1] not in ".:" else f"{line}\n"
    return text.strip()


def _resolve_runs(values: dict[str, str | None], home: Home, listing: Listing) -> dict[str, list[RunRecord]]:
    """The runs that parameters refer to: several for a group of seeds.

    Raises InputError if two runs to compare are of different kinds.
    """
    compares_runs = "other_run_id" in values
    records: dict[str, list[RunRecord]] = {}
    for name, reference in values.items():
        if name not in RUN_KINDS or reference is None:
            continue
        kinds = RUN_KINDS[name]
        # `latest` is the newest training even where runs are compared
        if compares_runs and kinds == TRAINED and reference != "latest":
            kinds = COMPARABLE_KINDS
        records[name] = resolve_all(home, reference, kinds, listing)

    run = next(iter(records.get("run_id", ())), None)
    other_run = next(iter(records.get("other_run_id", ())), None)
    trains = [one.kind in WITH_CHECKPOINTS for one in (run, other_run) if one]
    if run and other_run and run.kind != other_run.kind and not all(trains):
        raise InputError(
            f"run {run.run_id[:8]} is of kind {run.kind}, run {other_run.run_id[:8]} of kind {other_run.kind}; give "
            "two of one kind"
        )
    return records


def combine_runs(records: dict[str, list[RunRecord]], groups: Sequence[str]) -> list[dict[str, RunRecord]]:
    """The runs that each asking is about: all combinations; where two parameters name `groups`, those of one seed.

    Says which seeds only one of the groups has. Raises InputError if they have none in common.
    """
    combinations = [dict(zip(records, chosen, strict=True)) for chosen in product(*records.values())]
    if len(groups) < 2:
        return combinations
    seeds = [{record.seed for record in records[name] if record.seed is not None} for name in groups]
    common = set.intersection(*seeds)
    alone = sorted(set.union(*seeds) - common)
    if not common:
        raise InputError("the two groups have no seed in common; name a run of each")
    if alone:
        say(f"left out, as only one of the groups has them: seeds {', '.join(map(str, alone))}")
    return [one for one in combinations if any(all(one[name].seed == seed for name in groups) for seed in common)]
