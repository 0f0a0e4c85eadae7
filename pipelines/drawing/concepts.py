"""Concepts over classes and epochs. Rows are those of queries."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipelines.common.figures import short
from pipelines.drawing.style import (
    BLUE,
    INK,
    LINES,
    PAPER,
    Style,
    add_legend,
    choose_ink,
    measure,
    new_figure,
    set_epochs,
    set_grid,
)
from xai.concept_count import STABLE

Rows = Sequence[dict]
# column of concepts_by_epoch: name of its panel
HISTORY_PANELS = {
    "cosine": "Cosine",
    "prevalence": "Prevalence",
    "tcav_sign": "TCAV sign",
}


def draw_concept_classes(
    values: np.ndarray, marked: np.ndarray, concepts: Sequence[str], classes: Sequence[str], style: Style
) -> Figure:
    """Fractions of the classes' images that show a concept, [concepts, K]; cells that are `marked` have a frame."""
    names = [short(name, 20 if style.is_narrow else 44) for name in concepts]
    heads = [short(name, 14) for name in classes]
    left = measure(names, style.small) + 0.08
    side = min((style.width - left - 0.03) / len(heads), 0.42)
    tall = max(style.row, min(side, 0.28))
    top = measure(heads, style.small) + 0.1
    width, height = left + side * len(heads) + 0.03, top + tall * len(names) + 0.03
    figure = Figure(figsize=(width, height))
    inside = (left / width, 0.02 / height, side * len(heads) / width, tall * len(names) / height)
    axes = figure.add_axes(inside)
    axes.set(xlim=(0, len(heads)), ylim=(len(names), 0))
    size = max(6.0, min(style.small, 72 * side / 2.0))
    has_numbers = measure(["100"], size) < 0.95 * side
    for row, column in np.ndindex(*values.shape):
        value = float(values[row, column])
        if np.isnan(value):
            continue
        frame = {"edgecolor": INK, "lw": 0.9} if marked[row, column] else {"lw": 0}
        axes.add_patch(Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, facecolor=BLUE, alpha=0.05 + 0.9 * value))
        axes.add_patch(Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, fill=False, **frame))
        if has_numbers:
            axes.text(
                column + 0.5, row + 0.5, f"{100 * value:.0f}", ha="center", va="center_baseline", fontsize=size,
                color=choose_ink(style, BLUE, 0.05 + 0.9 * value),
            )  # fmt: skip
    axes.xaxis.tick_top()
    axes.set_yticks([row + 0.5 for row in range(len(names))], names, color=INK)
    if side >= 1.15 * style.small / 72:
        axes.set_xticks([column + 0.5 for column in range(len(heads))], heads, rotation=90, color=INK)
    else:
        axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def choose_concepts(rows: Rows) -> list[int]:
    """As many concepts as there are lines to tell them apart, stable ones first; rows of concepts_by_epoch."""
    unstable = {row["concept_id"]: row["stability"] is not None and row["stability"] < STABLE for row in rows}
    return sorted(unstable, key=lambda concept: (unstable[concept], concept))[: len(LINES)]


def draw_concept_history(rows: Rows, style: Style) -> Figure:
    """Concepts of the last epoch by their best match at earlier ones; filled: an effect beyond chance.

    Rows of concepts_by_epoch; see choose_concepts for which.
    """
    shape = (len(HISTORY_PANELS), 1) if style.is_narrow else (1, len(HISTORY_PANELS))
    figure = new_figure(style, 22 * style.row if style.is_narrow else 0.32 * style.width)
    panels = figure.subplots(*shape, sharex=True)
    concepts = choose_concepts(rows)
    for axes, (column, name) in zip(panels, HISTORY_PANELS.items(), strict=True):
        for place, concept in enumerate(concepts):
            own = [row for row in rows if row["concept_id"] == concept and row[column] is not None]
            series = LINES[place % len(LINES)]
            epochs, values = [row["epoch"] for row in own], [row[column] for row in own]
            named = next(row["concept_name"] for row in rows if row["concept_id"] == concept) or ""
            axes.plot(
                epochs, values, color=series.colour, ls=series.dashes,
                label=short(f"{concept}: {named}", 40 if style.is_narrow else 44),
            )  # fmt: skip
            for epoch, value, row in zip(epochs, values, own, strict=True):
                is_filled = column != "tcav_sign" or row["significant"]
                axes.plot(epoch, value, series.marker, color=series.colour, mfc=series.colour if is_filled else PAPER)
        set_epochs(axes, sorted({row["epoch"] for row in rows}))
        axes.label_outer(remove_inner_ticks=False)
        axes.set(ylim=(-0.03, 1.03), ylabel=name)
        set_grid(axes)
    add_legend(figure, style, *panels[0].get_legend_handles_labels())
    return figure
