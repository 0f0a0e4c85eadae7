"""A plain description of a concept, made from the images that show it most."""

import colorsys

import torch
from torch import Tensor

HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (200, "cyan"), (260, "blue"), (330, "purple"))
DARK, BRIGHT, PALE = 0.18, 0.85, 0.18  # value under which colours are black, over which pale ones are white; saturation
SPREAD = 0.3  # deviation from the centre, as a share of the side, from which on a concept is all over the image


def describe(classes: list[tuple[str, float]], images: Tensor, maps: Tensor, instances: list[str]) -> str:
    """One line: the classes it serves with their prevalence, its colour, place, size, and where to see it.

    `images` [T, C, H, W] in 0..1 are those with the highest scores, `maps` [T, H, W] where the concept is in them.
    """
    if not maps.any():
        return "shows in none of the images"
    served = " and ".join(f"{name} ({prevalence:.0%})" for name, prevalence in classes) or "no class in particular"
    size = (maps >= maps.amax((1, 2), keepdim=True) / 2).float().mean().item()
    return f"{served}; {colour(images, maps)}; {place(maps)}, {size:.0%} of the image; see {', '.join(instances)}"


def colour(images: Tensor, maps: Tensor) -> str:
    """Name of the mean colour under the maps; for grey images how bright it is."""
    weights = (maps / maps.sum()).unsqueeze(1)  # [T, 1, H, W]
    mean = (images * weights).sum((0, 2, 3)).expand(3)
    return colour_name(*mean.tolist())


def colour_name(red: float, green: float, blue: float) -> str:
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < DARK:
        return "black"
    if saturation < PALE:
        return "white" if value > BRIGHT else "light grey" if value > 0.6 else "grey" if value > 0.35 else "dark grey"
    name = next((name for end, name in HUES if hue * 360 < end), "red")
    if name in ("orange", "red", "yellow") and value < 0.65 and hue * 360 < 60:
        return "brown"
    return f"dark {name}" if value < 0.4 else name


def place(maps: Tensor) -> str:
    """Where the maps [T, H, W] lie on the whole: one of nine fields, or all over."""
    mean = (maps / maps.sum((1, 2), keepdim=True).clamp_min(1e-30)).mean(0)
    mean = mean / mean.sum()
    centres, spreads = [], []
    for side, share in ((mean.shape[0], mean.sum(1)), (mean.shape[1], mean.sum(0))):
        places = (torch.arange(side) + 0.5) / side
        centres.append((share * places).sum().item())
        spreads.append((share * (places - centres[-1]).square()).sum().sqrt().item())
    if min(spreads) > SPREAD:
        return "all over"
    parts = [_third(centres[0], "top", "", "bottom"), _third(centres[1], "left", "", "right")]
    return " ".join(part for part in parts if part) or "centre"


def _third(share: float, *names: str) -> str:
    return names[0] if share < 0.42 else names[2] if share > 0.58 else names[1]
