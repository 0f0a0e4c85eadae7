"""Figures of concepts: what each looks like, which classes use it, and how well all represent the layer."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pipelines.common.figures import SPLIT_COLOURS, short
from pipelines.explaining.maps.heatmaps import overlay
from xai.concept_count import CountChoice

SIGNIFICANT_COLOUR, INSIGNIFICANT_COLOUR = "#1b7fb8", "#b9c4cc"
UNSTABLE_COLOUR = "#8a949b"


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
    classes: tuple[str, ...]
    prevalence: np.ndarray  # [K]
    tcav_sign: np.ndarray  # [K]
    contribution: np.ndarray  # [K]
    significant: np.ndarray  # [K]


def concept_card(card: Card) -> Figure:
    """Highest and lowest instances with their scores on one colour scale, and bars by class."""
    figure = Figure(figsize=(13, 6.2))
    figure.text(0.01, 0.97, card.title, fontsize=11, weight="bold", va="center", parse_math=False)
    figure.text(0.01, 0.93, card.description, fontsize=8.5, va="center", parse_math=False)
    for panel, name, top in ((card.highest, "highest scores", 0.895), (card.lowest, "lowest scores", 0.665)):
        figure.text(0.01, top, name, fontsize=9, va="top")
        _draw_panel(figure, panel, card.full_colour, top - 0.055)
    bar = figure.add_axes((0.8, 0.955, 0.185, 0.018))
    scale = ScalarMappable(Normalize(0, card.full_colour), colormaps["inferno"])
    figure.colorbar(scale, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=6.5, length=2, pad=1)
    figure.text(0.79, 0.964, "activation at a position", fontsize=7.5, ha="right", va="center")
    grid = figure.add_gridspec(1, 3, left=0.05, right=0.985, bottom=0.13, top=0.40, wspace=0.22)
    bars = [figure.add_subplot(grid[0, column]) for column in range(3)]
    colours = np.where(card.significant, SIGNIFICANT_COLOUR, INSIGNIFICANT_COLOUR)
    prevalence_title = "prevalence: fraction of the class's images that show it"
    sign_title = "TCAV sign: fraction with a rising logit (dark: beyond chance)"
    _draw_bars(bars[0], card.classes, card.prevalence, SIGNIFICANT_COLOUR, prevalence_title)
    _draw_bars(bars[1], card.classes, card.tcav_sign, colours, sign_title)
    _draw_bars(bars[2], card.classes, card.contribution, "#777777", "contribution to the class's logit")
    bars[1].axhline(0.5, color="#888888", lw=0.8, ls="--")
    for axis in bars[:2]:
        axis.set_ylim(0, 1)
    return figure


def _draw_panel(figure: Figure, panel: Panel, full_colour: float, top: float) -> None:
    """Pairs of image and heatmap in a row, the score under each."""
    width, height = 0.118, 0.15
    for number, (image, values, caption) in enumerate(zip(panel.images, panel.maps, panel.captions, strict=True)):
        axis = figure.add_axes((0.01 + number * 0.123, top - height, width, height))
        gap = np.ones((image.shape[0], 1, 3))
        pair = np.concatenate([image, gap, overlay(image, values, full_colour, signed=False)], 1)
        enlargement = max(1, 96 // image.shape[0])
        axis.imshow(np.kron(pair, np.ones((enlargement, enlargement, 1))))
        axis.axis("off")
        axis.set_title(caption, fontsize=6.5, loc="left", pad=2, parse_math=False)
        axis.set_anchor("NW")


def _draw_bars(axis: Axes, classes: tuple[str, ...], values: np.ndarray, colour: str | np.ndarray, title: str) -> None:
    axis.bar(range(len(classes)), values, color=colour)
    names = [short(name, 20) for name in classes]
    if len(classes) <= 30:
        axis.set_xticks(range(len(classes)), names, rotation=60, ha="right", fontsize=7, parse_math=False)
    axis.tick_params(axis="y", labelsize=7)
    axis.axhline(0, color="black", lw=0.6)
    axis.set_title(title, fontsize=8, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def matrix(values: np.ndarray, concepts: list[str], classes: tuple[str, ...], stable: np.ndarray, title: str) -> Figure:
    """A value per concept (rows) and class (columns), in 0..1, or NaN; names of unstable concepts are grey."""
    width = 0.45 * len(classes) + 5.2
    height = 0.32 * len(concepts) + 2.0
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(classes)), [short(name) for name in classes], rotation=90, parse_math=False)
    axis.set_yticks(range(len(concepts)), [short(name, 56) for name in concepts], fontsize=8, parse_math=False)
    for name, is_stable in zip(axis.get_yticklabels(), stable, strict=True):
        name.set_color("black" if is_stable else UNSTABLE_COLOUR)
    if values.size <= 600:
        for row, column in np.ndindex(*values.shape):
            value = values[row, column]
            text = "-" if np.isnan(value) else f"{value:.0%}"
            colour = "white" if value > 0.6 else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    axis.set_title(title, fontsize=10, loc="left", parse_math=False)
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def count_curve(choice: CountChoice, target: float, title: str) -> Figure:
    """Answers kept by number of concepts, on the images that choose it, with the target and the chosen number."""
    counts = [trial.count for trial in choice.trials]
    kept = [trial.fidelity for trial in choice.trials]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(counts, kept, "s-", ms=4, color=SPLIT_COLOURS["test"], label="answers kept on held-out images")
    axis.axhline(target, color="#888888", lw=0.9, label=f"target: {target:.0%}")
    axis.axvline(choice.count, color="#444444", lw=0.9, ls="--", label=f"chosen: {choice.count}")
    axis.set(xlabel="number of concepts", ylim=(0, 1.03))
    axis.locator_params("x", integer=True)
    axis.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    axis.set_title(title, fontsize=10, loc="left", parse_math=False)
    return figure
