"""Resizing as Pillow does it, to the last bit, and with gradients: on levels of 0..255 as tensors [N, C, H, W]."""

import math
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

LEVELS = 255  # of a stored picture
FIXED_POINT = 2**22  # by which Pillow multiplies its weights before it rounds them to whole numbers

Size = tuple[int, int]  # height, width


@cache
def find_axis_order(size: Size, new_size: Size, interpolation: str) -> tuple[int, int]:
    """The axes of images [N, C, H, W] in the order in which Pillow resizes them, which decides what is rounded.

    Its versions choose differently, and by both sizes, so it is asked.
    """
    noise = torch.rand((*size, 3), generator=torch.Generator().manual_seed(0)).mul(LEVELS).byte()
    filter_number = Image.Resampling[interpolation.partition("-")[0].upper()]
    resized = Image.fromarray(noise.numpy()).resize((new_size[1], new_size[0]), filter_number)
    levels = noise.permute(2, 0, 1).double()[None]
    for axis in (2, 3):
        levels = resize_axis(levels, axis, new_size[axis - 2], interpolation)
    return (2, 3) if torch.equal(levels[0].permute(1, 2, 0), torch.from_numpy(np.array(resized)).double()) else (3, 2)


def resize_axis(levels: Tensor, axis: int, length: int, interpolation: str) -> Tensor:
    """Levels [N, C, H, W] with the height (axis 2) or width (axis 3) resized as Pillow does."""
    if levels.shape[axis] == length:
        return levels
    weights = compute_weights(levels.shape[axis], length, interpolation).to(levels.device)
    return round_levels((weights @ levels if axis == 2 else levels @ weights.T) / FIXED_POINT)


@cache
def compute_weights(length: int, new_length: int, interpolation: str) -> Tensor:
    """Whole weights [new_length, length], float64, with which Pillow resizes an axis of 8-bit pixels.

    They add up to about FIXED_POINT.
    """
    scale = length / new_length
    if interpolation.startswith("nearest"):
        steps = torch.full((new_length,), scale, dtype=torch.float64)
        steps[0] = scale / 2
        nearest = steps.cumsum(0).long()  # added up, as Pillow does: near a border it decides
        return functional.one_hot(nearest, length).double() * FIXED_POINT
    kernel, support = FILTERS[interpolation]
    stretch = max(scale, 1.0)  # shrinking averages over more pixels
    weights = torch.zeros(new_length, length, dtype=torch.float64)
    for row in range(new_length):
        centre = (row + 0.5) * scale
        first = max(int(centre - support * stretch + 0.5), 0)
        last = min(int(centre + support * stretch + 0.5), length)
        values = [kernel((pixel - centre + 0.5) / stretch) for pixel in range(first, last)]
        total = sum(values)
        fixed = [value / total * FIXED_POINT for value in values]
        weights[row, first:last] = torch.tensor([float(int(math.copysign(0.5, value) + value)) for value in fixed])
    return weights


def _linear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


FILTERS = {"bilinear": (_linear, 1.0), "bicubic": (_cubic, 2.0), "lanczos": (_lanczos, 3.0)}


def round_levels(values: Tensor) -> Tensor:
    """Levels as 8 bits hold them (halves rounded up, none below 0 or above 255), with the gradient of the values.

    Methods change images beyond black and white, where a gradient of zero would tell nothing.
    """
    return (values.detach() + 0.5).floor().clamp(0, LEVELS) + (values - values.detach())
