"""Figures of concepts: what each looks like, which classes use it, and how well all represent the layer."""

import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from pipelines.common.figures import DPI, SPLIT_COLOURS, short
from pipelines.common.heatmaps import COLOUR_MAPS, enlarge, overlay
from xai.concept_count import CountChoice

SIGNIFICANT_COLOUR, INSIGNIFICANT_COLOUR = "#1b7fb8", "#b9c4cc"
UNSTABLE_COLOUR = "#8a949b"
# parts of a card's width and height: where its two rows begin, how far below that their images do, and pairs of image
# and heatmap; reports cut these out (pipelines/reporting/patterns.py)
PANEL_TOPS = (0.895, 0.665)
PAIR_DROP, PAIR_STEP, PAIR_WIDTH, PAIR_HEIGHT = 0.055, 0.123, 0.118, 0.15
# of a square picture: inches of its side and letters in a line; in parts of the side, place and size of its pairs
SQUARE, SQUARE_LETTERS = 6, 72
SQUARE_PLACES = ((0.02, 0.17), (0.51, 0.17), (0.02, 0.42), (0.51, 0.42))  # left, top
SQUARE_PAIR = (0.45, 0.2)  # width, height
TILE_SIDE = 96  # pixels of an image on a card, before it is fitted into its place


@dataclass(frozen=True)
class Panel:
    """The T instances with a concept's highest or lowest scores, ready to draw."""

    images: np.ndarray  # [T, H, W, 3], 0..1
    maps: np.ndarray  # [T, H, W]
    captions: list[str]


@dataclass(frozen=True)
class Card:
    """One concept, ready to draw; K classes, NaN where a class has no image."""

    title: str
    description: str
    full_colour: float  # value of the maps that is drawn in full colour; one scale per concept
    highest: Panel
    lowest: Panel
    prevalence: np.ndarray  # [K]
    tcav_sign: np.ndarray  # [K]
    contribution: np.ndarray  # [K]
    significant: np.ndarray  # [K]


def draw_cards(cards: Iterable[Card], classes: tuple[str, ...]) -> Iterator[np.ndarray]:
    """A picture of each concept [H, W, 3], uint8: its highest and lowest instances on one colour scale, bars by class.

    What all cards have in common is drawn once, and the rest over it, which takes a fifth of the time.
    """
    figure = Figure(figsize=(13, 6.2), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    for name, top in zip(("highest scores", "lowest scores"), PANEL_TOPS, strict=True):
        figure.text(0.01, top, name, fontsize=9, va="top")
    scale = _prepare_scale(figure)
    grid = figure.add_gridspec(1, 3, left=0.05, right=0.985, bottom=0.13, top=0.40, wspace=0.22)
    prevalence, tcav_sign, contribution = (figure.add_subplot(grid[0, column]) for column in range(3))
    _prepare_bars(prevalence, classes, "prevalence: fraction of the class's images that show it")
    _prepare_bars(tcav_sign, classes, "TCAV sign: fraction with a rising logit (dark: beyond chance)")
    _prepare_bars(contribution, classes, "contribution to the class's logit")
    contribution.yaxis.set_animated(True)  # left out of what is drawn once
    zero = contribution.axhline(0, color="black", lw=0.6, animated=True)
    half = tcav_sign.axhline(0.5, color="#888888", lw=0.8, ls="--", animated=True)
    for axis in (prevalence, tcav_sign):
        axis.set_ylim(0, 1)
    canvas.draw()
    common = canvas.copy_from_bbox(figure.bbox)

    places = range(len(classes))
    for card in cards:
        canvas.restore_region(common)
        colours = np.where(card.significant, SIGNIFICANT_COLOUR, INSIGNIFICANT_COLOUR)
        drawn = [
            figure.text(0.01, 0.97, card.title, fontsize=11, weight="bold", va="center", parse_math=False),
            figure.text(0.01, 0.93, card.description, fontsize=8.5, va="center", parse_math=False),
            *_caption(figure, card.highest, PANEL_TOPS[0]),
            *_caption(figure, card.lowest, PANEL_TOPS[1]),
            *prevalence.bar(places, card.prevalence, color=SIGNIFICANT_COLOUR),
            *tcav_sign.bar(places, card.tcav_sign, color=colours),
            *contribution.bar(places, card.contribution, color="#777777"),
        ]
        scale.set_xlim(0, card.full_colour)
        contribution.relim()
        contribution.autoscale_view(scalex=False)
        for artist in (*drawn, half, zero, scale.xaxis, contribution.yaxis):
            artist.draw(canvas.get_renderer())
        for artist in drawn:
            artist.remove()
        picture = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
        _paste(picture, card.highest, card.full_colour, PANEL_TOPS[0])
        _paste(picture, card.lowest, card.full_colour, PANEL_TOPS[1])
        yield picture


def draw_squares(cards: Iterable[Card], classes: tuple[str, ...]) -> Iterator[np.ndarray]:
    """What each concept's card says first, as a square picture with larger text, [s, s, 3], uint8.

    Square, as MLflow puts grey bands around any other picture. What all have in common is drawn once, as in draw_cards.
    """
    figure = Figure(figsize=(SQUARE, SQUARE), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    prevalence, contribution = (figure.add_axes((left, 0.12, 0.39, 0.21)) for left in (0.09, 0.59))
    for axis, name in (
        (prevalence, "fraction of the images that show it"),
        (contribution, "contribution to the class's logit"),
    ):
        _prepare_bars(axis, classes, "")
        axis.set_title(name, fontsize=10.5, loc="left")
        axis.tick_params(labelsize=9)
    prevalence.set_ylim(0, 1)
    contribution.yaxis.set_animated(True)  # left out of what is drawn once
    zero = contribution.axhline(0, color="black", lw=0.6, animated=True)
    canvas.draw()
    common = canvas.copy_from_bbox(figure.bbox)

    places = range(len(classes))
    for card in cards:
        canvas.restore_region(common)
        title = card.title.split("    ")[0]  # the epoch and the run stand beside the picture in MLflow
        description = textwrap.fill(card.description, SQUARE_LETTERS)
        drawn = [
            figure.text(0.02, 0.965, short(title, 60), fontsize=15, weight="bold", va="center", parse_math=False),
            figure.text(0.02, 0.94, description, fontsize=10.5, va="top", linespacing=1.3, parse_math=False),
            *(
                figure.text(left, 1.006 - top, caption, fontsize=10.5, parse_math=False)
                for (left, top), caption in zip(SQUARE_PLACES, card.highest.captions, strict=False)
            ),
            *prevalence.bar(places, card.prevalence, color=SIGNIFICANT_COLOUR),
            *contribution.bar(places, card.contribution, color=SIGNIFICANT_COLOUR),
        ]
        contribution.relim()
        contribution.autoscale_view(scalex=False)
        for artist in (*drawn, zero, contribution.yaxis):
            artist.draw(canvas.get_renderer())
        for artist in drawn:
            artist.remove()
        picture = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
        side = len(picture)
        parts = zip(SQUARE_PLACES, card.highest.images, card.highest.maps, strict=False)
        for (left, top), image, values in parts:
            pair = _draw_pair(image, values, card.full_colour, SQUARE_PAIR[0] * side, SQUARE_PAIR[1] * side)
            upper, start = round(top * side), round(left * side)
            picture[upper : upper + pair.height, start : start + pair.width] = pair
        yield picture


def _prepare_scale(figure: Figure) -> Axes:
    """The colours of the maps, with the values that they stand for left out of what is drawn once."""
    scale = figure.add_axes((0.8, 0.955, 0.185, 0.018))
    scale.imshow(np.linspace(0, 1, 256)[None], cmap=COLOUR_MAPS[False], aspect="auto", extent=(0, 1, 0, 1))
    scale.set_yticks([])
    scale.tick_params(labelsize=6.5, length=2, pad=1)
    scale.xaxis.set_animated(True)
    figure.text(0.79, 0.964, "activation at a position", fontsize=7.5, ha="right", va="center")
    return scale


def _prepare_bars(axis: Axes, classes: tuple[str, ...], title: str) -> None:
    """All of a bar chart except its bars."""
    if len(classes) <= 30:
        names = [short(name, 20) for name in classes]
        axis.set_xticks(range(len(classes)), names, rotation=60, ha="right", fontsize=7, parse_math=False)
    axis.set_xlim(-0.7, len(classes) - 0.3)
    axis.tick_params(axis="y", labelsize=7)
    axis.set_title(title, fontsize=8, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _caption(figure: Figure, panel: Panel, top: float) -> list[Text]:
    """The scores of a row of images, each above its image."""
    return [
        figure.text(0.01 + number * PAIR_STEP, top - PAIR_DROP + 0.004, caption, fontsize=6.5, parse_math=False)
        for number, caption in enumerate(panel.captions)
    ]


def _paste(picture: np.ndarray, panel: Panel, full_colour: float, top: float) -> None:
    """Put a row of pairs of image and heatmap into the picture."""
    height, width = picture.shape[:2]
    upper = round((1 - top + PAIR_DROP) * height)
    for number, (image, values) in enumerate(zip(panel.images, panel.maps, strict=True)):
        pair = _draw_pair(image, values, full_colour, PAIR_WIDTH * width, PAIR_HEIGHT * height)
        left = round((0.01 + number * PAIR_STEP) * width)
        picture[upper : upper + pair.height, left : left + pair.width] = pair


def _draw_pair(image: np.ndarray, values: np.ndarray, full_colour: float, width: float, height: float) -> Image.Image:
    """Image and heatmap side by side, as large as they are in a space of this many pixels."""
    factor = math.ceil(TILE_SIDE / image.shape[0])  # small images are enlarged first, so that pixels stay sharp
    tiles = [enlarge(part, factor) for part in (image, overlay(image, values, full_colour, signed=False))]
    gap = np.full((len(tiles[0]), len(tiles[0]) // 32, 3), 255, np.uint8)
    pair = Image.fromarray(np.concatenate([tiles[0], gap, tiles[1]], 1))
    scale = min(width / pair.width, height / pair.height)
    return pair.resize((round(pair.width * scale), round(pair.height * scale)), Image.Resampling.BOX)


def matrix(values: np.ndarray, concepts: list[str], classes: tuple[str, ...], stable: np.ndarray, title: str) -> Figure:
    """A value per concept (rows) and class (columns), in 0..1, or NaN; names of unstable concepts are grey."""
    row_names = [short(name, 56) for name in concepts]
    # in inches; fixed places instead of a solved layout, which would cost more than the drawing
    left = 0.3 + 0.07 * max(map(len, row_names))
    bottom = 1.5
    across = 0.45 * len(classes)
    down = 0.32 * len(concepts)
    width = max(left + across + 0.9, 0.2 + 0.09 * len(title))
    height = bottom + down + 0.5
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((left / width, bottom / height, across / width, down / height))
    image = axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(classes)), [short(name) for name in classes], rotation=90, parse_math=False)
    axis.set_yticks(range(len(concepts)), row_names, fontsize=8, parse_math=False)
    for name, is_stable in zip(axis.get_yticklabels(), stable, strict=True):
        name.set_color("black" if is_stable else UNSTABLE_COLOUR)
    if values.size <= 600:
        for row, column in np.ndindex(*values.shape):
            value = values[row, column]
            text = "-" if np.isnan(value) else f"{value:.0%}"
            colour = "white" if value > 0.6 else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    figure.text(0.1 / width, 1 - 0.25 / height, title, fontsize=10, va="center", parse_math=False)
    colour_bar = figure.add_axes(((left + across + 0.2) / width, bottom / height, 0.15 / width, down / height))
    figure.colorbar(image, cax=colour_bar)
    return figure


def count_curve(choice: CountChoice, target: float, title: str) -> Figure:
    """Answers kept by number of concepts, on the images that choose it, with the target and the chosen number."""
    counts = [trial.count for trial in choice.trials]
    kept = [trial.fidelity for trial in choice.trials]
    figure = Figure(figsize=(7, 4))
    axis = figure.add_axes((0.07, 0.22, 0.91, 0.69))
    axis.plot(counts, kept, "s-", ms=4, color=SPLIT_COLOURS["test"], label="answers kept on held-out images")
    axis.axhline(target, color="#888888", lw=0.9, label=f"target: {target:.0%}")
    axis.axvline(choice.count, color="#444444", lw=0.9, ls="--", label=f"chosen: {choice.count}")
    axis.set(xlabel="number of concepts", ylim=(0, 1.03))
    axis.locator_params("x", integer=True)
    axis.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="lower center", ncols=3)
    axis.set_title(title, fontsize=10, loc="left", parse_math=False)
    return figure
