"""One instance's heatmaps across epochs, a row a method: how an explanation came about."""

from dataclasses import dataclass

import duckdb
import numpy as np
from matplotlib.figure import Figure

import queries
from pipelines.common.figures import short
from pipelines.comparing.map_selection import MapSelection
from pipelines.explaining.maps.heatmaps import CORRECT_COLOUR, INCORRECT_COLOUR, full_colour_magnitude, overlay
from xai import METHODS

MOST = 12  # epochs a strip at the most
SHOWN = 4  # instances with a strip


@dataclass(frozen=True)
class Strip:
    """An instance's maps by method and epoch, and what it was taken for."""

    instance: int
    maps: dict[str, dict[int, np.ndarray]]  # [H, W], by method, then epoch; methods of more than one epoch
    predicted: dict[int, tuple[int, float, int | None]]  # class_id, its probability, and the label, by epoch

    @property
    def epochs(self) -> list[int]:
        """At most MOST of them, evenly spread, the first and the last included."""
        every = sorted({epoch for by_epoch in self.maps.values() for epoch in by_epoch})
        return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(MOST, len(every))).round().astype(int))]


def read_strips(connection: duckdb.DuckDBPyConnection, chosen: MapSelection) -> list[Strip]:
    """Strips of the instances explained at most epochs; none if none was explained at two."""
    place = {"run_id": chosen.run_id, "split": chosen.split, "target": chosen.target}
    found = queries.execute(connection, "strip_instances", place | {"limit": SHOWN}).fetchall()
    return [_read(connection, place, instance) for (instance,) in found]


def _read(connection: duckdb.DuckDBPyConnection, place: dict, instance: int) -> Strip:
    maps: dict[str, dict[int, np.ndarray]] = {}
    found = queries.execute(connection, "strip_maps", place | {"instance_id": instance}).fetchall()
    for method, epoch, height, width, values in found:
        maps.setdefault(method, {})[epoch] = np.array(values, np.float32).reshape(height, width)
    seen = {"run_id": place["run_id"], "split": place["split"], "instance_id": instance}
    history = queries.run(connection, "instance_history", seen).dicts
    predicted = {row["epoch"]: (row["predicted"], row["p_predicted"], row["label"]) for row in history}
    return Strip(instance, {m: by_epoch for m, by_epoch in maps.items() if len(by_epoch) > 1}, predicted)


def strip(found: Strip, image: np.ndarray, classes: tuple[str, ...], title: str) -> Figure:
    """Rows of heatmaps over the image [H, W, 3], 0..1; every map has its own scale, as logits grow in training."""
    epochs, methods = found.epochs, sorted(found.maps)
    width, height = 1.05 * (len(epochs) + 1) + 1.5, 1.05 * len(methods) + 0.75
    figure = Figure(figsize=(width, height))
    figure.text(0.1 / width, 1 - 0.2 / height, title, fontsize=9, va="center", parse_math=False)
    for down, method in enumerate(methods):
        bottom = (1.05 * (len(methods) - 1 - down) + 0.05) / height
        figure.text(0.1 / width, bottom + 0.5 / height, short(method, 22), fontsize=8, va="center")
        places = [((1.5 + 1.05 * i) / width, bottom, 1 / width, 1 / height) for i in range(len(epochs) + 1)]
        _tile(figure, places[0], image)
        for place, epoch in zip(places[1:], epochs, strict=True):
            values = found.maps[method].get(epoch)
            if values is not None:
                _tile(figure, place, overlay(image, values, full_colour_magnitude(values), METHODS[method].signed))
    for number, epoch in enumerate(epochs, start=1):
        text, colour = _caption(found.predicted.get(epoch), classes)
        figure.text((1.5 + 1.05 * number) / width, 1 - 0.42 / height, f"epoch {epoch}", fontsize=7.5, va="center")
        figure.text((1.5 + 1.05 * number) / width, 1 - 0.58 / height, text, fontsize=7, va="center", color=colour,
                    parse_math=False)  # fmt: skip
    return figure


def _tile(figure: Figure, place: tuple[float, float, float, float], pixels: np.ndarray) -> None:
    axis = figure.add_axes(place)
    axis.imshow(pixels, interpolation="nearest")
    axis.axis("off")


def _caption(predicted: tuple[int, float, int | None] | None, classes: tuple[str, ...]) -> tuple[str, str]:
    """What it was taken for, red where that is wrong."""
    if predicted is None:
        return "", CORRECT_COLOUR
    number, probability, label = predicted
    sure = "" if probability is None else f" {probability:.0%}"
    return f"{short(classes[number], 11)}{sure}", CORRECT_COLOUR if label in (number, None) else INCORRECT_COLOUR
