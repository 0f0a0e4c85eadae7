"""Figures for MLflow, made with matplotlib's objects, so that no global state is touched."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from tracking.commits import EpochCommit

COLOURS = {"train_seen": "#888888", "val": "#1b7fb8", "test": "#d1495b"}
DPI = 120
NAMES = {"train_seen": "train, as seen", "val": "validation", "test": "test"}


def learning_curves(epochs: list[EpochCommit], title: str) -> Figure:
    """Accuracy and loss by epoch for each split."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    figure.suptitle(title)
    for axis, metric in zip(axes, ("accuracy", "loss"), strict=True):
        for split, colour in COLOURS.items():
            points = [(c.epoch, c.metrics[f"{split}_{metric}"]) for c in epochs if f"{split}_{metric}" in c.metrics]
            axis.plot(
                *zip(*points, strict=True) if points else ([], []),
                "o-",
                ms=3,
                color=colour,
                label=NAMES[split],
            )
        axis.set(
            xlabel="epoch (0: untrained)",
            ylabel="accuracy" if metric == "accuracy" else "cross entropy, nats",
        )
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 1)
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes[0].legend(loc="lower right")
    return figure


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: tuple[str, ...], title: str) -> Figure:
    """Counts by true (rows) and predicted class (columns); colour: share of the true class."""
    count = len(classes)
    counts = np.bincount(labels.numpy() * count + predicted.numpy(), minlength=count**2).reshape(count, count)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    side = 0.42 * min(max(count, 6), 40)
    figure = Figure(figsize=(side + 2.9, side + 1.9))
    # fixed places instead of a solved layout, which would cost more than the drawing
    axis = figure.add_axes((1.5 / (side + 2.9), 1.4 / (side + 1.9), side / (side + 2.9), side / (side + 1.9)))
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= 20:
        for row, column in np.argwhere(counts):
            dark = shares[row, column] > 0.5
            axis.text(column, row, counts[row, column], ha="center", va="center", fontsize=8,
                      color="white" if dark else "black")  # fmt: skip
    names = [short(name, 18) for name in classes]
    axis.set_xticks(range(count), names, rotation=90, parse_math=False)
    axis.set_yticks(range(count), names, parse_math=False)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(title, fontsize=10, loc="left")
    bar = figure.add_axes(((side + 1.75) / (side + 2.9), 1.4 / (side + 1.9), 0.15 / (side + 2.9), side / (side + 1.9)))
    figure.colorbar(image, cax=bar, label="share of the true class")
    return figure


def short(name: str, most: int = 14) -> str:
    """A name of `most` characters at the most."""
    return name if len(name) <= most else name[: most - 1] + "…"


def pixels(figure: Figure) -> np.ndarray:
    """The drawn figure as an image [H, W, 3], uint8."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
