"""Figures of a report: small bars drawn by hand, curves by matplotlib; colours that colour-blind eyes tell apart."""

import base64
import io
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.common.figures import NAMES
from pipelines.reporting.html import Html, html

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#8a8a93", "#1b1b1f"  # Okabe and Ito's, and greys
STYLES = {"test": (ORANGE, "-"), "val": (BLUE, "--"), "train_seen": (GREY, ":")}
WIDE, TALL = 150, 14  # pixels of a bar


def bar(
    share: float | None, low: float | None = None, high: float | None = None, reference: float | None = None,
    full: float = 1.0, text: str = "",
) -> Html:  # fmt: skip
    """A bar for a value in 0..full, its interval as a line, what to compare it with as a dashed mark."""
    if share is None:
        return Html("")

    def x(at: float) -> str:
        return f"{WIDE * min(max(at / full, 0), 1):.1f}"

    parts = [f'<rect width="{WIDE}" height="{TALL}" fill="#eef0f3"/>',
             f'<rect width="{x(share)}" height="{TALL}" fill="#8fbbd9"/>']  # fmt: skip
    if low is not None and high is not None:
        parts.append(
            f'<path d="M{x(low)} 7H{x(high)}M{x(low)} 3V11M{x(high)} 3V11" stroke="{INK}" stroke-width="1.4"/>'
        )
    if reference is not None:
        parts.append(f'<path d="M{x(reference)} 0V{TALL}" stroke="{ORANGE}" stroke-width="2" stroke-dasharray="3 2"/>')
    return html(
        '<svg class="bar" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>',
        WIDE, TALL, WIDE, TALL, text or f"{share:.3g} of {full:g}", Html("".join(parts)),
    )  # fmt: skip


def curves(rows: Sequence[dict]) -> Html:
    """Accuracy by epoch of every split, 95 % intervals as bands; rows of accuracy_by_epoch."""
    figure = Figure(figsize=(7.4, 2.9), layout="constrained")
    axis = figure.subplots()
    for split in dict.fromkeys(row["split"] for row in rows):
        own = [row for row in rows if row["split"] == split and row["accuracy"] is not None]
        colour, line = STYLES.get(split, (INK, "-."))
        epochs = [row["epoch"] for row in own]
        axis.plot(epochs, [row["accuracy"] for row in own], line, marker="o", ms=2.5, lw=1.5, color=colour,
                  label=NAMES.get(split, split))  # fmt: skip
        axis.fill_between(epochs, [row["low"] for row in own], [row["high"] for row in own], color=colour, alpha=0.15)
    axis.set(xlabel="epoch (0: untrained)", ylabel="accuracy", ylim=(0, 1.02))
    _finish(axis)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    return as_image(figure, "Accuracy after each epoch, by split")


def reliability(rows: Sequence[dict]) -> Html:
    """Accuracy against confidence by bin, with the number of images; rows of calibration."""
    figure = Figure(figsize=(4.6, 3.7), layout="constrained")
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axis.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    spans = [[row["accuracy"] - row["accuracy_low"] for row in rows],
             [row["accuracy_high"] - row["accuracy"] for row in rows]]  # fmt: skip
    axis.errorbar([row["confidence"] for row in rows], [row["accuracy"] for row in rows],
                  [[max(0, gap) for gap in side] for side in spans],
                  fmt="o", ms=4, color=BLUE, elinewidth=1, capsize=2)  # fmt: skip
    axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    _finish(axis)
    middle = [(row["confidence_from"] + row["confidence_to"]) / 2 for row in rows]
    widths = [row["confidence_to"] - row["confidence_from"] for row in rows]
    below.bar(middle, [row["n"] for row in rows], widths, color=GREY, edgecolor="white")
    below.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    below.set_yscale("symlog")
    below.tick_params(labelsize=7)
    return as_image(figure, "Accuracy against confidence, and how many images have which confidence")


def outcomes(rows: Sequence[dict]) -> Html:
    """Images fixed (up) and broken (down) by each epoch; rows of transition_outcomes."""
    figure = Figure(figsize=(7.4, 2.3), layout="constrained")
    axis = figure.subplots()
    epochs = [row["next_epoch"] for row in rows]
    axis.bar(epochs, [row["fixed"] for row in rows], color=BLUE, label="fixed: wrong before, right after")
    axis.bar(epochs, [-row["broken"] for row in rows], color=ORANGE, hatch="//", edgecolor="white",
             label="broken: right before, wrong after")  # fmt: skip
    axis.axhline(0, color=INK, lw=0.8)
    axis.set(xlabel="epoch", ylabel="images")
    axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axis.locator_params("x", integer=True)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False)
    return as_image(figure, "Images that each epoch fixed and broke")


def _finish(axis: Axes) -> None:
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.locator_params("x", integer=axis.get_xlim()[1] > 1)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)


def as_image(figure: Figure, alt: str) -> Html:
    """The figure as SVG in the page's text, the same bits each time."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    content = base64.b64encode(file.getvalue().encode()).decode()
    return html('<img class="chart" src="data:image/svg+xml;base64,{}" alt="{}">', Html(content), alt)
