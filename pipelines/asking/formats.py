"""Answers as text: a table for people, CSV and JSON for other programs."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal
from typing import Any

from pipelines.common.terminal import printable, printable_json
from queries import Answer

MAX_CELL_WIDTH = 100  # characters per cell of a table; CSV and JSON are never shortened
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets evaluate texts that begin with these


def as_table(columns: list[str], rows: list[tuple]) -> str:
    """Aligned columns; columns of numbers are right-aligned."""
    header = [_format_cell(column) for column in columns]
    body = [[_format_cell(value) for value in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(header, *body, strict=True)]
    rule = ["─" * width for width in widths]
    right_aligned = []
    for index in range(len(columns)):
        is_numeric = all(isinstance(row[index], int | float | None) for row in rows)
        right_aligned.append(bool(rows) and is_numeric)

    lines = []
    for cells in (header, rule, *body):
        padded = []
        for cell, width, is_right in zip(cells, widths, right_aligned, strict=True):
            padded.append(cell.rjust(width) if is_right else cell.ljust(width))
        lines.append("  ".join(padded).rstrip())
    if not rows:
        lines.append("(no rows)")
    return "\n".join(lines).rstrip("\n")


def as_csv(columns: list[str], rows: list[tuple]) -> str:
    """Comma-separated values; texts keep their line breaks and tabs."""
    return _write_csv(columns, rows)


def as_spreadsheet(columns: list[str], rows: list[tuple]) -> str:
    """CSV for spreadsheets: an apostrophe keeps them from evaluating a text such as =1+1."""
    return _write_csv(columns, rows, escape_formulas=True)


def _write_csv(columns: list[str], rows: list[tuple], escape_formulas: bool = False) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    for row in (columns, *rows):
        cells = []
        for value in row:
            cell = _to_json_value(value, nested=False)
            if isinstance(cell, str):
                if escape_formulas and cell.startswith(FORMULA_STARTS):
                    cell = f"'{cell}"
                cell = printable(cell, kept="\n\t")
            cells.append(cell)
        writer.writerow(cells)
    return output.getvalue().rstrip("\n")


def as_json(columns: list[str], rows: list[tuple]) -> str:
    """A JSON array with one object per row."""
    documents = []
    for row in Answer(columns, rows).dicts:
        documents.append({name: _to_json_value(value) for name, value in row.items()})
    return printable_json(json.dumps(documents, indent=1, ensure_ascii=False))


FORMATS = {"table": as_table, "csv": as_csv, "excel-csv": as_spreadsheet, "json": as_json}


def _format_cell(value: Any) -> str:
    """A value as it stands in a table: on one line, with four significant digits, cut at MAX_CELL_WIDTH."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return _format_cell(", ".join(_format_cell(item) for item in value))
    text = printable(str(value).replace("\n", " ").replace("\t", " "))
    return text if len(text) <= MAX_CELL_WIDTH else text[: MAX_CELL_WIDTH - 1] + "…"


def _to_json_value(value: Any, nested: bool = True) -> Any:
    """A value as JSON has it; NaN and infinities become null. If not `nested`, lists and dicts become JSON texts."""
    if isinstance(value, list | tuple):
        value = [_to_json_value(item) for item in value]
        return value if nested else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        value = {str(key): _to_json_value(item) for key, item in value.items()}
        return value if nested else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return str(value)
    return value if isinstance(value, str | int | bool | None) else str(value)
