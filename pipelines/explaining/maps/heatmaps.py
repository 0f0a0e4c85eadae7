"""Heatmaps beside their images, for a person to look at; drawn as `pipelines/common/heatmaps.py` says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, TransformedBbox

from pipelines.common.figures import short
from pipelines.common.heatmaps import SCALE_ENDS, colour_table, draw_map, enlarge, full_colour_magnitude
from pipelines.data.raw import Split
from pipelines.explaining.maps.rows import AttributionBatch

COLUMNS, ROWS = 4, 4  # instances per page, with one map each
MAX_PAGES = 6  # per epoch; the maps themselves are all kept
TILE_SIDE = 160  # pixels of an image on a page, approximately
PICTURE_SIDE = 128  # pixels of a picture in MLflow, of which four stand in a row of its chart view at 1280 pixels
GAP = 4  # pixels between an image and a map
TILE_INCHES = 1.55  # of an image or a map, with the space beside it
LONGEST_KEY = 40  # characters of an image's key after its folder
LETTER_WIDTH = 0.08  # inches, in a title
CORRECT_COLOUR, INCORRECT_COLOUR = "#1a1a1a", "#b00020"


@dataclass(frozen=True)
class ExplainedImages:
    """Instances with their maps, ready to draw; N instances, T targets explained for each."""

    instances: np.ndarray  # [N]
    images: np.ndarray  # [N, H, W, 3], 0..1
    maps: np.ndarray  # [N, T, H, W]
    captions: list[tuple[str, str]]  # instance, label and prediction; and the text's colour
    explained: list[tuple[str, ...]]  # [N][T] class that a map explains, and its probability
    signed: bool

    @classmethod
    def of(
        cls, split: Split, classes: tuple[str, ...], by_kind: list[AttributionBatch], signed: bool
    ) -> "ExplainedImages":
        """The images of one batch per kind of target, all of the same instances."""
        first = by_kind[0]
        probabilities = first.logits.softmax(1)
        labels = split.labels[first.instances].tolist()
        targets = torch.stack([batch.targets for batch in by_kind], 1)  # [N, T]
        captions, explained = [], []
        for row, instance in enumerate(first.instances):
            predicted = int(probabilities[row].argmax())
            label_name = short(classes[labels[row]]) if labels[row] >= 0 else "?"
            text = f"#{instance}  {label_name} → {short(classes[predicted])} {probabilities[row, predicted]:.0%}"
            correct = labels[row] in (predicted, -1)  # no prediction of an unlabelled image is called wrong
            captions.append((text, CORRECT_COLOUR if correct else INCORRECT_COLOUR))
            explained.append(
                tuple(
                    f"explains {short(classes[target])}  {probabilities[row, target]:.0%}"
                    for target in targets[row].tolist()
                )
            )
        maps = np.stack([batch.attribution.maps.numpy() for batch in by_kind], 1)
        return cls(first.instances, split.rgb(first.instances), maps, captions, explained, signed)


def pages(explained: ExplainedImages, title: str) -> Iterator[Figure]:
    """Figures of up to 16 instances, image and heatmaps side by side; captions of incorrect predictions are red."""
    count = len(explained.instances)
    per_page = ROWS * _instances_across(explained)
    for start in range(0, min(count, per_page * MAX_PAGES), per_page):
        rows = list(range(start, min(start + per_page, count)))
        position = f"instances {start + 1} to {rows[-1] + 1} of {count}" if count > 1 else ""
        yield _draw_page(explained, rows, f"{title}    {position}")


def tile(image: np.ndarray, values: np.ndarray, signed: bool) -> np.ndarray:
    """A map [H, W] over its image [H, W, 3] alone, on its own scale, small ones enlarged; [h, w, 3], uint8."""
    factor = max(1, PICTURE_SIDE // image.shape[0])
    return draw_map(image, values, signed, lambda drawn: enlarge(drawn, factor))


def picture_key(split: Split, split_name: str, instance: int, classes: tuple[str, ...]) -> str:
    """The end of an image's key in MLflow, such as test_00012_label_dog, the same for every method and epoch."""
    label = int(split.labels[instance])
    name = f"{split_name}_{instance:05d}" + (f"_label_{classes[label]}" if label >= 0 else "")
    return re.sub("[^A-Za-z0-9-]+", "_", name)[:LONGEST_KEY].strip("_")


def _instances_across(explained: ExplainedImages) -> int:
    """Instances per row of a page, which has room for about COLUMNS images with one map each."""
    return max(1, round(COLUMNS * 2 / (1 + explained.maps.shape[1])))


def _draw_page(explained: ExplainedImages, rows: list[int], title: str) -> Figure:
    # all in inches, and on the figure itself: axes would take longer than all that is drawn
    instance_width = TILE_INCHES * (1 + explained.maps.shape[1])
    across = min(_instances_across(explained), len(rows))
    down = -(-len(rows) // across)
    width = max(instance_width * across + 0.2, 3.3, LETTER_WIDTH * len(title))
    height = 1.85 * down + 0.95

    figure = Figure(figsize=(width, height))
    _write(figure, 0.1, height - 0.22, title, fontsize=9, va="center")
    for position, row in enumerate(rows):
        left = 0.1 + instance_width * (position % across)
        bottom = 0.6 + 1.85 * (down - 1 - position // across)
        _draw_instance(figure, Bbox.from_bounds(left, bottom, instance_width - 0.1, 1.5), explained, row)
    _draw_scale(figure, Bbox.from_bounds(0.2, 0.3, 1.9, 0.09), explained.signed)
    return figure


def _draw_instance(figure: Figure, space: Bbox, explained: ExplainedImages, row: int) -> None:
    """Image and heatmaps, as large as they are in a space in inches, with the texts above and below."""
    image = explained.images[row]
    maps = explained.maps[row]
    full = full_colour_magnitude(maps)  # one for all targets, so that they can be compared
    factor = max(1, TILE_SIDE // image.shape[0])
    large_image = enlarge(image, factor)
    gap = np.full((large_image.shape[0], GAP, 3), 255, np.uint8)
    tiles = [large_image]
    for values in maps:
        tiles += [gap, draw_map(image, values, explained.signed, lambda tile: enlarge(tile, factor), full)]
    drawn = np.concatenate(tiles, axis=1)
    box = space.shrunk_to_aspect(drawn.shape[0] / drawn.shape[1]).anchored("C", space)
    _place(figure, drawn, box)

    text, colour = explained.captions[row]
    above, below = box.y0 + 1.02 * box.height, box.y0 - 0.02 * box.height
    _write(figure, box.x0, above, text, fontsize=7, color=colour, va="bottom")
    step = (large_image.shape[1] + GAP) / drawn.shape[1] * box.width
    for number, name in enumerate(explained.explained[row], start=1):
        _write(figure, box.x0 + number * step, below, name, fontsize=6, va="top")
    scale = f"full colour: {full:.2g}" if maps.any() else "zero everywhere"
    _write(figure, box.x0, below, scale, fontsize=6, color="#555555", va="top")


def _draw_scale(figure: Figure, box: Bbox, signed: bool) -> None:
    """The colours from their least to their greatest value, and what these mean."""
    _place(figure, colour_table(signed)[None], box)
    frame = Rectangle(box.min, box.width, box.height, fill=False, linewidth=0.8, transform=figure.dpi_scale_trans)
    figure.add_artist(frame)
    least, greatest = SCALE_ENDS[signed]
    for x, name, side in ((box.x0, least, "left"), (box.x1, greatest, "right")):
        _write(figure, x, box.y0 - 0.04, name, fontsize=6, ha=side, va="top")


def _place(figure: Figure, image: np.ndarray, box: Bbox) -> None:
    """Draw an image [H, W, 3] into a box in inches."""
    placed = BboxImage(TransformedBbox(box, figure.dpi_scale_trans), interpolation="antialiased")
    placed.set_data(image)
    figure.add_artist(placed)


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write a text at a place in inches; a $ in it has no special meaning."""
    figure.text(x, y, text, transform=figure.dpi_scale_trans, parse_math=False, **style)
