"""Answers as text: a table to read, CSV and JSON to go on with."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal
from typing import Any

WIDEST = 100  # characters of a cell in a table; CSV and JSON keep everything


def table(columns: list[str], rows: list[tuple]) -> str:
    """Aligned columns, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(value, nested=False) for value in row] for row in rows)
    return text.getvalue().rstrip("\n")


def as_json(columns: list[str], rows: list[tuple]) -> str:
    found = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    return json.dumps(found, indent=1, ensure_ascii=False)


FORMATS = {"table": table, "csv": as_csv, "json": as_json}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return _cell(", ".join(_cell(item) for item in value))
    # control characters would move the cursor, or the columns
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _plain(value: Any, nested: bool = True) -> Any:
    """A value as JSON knows it; NaN and infinities become null."""
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return items if nested else json.dumps(items, ensure_ascii=False)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return str(value)
    return value if isinstance(value, str | int | bool | None) else str(value)
