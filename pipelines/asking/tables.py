"""Answers as tables for people. A pipe gets every column on one line per row; a terminal gets what fits its width.

On a terminal, a column with one value in every row is shown once above, IDs are shortened, and long texts and heads
are wrapped. Where the columns still do not fit, a few rows are shown in panels beneath each other, and of many rows
each becomes a block of names and values. Of very many rows the first are shown, and how many more there are.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from tempfile import SpooledTemporaryFile

from pipelines.asking.cells import (
    NAME_PARTS,
    Column,
    Extent,
    align_points,
    find_shortened,
    format_cell,
    format_column,
    shorten_ids,
)
from pipelines.common.terminal import Screen, display_width, pad, printable, wrap
from queries import Batch

MAX_CELL_WIDTH = 100  # characters per cell in a pipe; CSV and JSON are never shortened
MAX_PANEL_ROWS = 30  # and panels, above which a reader would lose the row; then each row is a block
MAX_PANELS = 3
MAX_ROWS, MAX_BLOCKS = 100, 20  # that a terminal gets of an answer, unless all are asked for; a pipe gets all
WAITING_BYTES = 1 << 24  # of a table's cells that are kept in memory
MAX_HEIGHT = 4  # mean lines per row above which blocks read better than a table
GAP = "  "
FULL = "in full: --format csv or json"
# words that are coloured, by column
COLOURS = {
    "status": {"FINISHED": "green", "FAILED": "red", "KILLED": "red", "RUNNING": "yellow"},
    "verdict": {"found": "red", "suspected": "yellow", "harder": "red", "easier": "green"},
}


@dataclass(frozen=True)
class Stack:
    """Columns of one row beneath each other: each name beside its value."""

    columns: list[Column]

    @cached_property
    def name_width(self) -> int:
        return max((display_width(column.name) for column in self.columns), default=0)

    @cached_property
    def value_width(self) -> int:
        return max((column.cell_width for column in self.columns), default=0)

    @property
    def width(self) -> int:
        return self.name_width + len(GAP) + self.value_width


def as_table(columns: Sequence[str], rows: Batch, screen: Screen | None = None, *, is_whole: bool = False) -> str:
    """Rows beneath the names of their columns; laid out for a screen, or complete and on one line each without one.

    A screen gets the first rows of very many, unless the whole is asked for.
    """
    return "".join(write_table(columns, [rows], screen, is_whole=is_whole)).removesuffix("\n")


def write_table(
    columns: Sequence[str], batches: Iterable[Batch], screen: Screen | None = None, *, is_whole: bool = False
) -> Iterator[str]:
    """The lines of the same table, in pieces, from rows that come in batches."""
    names = [printable(name.replace("\n", " ").replace("\t", " ")) for name in columns]
    return _write_whole(names, batches) if screen is None else _write_for_screen(names, batches, screen, is_whole)


def _write_whole(names: list[str], batches: Iterable[Batch]) -> Iterator[str]:
    """Every row on one line. How wide columns are is known after the last row, so cells wait in a temporary file."""
    extents = [Extent() for _ in names]
    batch_count = 0
    with SpooledTemporaryFile(WAITING_BYTES) as waiting:
        for rows in filter(None, batches):
            values = list(zip(*rows, strict=True))
            cells = [[format_cell(value, MAX_CELL_WIDTH) for value in own_values] for own_values in values]
            for extent, own_values, own_cells in zip(extents, values, cells, strict=True):
                extent.add(own_values, own_cells)
            pickle.dump(cells, waiting)
            batch_count += 1

        widths = [max(display_width(name), extent.width) for name, extent in zip(names, extents, strict=True)]
        is_numeric = [batch_count > 0 and extent.is_numeric for extent in extents]
        head = [Column(name, [], numeric) for name, numeric in zip(names, is_numeric, strict=True)]
        lines = _draw_grid(head, widths, None)
        text = "\n".join(lines if batch_count else [*lines, "(no rows)"])
        waiting.seek(0)
        for _ in range(batch_count):
            yield text.rstrip("\n")
            empty_lines = text[len(text.rstrip("\n")) :]  # at the end of a table, they are left out
            columns = []
            for column, extent, own_cells in zip(head, extents, pickle.load(waiting), strict=True):
                aligned = align_points(own_cells, extent.decimals) if column.is_numeric else own_cells
                columns.append(Column(column.name, aligned, column.is_numeric))
            text = "\n".join([empty_lines, *_draw_rows(columns, widths, None)])
    yield text.rstrip("\n") + "\n"


def _write_for_screen(names: list[str], batches: Iterable[Batch], screen: Screen, is_whole: bool) -> Iterator[str]:
    """The rows that a screen gets, laid out by them alone, and how many more there are."""
    rows: list[tuple] = []
    row_count = 0
    same = set(range(len(names)))  # places of the columns with one value in all rows so far
    for batch in batches:
        row_count += len(batch)
        rows += batch if is_whole else batch[: MAX_ROWS - len(rows)]
        same = {place for place in same if all(row[place] == rows[0][place] for row in batch)}
    values: list[tuple] = list(zip(*rows, strict=True)) if rows else [()] * len(names)

    shortened = find_shortened(names, values)
    values = shorten_ids(values)
    formatted = [format_column(name, column) for name, column in zip(names, values, strict=True)]
    is_constant = [row_count > 1 and place in same for place in range(len(names))]
    if names and all(is_constant):  # the rows are still there to be counted
        is_constant[0] = False
    constant = [column for column, is_said_once in zip(formatted, is_constant, strict=True) if is_said_once]
    varying = [column for column, is_said_once in zip(formatted, is_constant, strict=True) if not is_said_once]

    lines = _describe_constants(constant, screen)
    shown = row_count
    if not rows:
        lines += [*wrap(", ".join(names), screen.width), "(no rows)"]
    elif panels := _split_into_panels(varying, row_count, screen.width):
        shown = len(rows)
        for number, (panel, widths) in enumerate(panels):
            lines += [""] * (number > 0) + _draw_grid(panel, widths, screen)
    else:
        shown = row_count if is_whole else min(row_count, MAX_BLOCKS)
        first_rows = [Column(column.name, column.cells[:shown], column.is_numeric) for column in varying]
        lines += _draw_blocks(first_rows, shown, screen)
    notes = []
    if more := row_count - shown:
        notes.append(f"{more:,} more {'row' if more == 1 else 'rows'} ({FULL})")
    if shortened:
        notes.append(f"Shortened: {', '.join(dict.fromkeys(shortened))} ({FULL})")
    if notes:
        lines += ["", *(screen.style(line, "dim") for note in notes for line in wrap(note, screen.width))]
    yield "\n".join(lines) + "\n"


def _describe_constants(columns: list[Column], screen: Screen) -> list[str]:
    """Lines that say the columns with one value, and name those without any."""
    if not columns:
        return []
    said = [f"{column.name} {column.cells[0].strip()}" for column in columns if column.cells[0]]
    empty = [column.name for column in columns if not column.cells[0]]
    lines = wrap(", ".join(said), screen.width) if said else []
    if empty:
        lines += wrap(f"without a value: {', '.join(empty)}", screen.width)
    return [*lines, ""]


def _split_into_panels(
    columns: list[Column], row_count: int, screen_width: int
) -> list[tuple[list[Column], list[int]]] | None:
    """Columns and their widths as they fit beneath each other, at best all in one; None if blocks read better.

    Each panel begins with the columns that name the rows.
    """
    panels = [columns]
    if _least_width(columns) > screen_width:
        if not 1 < row_count <= MAX_PANEL_ROWS:
            return None
        keys = _find_keys(columns)
        panels = [keys.copy()]
        for column in columns[len(keys) :]:
            if _least_width([*panels[-1], column]) > screen_width:
                panels.append(keys.copy())
            panels[-1].append(column)
    widths = [_fit_widths(panel, screen_width) for panel in panels]
    if len(panels) > MAX_PANELS or any(fitted is None for fitted in widths):
        return None
    return [(panel, fitted) for panel, fitted in zip(panels, widths, strict=True) if fitted]


def _find_keys(columns: list[Column]) -> list[Column]:
    """The first columns, as many as tell all rows apart; with an ID goes its name."""
    count = 1
    row_count = len(columns[0].cells)
    while count < len(columns) and len(set(zip(*(c.cells for c in columns[:count]), strict=True))) < row_count:
        count += 1
    if count < len(columns) and columns[count].name.endswith("_name"):
        count += 1
    return columns[:count]


def _least_width(columns: list[Column]) -> int:
    return sum(column.least_width for column in columns) + len(GAP) * (len(columns) - 1)


def _fit_widths(columns: list[Column], screen_width: int) -> list[int] | None:
    """Widths at which the columns fit side by side; None if they would not, or only with very high rows."""
    widths = [column.least_width for column in columns]
    spare = screen_width - _least_width(columns)
    if spare < 0:
        return None
    for wanted in ([column.cell_width for column in columns], [column.width for column in columns]):
        while spare:
            narrow = [index for index, width in enumerate(widths) if width < wanted[index]]
            if not narrow:
                break
            widths[min(narrow, key=lambda index: widths[index])] += 1
            spare -= 1
    heights = []
    for row in zip(*(column.cells for column in columns), strict=True):
        heights.append(max(len(wrap(cell, width)) for cell, width in zip(row, widths, strict=True)))
    return widths if sum(heights) <= MAX_HEIGHT * len(heights) else None


def _draw_grid(columns: list[Column], widths: list[int], screen: Screen | None) -> list[str]:
    """Names, a rule, and the rows; each on several lines where a text is wider than its column."""
    names = [wrap(column.name, width, NAME_PARTS) for column, width in zip(columns, widths, strict=True)]
    height = max((len(parts) for parts in names), default=0)
    names = [[""] * (height - len(parts)) + parts for parts in names]  # so that they stand on the rule
    heads = _draw_row(columns, widths, names, None)
    rule = GAP.join("─" * width for width in widths)
    lines = [screen.style(line, "bold") for line in heads] if screen else heads
    lines.append(screen.style(rule, "dim") if screen else rule)
    return lines + _draw_rows(columns, widths, screen)


def _draw_rows(columns: list[Column], widths: list[int], screen: Screen | None) -> list[str]:
    if all(column.cell_width <= width for column, width in zip(columns, widths, strict=True)):
        padded = [_pad_cells(column, width, screen) for column, width in zip(columns, widths, strict=True)]
        return [GAP.join(row).rstrip() for row in zip(*padded, strict=True)]
    lines = []
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        lines += _draw_row(columns, widths, cells, screen)
    return lines


def _pad_cells(column: Column, width: int, screen: Screen | None) -> list[str]:
    """A column's cells at their width, all at once, as there may be very many."""
    if screen and column.name in COLOURS:
        return [_paint(column.name, cell, screen) + " " * (width - display_width(cell)) for cell in column.cells]
    if all(map(str.isascii, column.cells)):
        justify = str.rjust if column.is_numeric else str.ljust
        return [justify(cell, width) for cell in column.cells]
    return [pad(cell, width, right=column.is_numeric) for cell in column.cells]


def _draw_row(columns: list[Column], widths: list[int], cells: list[list[str]], screen: Screen | None) -> list[str]:
    lines = []
    for parts in zip_longest(*cells, fillvalue=""):
        line = ""
        for column, width, part in zip(columns, widths, parts, strict=True):
            fill = " " * (width - display_width(part))
            text = _paint(column.name, part, screen)
            line += (fill + text if column.is_numeric else text + fill) + GAP
        lines.append(line.rstrip())
    return lines


def _draw_blocks(columns: list[Column], row_count: int, screen: Screen) -> list[str]:
    """A block per row: names and values, several side by side where there is space, then those that need a line."""
    narrow = [column for column in columns if Stack([column]).width <= screen.width // 2]
    stacks = _stack(narrow, screen.width)
    alone = Stack([column for column in columns if column not in narrow] if stacks else columns)
    name_width = min(alone.name_width, screen.width // 2)
    value_width = screen.width - name_width - len(GAP)
    lines = []
    for number in range(row_count):
        title = f"── row {number + 1} "
        lines.append(screen.style(title + "─" * (screen.width - len(title)), "dim"))
        for columns_beside in zip_longest(*(stack.columns for stack in stacks)):
            line = ""
            for stack, column in zip(stacks, columns_beside, strict=True):
                if column is None:  # the last stack may be shorter
                    continue
                value = column.cells[number].strip()
                line += screen.style(pad(column.name, stack.name_width), "dim") + GAP
                line += _paint(column.name, value, screen) + " " * (stack.value_width - display_width(value)) + 2 * GAP
            lines.append(line.rstrip())
        for column in alone.columns:
            names = wrap(column.name, name_width, NAME_PARTS)
            values = wrap(column.cells[number].strip(), value_width)
            for name, value in zip_longest(names, values, fillvalue=""):
                line = screen.style(pad(name, name_width), "dim") + GAP + _paint(column.name, value, screen)
                lines.append(line.rstrip())
    return lines


def _stack(columns: list[Column], width: int) -> list[Stack]:
    """Columns in as many stacks as fit side by side, filled one after the other; none if only one would fit."""
    for count in range(len(columns), 1, -1):
        height = -(-len(columns) // count)
        stacks = [Stack(columns[start : start + height]) for start in range(0, len(columns), height)]
        if sum(stack.width + len(2 * GAP) for stack in stacks) - len(2 * GAP) <= width:
            return stacks
    return []


def _paint(name: str, text: str, screen: Screen | None) -> str:
    """A cell's text, coloured if it is one of the words that are."""
    colour = COLOURS.get(name, {}).get(text)
    return screen.style(text, colour) if screen and colour else text
