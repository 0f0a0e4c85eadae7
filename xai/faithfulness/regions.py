"""Where an image's object probably is, by colour alone: what differs from the colours at the image's border.

After Zhang et al. 2015 (Minimum Barrier Salient Object Detection at 80 FPS, ICCV), section 3.2, image boundary
contrast. This is not a segmentation. Of 100 inspected test images of CIFAR-10, about 50 regions cover the object and
little else, 35 a part of it or much beside it, and 15 are wrong: where the object fills the image or has the
background's colours, or the background has several. So the fraction of a map on the region is informative over many
images, not for one. Property: a constant image has no region.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from xai.faithfulness.filters import smooth
from xai.ice import otsu_thresholds

BORDER_WIDTH = 1 / 16  # as a fraction of the side
SMOOTHING_DEVIATION = 1 / 24  # standard deviation as a fraction of the longer side
MIN_VARIANCE = 1e-3  # of a border's colours; a standard deviation of 8 in 255
MIN_PART = 0.01  # parts smaller than this fraction of the image are dropped
# Standard deviations by which the region must be further from the border's colours than the rest: noise reaches 0.25,
# and the tenth of CIFAR-10's images that stays below 0.7 is mostly segmented wrongly
MIN_CONTRAST = 0.7


def find_object(images: Tensor) -> Tensor:
    """Pixels whose colour is far from those at the border, of images [N, C, H, W] in 0..1: [N, H, W], bool.

    All False where nothing stands out, so that the caller can leave the image out.
    """
    if images[0, 0].numel() < 2:
        return torch.zeros_like(images[:, 0], dtype=torch.bool)
    rows, columns = (max(1, round(BORDER_WIDTH * side)) for side in images.shape[2:])
    borders = images[..., :rows, :], images[..., -rows:, :], images[..., :columns], images[..., -columns:]
    by_border = torch.stack([_mahalanobis(images, border.flatten(2)) for border in borders])  # [4, N, H, W]
    # without the border that a pixel differs from most, because the object may touch it
    distances = (by_border.sum(0) - by_border.amax(0)) / 3  # in standard deviations, [N, H, W]
    distances = smooth(distances, SMOOTHING_DEVIATION * max(images.shape[2:]))
    thresholds = otsu_thresholds(distances.flatten(1).T.cpu()).to(distances)
    mask = distances > thresholds[:, None, None]
    mask = torch.stack([_without_holes_and_specks(image_mask) for image_mask in mask])
    contrast = _masked_mean(distances, mask) - _masked_mean(distances, ~mask)
    return mask & (contrast > MIN_CONTRAST)[:, None, None]  # also False for NaN, the contrast of an empty mask


def fraction_on_mask(maps: Tensor, mask: Tensor) -> Tensor:
    """Fraction of the absolute map [N, H, W] that is on the mask [N, H, W], 0..1: [N].

    NaN where the map is zero, or the mask is empty or covers everything.
    """
    strength = maps.abs()
    fraction = (strength * mask).sum((1, 2)) / strength.sum((1, 2))
    covered = mask.flatten(1).sum(1)
    return torch.where((covered > 0) & (covered < mask[0].numel()), fraction, torch.nan)


def _mahalanobis(images: Tensor, colours: Tensor) -> Tensor:
    """Mahalanobis distance of each pixel of [N, C, H, W] from colours [N, C, n]: [N, H, W]."""
    centre = colours.mean(2, keepdim=True)
    deviations = colours - centre
    covariance = deviations @ deviations.mT / colours.shape[2] + MIN_VARIANCE * torch.eye(images.shape[1]).to(images)
    offsets = images.flatten(2) - centre  # [N, C, P]
    squares = (offsets * torch.linalg.solve(covariance, offsets)).sum(1)
    return squares.clamp_min(0).sqrt().unflatten(1, images.shape[2:])


def _without_holes_and_specks(mask: Tensor) -> Tensor:
    """One mask [H, W], cleaned."""
    parts, _ = ndimage.label(ndimage.binary_fill_holes(mask.cpu().numpy()))
    is_large = np.bincount(parts.flatten()) >= MIN_PART * parts.size
    is_large[0] = False  # the outside
    return torch.from_numpy(is_large[parts]).to(mask.device)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum((1, 2)) / mask.sum((1, 2))
