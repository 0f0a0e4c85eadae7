"""Figures of a comparison, made from rows of the queries."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.common.figures import short
from xai.references import REFERENCES

BETTER_COLOUR = "#1b7fb8"
NOT_BETTER_COLOUR = "#d1495b"
REFERENCE_COLOUR = "#888888"
REFERENCE_LINE_COLOUR = "#444444"
PANELS = {
    "insertion": "insertion: higher is better",
    "deletion": "deletion: lower is better",
    "road_gap": "ROAD, LeRF minus MoRF: higher is better",
    "randomized/everything": "similarity, random weights: lower is better",
    "points_at_glyph": "points at what decides: higher is better",
}
ROAD_ORDERS = {
    "road_morf_": "most relevant first: lower is better",
    "road_lerf_": "least relevant first: higher is better",
}
# column of the query: title, least value, colour map
AGREEMENT_MATRICES = {
    "spearman": ("Spearman of |map|", -1, "RdBu_r"),
    "top10_overlap": ("overlap of top 10 % (IoU)", 0, "Blues"),
}
Rows = list[dict]


def faithfulness(rows: Rows, title: str) -> Figure:
    """Mean and 95 % interval of every method, one panel per measure; the dashed line is random noise.

    Blue marks are corrected for all of them: with nothing better than random, any is blue in at most 5 % of studies.
    """
    rows_by_metric: dict[str, Rows] = {}
    for row in rows:
        rows_by_metric.setdefault(row["metric"], []).append(row)
    panels = [metric for metric in PANELS if metric in rows_by_metric]
    methods = _order_methods(rows)
    figure = Figure(figsize=(3.1 * len(panels) + 1.4, 0.3 * len(methods) + 1.7), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, metric in zip(axes, panels, strict=True):
        panel_rows = rows_by_metric[metric]
        _draw_panel(axis, panel_rows, methods)
        # one number, or the least and the most: a constant map has no rank correlation
        counts = [row["n"] for row in panel_rows]
        count_range = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
        axis.set_title(PANELS[metric], fontsize=8, loc="left")
        axis.set_xlabel(f"n = {count_range}", fontsize=7)
    axes[0].set_yticks(range(len(methods)), methods, fontsize=8)
    axes[0].invert_yaxis()
    set_title(figure, f"{title}\nblue: shown to be better than random; red: not shown; grey: reference, or few images")
    return figure


def _order_methods(rows: Rows) -> list[str]:
    """Methods by insertion, the best first, then the references."""
    insertion = {row["method"]: row["mean"] for row in rows if row["metric"] == "insertion"}
    methods = [method for method in insertion if method not in REFERENCES]
    references = [method for method in REFERENCES if method in insertion]
    return [*sorted(methods, key=lambda method: -insertion[method]), *references]


def _draw_panel(axis: Axes, rows: Rows, methods: list[str]) -> None:
    for row in rows:
        y = methods.index(row["method"])
        low = row["mean"] if row["low"] is None else row["low"]
        high = row["mean"] if row["high"] is None else row["high"]
        if row["method"] in REFERENCES or row["beats_random"] is None:
            colour = REFERENCE_COLOUR
        else:
            colour = BETTER_COLOUR if row["beats_random"] else NOT_BETTER_COLOUR
        axis.plot([low, high], [y, y], color=colour, lw=2)
        axis.plot(row["mean"], y, "o", ms=5, color=colour)
        if row["method"] == "random":
            axis.axvline(row["mean"], color=REFERENCE_COLOUR, lw=0.8, ls="--", zorder=0)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", alpha=0.3)


def road_curves(rows: Rows, title: str, *, predicted: bool) -> Figure:
    """Fraction of images whose top class is the target as pixels are imputed, most (left) and least relevant first.

    It starts at 1 if the target is the class `predicted`.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (order, panel_title) in zip(axes, ROAD_ORDERS.items(), strict=True):
        for number, method in enumerate(_order_methods(rows)):
            percents_and_means = sorted(
                (int(row["metric"].removeprefix(order)), row["mean"])
                for row in rows
                if row["method"] == method and row["metric"].startswith(order)
            )
            if predicted:
                percents_and_means.insert(0, (0, 1.0))
            if method in REFERENCES:
                style = {"color": REFERENCE_LINE_COLOUR, "ls": ":" if method == "random" else "--"}
            else:
                style = {"color": f"C{number}"}
            axis.plot(*zip(*percents_and_means, strict=True), marker="o", ms=3, label=method, **style)
        axis.set_title(panel_title, fontsize=9, loc="left")
        axis.set(xlabel="pixels imputed, %", ylim=(0, 1.03))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("fraction whose top class is the target")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    set_title(figure, title)
    return figure


def agreement(rows: Rows, title: str) -> Figure:
    """Matrices over pairs of methods: Spearman of |map|, and overlap of the strongest tenth."""
    pairs = [row for row in rows if row["subset"] == "all"]
    names = {row[column] for row in pairs for column in ("method_a", "method_b")}
    methods = sorted(names, key=lambda method: (method in REFERENCES, method))
    side = 0.48 * len(methods) + 1.6
    figure = Figure(figsize=(2 * side + 1.2, side + 1.3), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, (column, (matrix_title, least, colour_map)) in zip(axes, AGREEMENT_MATRICES.items(), strict=True):
        values = np.full((len(methods), len(methods)), np.nan)
        for row in pairs:
            a, b = methods.index(row["method_a"]), methods.index(row["method_b"])
            values[a, b] = values[b, a] = np.nan if row[column] is None else row[column]
        _draw_matrix(axis, values, methods, least, colour_map)
        axis.set_title(matrix_title, fontsize=9, loc="left")
    set_title(figure, f"{title}, n = {min(row['n'] for row in pairs)}")
    return figure


def _draw_matrix(axis: Axes, values: np.ndarray, methods: list[str], least: float, colour_map: str) -> None:
    axis.imshow(values, cmap=colour_map, vmin=least, vmax=1)
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        text = f"{round(value, 2) + 0.0:.2f}".replace("0.", ".")  # + 0.0 makes 0 of -0
        colour = "white" if abs(value) > 0.6 else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    names = [short(method, 20) for method in methods]
    axis.set_xticks(range(len(methods)), names, rotation=90, fontsize=8)
    axis.set_yticks(range(len(methods)), names, fontsize=8)


def set_title(figure: Figure, title: str) -> None:
    """Puts a title over the figure; no part of it is read as mathematics."""
    figure.suptitle(title, fontsize=9, x=0.01, ha="left", parse_math=False)
