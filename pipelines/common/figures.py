"""Figures for MLflow, made with matplotlib's objects, so that no global state is touched."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SPLIT_COLOURS = {"train_seen": "#888888", "val": "#1b7fb8", "test": "#d1495b"}
DPI = 120
TITLE_HEIGHT = 0.3  # inches


def short(name: str, most: int = 14) -> str:
    """A name, cut in the middle to `most` characters if it is longer: many differ in their last ones alone."""
    head = (most - 1) // 2
    return name if len(name) <= most else f"{name[:head]}…{name[head + 1 - most :]}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def render_figure(figure: Figure, title: str | None = None) -> np.ndarray:
    """The drawn figure as an image [H, W, 3], uint8, with a title above it if one is given."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    if title is None:
        return picture
    head = Figure(figsize=(picture.shape[1] / DPI, TITLE_HEIGHT))
    head.text(0.01, 0.4, title, fontsize=9, va="center", parse_math=False)
    return np.concatenate([render_figure(head), picture])
