"""One instance's heatmaps across epochs, one row per method: how an explanation developed."""

from dataclasses import dataclass

import duckdb
import numpy as np
from matplotlib.figure import Figure

import queries
from pipelines.common.figures import short
from pipelines.comparing.map_selection import MapSelection
from pipelines.explaining.maps.heatmaps import CORRECT_COLOUR, INCORRECT_COLOUR, full_colour_magnitude, overlay
from xai import METHODS

MAX_EPOCHS = 12  # per strip
STRIPS = 4  # instances with a strip
# in inches
TILE = 1.0
TILE_PITCH = 1.05
LABEL_WIDTH = 1.5
HEADER_HEIGHT = 0.75


@dataclass(frozen=True)
class Strip:
    """An instance's maps by method and epoch, and what it was predicted as."""

    instance: int
    maps: dict[str, dict[int, np.ndarray]]  # [H, W], by method, then epoch; methods with more than one epoch
    predicted: dict[int, tuple[int, float, int | None]]  # class_id, its probability, and the label, by epoch

    @property
    def epochs(self) -> list[int]:
        """At most MAX_EPOCHS, evenly spread, including the first and the last."""
        epochs = sorted({epoch for by_epoch in self.maps.values() for epoch in by_epoch})
        count = min(MAX_EPOCHS, len(epochs))
        chosen = np.unique(np.linspace(0, len(epochs) - 1, count).round().astype(int))
        return [epochs[i] for i in chosen]


def read_strips(connection: duckdb.DuckDBPyConnection, selection: MapSelection) -> list[Strip]:
    """Strips of the instances explained at the most epochs; none if none was explained at two."""
    scope = {"run_id": selection.run_id, "split": selection.split, "target": selection.target}
    rows = queries.execute(connection, "strip_instances", scope | {"limit": STRIPS}).fetchall()
    return [_read_strip(connection, selection, instance) for (instance,) in rows]


def _read_strip(connection: duckdb.DuckDBPyConnection, selection: MapSelection, instance: int) -> Strip:
    key: dict[str, str | int | float | None] = {
        "run_id": selection.run_id,
        "split": selection.split,
        "instance_id": instance,
    }
    maps: dict[str, dict[int, np.ndarray]] = {}
    rows = queries.execute(connection, "strip_maps", key | {"target": selection.target}).fetchall()
    for method, epoch, height, width, values in rows:
        maps.setdefault(method, {})[epoch] = np.array(values, np.float32).reshape(height, width)
    maps = {method: by_epoch for method, by_epoch in maps.items() if len(by_epoch) > 1}
    history = queries.run(connection, "instance_history", key).dicts
    predicted = {row["epoch"]: (row["predicted"], row["p_predicted"], row["label"]) for row in history}
    return Strip(instance, maps, predicted)


def draw_strip(strip: Strip, image: np.ndarray, classes: tuple[str, ...], title: str) -> Figure:
    """Rows of heatmaps over the image [H, W, 3], 0..1; each map has its own scale, as logits grow in training."""
    epochs = strip.epochs
    methods = sorted(strip.maps)
    width = TILE_PITCH * (len(epochs) + 1) + LABEL_WIDTH
    height = TILE_PITCH * len(methods) + HEADER_HEIGHT
    figure = Figure(figsize=(width, height))

    def draw_tile(column: int, bottom: float, pixels: np.ndarray) -> None:
        left = (LABEL_WIDTH + TILE_PITCH * column) / width
        axis = figure.add_axes((left, bottom, TILE / width, TILE / height))
        axis.imshow(pixels, interpolation="nearest")
        axis.axis("off")

    figure.text(0.1 / width, 1 - 0.2 / height, title, fontsize=9, va="center", parse_math=False)
    for row, method in enumerate(methods):
        bottom = (TILE_PITCH * (len(methods) - 1 - row) + 0.05) / height
        figure.text(0.1 / width, bottom + 0.5 / height, short(method, 22), fontsize=8, va="center")
        draw_tile(0, bottom, image)
        for column, epoch in enumerate(epochs, start=1):
            values = strip.maps[method].get(epoch)
            if values is not None:
                heatmap = overlay(image, values, full_colour_magnitude(values), METHODS[method].signed)
                draw_tile(column, bottom, heatmap)
    for column, epoch in enumerate(epochs, start=1):
        left = (LABEL_WIDTH + TILE_PITCH * column) / width
        caption, colour = _caption(strip.predicted.get(epoch), classes)
        figure.text(left, 1 - 0.42 / height, f"epoch {epoch}", fontsize=7.5, va="center")
        figure.text(left, 1 - 0.58 / height, caption, fontsize=7, va="center", color=colour, parse_math=False)
    return figure


def _caption(predicted: tuple[int, float, int | None] | None, classes: tuple[str, ...]) -> tuple[str, str]:
    """What the instance was predicted as, and a colour that tells whether that is correct."""
    if predicted is None:
        return "", CORRECT_COLOUR
    class_id, probability, label = predicted
    percent = "" if probability is None else f" {probability:.0%}"
    colour = CORRECT_COLOUR if label in (class_id, None) else INCORRECT_COLOUR
    return f"{short(classes[class_id], 11)}{percent}", colour
