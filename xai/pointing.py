"""The pointing game: does a map's highest place lie where the truth is?

Zhang et al. 2016, arXiv 1608.00507, section 4.1, without a margin.
"""

from torch import Tensor


def point_inside(maps: Tensor, boxes: Tensor) -> Tensor:
    """Whether the maximum of each map [N, H, W] lies in its box [N, 4] (top, left, height, width): [N], bool.

    A map that is the same everywhere points nowhere.
    """
    width = maps.shape[2]
    place = maps.flatten(1).argmax(1)
    row, column = place // width, place % width
    top, left, tall, wide = boxes.unbind(1)
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return inside & (maps.amax((1, 2)) > maps.amin((1, 2)))
