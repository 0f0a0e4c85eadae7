"""Figures for MLflow, made with matplotlib's objects, so that no global state is touched."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from tracking.commits import EpochCommit

SPLIT_COLOURS = {"train_seen": "#888888", "val": "#1b7fb8", "test": "#d1495b"}
DPI = 120
NAMES = {"train_seen": "train, as seen", "val": "validation", "test": "test"}


def draw_learning_curves(epochs: list[EpochCommit], title: str) -> Figure:
    """Accuracy and loss by epoch for each split."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    figure.suptitle(title)
    for axis, metric, unit in ((axes[0], "accuracy", "accuracy"), (axes[1], "loss", "cross entropy, nats")):
        for split, colour in SPLIT_COLOURS.items():
            key = f"{split}_{metric}"
            evaluated = [commit for commit in epochs if key in commit.metrics]
            xs = [commit.epoch for commit in evaluated]
            ys = [commit.metrics[key] for commit in evaluated]
            axis.plot(xs, ys, "o-", ms=3, color=colour, label=NAMES[split])
        axis.set(xlabel="epoch (0: untrained)", ylabel=unit)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 1)
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes[0].legend(loc="lower right")
    return figure


def draw_confusion_matrix(labels: Tensor, predicted: Tensor, classes: tuple[str, ...], title: str) -> Figure:
    """Counts by true class (rows) and predicted class (columns); colour: fraction of the true class."""
    class_count = len(classes)
    pairs = labels.numpy() * class_count + predicted.numpy()
    counts = np.bincount(pairs, minlength=class_count**2).reshape(class_count, class_count)
    fractions = counts / counts.sum(axis=1, keepdims=True).clip(1)

    # in inches; fixed places instead of a solved layout, which would cost more than the drawing
    side = 0.42 * min(max(class_count, 6), 40)
    width = side + 2.9
    height = side + 1.9
    left = 1.5
    bottom = 1.4
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((left / width, bottom / height, side / width, side / height))
    image = axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if class_count <= 20:
        for row, column in np.argwhere(counts):
            colour = "white" if fractions[row, column] > 0.5 else "black"
            axis.text(column, row, counts[row, column], ha="center", va="center", fontsize=8, color=colour)
    names = [short(name, 18) for name in classes]
    axis.set_xticks(range(class_count), names, rotation=90, parse_math=False)
    axis.set_yticks(range(class_count), names, parse_math=False)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(title, fontsize=10, loc="left")
    colour_bar = figure.add_axes(((left + side + 0.25) / width, bottom / height, 0.15 / width, side / height))
    figure.colorbar(image, cax=colour_bar, label="fraction of the true class")
    return figure


def short(name: str, most: int = 14) -> str:
    """A name, cut to `most` characters if it is longer."""
    return name if len(name) <= most else name[: most - 1] + "…"


def render_figure(figure: Figure) -> np.ndarray:
    """The drawn figure as an image [H, W, 3], uint8."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
