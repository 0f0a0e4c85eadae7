"""Does a patch at one place decide a class? Patches of its images are pasted into images of other classes.

A network that leans on a tag, a watermark or a horse's copyright line (Lapuschkin 2019, arXiv 1902.10178; Geirhos 2020,
arXiv 2004.07780) follows the patch alone. Nothing is known of the tag's place or size: `find_place` tries windows of an
8x8 grid. Property: pasting an image's own patch leaves it as it was, and the whole image pasted is the donor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai.gradient import all_scores

GRID = 8  # rows and columns of cells, as in the 8x8 maps
SIDES = (1, 2, 3)  # cells; a window of three holds any tag of up to a quarter of the image's side
SCAN_SIDE = 2  # of the windows that are tried at every place
NEARLY_BEST = 0.9  # fraction of the best window's effect with which a smaller window is preferred; by eye


@dataclass(frozen=True)
class Window:
    """A square of cells of the 8x8 grid."""

    top: int
    left: int
    side: int

    def contains(self, other: "Window") -> bool:
        rows = self.top <= other.top and other.top + other.side <= self.top + self.side
        columns = self.left <= other.left and other.left + other.side <= self.left + self.side
        return rows and columns

    def overlaps(self, other: "Window") -> bool:
        rows = self.top < other.top + other.side and other.top < self.top + self.side
        columns = self.left < other.left + other.side and other.left < self.left + self.side
        return rows and columns


def windows(side: int) -> list[Window]:
    """All windows of a size, row by row."""
    places = range(GRID - side + 1)
    return [Window(top, left, side) for top in places for left in places]


def paste(images: Tensor, donors: Tensor, places: Sequence[Window]) -> Tensor:
    """Images [N, C, H, W] with the pixels of their donors [N, C, H, W] in their windows."""
    height, width = images.shape[2:]
    rows, columns = torch.arange(height) * GRID // height, torch.arange(width) * GRID // width  # cell of each pixel
    inside = torch.stack([
        ((rows >= place.top) & (rows < place.top + place.side))[:, None]
        & ((columns >= place.left) & (columns < place.left + place.side))
        for place in places
    ])  # [N, H, W]  # fmt: skip
    return torch.where(inside[:, None].to(images.device), donors, images)


def make_gain(model: nn.Module, images: Tensor, donors: Tensor, classes: Tensor) -> Callable[[Window], float]:
    """A function of a window: the mean rise of the probability of the classes [N] as its pixels are pasted."""

    def mean_probability(altered: Tensor) -> float:
        return all_scores(model, altered).softmax(1).gather(1, classes[:, None]).mean().item()

    before = mean_probability(images)
    return lambda place: mean_probability(paste(images, donors, [place] * len(images))) - before


def find_place(gain_at: Callable[[Window], float]) -> Window:
    """The window where a gain is largest; of windows around it where it is nearly as large, the smallest."""
    gains = {place: gain_at(place) for place in windows(SCAN_SIDE)}
    best = max(gains, key=lambda place: gains[place])
    for side in SIDES:
        for place in windows(side):
            if place.contains(best) or best.contains(place):
                gains[place] = gain_at(place)
    largest = max(gains.values())
    good = [place for place in gains if gains[place] >= NEARLY_BEST * largest]
    return min(good, key=lambda place: (place.side, -gains[place]))


def predict_pasted(model: nn.Module, images: Tensor, donors: Tensor, places: Sequence[Window]) -> Tensor:
    """The class predicted of each image with its donor's patch, [N]."""
    return all_scores(model, paste(images, donors, places)).argmax(1)
