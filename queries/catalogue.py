"""The catalogue: reading a query's header, checking the values it is given, and running it.

`run` fills in defaults and turns class names into class ids; a file on its own takes ids alone.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from queries.classes import find_classes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path(__file__).parent
INTERNAL = FOLDER / "internal"  # what the program asks for itself; no part of the catalogue
NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.sql")))
LARGEST = 2**31 - 1  # what an SQL integer holds
Value = str | int | float | None  # of a parameter; None is SQL's null


@dataclass(frozen=True)
class Param:
    doc: str
    default: str | None  # None is SQL's null
    required: bool


@dataclass(frozen=True)
class Header:
    question: str
    notes: str
    params: dict[str, Param]
    returns: dict[str, str]


@dataclass(frozen=True)
class Answer:
    columns: list[str]
    rows: list[tuple]

    @property
    def dicts(self) -> list[dict]:
        """The rows by column name; a name that comes again is numbered."""
        names = unique_names(self.columns)
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def unique_names(columns: Sequence[str]) -> list[str]:
    """Column names without repetition: name, name_2, ... Case does not tell names apart, as it does not in SQL."""
    taken, seen, names = {column.casefold() for column in columns}, set(), []
    for column in columns:
        name = column
        if column.casefold() in seen:
            name = next(name for n in count(2) if (name := f"{column}_{n}").casefold() not in taken)
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
    """What a query's header comment says: its question, notes, parameters and columns."""
    return parse_header(text(name))


def parse_header(sql: str) -> Header:
    """The same of SQL."""
    comment = takewhile(lambda line: line.startswith("--"), sql.splitlines())
    lines = [line[2:].removeprefix(" ").rstrip() for line in comment]
    prose, params, returns = _split_sections(lines)
    question, _, notes = "\n".join(prose).strip().partition("\n\n")
    return Header(
        question=question.replace("\n", " "),
        notes=notes.strip(),
        params={key: _param(doc) for key, doc in _items(params).items()},
        returns=_items(returns),
    )


def _split_sections(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The lines before `params:`, those after it, and those after `returns:`."""
    end = lines.index("returns:")
    start = lines.index("params:") if "params:" in lines else end
    return lines[:start], lines[start + 1 : end], lines[end + 1 :]


def _items(lines: list[str]) -> dict[str, str]:
    """`  name   doc` lines as a dict; a line indented further goes on with the doc above it."""
    found: dict[str, str] = {}
    for line in lines:
        if entry := re.fullmatch(r" {2}(\w+) +(.+)", line):
            key, found[entry[1]] = entry.groups()
        else:
            found[key] += " " + line.strip()
    return found


def _param(doc: str) -> Param:
    """A parameter from its line: `[test]` at the end is its default, `[null: meaning]` is null."""
    bracket = re.search(r"\[(.+)\]$", doc)
    if not bracket:
        return Param(doc, default=None, required=True)
    value = bracket[1]
    return Param(doc, default=None if re.match(r"null\b", value) else value, required=False)


def run(connection: DuckDBPyConnection, name: str, values: Mapping[str, Value]) -> Answer:
    """Answer a query; a value of None means: not given, take the default."""
    settings = _fill(name, values)
    for key in set(re.findall(r"\$(\w+)::integer", text(name))):
        settings[key] = _whole_number(key, settings[key])
    for key in set(re.findall(r"\$(\w+)::double", text(name))):
        settings[key] = _number(key, settings[key])
    if settings.get("classes") is not None:
        settings["classes"] = _class_ids(connection, settings["run_id"], str(settings["classes"]))
    result = connection.execute(text(name), settings)
    return Answer([column for column, *_ in result.description], result.fetchall())


def execute(connection: DuckDBPyConnection, name: str, values: Mapping[str, object]) -> DuckDBPyConnection:
    """Run an internal query, which takes exactly the values it names; returns the connection, to fetch its rows."""
    return connection.execute(internal_text(name), values)


def _fill(name: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """A value for every parameter of the query."""
    params = header(name).params
    given = {key: value for key, value in values.items() if value is not None}
    if unknown := sorted(set(values) - set(params)):
        raise ValueError(f"{name} has no parameter {unknown[0]!r}; it takes: {', '.join(params) or 'none'}")
    if missing := [key for key in params if params[key].required and key not in given]:
        raise ValueError(f"{name} needs {missing[0]}: {params[missing[0]].doc}")
    return {key: given.get(key, params[key].default) for key in params}


def _whole_number(key: str, value: Value) -> int | None:
    """The value of an integer parameter; all of them count epochs, rows or images."""
    if value is None:
        return None
    if not re.fullmatch(r"\d+", str(value).strip(), re.ASCII) or int(value) > LARGEST:
        raise ValueError(f"{key} must be a whole number from 0 to {LARGEST}, not {value!r}")
    return int(value)


def _number(key: str, value: Value) -> float | None:
    """The value of a parameter that is a similarity or a share."""
    try:
        found = None if value is None else float(value)
    except ValueError:
        found = math.nan
    if found is not None and not math.isfinite(found):
        raise ValueError(f"{key} must be a number such as 0.8, not {value!r}")
    return found


def _class_ids(connection: DuckDBPyConnection, run_id: Value, wanted: str) -> str:
    """A comma list of class names or ids as a comma list of ids."""
    sql = "select class_id, name from classes where run_id = ? order by class_id"
    names = dict(connection.execute(sql, [run_id]).fetchall())
    if not names:
        raise ValueError(f"no class {wanted!r}; there are: none, as there is no run {run_id!r}")
    return ",".join(map(str, find_classes(wanted, names)))
