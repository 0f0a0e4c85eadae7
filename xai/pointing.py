"""The pointing game: does a map's maximum lie where the truth is?

Zhang et al. 2016, arXiv 1608.00507, section 4.1, without a margin.
"""

from torch import Tensor


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
