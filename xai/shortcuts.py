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
LARGEST_SIDE = 4  # cells, half the image's side
SCAN_STEP = 2  # cells between the largest windows, of which one holds any tag of up to three cells
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

    def count_shared_cells(self, other: "Window") -> int:
        """Cells that lie in both; of two in the centre that are half the image's side, some always do."""
        rows = min(self.top + self.side, other.top + other.side) - max(self.top, other.top)
        columns = min(self.left + self.side, other.left + other.side) - max(self.left, other.left)
        return max(rows, 0) * max(columns, 0)


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


def find_place(own_gain: Callable[[Window], float], any_gain: Callable[[Window], float]) -> Window:
    """The window where a class gains most compared with any class, and in it the smallest that does nearly as much.

    A window that holds a tag has one a cell smaller that holds it too, until the tag does not fit: 9 windows of the
    largest side are tried, then at most 4 for each smaller side.
    """
    scanned = [place for place in windows(LARGEST_SIDE) if place.top % SCAN_STEP == place.left % SCAN_STEP == 0]
    gains = {place: own_gain(place) for place in scanned}
    best = max(scanned, key=lambda place: gains[place] - any_gain(place))
    enough = NEARLY_BEST * gains[best]
    for side in range(LARGEST_SIDE - 1, 0, -1):
        inside = {place: own_gain(place) for place in windows(side) if best.contains(place)}
        smaller = max(inside, key=lambda place: inside[place])
        if inside[smaller] < enough:
            return best
        best, enough = smaller, max(enough, NEARLY_BEST * inside[smaller])
    return best


def predict_pasted(model: nn.Module, images: Tensor, donors: Tensor, places: Sequence[Window]) -> Tensor:
    """The class predicted of each image with its donor's patch, [N]."""
    return all_scores(model, paste(images, donors, places)).argmax(1)


def follow_patches(model: nn.Module, donors: Tensor, recipients: Tensor, place: Window, class_id: int) -> Tensor:
    """Whether the patch of each donor [N, C, H, W] makes the model see a class in each recipient [R, ...], [N, R]."""
    pairs = len(donors) * len(recipients)
    altered = paste(recipients.repeat(len(donors), 1, 1, 1), donors.repeat_interleave(len(recipients), 0),
                    [place] * pairs)  # fmt: skip
    return (all_scores(model, altered).argmax(1) == class_id).view(len(donors), len(recipients))
