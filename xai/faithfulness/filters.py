"""Separable filters of images of any size, reflected at the edges.

The image continues mirrored about its outermost pixels (`reflect` of torch, `mirror` of scipy), again and again where
a filter is wider than the image. Property: a constant image stays what it is under weights that sum to one.
"""

import torch
from torch import Tensor

BLUR = 1 / 8  # deviation as a share of the longer side: leaves where which colours are, and no shapes
REACH = 4  # deviations at which the Gaussian is cut off


def correlate(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Images [..., H, W] correlated with one odd number of weights along the height and one along the width."""
    height, width = images.shape[-2:]
    return _matrix(down, height).to(images) @ images @ _matrix(across, width).to(images).T


def blur(images: Tensor) -> Tensor:
    """Images [N, C, H, W] under a Gaussian whose deviation is an eighth of the longer side."""
    return smooth(images, BLUR * max(images.shape[-2:]))


def smooth(images: Tensor, deviation: float) -> Tensor:
    """Images [..., H, W] under a Gaussian of that deviation in pixels."""
    reach = max(1, int(REACH * deviation + 0.5))
    places = torch.arange(-reach, reach + 1, dtype=torch.double) / deviation
    weights = torch.softmax(-places.square() / 2, 0)
    return correlate(images, weights, weights)


def _matrix(weights: Tensor, side: int) -> Tensor:
    """What weight every pixel (columns) has in every filtered one (rows), [side, side]."""
    reach, period = len(weights) // 2, max(1, 2 * (side - 1))
    places = (torch.arange(side)[:, None] + torch.arange(-reach, reach + 1)) % period
    sources = torch.minimum(places, period - places) if side > 1 else torch.zeros_like(places)
    return torch.zeros(side, side, dtype=weights.dtype).scatter_add_(1, sources, weights.expand(side, -1))
