"""The pointing game: does a map's maximum lie where the truth is? And is every part of the truth covered?

Zhang et al. 2016, arXiv 1608.00507, section 4.1, without a margin. A map has one maximum, so where two parts decide
together, pointing at one of them is called right although the other is left out.
"""

import torch
from torch import Tensor

COVERED = 0.5  # of an equal share: a part with less is left out; by eye


def point_inside(maps: Tensor, boxes: Tensor) -> Tensor:
    """Whether the maximum of each map [N, H, W] lies in its box [N, 4] (top, left, height, width): [N], bool.

    A constant map points nowhere.
    """
    width = maps.shape[2]
    maximum = maps.flatten(1).argmax(1)
    row, column = maximum // width, maximum % width
    top, left, box_height, box_width = boxes.unbind(1)
    inside = (row >= top) & (row < top + box_height) & (column >= left) & (column < left + box_width)
    return inside & (maps.amax((1, 2)) > maps.amin((1, 2)))


def fraction_inside(maps: Tensor, boxes: Tensor) -> Tensor:
    """Fraction of the magnitude of each map [N, H, W] in each of its boxes [N, P, 4]: [N, P]; NaN if a map is zero."""
    magnitude = maps.abs()
    rows, columns = (torch.arange(size, device=maps.device) for size in maps.shape[1:])
    top, left, height, width = boxes[..., None].unbind(2)  # [N, P, 1] each
    in_rows = ((rows >= top) & (rows < top + height)).to(maps.dtype)  # [N, P, H]
    in_columns = ((columns >= left) & (columns < left + width)).to(maps.dtype)  # [N, P, W]
    inside = torch.einsum("nhw,nph,npw->np", magnitude, in_rows, in_columns)
    return inside / magnitude.sum((1, 2))[:, None]


def covers_all_parts(shares: Tensor) -> Tensor:
    """Whether each part has at least COVERED of an equal share of what lies in all, of `shares` [N, P]: [N], bool."""
    return (shares >= COVERED * shares.mean(1, keepdim=True)).all(1) & (shares > 0).all(1)
