"""Heatmaps beside their images: what a person looks at. Scaling for the eye happens here and only here."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from pipelines.common.figures import short
from pipelines.data.raw import Split
from pipelines.explaining.maps.rows import AttributionBatch

COLUMNS, ROWS = 4, 4  # instances a page
PAGES = 6  # pages an epoch at the most; the maps themselves are all kept
FULL = 99.5  # percentile of a map's magnitude that takes the full colour
TILE = 160  # pixels of an image on a page, about
GAP = 4
LETTER = 0.08  # inches of one in a title
RIGHT, WRONG = "#1a1a1a", "#b00020"


@dataclass(frozen=True)
class Shown:
    """Instances with their maps, ready to draw; N instances, T targets explained for each."""

    instances: np.ndarray  # [N]
    images: np.ndarray  # [N, H, W, 3], 0..1
    maps: np.ndarray  # [N, T, H, W]
    captions: list[tuple[str, str]]  # what it is and was taken for, and the colour of that
    explained: list[tuple[str, ...]]  # [N][T] class a map explains and its probability
    signed: bool

    @classmethod
    def of(cls, split: Split, classes: tuple[str, ...], by_kind: list[AttributionBatch], signed: bool) -> "Shown":
        first = by_kind[0]
        rgb = split.rgb(first.instances)
        probabilities, targets = first.logits.softmax(1), torch.stack([found.targets for found in by_kind], 1)
        rows = zip(first.instances, split.labels[first.instances].tolist(), probabilities, strict=True)
        captions = [_caption(instance, label, p, classes) for instance, label, p in rows]
        explained = [
            tuple(f"explains {short(classes[target])}  {p[target]:.0%}" for target in own)
            for own, p in zip(targets.tolist(), probabilities, strict=True)
        ]
        maps = np.stack([found.attribution.maps.numpy() for found in by_kind], 1)
        return cls(first.instances, rgb, maps, captions, explained, signed)


def pages(shown: Shown, title: str) -> Iterator[Figure]:
    """Figures of up to 16 instances: image and heatmaps side by side, right predictions black, wrong ones red."""
    count, each = len(shown.instances), ROWS * _across(shown)
    for start in range(0, min(count, each * PAGES), each):
        rows = range(start, min(start + each, count))
        part = f"instances {start + 1} to {rows[-1] + 1} of {count}" if count > 1 else ""
        yield _page(shown, list(rows), f"{title}    {part}")


def single(shown: Shown, row: int, title: str) -> Figure:
    """One instance: image and heatmap."""
    return _page(shown, [row], title)


def _across(shown: Shown) -> int:
    """Instances beside each other, so that a page has about COLUMNS images with a map each."""
    return max(1, round(COLUMNS * 2 / (1 + shown.maps.shape[1])))


def _page(shown: Shown, rows: list[int], title: str) -> Figure:
    wide = 1.55 * (1 + shown.maps.shape[1])  # inches of an instance: its image and its maps
    across = min(_across(shown), len(rows))
    down = -(-len(rows) // across)
    width, height = max(wide * across + 0.2, 3.3, LETTER * len(title)), 1.85 * down + 0.95
    figure = Figure(figsize=(width, height))
    figure.text(0.1 / width, 1 - 0.22 / height, title, fontsize=9, va="center", parse_math=False)
    for place, row in enumerate(rows):
        left = (0.1 + wide * (place % across)) / width
        bottom = (0.6 + 1.85 * (down - 1 - place // across)) / height
        axis = figure.add_axes((left, bottom, (wide - 0.1) / width, 1.5 / height))
        _draw(axis, shown, row)
    _colour_bar(figure, shown.signed, (0.2 / width, 0.3 / height, 1.9 / width, 0.09 / height))
    return figure


def _draw(axis: Axes, shown: Shown, row: int) -> None:
    image, maps = shown.images[row], shown.maps[row]
    full = full_colour(maps)  # one for all targets, so that they can be compared
    enlarge, gap = max(1, TILE // image.shape[0]), np.ones((image.shape[0], 1, 3))
    tiles = [image, *(tile for values in maps for tile in (gap, overlay(image, values, full, shown.signed)))]
    large = [np.kron(tile, np.ones((enlarge, enlarge if tile.shape[1] > 1 else GAP, 1))) for tile in tiles]
    axis.imshow(np.concatenate(large, axis=1), interpolation="antialiased")
    axis.axis("off")
    text, colour = shown.captions[row]
    axis.text(0, 1.02, text, transform=axis.transAxes, fontsize=7, color=colour, va="bottom", parse_math=False)
    step = (large[0].shape[1] + GAP) / sum(tile.shape[1] for tile in large)
    for number, name in enumerate(shown.explained[row], start=1):
        axis.text(number * step, -0.02, name, transform=axis.transAxes, fontsize=6, va="top", parse_math=False)
    scale = f"full colour: {full:.2g}" if maps.any() else "zero everywhere"
    axis.text(0, -0.02, scale, transform=axis.transAxes, fontsize=6, color="#555555", va="top")


def full_colour(values: np.ndarray) -> float:
    """Magnitude that takes the full colour; 1 for a map of zeros."""
    return float(np.percentile(np.abs(values), FULL)) or float(np.abs(values).max()) or 1.0


def overlay(image: np.ndarray, values: np.ndarray, full: float, signed: bool) -> np.ndarray:
    """The map [H, W] over the greyed image [H, W, 3]: the stronger a pixel, the less of the image shows."""
    share = np.clip(values / full, -1, 1)
    colours = _colours(signed)(share / 2 + 0.5 if signed else share)[:, :, :3]
    grey = 0.25 + 0.35 * image.mean(axis=2, keepdims=True)
    strength = 0.1 + 0.9 * np.abs(share)[:, :, None]
    return strength * colours + (1 - strength) * grey


def _colours(signed: bool) -> Colormap:
    return colormaps["RdBu_r" if signed else "inferno"]


def _colour_bar(figure: Figure, signed: bool, place: tuple[float, float, float, float]) -> None:
    scale = Normalize(-1 if signed else 0, 1)
    bar = figure.colorbar(ScalarMappable(scale, _colours(signed)), cax=figure.add_axes(place), orientation="horizontal")
    bar.set_ticks([-1, 0, 1] if signed else [0, 1], labels=["against", "0", "for"] if signed else ["0", "full"])
    bar.ax.tick_params(labelsize=6, length=2, pad=1)


def _caption(instance: int, label: int, probabilities: Tensor, classes: tuple[str, ...]) -> tuple[str, str]:
    predicted = int(probabilities.argmax())
    own = short(classes[label]) if label >= 0 else "?"
    text = f"#{instance}  {own} → {short(classes[predicted])} {probabilities[predicted]:.0%}"
    return text, RIGHT if label in (predicted, -1) else WRONG
