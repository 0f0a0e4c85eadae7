"""What a model predicts: accuracy, calibration, confusion, and what each epoch changed. Rows are those of queries."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipelines.common.figures import short
from pipelines.drawing.style import (
    BLUE,
    DASHED,
    FAINT,
    GREY,
    INK,
    ORANGE,
    OTHER_SPLIT,
    PAPER,
    SPLIT_NAMES,
    SPLITS,
    Style,
    add_legend,
    choose_ink,
    measure,
    new_figure,
    set_epochs,
    set_grid,
    set_percent,
)

Rows = Sequence[dict]
MISTAKE_DEPTH = 3  # how deep the colour of mistakes is, per fraction of the class, at most 1
CORRECT_DEPTH = 0.35  # that of correct predictions: light, as they are the most and of less interest
LEAST_DEPTH = 0.06  # of a cell with any image
SCALE_BAR = 0.6  # inches
LEAST_BAR = 0.7  # images at the foot of a logarithmic axis, below 1
LEAST_CELL = 1.6  # side of a matrix's cell that holds a number, in heights of its text
WIDEST_CELL = 1.8  # width of a printed matrix's cell, in its heights
CLASS_PANELS = 24  # classes with a panel of their own
MATRIX_CLASSES = 40  # at most, of a logged matrix: names stand beside all of them, and cells have room for numbers


def draw_accuracy(rows: Rows, style: Style) -> Figure:
    """Accuracy by epoch of every split, 95 % intervals as bands; rows of accuracy_by_epoch."""
    known = [row for row in rows if row["accuracy"] is not None]
    figure = new_figure(style, 0.58 * style.width)
    axes = figure.subplots()
    for split in dict.fromkeys(row["split"] for row in known):
        own = [row for row in known if row["split"] == split]
        epochs = [row["epoch"] for row in own]
        _draw_series(axes, epochs, [row["accuracy"] for row in own], split)
        low, high = ([row[end] for row in own] for end in ("low", "high"))
        axes.fill_between(epochs, low, high, color=SPLITS.get(split, OTHER_SPLIT).colour, alpha=0.18, lw=0)
    set_epochs(axes, sorted({row["epoch"] for row in known}))
    axes.set(ylabel="Accuracy (%)", ylim=(0, 1.02))
    set_percent(axes.yaxis)
    set_grid(axes)
    add_legend(figure, style, *axes.get_legend_handles_labels())
    return figure


def draw_learning_curves(rows: Rows, style: Style) -> Figure:
    """Accuracy and loss by epoch of each split that was measured; rows of metrics_by_epoch."""
    values = {(row["key"], row["epoch"]): row["value"] for row in rows}
    figure = new_figure(style, 0.4 * style.width if not style.is_narrow else 1.1 * style.width)
    panels = figure.subplots(*((1, 2) if not style.is_narrow else (2, 1)))
    epochs = sorted({epoch for key, epoch in values if key.endswith(("_accuracy", "_loss"))})
    for axes, metric, unit in zip(panels, ("accuracy", "loss"), ("Accuracy (%)", "Cross-entropy (nats)"), strict=True):
        for split in SPLITS:
            own = [epoch for epoch in epochs if (f"{split}_{metric}", epoch) in values]
            if own:
                _draw_series(axes, own, [values[f"{split}_{metric}", epoch] for epoch in own], split)
        set_epochs(axes, epochs)
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        set_grid(axes)
    panels[0].set_ylim(0, 1.02)
    set_percent(panels[0].yaxis)
    add_legend(figure, style, *panels[0].get_legend_handles_labels())
    return figure


def _draw_series(axes: Axes, epochs: Sequence[int], values: Sequence[float], split: str) -> None:
    series = SPLITS.get(split, OTHER_SPLIT)
    axes.plot(
        epochs, values, color=series.colour, ls=series.dashes, marker=series.marker,
        label=short(SPLIT_NAMES.get(split, split), 24), clip_on=False,
    )  # fmt: skip


def draw_class_accuracy(rows: Rows, style: Style) -> Figure:
    """Accuracy by class with its 95 % interval, hardest first; rows of hard_classes."""
    shown = rows[: style.most_rows]
    figure = new_figure(style, style.row * (len(shown) + 3))
    axes = figure.subplots()
    places = range(len(shown))
    axes.hlines(places, [row["low"] for row in shown], [row["high"] for row in shown], color=INK, lw=style.line)
    axes.plot([row["accuracy"] for row in shown], places, "o", color=BLUE, clip_on=False)
    names = [short(row["class_name"], 18) for row in shown]
    axes.set_yticks(places, [f"{name} ({row['n']:,})" for name, row in zip(names, shown, strict=True)], color=INK)
    axes.tick_params(axis="y", length=0, labelsize=style.text)
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xlabel="Accuracy (%)")
    set_percent(axes.xaxis)
    set_grid(axes, "x")
    return figure


def draw_class_history(rows: Rows, whole: Mapping[int, float], style: Style) -> Figure:
    """Accuracy of each class by epoch, 95 % intervals as bands, beside that of all images; a panel a class.

    Rows of class_metrics_by_epoch, classes in the order in which they come.
    """
    names = dict.fromkeys(row["class_name"] for row in rows)
    epochs = list(whole)
    across = min(len(names), 4 if style.is_narrow else 6)
    down = -(-len(names) // across)
    figure = new_figure(style, down * 0.75 * max(style.width / across, 0.9) + 2 * style.row)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    most = int(1.75 * 72 * style.width / across / style.small) - 6
    for axes, name, shown in zip(grid.flat, names, [short(name, most) for name in names], strict=False):
        own = [row for row in rows if row["class_name"] == name]
        there = [row["epoch"] for row in own]
        low, high = ([row[end] for row in own] for end in ("recall_low", "recall_high"))
        axes.plot(epochs, list(whole.values()), color=GREY, ls=DASHED, lw=0.8 * style.line, label="all classes")
        axes.fill_between(there, low, high, color=BLUE, alpha=0.2, lw=0)
        axes.plot(there, [row["recall"] for row in own], color=BLUE, label="the class")
        axes.set_title(shown, loc="left", pad=2)
        axes.set(ylim=(0, 1.02))
        set_epochs(axes, epochs)
        axes.set_xlabel("")
        if len(epochs) > 1:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=3, steps=(1, 2, 5, 10)))
        set_percent(axes.yaxis, (0, 0.5, 1))
        set_grid(axes)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in grid.T.flat if down > 1 else ():  # the lowest panel of a column has the numbers
        axes.tick_params(labelbottom=True)
    figure.supxlabel("Epoch", fontsize=style.text)
    figure.supylabel("Accuracy (%)", fontsize=style.text)
    add_legend(figure, style, *grid.flat[0].get_legend_handles_labels())
    return figure


def draw_calibration(rows: Rows, style: Style) -> Figure:
    """Accuracy against confidence by bin, 95 % intervals, and the images of each bin below; rows of calibration."""
    figure = new_figure(style, 0.72 * style.width if style.is_narrow else 3.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color=GREY, ls=(0, (4, 2)), lw=style.line, label="confidence = accuracy")
    for row in rows:
        colour, face = (ORANGE, PAPER) if row["is_off"] else (BLUE, BLUE)
        above.vlines(row["confidence"], row["accuracy_low"], row["accuracy_high"], color=colour, lw=style.line)
        above.plot(row["confidence"], row["accuracy"], "o", color=colour, mfc=face, clip_on=False)
    below.bar(
        [row["confidence_from"] for row in rows], [row["n"] - LEAST_BAR for row in rows], bottom=LEAST_BAR,
        width=[0.94 * (row["confidence_to"] - row["confidence_from"]) for row in rows], align="edge", color=GREY,
    )  # fmt: skip
    below.set_yscale("log")
    below.set_ylim(LEAST_BAR, 1.6 * max(row["n"] for row in rows))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    below.minorticks_off()
    below.set(xlabel="Confidence (%)", ylabel="Images", xlim=(0, 1))
    above.set(ylabel="Accuracy (%)", ylim=(0, 1.02))
    for axis in (above.yaxis, below.xaxis):
        set_percent(axis)
    set_grid(above)
    marks = [Line2D([], [], color=BLUE, marker="o"), Line2D([], [], color=ORANGE, marker="o", mfc=PAPER)]
    names = ["not shown to be off", "off beyond chance"]
    kinds = [number for number, off in enumerate((False, True)) if any(bool(row["is_off"]) is off for row in rows)]
    add_legend(figure, style, [marks[one] for one in kinds], [names[one] for one in kinds])
    return figure


def draw_confusion(
    counts: np.ndarray,
    totals: np.ndarray,
    names: Sequence[str],
    style: Style,
    *,
    pair: tuple[int, int] | None = None,
    numbers: int | None = None,
) -> Figure:
    """Images by true class (rows) and predicted class (columns), [K, K]; blue: correct, orange: mistakes.

    The darker, the larger the fraction of the class's images, of which there are `totals` [K]; a scale below says how
    dark. A `pair` of rows is framed. `numbers` says how many of the largest mistakes show theirs; by default all cells
    with room do, as those on the diagonal always do.
    """
    count = len(names)
    labels, kind, beside = [short(name, 14) for name in names], "", 2.6 * style.text / 72 + 0.1
    across = (style.width - measure(labels, style.small) - beside) / count
    if across < 1.15 * style.small / 72:
        labels, kind = [f"{count}"], " (ID)"
        across = (style.width - measure(labels, style.small) - beside) / count
    side = min(across, 3.4 * style.text / 72)  # of a cell, down
    across = min(across, (WIDEST_CELL if style.is_print else 1) * side)
    margin = measure(labels, style.small) + 2.6 * style.text / 72
    wide, tall = (max(cell * count, measure(["Predicted class"], style.text)) for cell in (across, side))
    scales = [
        (BLUE, CORRECT_DEPTH, "correct: 0 to 100 % of the class"),
        (ORANGE, 1.0, f"mistakes: 0 to {100 / MISTAKE_DEPTH:.0f} % or more"),
    ]
    scale = measure([name for *_, name in scales], style.small) + SCALE_BAR + 0.2
    foot = len(scales) * 1.6 * style.small / 72 + 0.05
    figure = Figure(figsize=(max(wide + margin, scale) + 0.1, tall + margin + 0.15 + foot))
    width, height = figure.get_size_inches()
    below = height - margin - side * count
    axes = figure.add_axes((margin / width, below / height, across * count / width, side * count / height))
    fractions = counts / totals.clip(1)[:, None]
    mistakes = np.sort(counts[~np.eye(count, dtype=bool)])[::-1]
    largest = mistakes[:numbers] if numbers else mistakes
    least = max(1, int(largest[-1])) if len(largest) else 1
    has_room = side >= LEAST_CELL * style.small / 72 and across >= 1.1 * measure(
        [f"{counts.max(initial=0)}"], style.small
    )
    for correct, colour in ((True, BLUE), (False, ORANGE)):
        cells, depths = [], []
        for row, column in np.argwhere(counts):
            if (row == column) != correct:
                continue
            depth = float(fractions[row, column]) * (CORRECT_DEPTH if correct else MISTAKE_DEPTH)
            cells.append(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96))
            depths.append(max(LEAST_DEPTH, min(1.0, depth)))
            shows = numbers is None or correct or counts[row, column] >= least
            if has_room and shows:
                axes.text(
                    column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=style.small,
                    color=choose_ink(style, colour, depths[-1]),
                )  # fmt: skip
        if cells:
            axes.add_collection(PatchCollection(cells, facecolor=colour, alpha=depths, linewidth=0))
    if pair is not None:
        for row, column in (pair, pair[::-1]):
            axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, edgecolor=INK, lw=1))
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    if not kind:
        axes.set_xticks(range(count), labels, rotation=90, color=INK)
        axes.set_yticks(range(count), labels, color=INK)
    named = measure([f"Predicted class{kind}"], style.text)
    axes.set_xlabel(f"Predicted class{kind}", loc="center" if across * count >= named else "left")
    axes.set_ylabel(f"True class{kind}", loc="center" if side * count >= named else "top")
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    _draw_scales(figure, style, scales, (margin if margin + scale <= width else 0.05, foot))
    return figure


def _draw_scales(
    figure: Figure, style: Style, scales: Sequence[tuple[str, float, str]], corner: tuple[float, float]
) -> None:
    """Bars below each other, from none to the deepest colour; `corner` is their upper left one, in inches."""
    width, height = figure.get_size_inches()
    x, y = corner
    axes = figure.add_axes((x / width, 0, 1 - x / width, y / height))
    axes.set(xlim=(0, width - x), ylim=(0, y))
    axes.set_axis_off()
    step = 1.6 * style.small / 72
    for place, (colour, depth, name) in enumerate(scales):
        middle = y - (place + 0.5) * step
        parts = np.linspace(0, 1, 16)
        cell = SCALE_BAR / len(parts)
        cells = [Rectangle((number * cell, middle - 0.3 * step), cell, 0.6 * step) for number in range(len(parts))]
        axes.add_collection(PatchCollection(cells, facecolor=colour, alpha=(depth * parts).clip(LEAST_DEPTH), lw=0))
        axes.text(SCALE_BAR + 0.08, middle, name, va="center", fontsize=style.small, color=INK)


def count_pairs(labels: np.ndarray, predicted: np.ndarray, class_count: int) -> np.ndarray:
    """Images by true and predicted class, [K, K]."""
    pairs = labels * class_count + predicted
    return np.bincount(pairs, minlength=class_count**2).reshape(class_count, class_count)


def choose_confused(counts: np.ndarray) -> np.ndarray:
    """Classes of the pairs confused most, either way: those that a logged matrix shows, ascending; counts [K, K]."""
    pairs = np.triu(counts + counts.T, 1)  # [K, K], each pair once
    ranked_pairs = np.argsort(-pairs, axis=None, kind="stable")
    ranked_classes = np.stack(np.unravel_index(ranked_pairs, pairs.shape), axis=1).ravel()
    classes, first_places = np.unique(ranked_classes, return_index=True)
    return np.sort(classes[np.argsort(first_places)[:MATRIX_CLASSES]])


def draw_outcomes(rows: Rows, style: Style) -> Figure:
    """Images fixed (up) and broken (down) by each epoch; rows of transition_outcomes."""
    figure = new_figure(style, 0.52 * style.width if style.is_narrow else 2.4)
    axes = figure.subplots()
    epochs = [row["next_epoch"] for row in rows]
    axes.bar(epochs, [row["fixed"] for row in rows], width=0.8, color=BLUE)
    axes.bar(epochs, [-row["broken"] for row in rows], width=0.8, color=ORANGE, hatch="////", edgecolor=PAPER, lw=0)
    axes.axhline(0, color=FAINT, lw=0.6)
    set_epochs(axes, epochs)
    axes.set_xlim(epochs[0] - 0.6, epochs[-1] + 0.6)
    axes.set_ylabel("Images")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -1), max(high, 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    set_grid(axes, "y")
    handles = [Patch(color=BLUE), Patch(facecolor=ORANGE, hatch="////", edgecolor=PAPER, lw=0)]
    add_legend(figure, style, handles, ["fixed: incorrect before, correct at this epoch", "broken: the reverse"])
    return figure
