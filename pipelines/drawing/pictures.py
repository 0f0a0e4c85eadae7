"""Images with their maps, in rows and columns, and concepts with the classes that they act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipelines.common.figures import short
from pipelines.common.heatmaps import SCALE_ENDS, colour_table
from pipelines.drawing.style import BLUE, FAINT, GREY, INK, ORANGE, PAPER, Style, measure

GAP = 0.04  # between tiles, in inches
LARGEST_TILE = 1.1  # inches
TALLEST = 7.5  # inches, of all rows of tiles
SCALE_WIDTH, SCALE_HEIGHT = 1.3, 0.09  # inches
BARS = 4  # classes of a concept


@dataclass(frozen=True)
class TileRow:
    """A row of pictures [H, W, 3], or None for what there is not, and the lines of text before them."""

    lines: tuple[str, ...]
    tiles: Sequence[np.ndarray | None]
    colour: str = INK  # of the last line


@dataclass(frozen=True)
class ConceptRow:
    """A concept: its name, a strip of images with their maps [H, W, 3], and its effects on classes."""

    name: str
    strip: np.ndarray | None
    effects: Sequence[tuple[str, float, bool]]  # class, logits that it adds, whether beyond chance


def draw_tiles(
    rows: Sequence[TileRow], heads: Sequence[tuple[str, ...]], style: Style, *, scales: Sequence[bool] = ()
) -> Figure:
    """Rows of pictures under their columns' heads, lines of text each; `scales` says which colours the maps have.

    Where the heads are too wide for their columns and the rows' lines are not, rows and columns change places.
    """
    turned = [TileRow(head, [row.tiles[place] for row in rows]) for place, head in enumerate(heads)]
    if not _fits(rows, heads, style) and _fits(turned, [row.lines for row in rows], style):
        colours = [row.colour for row in rows]
        rows, heads = turned, [row.lines for row in rows]
    else:
        colours = [INK] * len(heads)
    label, side = _measure_tiles(rows, heads, style)
    shape = _shape_of(rows)
    tall = side * shape[0] / shape[1]
    line = 1.2 * style.small / 72
    step = max(tall, line * max(len(row.lines) for row in rows)) + GAP
    is_turned = not _fits(rows, heads, style)
    longest = measure([" ".join(head) for head in heads], style.small)
    top = longest + 0.06 if is_turned else line * max(map(len, heads)) + 0.05
    scale = 3.9 * line if scales else 0.0
    width = label + len(heads) * (side + GAP) + 0.02
    if scales:
        width = min(style.width, max(width, len(scales) * (SCALE_WIDTH + 0.2) + 0.1))
    figure, axes = _canvas(width, top + step * len(rows) + scale)
    for column, head in enumerate(heads):
        x = label + column * (side + GAP)
        if is_turned:
            axes.text(x + side / 2, top - 0.04, " ".join(head), rotation=90, ha="center", va="bottom",
                      fontsize=style.small)  # fmt: skip
        for number, text in enumerate(() if is_turned else head):
            y = top - 0.04 - line * (len(head) - 1 - number)
            colour = colours[column] if number == len(head) - 1 else INK
            axes.text(x + side / 2, y, text, ha="center", va="baseline", fontsize=style.small, color=colour)
    for place, row in enumerate(rows):
        y = top + place * step
        for number, text in enumerate(row.lines):
            middle = y + tall / 2 + line * (number - (len(row.lines) - 1) / 2)
            colour = row.colour if number == len(row.lines) - 1 else INK
            axes.text(label - 0.06, middle, text, ha="right", va="center_baseline", fontsize=style.small, color=colour)
        for column, tile in enumerate(row.tiles):
            _place(axes, tile, (label + column * (side + GAP), y, side, tall))
    for number, signed in enumerate(scales):
        _draw_scale(axes, style, 0.06 + number * (SCALE_WIDTH + 0.2), top + step * len(rows) + 0.4 * line, signed)
    return figure


def _measure_tiles(rows: Sequence[TileRow], heads: Sequence[tuple[str, ...]], style: Style) -> tuple[float, float]:
    """Width of the rows' texts and of a tile, in inches."""
    label = measure([line for row in rows for line in row.lines], style.small) + 0.08
    shape = _shape_of(rows)
    tallest = (TALLEST / len(rows) - GAP) * shape[1] / shape[0]
    return label, min((style.width - label - 0.02) / len(heads) - GAP, LARGEST_TILE, tallest)


def _shape_of(rows: Sequence[TileRow]) -> tuple[int, ...]:
    return next((tile.shape for row in rows for tile in row.tiles if tile is not None), (1, 1))


def _fits(rows: Sequence[TileRow], heads: Sequence[tuple[str, ...]], style: Style) -> bool:
    """Whether the heads are no wider than their columns."""
    _, side = _measure_tiles(rows, heads, style)
    return measure([text for head in heads for text in head], style.small) <= side + GAP


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose coordinates are inches, from the top left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _place(axes: Axes, tile: np.ndarray | None, box: tuple[float, float, float, float]) -> None:
    """A picture in a box: left, top, width, height; a line across an empty one where there is none."""
    left, top, width, height = box
    if tile is None:
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=GREY, lw=0.5))
        axes.plot([left, left + width], [top + height, top], color=GREY, lw=0.5)
        return
    axes.imshow(tile, extent=(left, left + width, top + height, top), aspect="auto", interpolation="none")


def _draw_scale(axes: Axes, style: Style, left: float, top: float, signed: bool) -> None:
    """The colours of the maps, and what their ends mean."""
    low, high = SCALE_ENDS[signed]
    colours = colour_table(signed)[::4] / 255
    places = pairwise(np.linspace(left, left + SCALE_WIDTH, len(colours) + 1))
    for (start, end), colour in zip(places, colours, strict=True):
        # a little wider, so that no seam shows between them
        axes.add_patch(Rectangle((start, top), min(1.3 * (end - start), left + SCALE_WIDTH - start), SCALE_HEIGHT,
                                 facecolor=colour, lw=0))  # fmt: skip
    axes.add_patch(Rectangle((left, top), SCALE_WIDTH, SCALE_HEIGHT, fill=False, edgecolor=FAINT, lw=0.5))
    size = min(style.small, 7)
    least = "\u22121" if signed else "0"
    for x, value, meaning, side in ((left, least, low, "left"), (left + SCALE_WIDTH, "1", high, "right")):
        for number, text in enumerate((value, meaning)):
            y = top + SCALE_HEIGHT + (1.1 + 1.2 * number) * size / 72
            axes.text(x, y, text, ha=side, va="baseline", fontsize=size)
    if signed:
        axes.text(left + SCALE_WIDTH / 2, top + SCALE_HEIGHT + 1.1 * size / 72, "0", ha="center", va="baseline",
                  fontsize=size)  # fmt: skip


def draw_concepts(rows: Sequence[ConceptRow], style: Style) -> Figure:
    """Concepts below each other: images that show each most, and bars of the logits it adds to classes."""
    line = 1.25 * style.small / 72
    shape = next((row.strip.shape for row in rows if row.strip is not None), (1, 4))
    strip = (0.5 if style.is_narrow else 0.6) * style.width
    tall = strip * shape[0] / shape[1]
    count = max(len(row.effects) for row in rows)
    head = 1.35 * style.text / 72
    step = head + max(tall, line * count) + 0.12
    figure, axes = _canvas(style.width, step * len(rows) + head)
    names = [short(name, 12) for row in rows for name, *_ in row.effects]
    values = [f"{value:+.2f}" for row in rows for _, value, _ in row.effects]
    left = strip + 0.1 + measure(names, style.small)
    right = style.width - 0.08 - measure(values, style.small)
    low = min(0.0, *(value for row in rows for _, value, _ in row.effects))
    high = max(0.01, *(value for row in rows for _, value, _ in row.effects))

    def place(value: float) -> float:
        return left + 0.05 + (value - low) / (high - low) * (right - left - 0.1)

    for number, row in enumerate(rows):
        top = number * step
        axes.text(0.02, top + 0.8 * head, short(row.name, 44 if style.is_narrow else 90), va="baseline")
        _place(axes, row.strip, (0.02, top + head, strip - 0.04, tall))
        for rank, (name, value, is_clear) in enumerate(row.effects):
            y = top + head + line * (rank + 0.5)
            axes.text(left, y, short(name, 12), ha="right", va="center_baseline", fontsize=style.small)
            axes.text(style.width - 0.03, y, f"{value:+.2f}".replace("-", "\u2212"), ha="right", va="center_baseline",
                      fontsize=style.small)  # fmt: skip
            colour = BLUE if value >= 0 else ORANGE
            axes.add_patch(
                Rectangle((place(0), y - 0.35 * line), place(value) - place(0), 0.7 * line,
                          facecolor=colour if is_clear else PAPER, edgecolor=colour, lw=0.6)
            )  # fmt: skip
        axes.plot([place(0)] * 2, [top + head, top + head + line * len(row.effects)], color=FAINT, lw=0.6)
    axes.text(style.width - 0.03, step * len(rows) + 0.7 * head, "Logits added to the class", ha="right",
              va="baseline", fontsize=style.small)  # fmt: skip
    return figure
