"""A plain description of a concept, made from the images that show it most."""

import colorsys
import math

import torch
from torch import Tensor

from xai.concept_count import STABLE

# largest hue in degrees
HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (200, "cyan"), (260, "blue"), (330, "purple"))
# of hue, saturation and value in 0..1
MAX_BLACK_VALUE = 0.18
MAX_DARK_VALUE = 0.4
MAX_BROWN_VALUE = 0.65
MAX_GREY_SATURATION = 0.18
GREYS = ((0.35, "dark grey"), (0.6, "grey"), (0.85, "light grey"))  # by largest value; brighter is white
MIN_SPREAD = 0.3  # standard deviation of position, as a fraction of the side, above which a concept is all over


def describe(classes: list[tuple[str, float]], images: Tensor, maps: Tensor, instances: list[str]) -> str:
    """One line: the classes it serves with their prevalence, its colour, position, size, and where to see it.

    `images` [T, C, H, W] in 0..1 are those with the highest scores, `maps` [T, H, W] the concept's activation in them.
    """
    if not maps.any():
        return "shows in none of the images"
    served = " and ".join(f"{name} ({prevalence:.0%})" for name, prevalence in classes) or "no class in particular"
    size = (maps >= maps.amax((1, 2), keepdim=True) / 2).float().mean().item()
    return f"{served}; {colour(images, maps)}; {place(maps)}, {size:.0%} of the image; see {', '.join(instances)}"


def describe_stability(stability: float) -> str:
    """Whether other images lead to the same concept."""
    if math.isnan(stability):
        return "stability unknown"
    verdict = "stable, other images lead to it too" if stability >= STABLE else "other images do not lead to it"
    return f"{verdict} (cosine {stability:.2f})"


def colour(images: Tensor, maps: Tensor) -> str:
    """Name of the mean colour, weighted by the maps; for grey images its brightness."""
    weights = (maps / maps.sum()).unsqueeze(1)  # [T, 1, H, W]
    red, green, blue = (images * weights).sum((0, 2, 3)).expand(3).tolist()
    return colour_name(red, green, blue)


def colour_name(red: float, green: float, blue: float) -> str:
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    degrees = hue * 360
    if value < MAX_BLACK_VALUE:
        return "black"
    if saturation < MAX_GREY_SATURATION:
        return next((name for largest, name in GREYS if value <= largest), "white")
    if degrees < 60 and value < MAX_BROWN_VALUE:  # dark red, orange and yellow
        return "brown"
    name = next((name for largest, name in HUES if degrees < largest), "red")
    return f"dark {name}" if value < MAX_DARK_VALUE else name


def place(maps: Tensor) -> str:
    """Where the maps [T, H, W] lie on the whole: one of nine fields, or all over."""
    mean = (maps / maps.sum((1, 2), keepdim=True).clamp_min(1e-30)).mean(0)
    mean = mean / mean.sum()  # [H, W]
    row_centre, row_spread = _centre_and_spread(mean.sum(1))
    column_centre, column_spread = _centre_and_spread(mean.sum(0))
    if min(row_spread, column_spread) > MIN_SPREAD:
        return "all over"
    row = _third(row_centre, "top", "", "bottom")
    column = _third(column_centre, "left", "", "right")
    return f"{row} {column}".strip() or "centre"


def _centre_and_spread(weights: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the position along one side, in 0..1, under weights that sum to 1."""
    positions = (torch.arange(len(weights)) + 0.5) / len(weights)
    centre = (weights * positions).sum().item()
    spread = (weights * (positions - centre).square()).sum().sqrt().item()
    return centre, spread


def _third(position: float, first: str, middle: str, last: str) -> str:
    if position < 0.42:
        return first
    return last if position > 0.58 else middle
