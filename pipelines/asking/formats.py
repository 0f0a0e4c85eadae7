"""Answers as text: a table to read, CSV and JSON for other programs."""

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

MAX_CELL_WIDTH = 100  # characters of a cell in a table; CSV and JSON are never shortened
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets evaluate texts that begin with these


def table(columns: list[str], rows: list[tuple]) -> str:
    """Aligned columns, numbers to the right."""
    header = [_cell(column) for column in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(header, *cells, strict=True)]
    numeric = [
        bool(rows) and all(isinstance(row[index], int | float | None) for row in rows) for index in range(len(columns))
    ]
    lines = []
    for texts in (header, ["─" * width for width in widths], *cells):
        padded = []
        for text, width, is_numeric in zip(texts, widths, numeric, strict=True):
            padded.append(text.rjust(width) if is_numeric else text.ljust(width))
        lines.append("  ".join(padded).rstrip())
    if not rows:
        lines.append("(no rows)")
    return "\n".join(lines).rstrip("\n")


def as_csv(columns: list[str], rows: list[tuple]) -> str:
    """Comma-separated values; a text keeps its line ends and tabs."""
    return _separated(columns, rows, lambda text: text)


def as_spreadsheet(columns: list[str], rows: list[tuple]) -> str:
    """CSV for spreadsheets: an apostrophe keeps them from evaluating a text such as =1+1."""
    return _separated(columns, rows, lambda text: f"'{text}" if text.startswith(FORMULA_STARTS) else text)


def _separated(columns: list[str], rows: list[tuple], secured: Callable[[str], str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        cells = (_plain(value, nested=False) for value in row)
        writer.writerow([printable(secured(cell), kept="\n\t") if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().rstrip("\n")


def as_json(columns: list[str], rows: list[tuple]) -> str:
    documents = [{name: _plain(value) for name, value in row.items()} for row in Answer(columns, rows).dicts]
    return printable_json(json.dumps(documents, indent=1, ensure_ascii=False))


FORMATS = {"table": table, "csv": as_csv, "excel-csv": as_spreadsheet, "json": as_json}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return _cell(", ".join(_cell(item) for item in value))
    text = printable(str(value).replace("\n", " ").replace("\t", " "))
    return text if len(text) <= MAX_CELL_WIDTH else text[: MAX_CELL_WIDTH - 1] + "…"


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
