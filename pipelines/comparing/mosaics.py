"""One image's heatmaps, methods by epochs: how its explanation developed."""

from dataclasses import dataclass

import duckdb
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont as find_font
from PIL import Image, ImageDraw, ImageFont

import queries
from pipelines.common.figures import DPI, short
from pipelines.common.heatmaps import draw_map
from pipelines.comparing.map_selection import MapSelection
from pipelines.drawing.style import FONT, LOGGED, name_method
from pipelines.explaining.maps.heatmaps import CORRECT_COLOUR, INCORRECT_COLOUR
from pipelines.explaining.maps.pictured import choose_pictured
from xai import METHODS

MAX_EPOCHS = 4  # per mosaic
MOST_EXPLAINED = 100_000  # images that are chosen from
# in pixels, few enough that MLflow shows the picture at about its own size, so that its text is readable
TILE = 104
GAP = 6
HEADER = 64  # height of what stands above a column
NAME = 20  # height of what stands above a method's maps
NAME_AND_EPOCH = (
    52  # and above a map that is its method's only one: two lines for the name, as it is as narrow as a tile
)
CAPTIONED = 160  # side of an image with a caption
CAPTION_LINE = 18  # height of a line of it
LEAST_WIDTH = 96  # of a column, for its words


@dataclass(frozen=True)
class Mosaic:
    """An image's maps by method and epoch, and what it was predicted as."""

    instance: int
    maps: dict[str, dict[int, np.ndarray]]  # [H, W], by method, then epoch
    predicted: dict[int, tuple[int, float, int | None]]  # class_id, its probability, and the label, by epoch

    @property
    def all_epochs(self) -> list[int]:
        """Those that any method explained."""
        return sorted({epoch for by_epoch in self.maps.values() for epoch in by_epoch})

    @property
    def epochs(self) -> list[int]:
        """At most MAX_EPOCHS of them, evenly spread, including the first and the last."""
        epochs = self.all_epochs
        count = min(MAX_EPOCHS, len(epochs))
        chosen = np.unique(np.linspace(0, len(epochs) - 1, count).round().astype(int))
        return [epochs[i] for i in chosen]


def read_mosaics(connection: duckdb.DuckDBPyConnection, selection: MapSelection) -> list[Mosaic]:
    """Mosaics of the images explained at the most epochs; none if none was explained at two."""
    scope = {"run_id": selection.run_id, "split": selection.split, "target": selection.target}
    rows = queries.execute(connection, "mosaic_instances", scope | {"limit": MOST_EXPLAINED}).fetchall()
    pictured = choose_pictured(connection, selection.run_id, selection.split, dict(rows))
    return [_read_mosaic(connection, selection, instance) for instance in pictured]


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
    """A square with a row of heatmaps per method over the image [H, W, 3], 0..1; those of a single epoch share rows.

    Square, as MLflow puts grey bands around any other picture. Each map has its own scale, as logits grow in training.
    A method that did not explain an epoch has no map there.
    """
    epochs = mosaic.epochs
    columns = len(epochs) + 1
    several = sorted(method for method, by_epoch in mosaic.maps.items() if len(by_epoch) > 1)
    single = sorted(mosaic.maps.keys() - several)
    plain = _fit(image)
    height, width = plain.shape[:2]
    step_x, step_y = max(width, LEAST_WIDTH) + GAP, height + GAP
    placed: list[tuple[int, int, np.ndarray]] = []  # top, left, tile
    texts: list[tuple[int, int, str, str]] = []  # left, middle, text, colour
    for column, epoch in enumerate(epochs, start=1):
        lines = (f"epoch {epoch}", CORRECT_COLOUR), *_caption(mosaic.predicted.get(epoch), classes)
        texts += [(step_x * column, 14 + 18 * line, *text) for line, text in enumerate(lines)]
    top = HEADER + NAME
    placed.append((top, 0, plain))
    for method in several:
        texts.append((step_x, top - NAME // 2, name_method(method, LOGGED), CORRECT_COLOUR))
        for column, epoch in enumerate(epochs, start=1):
            values = mosaic.maps[method].get(epoch)
            if values is not None:
                placed.append((top, step_x * column, draw_map(image, values, METHODS[method].signed, _fit)))
        top += step_y + NAME
    top += NAME_AND_EPOCH - NAME
    for place, method in enumerate(single):
        [(epoch, values)] = mosaic.maps[method].items()
        row_top, left = top + (step_y + NAME_AND_EPOCH) * (place // columns), step_x * (place % columns)
        upwards = [f"epoch {epoch}", *reversed(name_method(method, LOGGED).split(" ", 1))]
        texts += [
            (left, row_top - 10 - 15 * line, short(text, 14), CORRECT_COLOUR) for line, text in enumerate(upwards)
        ]
        placed.append((row_top, left, draw_map(image, values, METHODS[method].signed, _fit)))

    side = max(step_x * columns, *(tile_top + step_y for tile_top, _, _ in placed))
    # one picture of all tiles in its own pixels, as an axis for each would take longer than all that is drawn
    drawn = np.full((side, side, 3), 255, np.uint8)
    for tile_top, left, tile in placed:
        drawn[tile_top : tile_top + height, left : left + width] = tile
    figure = Figure(figsize=(side / DPI, side / DPI), dpi=DPI)
    figure.figimage(drawn, origin="upper")
    for left, middle, text, colour in texts:
        figure.text(left / side, 1 - middle / side, text, va="center", fontsize=7, color=colour, parse_math=False)
    return figure


def draw_captioned(mosaic: Mosaic, image: np.ndarray, epoch: int, classes: tuple[str, ...]) -> np.ndarray:
    """The image [H, W, 3], 0..1, above its label and what it was predicted as; a square [s, s, 3], uint8."""
    plain = Image.fromarray(np.round(image * 255).astype(np.uint8))
    canvas = Image.new("RGB", (CAPTIONED, CAPTIONED), "white")
    room = CAPTIONED - 2 * CAPTION_LINE
    scale = room / max(plain.size)
    size = max(1, round(plain.width * scale)), max(1, round(plain.height * scale))
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    canvas.paste(plain.resize(size, resampling), ((CAPTIONED - size[0]) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.truetype(find_font(FONT), CAPTION_LINE - 5)
    if epoch not in mosaic.predicted:
        return np.asarray(canvas)
    class_id, probability, label = mosaic.predicted[epoch]
    sure = "" if probability is None else f" {probability:.0%}"
    truth = "no label" if label is None else f"label {short(classes[label], 12)}"
    colour = CORRECT_COLOUR if label in (class_id, None) else INCORRECT_COLOUR
    draw.text((2, room), truth, fill=CORRECT_COLOUR, font=font)
    draw.text((2, room + CAPTION_LINE), f"as {short(classes[class_id], 10)}{sure}", fill=colour, font=font)
    return np.asarray(canvas)


def _fit(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3], 0..1, about TILE pixels high: small ones with every pixel repeated; uint8."""
    pixels = np.round(image * 255).astype(np.uint8)
    factor = round(TILE / image.shape[0])
    if factor >= 1:
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    size = round(image.shape[1] * TILE / image.shape[0]), TILE
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _caption(predicted: tuple[int, float, int | None] | None, classes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What the image was predicted as, and how surely, each with a colour that tells whether that is correct."""
    if predicted is None:
        return ()
    class_id, probability, label = predicted
    percent = "" if probability is None else f"{probability:.0%}"
    colour = CORRECT_COLOUR if label in (class_id, None) else INCORRECT_COLOUR
    return (short(classes[class_id], 13), colour), (percent, colour)
