"""Answers as text: a table to read, CSV and JSON to go on with."""

import csv
import datetime
import io
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pipelines.common.terminal import printable, printable_json
from queries import Answer

WIDEST = 100  # characters of a cell in a table; CSV and JSON keep everything
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # texts that begin so are computed by spreadsheets


def table(columns: list[str], rows: list[tuple]) -> str:
    """Aligned columns, numbers to the right."""
    columns, cells = [_cell(column) for column in columns], [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    numbers = [all(isinstance(row[i], int | float | None) for row in rows) and rows for i in range(len(columns))]
    lines = [columns, ["─" * width for width in widths], *cells]
    padded = (
        "  ".join(text.rjust(width) if number else text.ljust(width)
                  for text, width, number in zip(line, widths, numbers, strict=True)).rstrip()
        for line in lines
    )  # fmt: skip
    return "\n".join([*padded, "" if rows else "(no rows)"]).rstrip("\n")


def as_csv(columns: list[str], rows: list[tuple]) -> str:
    """Comma-separated values; a text keeps its line ends and tabs."""
    return _separated(columns, rows, lambda text: text)


def as_spreadsheet(columns: list[str], rows: list[tuple]) -> str:
    """The same for spreadsheets: an apostrophe keeps them from computing a text such as =1+1."""
    return _separated(columns, rows, lambda text: f"'{text}" if text.startswith(FORMULAS) else text)


def _separated(columns: list[str], rows: list[tuple], secured: Callable[[str], str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        cells = (_plain(value, nested=False) for value in row)
        writer.writerow([printable(secured(cell), kept="\n\t") if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().rstrip("\n")


def as_json(columns: list[str], rows: list[tuple]) -> str:
    found = [{name: _plain(value) for name, value in row.items()} for row in Answer(columns, rows).dicts]
    return printable_json(json.dumps(found, indent=1, ensure_ascii=False))


FORMATS = {"table": table, "csv": as_csv, "excel-csv": as_spreadsheet, "json": as_json}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return _cell(", ".join(_cell(item) for item in value))
    text = printable(str(value).replace("\n", " ").replace("\t", " "))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _plain(value: Any, nested: bool = True) -> Any:
    """A value as JSON knows it; NaN and infinities become null."""
    if isinstance(value, list | tuple):
        value = [_plain(item) for item in value]
        return value if nested else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        value = {str(key): _plain(item) for key, item in value.items()}
        return value if nested else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return str(value)
    return value if isinstance(value, str | int | bool | None) else str(value)
