"""Answers as text: a table for people (tables.py), CSV and JSON for other programs.

Rows come in batches and text goes out in pieces, so that an answer of any length takes the memory of a batch.
"""

import csv
import datetime
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from types import NoneType
from typing import Any

from pipelines.asking.tables import write_table
from pipelines.common.terminal import Screen, printable, printable_json
from queries import Batch, unique_names

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets evaluate texts that begin with these
PLAIN_TYPES = {int, bool, NoneType}  # whose values every format takes as they are
JSON_TYPES = {*PLAIN_TYPES, str}  # whose values JSON takes as they are
COMPACT = json.JSONEncoder(ensure_ascii=False)
INDENTED = json.JSONEncoder(ensure_ascii=False, indent=1)


def format_answer(
    name: str, columns: Sequence[str], batches: Iterable[Batch], screen: Screen | None, *, is_whole: bool = False
) -> Iterator[str]:
    """An answer's lines in a format, in pieces.

    Only a table depends on the screen, and gives that the first rows unless `is_whole`.
    """
    if name == "table":
        return write_table(columns, batches, screen, is_whole=is_whole)
    return FORMATS[name](columns, batches)


def as_text(name: str, columns: Sequence[str], rows: Batch) -> str:
    """A short answer as a whole, without the last line break; a table as a pipe gets it."""
    return "".join(FORMATS[name](columns, [rows])).removesuffix("\n")


def _write_csv(columns: Sequence[str], batches: Iterable[Batch], escape_formulas: bool = False) -> Iterator[str]:
    """Comma-separated values; texts keep their line breaks and tabs.

    With an apostrophe before them, spreadsheets do not evaluate texts such as =1+1.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    remaining = iter(batches)
    first = [tuple(columns), *next(remaining, ())]  # together, so that where there are no rows but an error, nothing is
    for rows in itertools.chain([first], remaining):
        cells = [_to_csv_cells(values, escape_formulas) for values in zip(*rows, strict=True)]
        writer.writerows(zip(*cells, strict=True))
        yield output.getvalue()
        output.seek(0)
        output.truncate()


def _to_csv_cells(values: Sequence[Any], escape_formulas: bool) -> Sequence[Any]:
    """A column's values as `csv` is to write them. Numbers are told by their types, once per column, to save time."""
    types = set(map(type, values))
    if types <= PLAIN_TYPES:
        return values
    if types <= {float, NoneType}:
        return [value if value is None or math.isfinite(value) else None for value in values]
    cells = []
    for value in values:
        cell = _to_json_value(value, nested=False)
        if isinstance(cell, str):
            if escape_formulas and cell.startswith(FORMULA_STARTS):
                cell = f"'{cell}"
            cell = printable(cell, kept="\n\t")
        cells.append(cell)
    return cells


def _write_json(columns: Sequence[str], batches: Iterable[Batch]) -> Iterator[str]:
    """A JSON array with one object per row."""
    names = [COMPACT.encode(name).replace("%", "%%") for name in unique_names(columns)]
    form = " {\n" + ",\n".join(f"  {name}: %s" for name in names) + "\n }"
    before = "[\n"
    for rows in filter(None, batches):
        cells = [map(_to_json_text, values) for values in zip(*rows, strict=True)]
        yield printable_json(before + ",\n".join(map(form.__mod__, zip(*cells, strict=True))))
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _to_json_text(value: Any) -> str:
    """A value as it stands in a JSON document, two levels deep. The commonest types come first, to save time."""
    if type(value) is int:
        return repr(value)
    if value is None:
        return "null"
    if type(value) is float:
        return repr(value) if math.isfinite(value) else "null"
    if type(value) is str:
        return COMPACT.encode(value)
    return INDENTED.encode(_to_json_value(value)).replace("\n", "\n  ")


def _to_json_value(value: Any, nested: bool = True) -> Any:
    """A value as JSON has it; NaN and infinities become null. If not `nested`, lists and dicts become JSON texts."""
    if isinstance(value, list | tuple):
        if not JSON_TYPES.issuperset(map(type, value)):
            value = [_to_json_value(item) for item in value]
        return value if nested else COMPACT.encode(value)
    if isinstance(value, dict):
        value = {str(key): _to_json_value(item) for key, item in value.items()}
        return value if nested else COMPACT.encode(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return str(value)
    return value if isinstance(value, str | int | bool | None) else str(value)


FORMATS: dict[str, Callable[[Sequence[str], Iterable[Batch]], Iterator[str]]] = {
    "table": write_table,
    "csv": _write_csv,
    "excel-csv": partial(_write_csv, escape_formulas=True),
    "json": _write_json,
}
