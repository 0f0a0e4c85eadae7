"""Answers as text: a table for people (tables.py), CSV and JSON for other programs."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal
from typing import Any

from pipelines.asking.tables import as_table
from pipelines.common.terminal import Screen, printable, printable_json
from queries import Answer

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets evaluate texts that begin with these


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


def format_answer(
    name: str, columns: list[str], rows: list[tuple], screen: Screen | None, *, is_whole: bool = False
) -> str:
    """An answer in a format; only a table depends on the screen, and gives that the first rows unless `is_whole`."""
    return as_table(columns, rows, screen, is_whole=is_whole) if name == "table" else FORMATS[name](columns, rows)


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
