"""CSV that a user gives: read whole, and refused with the number of the line that is not valid."""

import csv
import io
from collections import Counter
from os.path import exists, isdir, isfile  # unlike those of Path, these take names of any length
from pathlib import Path

from pipelines.data.names import format_name, format_names
from tracking.errors import InputError

DELIMITERS = ",;\t|"  # the one that the first line has most of

Lines = list[tuple[int, list[str]]]  # the rows, each with the number of its first line, counted from 1


def read_csv_file(file: Path, taker: str) -> tuple[Lines, list[str]]:
    """The rows of a file, and its column names. Raises InputError on a broken table; `taker` says what takes it."""
    where = format_name(file)
    if not isfile(file):
        problem = "is a folder" if isdir(file) else "is not a file" if exists(file) else "does not exist"
        raise InputError(f"{where} {problem}; {taker}")
    try:
        return parse_csv(file.read_bytes(), where)
    except OSError as error:
        raise InputError(f"cannot read {where}: {error.strerror}; grant access to it") from None


def parse_csv(content: bytes, where: str) -> tuple[Lines, list[str]]:
    """The rows of CSV in UTF-8, and its column names; `where` is what errors call it. Empty lines are left out."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where} is not text in UTF-8; save it as CSV in UTF-8") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines = []
    first = 1  # of the lines of a row, which has several where a quoted value does, or where a quote is not closed
    try:
        for values in reader:
            if values:
                lines.append((first, values))
            first = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"line {first} of {where} is not valid CSV: {error}; fix it") from None
    if len(lines) < 2:
        raise InputError(f"{where} has no rows; it takes a line of column names, then a line for each image")
    (_, columns), *rows = lines
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise InputError(f"{where} has column {format_names(repeated)} twice; rename one")
    for line, values in rows:
        if len(values) != len(columns):
            raise InputError(
                f"line {line} of {where} has {len(values)} values, the first line has {len(columns)} columns; fix it"
            )
    return rows, columns
