"""One image's heatmaps, methods by epochs: how its explanation developed."""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import queries
from pipelines.common.figures import DPI, short
from pipelines.common.heatmaps import draw_map
from pipelines.comparing.map_selection import MapSelection
from pipelines.explaining.maps.heatmaps import CORRECT_COLOUR, INCORRECT_COLOUR
from xai import METHODS

MAX_EPOCHS = 8  # per mosaic
MOSAICS = 8  # images with a mosaic
# in pixels, few enough that MLflow shows the picture at about its own size, so that its text is readable
TILE = 76
GAP = 6
LABEL = 150  # width of the methods' names
HEADER = 62  # height of what stands above a column


@dataclass(frozen=True)
class Mosaic:
    """An image's maps by method and epoch, and what it was predicted as."""

    instance: int
    maps: dict[str, dict[int, np.ndarray]]  # [H, W], by method, then epoch
    predicted: dict[int, tuple[int, float, int | None]]  # class_id, its probability, and the label, by epoch

    @property
    def epochs(self) -> list[int]:
        """At most MAX_EPOCHS, evenly spread, including the first and the last."""
        epochs = sorted({epoch for by_epoch in self.maps.values() for epoch in by_epoch})
        count = min(MAX_EPOCHS, len(epochs))
        chosen = np.unique(np.linspace(0, len(epochs) - 1, count).round().astype(int))
        return [epochs[i] for i in chosen]


def read_mosaics(connection: duckdb.DuckDBPyConnection, selection: MapSelection) -> list[Mosaic]:
    """Mosaics of the images explained at the most epochs; none if none was explained at two."""
    scope = {"run_id": selection.run_id, "split": selection.split, "target": selection.target}
    rows = queries.execute(connection, "mosaic_instances", scope | {"limit": MOSAICS}).fetchall()
    return [_read_mosaic(connection, selection, instance) for (instance,) in rows]


def _read_mosaic(connection: duckdb.DuckDBPyConnection, selection: MapSelection, instance: int) -> Mosaic:
    key: dict[str, str | int | float | None] = {
        "run_id": selection.run_id,
        "split": selection.split,
        "instance_id": instance,
    }
    maps: dict[str, dict[int, np.ndarray]] = {}
    rows = queries.execute(connection, "mosaic_maps", key | {"target": selection.target}).fetchall()
    for method, epoch, height, width, values in rows:
        maps.setdefault(method, {})[epoch] = np.array(values, np.float32).reshape(height, width)
    history = queries.run(connection, "instance_history", key).dicts
    predicted = {row["epoch"]: (row["predicted"], row["p_predicted"], row["label"]) for row in history}
    return Mosaic(instance, maps, predicted)


def draw_mosaic(mosaic: Mosaic, image: np.ndarray, classes: tuple[str, ...]) -> Figure:
    """A row of heatmaps per method over the image [H, W, 3], 0..1, those of several epochs first.

    Each map has its own scale, as logits grow in training. A method that did not explain an epoch has no map there.
    """
    epochs = mosaic.epochs
    methods = sorted(mosaic.maps, key=lambda method: (-len(mosaic.maps[method]), method))
    plain = _fit(image)
    height, width = plain.shape[:2]
    step_y, step_x = height + GAP, width + GAP
    # one picture of all tiles in its own pixels, as an axis for each would take longer than all that is drawn
    drawn = np.full((HEADER + step_y * len(methods), LABEL + step_x * (len(epochs) + 1), 3), 255, np.uint8)
    drawn[HEADER : HEADER + height, LABEL : LABEL + width] = plain
    for row, method in enumerate(methods):
        for column, epoch in enumerate(epochs, start=1):
            values = mosaic.maps[method].get(epoch)
            if values is not None:
                top, left = HEADER + step_y * row, LABEL + step_x * column
                heatmap = draw_map(image, values, METHODS[method].signed, _fit)
                drawn[top : top + height, left : left + width] = heatmap

    whole_height, whole_width = drawn.shape[:2]
    figure = Figure(figsize=(whole_width / DPI, whole_height / DPI), dpi=DPI)
    figure.figimage(drawn, origin="upper")

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / whole_width, 1 - y / whole_height, text, va="center", parse_math=False, **style)

    for row, method in enumerate(methods):
        write(6, HEADER + step_y * row + height / 2, short(method, 22), fontsize=8)
    for column, epoch in enumerate(epochs, start=1):
        left = LABEL + step_x * column
        name, percent, colour = _caption(mosaic.predicted.get(epoch), classes)
        write(left, 14, f"epoch {epoch}", fontsize=7.5)
        write(left, 33, name, fontsize=7, color=colour)
        write(left, 51, percent, fontsize=7, color=colour)
    return figure


def _fit(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3], 0..1, about TILE pixels high: small ones with every pixel repeated; uint8."""
    pixels = np.round(image * 255).astype(np.uint8)
    factor = round(TILE / image.shape[0])
    if factor >= 1:
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    size = round(image.shape[1] * TILE / image.shape[0]), TILE
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _caption(predicted: tuple[int, float, int | None] | None, classes: tuple[str, ...]) -> tuple[str, str, str]:
    """What the image was predicted as, how surely, and a colour that tells whether that is correct."""
    if predicted is None:
        return "", "", CORRECT_COLOUR
    class_id, probability, label = predicted
    percent = "" if probability is None else f"{probability:.0%}"
    colour = CORRECT_COLOUR if label in (class_id, None) else INCORRECT_COLOUR
    return short(classes[class_id], 9), percent, colour
