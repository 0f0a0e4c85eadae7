"""Figures of a comparison, made from rows of the queries."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.common.figures import short
from xai.references import REFERENCES

BEATS, FAILS, REFERENCE = "#1b7fb8", "#d1495b", "#888888"
SHOWN = {
    "insertion": "insertion: higher is better",
    "deletion": "deletion: lower is better",
    "road_gap": "ROAD, LeRF minus MoRF: higher is better",
    "randomized/everything": "like random weights' map: lower is better",
    "points_at_glyph": "points at what decides: higher is better",
}
ROAD = {"road_morf_": "most relevant first: lower is better", "road_lerf_": "least relevant first: higher is better"}
AGREEMENT = {
    "spearman": ("Spearman of |map|", -1, "RdBu_r"),
    "top10_overlap": ("overlap of top 10 % (IoU)", 0, "Blues"),
}
Rows = list[dict]


def faithfulness(rows: Rows, title: str) -> Figure:
    """Mean and 95 % interval of every method, one panel a measure; the dashed line is random noise."""
    panels = {metric: found for metric in SHOWN if (found := [row for row in rows if row["metric"] == metric])}
    methods = _methods(rows)
    figure = Figure(figsize=(3.1 * len(panels) + 1.4, 0.3 * len(methods) + 1.7), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (metric, found) in zip(axes, panels.items(), strict=True):
        _panel(axis, found, methods)
        axis.set_title(SHOWN[metric], fontsize=8, loc="left")
        axis.set_xlabel(f"n = {_range([row['n'] for row in found])}", fontsize=7)
    axes[0].set_yticks(range(len(methods)), methods, fontsize=8)
    axes[0].invert_yaxis()
    headed(figure, f"{title}\nblue: better than random beyond noise (99 %, paired); red: not; grey: references")
    return figure


def _range(counts: list[int]) -> str:
    """One number, or the least and the most: a map that is the same everywhere has no rank correlation."""
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)}))


def _methods(rows: Rows) -> list[str]:
    """Methods by insertion, the best first, then the references."""
    means = {row["method"]: row["mean"] for row in rows if row["metric"] == "insertion"}
    own = sorted((method for method in means if method not in REFERENCES), key=lambda method: -means[method])
    return [*own, *(method for method in REFERENCES if method in means)]


def _panel(axis: Axes, rows: Rows, methods: list[str]) -> None:
    for row in rows:
        place = methods.index(row["method"])
        low, high = (row["mean"] if row[end] is None else row[end] for end in ("low", "high"))
        axis.plot([low, high], [place, place], color=_colour(row), lw=2)
        axis.plot(row["mean"], place, "o", ms=5, color=_colour(row))
        if row["method"] == "random":
            axis.axvline(row["mean"], color=REFERENCE, lw=0.8, ls="--", zorder=0)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", alpha=0.3)


def _colour(row: dict) -> str:
    if row["method"] in REFERENCES or row["beats_random"] is None:
        return REFERENCE
    return BEATS if row["beats_random"] else FAILS


def road_curves(rows: Rows, title: str, *, predicted: bool) -> Figure:
    """Share of images with the target as top class while pixels are imputed, most (left) and least relevant first.

    It starts at 1 where the target is the class `predicted`.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (order, name) in zip(axes, ROAD.items(), strict=True):
        for number, method in enumerate(_methods(rows)):
            curve = [(0, 1.0)] * predicted + _curve(rows, method, order)
            axis.plot(*zip(*curve, strict=True), marker="o", ms=3, label=method, **_line(method, number))
        axis.set_title(name, fontsize=9, loc="left")
        axis.set(xlabel="share of pixels imputed, %", ylim=(0, 1.03))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share with the target on top")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    headed(figure, title)
    return figure


def _curve(rows: Rows, method: str, order: str) -> list[tuple[int, float]]:
    """Percent imputed, and the mean."""
    found = [row for row in rows if row["method"] == method and row["metric"].startswith(order)]
    return sorted((int(row["metric"].removeprefix(order)), row["mean"]) for row in found)


def _line(method: str, number: int) -> dict[str, str]:
    if method in REFERENCES:
        return {"color": "#444444", "ls": ":" if method == "random" else "--"}
    return {"color": f"C{number}"}


def agreement(rows: Rows, title: str) -> Figure:
    """Matrices over pairs of methods: Spearman of |map|, and overlap of the strongest tenth."""
    pairs = [row for row in rows if row["subset"] == "all"]
    every = {row[end] for row in pairs for end in ("method_a", "method_b")}
    methods = sorted(every, key=lambda method: (method in REFERENCES, method))
    side = 0.48 * len(methods) + 1.6
    figure = Figure(figsize=(2 * side + 1.2, side + 1.3), layout="constrained")
    for axis, (key, (name, least, colours)) in zip(figure.subplots(1, 2), AGREEMENT.items(), strict=True):
        values = np.full((len(methods), len(methods)), np.nan)
        for row in pairs:
            a, b = methods.index(row["method_a"]), methods.index(row["method_b"])
            values[a, b] = values[b, a] = np.nan if row[key] is None else row[key]
        _matrix(axis, values, methods, least, colours)
        axis.set_title(name, fontsize=9, loc="left")
    headed(figure, f"{title}, n = {min(row['n'] for row in pairs)}")
    return figure


def _matrix(axis: Axes, values: np.ndarray, methods: list[str], least: float, colours: str) -> None:
    axis.imshow(values, cmap=colours, vmin=least, vmax=1)
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        axis.text(column, row, f"{round(value, 2) + 0.0:.2f}".replace("0.", "."), ha="center", va="center", fontsize=7,
                  color="white" if abs(value) > 0.6 else "black")  # fmt: skip
    axis.set_xticks(range(len(methods)), [short(name, 20) for name in methods], rotation=90, fontsize=8)
    axis.set_yticks(range(len(methods)), [short(name, 20) for name in methods], fontsize=8)


def headed(figure: Figure, title: str) -> None:
    """Put a title over the figure."""
    figure.suptitle(title, fontsize=9, x=0.01, ha="left", parse_math=False)
