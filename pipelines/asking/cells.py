"""Values of an answer as the text of a table's cells, and how wide their columns are."""

import datetime
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from pipelines.common.terminal import display_width, printable

MAX_WRAPPED = 300  # characters per cell on a terminal, where it takes several lines
MIN_TEXT_WIDTH = 24  # columns of text are not made narrower, so that words stay whole
NUMERIC_TYPES: set[type] = {int, bool, float, Decimal, type(None)}
ID = re.compile(r"([0-9a-f]{32,})(-dirty)?")  # run IDs and digests, which a unique beginning names as well
SHORT_ID = 8  # digits
NAME_PARTS = re.compile(r"[^_ ]*[_ ]|[^_ ]+")  # names are broken after underscores and spaces


@dataclass(frozen=True)
class Column:
    """A column as text: cells of one line each, numbers padded so that their decimal points align."""

    name: str
    cells: list[str]
    is_numeric: bool

    @cached_property
    def cell_width(self) -> int:
        return max(map(display_width, self.cells), default=0)

    @cached_property
    def width(self) -> int:
        return max(display_width(self.name), self.cell_width)

    @cached_property
    def least_width(self) -> int:
        """The width below which a part of the name, a number, or a word would be broken."""
        longest_part = max((display_width(part) for part in NAME_PARTS.findall(self.name)), default=0)
        if self.is_numeric:
            return max(longest_part, self.cell_width)
        longest_word = max((display_width(word) for cell in self.cells for word in cell.split()), default=0)
        return max(longest_part, min(longest_word, MIN_TEXT_WIDTH))


@dataclass
class Extent:
    """How much space a column's cells take, of which more and more come."""

    is_numeric: bool = True
    decimals: int = 0  # characters from the decimal point on, the most of any cell
    before_point: int = 0
    longest: int = 0

    def add(self, values: Sequence[Any], cells: list[str]) -> None:
        self.is_numeric = self.is_numeric and NUMERIC_TYPES.issuperset(map(type, values))
        if self.is_numeric:
            decimals = _count_decimals(cells)
            self.decimals = max(self.decimals, *decimals)
            lengths = map(len, cells)
            before = [length - count for length, count in zip(lengths, decimals, strict=True) if length]
            self.before_point = max(self.before_point, *before, 0)
        self.longest = max(self.longest, *map(display_width, cells))

    @property
    def width(self) -> int:
        return self.before_point + self.decimals if self.is_numeric else self.longest


def format_column(name: str, values: Sequence[Any]) -> Column:
    cells = [format_cell(value, MAX_WRAPPED) for value in values]
    is_numeric = bool(values) and NUMERIC_TYPES.issuperset(map(type, values))
    return Column(name, align_points(cells, max(_count_decimals(cells))) if is_numeric else cells, is_numeric)


def format_cell(value: Any, max_width: int) -> str:
    """A value on one line: numbers with four significant digits, times to the second, texts cut at a width."""
    if value is None:
        return ""
    if isinstance(value, (float, Decimal)):
        number = float(value)
        return f"{number:.4g}" if not abs(number) >= 1e4 or math.isinf(number) else f"{value:.0f}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime.datetime) and max_width == MAX_WRAPPED:
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, (list, tuple)):
        return _cut(", ".join(format_cell(item, max_width) for item in value), max_width)
    return _cut(printable(str(value).replace("\n", " ").replace("\t", " ")), max_width)


def _cut(text: str, max_width: int) -> str:
    return text if len(text) <= max_width else text[: max_width - 1] + "…"


def _count_decimals(cells: list[str]) -> list[int]:
    """Characters of each cell from the decimal point on."""
    return [len(cell) - cell.index(".") if "." in cell else 0 for cell in cells]


def align_points(cells: list[str], most: int) -> list[str]:
    """Cells of numbers, padded so that decimal points stand beneath each other where cells end together.

    `most` is that of _count_decimals.
    """
    decimals = _count_decimals(cells)
    return [cell + " " * (most - count) if cell else "" for cell, count in zip(cells, decimals, strict=True)]


def shorten_ids(values: list[tuple]) -> list[tuple]:
    """IDs cut to their first digits: 8, or as many as tell all IDs of the table apart."""
    ids = {match[1] for column in values for value in column if (match := _match_id(value))}
    digits = SHORT_ID
    while len({text[:digits] for text in ids}) < len(ids):
        digits += 1
    shortened = []
    for column in values:
        cells = []
        for value in column:
            match = _match_id(value)
            cells.append(match[1][:digits] + (match[2] or "") if match else value)
        shortened.append(tuple(cells))
    return shortened


def _match_id(value: Any) -> re.Match[str] | None:
    return ID.fullmatch(value) if isinstance(value, str) else None


def find_shortened(names: list[str], values: list[tuple]) -> list[str]:
    """Names of the columns that do not say all on a screen."""
    found = []
    for name, column in zip(names, values, strict=True):
        cells = [format_cell(value, MAX_WRAPPED) for value in column if isinstance(value, str | list | dict | tuple)]
        if any(_match_id(value) for value in column) or any(cell.endswith("…") for cell in cells):
            found.append(name)
    return found
