"""Separable filters of images of any size, reflected at the edges.

The image continues by reflection about its outermost pixels (`reflect` in torch, `mirror` in scipy), repeatedly where a
filter is wider than the image. Property: weights that sum to one leave a constant image as it is.
"""

import torch
from torch import Tensor

BLUR_FRACTION = 1 / 8  # standard deviation as a fraction of the longer side: keeps rough colours, but no shapes
TRUNCATION = 4  # standard deviations at which the Gaussian is cut off


def correlate(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Images [..., H, W] correlated with an odd number of weights along the height, and along the width."""
    height, width = images.shape[-2:]
    return _filter_matrix(down, height).to(images) @ images @ _filter_matrix(across, width).to(images).T


def blur(images: Tensor) -> Tensor:
    """Images [N, C, H, W] under a Gaussian whose standard deviation is an eighth of the longer side."""
    return smooth(images, BLUR_FRACTION * max(images.shape[-2:]))


def smooth(images: Tensor, deviation: float) -> Tensor:
    """Images [..., H, W] under a Gaussian of this standard deviation in pixels."""
    reach = max(1, int(TRUNCATION * deviation + 0.5))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.double) / deviation
    weights = torch.softmax(-offsets.square() / 2, 0)
    return correlate(images, weights, weights)


def _filter_matrix(weights: Tensor, side: int) -> Tensor:
    """The weight of each pixel (columns) in each filtered pixel (rows), [side, side]."""
    reach = len(weights) // 2
    period = max(1, 2 * (side - 1))  # of the reflected image
    positions = (torch.arange(side)[:, None] + torch.arange(-reach, reach + 1)) % period
    sources = torch.minimum(positions, period - positions) if side > 1 else torch.zeros_like(positions)
    return torch.zeros(side, side, dtype=weights.dtype).scatter_add_(1, sources, weights.expand(side, -1))
