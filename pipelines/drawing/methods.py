"""What explanation methods are worth: faithfulness, agreement, settling. Rows are those of queries."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipelines.common.figures import capital
from pipelines.common.metrics import name_metric
from pipelines.drawing.style import (
    BLUE,
    FAINT,
    GREY,
    INK,
    ORANGE,
    PAPER,
    SOLID,
    Style,
    add_legend,
    choose_ink,
    line_of_method,
    measure,
    name_method,
    new_figure,
    order_methods,
    set_epochs,
    set_grid,
    set_percent,
)
from xai.references import REFERENCES

Rows = Sequence[dict]
# metrics that have a panel, and which values are better
PANELS = {
    "insertion": "higher is better",
    "deletion": "lower is better",
    "road_gap": "higher is better",
    "randomized/everything": "lower is better",
    "points_at_glyph": "higher is better",
}
# has no verdict: random maps do not depend on weights, so they are at 1 by definition, and to be below shows little
ESTIMATE = "randomized/everything"
# colour, face and marker of a mean, by verdict
MARKS = {
    True: (BLUE, BLUE, "o"),
    False: (ORANGE, PAPER, "o"),
    None: (GREY, PAPER, "o"),
    "estimate": (INK, INK, "D"),
    "reference": (GREY, GREY, "s"),
}
ROAD_ORDERS = {"road_morf_": "Most relevant first", "road_lerf_": "Least relevant first"}
# column of attribution_agreement: title, least value, colour map
AGREEMENT_MATRICES = {
    "spearman": ("Rank correlation of |map|", -1, "RdBu_r"),
    "top10_overlap": ("Overlap of the top 10 % (IoU)", 0, "Blues"),
}

LEAST_SPAN = 0.01  # of an axis: means that differ in their ninth digit look alike, and its ticks stay short


def draw_faithfulness(
    rows: Rows, style: Style, *, metrics: Sequence[str] = tuple(PANELS), has_legend: bool = True
) -> Figure:
    """Mean and 95 % interval of every method, one panel per metric; the dashed line is at random maps.

    Filled circles are corrected for all of them: with nothing better than random, any is filled in at most 5 % of
    studies (or the level at which the rows were asked for). Likeness to random weights' maps has no verdict. Rows of
    faithfulness_by_method.
    """
    panels = [metric for metric in metrics if any(row["metric"] == metric for row in rows)]
    methods = order_by_insertion(rows)
    label = measure([name_method(method, style) for method in methods], style.text)
    least = measure([f"({better})" for better in PANELS.values()], style.text) + 0.1
    across = max(1, min(len(panels), int((style.width - label) / least)))
    down = -(-len(panels) // across)
    figure = new_figure(style, down * style.row * (len(methods) + (4.6 if style.is_print else 3.6)))
    grid = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, metric in zip(grid, panels, strict=False):
        for row in (row for row in rows if row["metric"] == metric and row["method"] in methods):
            _draw_mean(axes, row, methods.index(row["method"]), style)
        lines = [capital(name_metric(metric)), f"({PANELS[metric]})"]
        axes.set_xlabel("\n".join([*lines, _count_images(rows, metric)] if style.is_print else lines))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        low, high = axes.get_xlim()
        if high - low < LEAST_SPAN:
            axes.set_xlim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
        set_grid(axes, "x")
    for axes in grid[::across]:
        axes.set_yticks(range(len(methods)), [name_method(method, style) for method in methods], color=INK)
    for axes in grid:
        axes.tick_params(axis="y", length=0, labelsize=style.text)
    grid[0].set_ylim(len(methods) - 0.4, -0.6)
    if has_legend:
        names = {
            True: "better than random maps: test and interval show it", False: "test or interval does not show it",
            None: "not judged", "estimate": "estimate, not tested", "reference": "reference",
        }  # fmt: skip
        drawn = {_judge(row) for row in rows if row["metric"] in panels}
        shown = [
            (name, Line2D([], [], color=MARKS[verdict][0], mfc=MARKS[verdict][1], marker=MARKS[verdict][2]))
            for verdict, name in names.items()
            if verdict in drawn
        ]
        add_legend(figure, style, [line for _, line in shown], [name for name, _ in shown])
    return figure


def _count_images(rows: Rows, metric: str) -> str:
    """How many images have a metric: the fewest and the most of any method."""
    counts = [row["n"] for row in rows if row["metric"] == metric]
    few, many = min(counts), max(counts)
    return f"n = {many:,}" if few == many else f"n = {few:,} to {many:,}"


def order_by_insertion(rows: Rows) -> list[str]:
    """Methods by insertion, the best first, then the references."""
    insertion = {row["method"]: row["mean"] for row in rows if row["metric"] == "insertion"}
    known = {row["method"] for row in rows}
    methods = sorted(order_methods(known - set(REFERENCES)), key=lambda method: -(insertion.get(method) or 0))
    return [*methods, *(method for method in REFERENCES if method in known)]


def _judge(row: dict) -> bool | str | None:
    """Whether a method is shown to beat random maps, null if it is not judged; or that it is another mark."""
    if row["method"] in REFERENCES:
        return "reference"
    return "estimate" if row["metric"] == ESTIMATE else row["beats_random"]


def _draw_mean(axes: Axes, row: dict, place: int, style: Style) -> None:
    if row["mean"] is None:
        return
    colour, face, marker = MARKS[_judge(row)]
    is_constant = row["metric"] == ESTIMATE and row["method"] in REFERENCES  # they do not depend on the weights
    if row["low"] is not None and not is_constant:
        axes.hlines(place, row["low"], row["high"], color=colour, lw=style.line)
    axes.plot(row["mean"], place, marker, color=colour, mfc=face)
    if row["method"] == "random":
        axes.axvline(row["mean"], color=GREY, lw=0.6, ls=(0, (4, 2)), zorder=0)


def draw_road(rows: Rows, style: Style, *, starts_at_one: bool) -> Figure:
    """Fraction of images whose top class is the target as pixels are imputed, most and least relevant first.

    It starts at 1 if the target is the predicted class. Rows of faithfulness_by_method.
    """
    orders = {key: name for key, name in ROAD_ORDERS.items() if any(row["metric"].startswith(key) for row in rows)}
    figure = new_figure(style, 0.62 * style.width if style.is_narrow else 2.7)
    panels = figure.subplots(1, len(orders), sharey=True, squeeze=False)[0]
    methods = order_methods({row["method"] for row in rows})
    for axes, (key, title) in zip(panels, orders.items(), strict=True):
        for method in methods:
            points = sorted(
                (int(row["metric"].removeprefix(key)) / 100, row["mean"])
                for row in rows
                if row["method"] == method and row["metric"].startswith(key) and row["mean"] is not None
            )
            points = [(0.0, 1.0), *points] if starts_at_one else points
            if points:
                _draw_line(axes, style, *zip(*points, strict=True), method=method)
        axes.set(xlabel=f"Pixels imputed (%)\n{title}", ylim=(0, 1.03), xlim=(0, 1))
        set_percent(axes.xaxis, (0, 0.5, 1))
        set_grid(axes)
    panels[0].set_ylabel("Class kept (%)")
    set_percent(panels[0].yaxis)
    add_legend(figure, style, *panels[0].get_legend_handles_labels())
    return figure


def _draw_line(axes: Axes, style: Style, xs: Sequence[float], ys: Sequence[float], *, method: str) -> None:
    series = line_of_method(method)
    axes.plot(xs, ys, color=series.colour, ls=series.dashes, marker=series.marker, label=name_method(method, style))


def draw_agreement(rows: Rows, style: Style) -> Figure:
    """Matrices over pairs of methods: rank correlation, overlap of the strongest tenth; of attribution_agreement."""
    pairs = [row for row in rows if row["subset"] == "all"]
    methods = order_methods({row[column] for row in pairs for column in ("method_a", "method_b")})
    names = [name_method(method, style) for method in methods]
    label = measure(names, style.small) + 0.1
    panels = len(AGREEMENT_MATRICES)
    across, down = (1, panels) if style.is_narrow else (panels, 1)
    side = min(((style.width - label) / across - 0.12) / len(methods), 0.45)
    square = side * len(methods)
    step = 0.12 + max(square, measure([name for name, *_ in AGREEMENT_MATRICES.values()], style.text))
    title = 1.6 * style.row
    width = label + across * step
    height = down * (square + title) + label + 0.05
    figure = Figure(figsize=(width, height))
    font_size = max(6.0, min(style.small, 72 * side / (0.62 * 3.1)))  # in points; a cell's text has about 3.1 letters
    for number, (column, (name, least, colours)) in enumerate(AGREEMENT_MATRICES.items()):
        x = label + (number % across) * step
        y = label + (down - 1 - number // across) * (square + title)
        axes = figure.add_axes((x / width, y / height, square / width, square / height))
        values = np.full((len(methods), len(methods)), np.nan)
        for row in pairs:
            a, b = methods.index(row["method_a"]), methods.index(row["method_b"])
            values[a, b] = values[b, a] = np.nan if row[column] is None else row[column]
        axes.pcolormesh(values, cmap=colours, vmin=least, vmax=1, edgecolors=PAPER, linewidth=0.4)
        for i, j in np.argwhere(~np.isnan(values)):
            text = f"{round(values[i, j], 2) + 0.0:.2f}".replace("0.", ".")  # + 0.0 makes 0 of -0
            colour = choose_ink(style, colormaps[colours]((values[i, j] - least) / (1 - least))[:3])
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=font_size, color=colour)
        axes.invert_yaxis()
        axes.annotate(name, (0, 1), (0, 3), "axes fraction", "offset points", va="bottom")
        places = [place + 0.5 for place in range(len(methods))]
        axes.set_xticks(places, names if number // across == down - 1 else [""] * len(names), rotation=90, color=INK)
        axes.set_yticks(places, names if number % across == 0 else [""] * len(names), color=INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def draw_drift(rows: Rows, style: Style) -> Figure:
    """Similarity of each epoch's maps to the last ones, by method, 95 % intervals as bands; of explanation_drift."""
    figure, axes = _draw_epochs(rows, style, "to_last", "Similarity to last map")
    for method in order_methods({row["method"] for row in rows}):
        own = [row for row in rows if row["method"] == method and row["to_last_low"] is not None]
        axes.fill_between(
            [row["epoch"] for row in own], [row["to_last_low"] for row in own], [row["to_last_high"] for row in own],
            color=line_of_method(method).colour, alpha=0.15, lw=0,
        )  # fmt: skip
    axes.set_ylim(min(-0.05, axes.get_ylim()[0]), 1.03)
    add_legend(figure, style, *axes.get_legend_handles_labels())
    return figure


def draw_settling(rows: Rows, style: Style) -> Figure:
    """Fraction of images whose map, and whose prediction, is settled by epoch; rows of explanation_drift."""
    figure, axes = _draw_epochs(rows, style, "share_settled", "Settled (%)")
    predicted = {row["epoch"]: row["share_prediction_settled"] for row in rows}
    epochs = sorted(epoch for epoch, share in predicted.items() if share is not None)
    axes.plot(epochs, [predicted[epoch] for epoch in epochs], color=FAINT, ls=SOLID, lw=1.8 * style.line,
              label="Predictions", zorder=1)  # fmt: skip
    axes.set_ylim(0, 1.03)
    set_percent(axes.yaxis)
    add_legend(figure, style, *axes.get_legend_handles_labels())
    return figure


def _draw_epochs(rows: Rows, style: Style, column: str, name: str) -> tuple[Figure, Axes]:
    figure = new_figure(style, 0.68 * style.width if style.is_narrow else 2.8)
    axes = figure.subplots()
    for method in order_methods({row["method"] for row in rows}):
        own = [row for row in rows if row["method"] == method and row[column] is not None]
        _draw_line(axes, style, [row["epoch"] for row in own], [row[column] for row in own], method=method)
    set_epochs(axes, sorted({row["epoch"] for row in rows}))
    axes.set_ylabel(name)
    set_grid(axes)
    return figure, axes
