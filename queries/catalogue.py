"""The catalogue: reads a query's header, checks the values of its parameters, and runs it.

`run` fills in defaults and turns class names into class IDs; the SQL of a file takes only IDs.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from queries.classes import find_classes

if TYPE_CHECKING:
    import pyarrow
    from duckdb import DuckDBPyConnection

FOLDER = Path(__file__).parent
INTERNAL = FOLDER / "internal"  # queries of the program itself, not part of the catalogue
NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.sql")))
MAX_INTEGER = 2**31 - 1  # of SQL's type integer
BATCH_ROWS = 10_000
Batch = Sequence[tuple]  # consecutive rows of an answer
Value = str | int | float | None  # of a parameter; None is SQL's null


@dataclass(frozen=True)
class Param:
    """A parameter, as its line in the header describes it."""

    doc: str
    default: str | None  # None is SQL's null
    required: bool


@dataclass(frozen=True)
class OverSeeds:
    """How answers about runs that differ only in their seed become one: rows with equal keys become their mean."""

    keys: tuple[str, ...]  # columns that say what a row is about
    means: dict[str, bool]  # columns that have a mean over seeds, and whether it is 0 in a run without the row
    order: str  # of the rows, as behind `order by`

    @property
    def columns(self) -> list[str]:
        """Those of the answer."""
        return [*self.keys, *(part for column in self.means for part in (column, f"{column}_sd")), "n_seeds"]


@dataclass(frozen=True)
class Header:
    """The header comment of a query; the documentation of `params` and of the columns in `returns` by name."""

    question: str
    notes: str
    params: dict[str, Param]
    returns: dict[str, str]
    over_seeds: OverSeeds | None = None  # None: the rows of each run, one run after the other
    takes_several: bool = False  # whether $run_id and $other_run_id hold the IDs of several runs, with commas between


@dataclass(frozen=True)
class Answer:
    """The rows that answer a question."""

    columns: list[str]
    rows: list[tuple]

    @property
    def dicts(self) -> list[dict]:
        """The rows as dicts by column name; repeated names are numbered."""
        names = unique_names(self.columns)
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def unique_names(columns: Sequence[str]) -> list[str]:
    """Column names with repeated ones numbered: name, name_2, ... Names are case-insensitive, as in SQL."""
    taken = {column.casefold() for column in columns}
    seen = set()
    names = []
    for column in columns:
        name = column
        if column.casefold() in seen:
            number = 2
            while f"{column}_{number}".casefold() in taken:
                number += 1
            name = f"{column}_{number}"
            taken.add(name.casefold())
        seen.add(column.casefold())
        names.append(name)
    return names


def text(name: str) -> str:
    """The SQL of a query."""
    if name not in NAMES:
        [nearest] = difflib.get_close_matches(name, NAMES, n=1, cutoff=0)
        raise ValueError(f"no query named {name!r}; nearest: {nearest}; `study ask` lists them")
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def internal_text(name: str) -> str:
    """The SQL of an internal query."""
    return (INTERNAL / f"{name}.sql").read_text(encoding="utf-8")


def header(name: str) -> Header:
    """The header of a query: its question, notes, parameters and columns."""
    return parse_header(text(name))


def parse_header(sql: str) -> Header:
    """The header at the top of a query's SQL: the question, notes, then `params:` if there are any, and `returns:`.

    Above `params:` may stand `seeds:`, with `means:` and `order:` unless it is `together`.
    """
    comment = takewhile(lambda line: line.startswith("--"), sql.splitlines())
    lines = [line[2:].removeprefix(" ").rstrip() for line in comment]
    returns_at = lines.index("returns:")
    params_at = lines.index("params:") if "params:" in lines else returns_at
    several = dict(line.split(": ", 1) for line in lines[:params_at] if re.match("(seeds|means|order): ", line))
    prose = "\n".join(line for line in lines[:params_at] if line.partition(":")[0] not in several).strip()
    question, _, notes = prose.partition("\n\n")
    params = _parse_entries(lines[params_at + 1 : returns_at])
    return Header(
        question=question.replace("\n", " "),
        notes=notes.strip(),
        params={name: _parse_param(doc) for name, doc in params.items()},
        returns=_parse_entries(lines[returns_at + 1 :]),
        over_seeds=_parse_over_seeds(several) if "means" in several else None,
        takes_several=several.get("seeds") == "together",
    )


def _parse_over_seeds(lines: dict[str, str]) -> OverSeeds:
    """From `seeds: KEYS`, `means: COLUMNS`, where n=0 says that a run without the row has 0, and `order: COLUMNS`."""
    keys = lines["seeds"].split()
    means = [column.partition("=") for column in lines["means"].split()]
    return OverSeeds(
        tuple(keys), {column: value == "0" for column, _, value in means}, lines.get("order") or ", ".join(keys)
    )


def _parse_entries(lines: list[str]) -> dict[str, str]:
    """`  name   doc` lines as a dict; a line that is indented further continues the doc above it."""
    docs: dict[str, str] = {}
    for line in lines:
        entry = re.fullmatch(r" {2}(\w+) +(.+)", line)
        if entry:
            name, doc = entry.groups()
            docs[name] = doc
        else:
            docs[name] += " " + line.strip()
    return docs


def _parse_param(doc: str) -> Param:
    """A parameter from its line: `[test]` at the end is its default, `[null: meaning]` is null."""
    bracket = re.search(r"\[(.+)\]$", doc)
    if not bracket:
        return Param(doc, default=None, required=True)
    default = bracket[1]
    if re.match(r"null\b", default):
        return Param(doc, default=None, required=False)
    return Param(doc, default, required=False)


def run(connection: DuckDBPyConnection, name: str, values: Mapping[str, Value]) -> Answer:
    """Answer a query; a value of None stands for the parameter's default. Raises ValueError on wrong values."""
    result = connection.execute(*prepare(connection, name, values))
    return Answer([column for column, *_ in result.description], result.fetchall())


def run_to_table(connection: DuckDBPyConnection, name: str, values: Mapping[str, Value]) -> pyarrow.Table:
    """The same answer as an Arrow table, which has the types of its columns even without rows."""
    sql, parameters = prepare(connection, name, values)
    return connection.sql(sql, params=parameters).to_arrow_table()


def run_over_seeds(connection: DuckDBPyConnection, name: str, runs: Sequence[Mapping[str, Value]]) -> pyarrow.Table:
    """The means of a query's answers about runs that differ only in their seed, each with the values of its parameters.

    Every averaged column has its sample standard deviation beside it, which is null with one seed, and n_seeds says how
    many runs have the row. A parameter `limit` counts these rows.
    """
    import duckdb

    over = header(name).over_seeds
    assert over is not None, f"{name} has no means over seeds"
    limit = _complete_values(name, runs[0]).get("limit") if "limit" in header(name).params else None
    unlimited = {} if limit is None else {"limit": MAX_INTEGER}
    answers = duckdb.connect()
    for place, values in enumerate(runs):
        answers.register(f"answer_{place}", run_to_table(connection, name, {**values, **unlimited}))
    rows = " union all ".join(f"select {place} as place, * from answer_{place}" for place in range(len(runs)))
    selected = [f'"{key}"' for key in over.keys]
    for column, is_zero_without in over.means.items():
        numbers = f'list("{column}"::double order by place)'
        if is_zero_without:
            numbers = f"list_resize({numbers}, {len(runs)}, 0)"
        selected += [f'list_avg({numbers}) as "{column}"', f'list_stddev_samp({numbers}) as "{column}_sd"']
    keys = ", ".join(selected[: len(over.keys)])
    means = f"select {', '.join(selected)}, count(*) as n_seeds from ({rows}) group by {keys}"
    shown = MAX_INTEGER if limit is None else _to_integer("limit", limit)
    return answers.sql(f"from ({means}) order by {over.order}, {keys} limit {shown}").to_arrow_table()


def fetch_batches(result: DuckDBPyConnection) -> Iterator[Batch]:
    """The rows of what a connection executed, as they come. Closes it before the last rows are used."""
    rows = result.fetchmany(BATCH_ROWS)
    while len(rows) == BATCH_ROWS:
        yield rows
        rows = result.fetchmany(BATCH_ROWS)
    result.close()  # so that nobody waits for the index while an answer is read
    yield rows


def prepare(connection: DuckDBPyConnection, name: str, values: Mapping[str, Value]) -> tuple[str, dict[str, Value]]:
    """The SQL of a query and the values of its parameters, to be executed. Raises ValueError on wrong values."""
    sql = text(name)
    parameters = _complete_values(name, values)
    for key in set(re.findall(r"\$(\w+)::integer", sql)):
        parameters[key] = _to_integer(key, parameters[key])
    for key in set(re.findall(r"\$(\w+)::double", sql)):
        parameters[key] = _to_float(key, parameters[key])
    if parameters.get("classes") is not None:
        first_run, *_ = str(parameters["run_id"]).split(",")
        parameters["classes"] = _find_class_ids(connection, first_run, str(parameters["classes"]))
    return sql, parameters


def execute(connection: DuckDBPyConnection, name: str, values: Mapping[str, object]) -> DuckDBPyConnection:
    """Run an internal query with exactly the parameters it names; returns the connection, to fetch its rows."""
    return connection.execute(internal_text(name), values)


def execute_to_batches(
    connection: DuckDBPyConnection, name: str, values: Mapping[str, object], rows: int = 100_000
) -> pyarrow.RecordBatchReader:
    """The rows of an internal query in batches of about `rows`: an answer that memory does not hold, or a table."""
    return connection.sql(internal_text(name), params=dict(values)).to_arrow_reader(rows)


def _complete_values(name: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """A value for every parameter of the query: its own, or the default."""
    params = header(name).params
    unknown = sorted(set(values) - set(params))
    if unknown:
        raise ValueError(f"{name} has no parameter {unknown[0]!r}; it takes: {', '.join(params) or 'none'}")
    completed: dict[str, Value] = {}
    for key, param in params.items():
        value = values.get(key)
        if value is None and param.required:
            raise ValueError(f"{name} needs {key}: {param.doc}")
        completed[key] = param.default if value is None else value
    return completed


def _to_integer(key: str, value: Value) -> int | None:
    """The value of an integer parameter, all of which are epochs or counts of rows or images."""
    if value is None:
        return None
    if not re.fullmatch(r"\d+", str(value).strip(), re.ASCII) or int(value) > MAX_INTEGER:
        raise ValueError(f"{key} must be a whole number from 0 to {MAX_INTEGER}, not {value!r}")
    return int(value)


def _to_float(key: str, value: Value) -> float | None:
    """The value of a parameter that is a similarity or a fraction."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key} must be a number such as 0.8, not {value!r}")
    return number


def _find_class_ids(connection: DuckDBPyConnection, run_id: Value, wanted: str) -> str:
    """A comma-separated list of class names or IDs as one of IDs."""
    sql = "select class_id, name from classes where run_id = ? order by class_id"
    names = dict(connection.execute(sql, [run_id]).fetchall())
    if not names:
        raise ValueError(f"no class {wanted!r}; there are: none, as there is no run {run_id!r}")
    return ",".join(map(str, find_classes(wanted, names)))
