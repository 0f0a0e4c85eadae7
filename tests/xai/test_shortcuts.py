"""Patches pasted into other images: where they lie, and that the deciding one is found without knowing it."""

import pytest
import torch
from torch import Tensor, nn

from xai.shortcuts import GRID, Window, find_place, make_gain, paste, predict_pasted, windows

ONES = torch.ones(6, dtype=torch.long)


class Tagged(nn.Module):
    """Class 1 if a box of pixels is bright, else class 0."""

    def __init__(self, top: int, left: int, side: int) -> None:
        super().__init__()
        self.rows, self.columns = slice(top, top + side), slice(left, left + side)

    def forward(self, images: Tensor) -> Tensor:
        brightness = images[:, :, self.rows, self.columns].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(brightness), 8 * (brightness - 0.75)], 1)


def tagged(top: int, left: int, side: int, size: tuple[int, int] = (32, 24)) -> tuple[nn.Module, Tensor, Tensor]:
    """A model, images without its tag, and donors with it."""
    generator = torch.Generator().manual_seed(top)
    images = torch.rand(6, 3, *size, generator=generator) * 0.5
    donors = torch.rand(6, 3, *size, generator=generator) * 0.5
    donors[:, :, top : top + side, left : left + side] = 1
    return Tagged(top, left, side), images, donors


def test_pasting_all_is_the_donor_and_pasting_itself_changes_nothing() -> None:
    _, images, donors = tagged(3, 5, 2)
    assert torch.equal(paste(images, donors, [Window(0, 0, GRID)] * 6), donors)
    assert torch.equal(paste(images, images, windows(2)[:6]), images)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_a_window_is_its_cells_and_no_more(side: int) -> None:
    image, donor = torch.zeros(1, 1, 32, 24), torch.ones(1, 1, 32, 24)
    place = Window(2, 4, side)
    cells = paste(image, donor, [place]).reshape(8, 4, 8, 3).mean((1, 3))
    assert cells.sum() == side**2
    assert cells[2 : 2 + side, 4 : 4 + side].eq(1).all()
    assert len(windows(side)) == (GRID - side + 1) ** 2
    assert place.count_shared_cells(Window(2 + side - 1, 4, side)) == side
    assert place.count_shared_cells(Window(2, 4 - side, side)) == 0
    assert place.count_shared_cells(Window(0, 0, GRID)) == sum(place.contains(cell) for cell in windows(1)) == side**2


def locate(model: nn.Module, images: Tensor, donors: Tensor) -> Window:
    """The place of a class in which no class gains otherwise."""
    return find_place(make_gain(model, images, donors, ONES), lambda _: 0.0)


@pytest.mark.parametrize(("top", "left", "side"), [(0, 0, 3), (14, 17, 5), (25, 2, 7), (9, 12, 3), (14, 9, 9)])
def test_the_deciding_patch_is_found_whatever_its_place_and_size(top: int, left: int, side: int) -> None:
    model, images, donors = tagged(top, left, side)
    place = locate(model, images, donors)
    assert predict_pasted(model, images, donors, [place] * 6).tolist() == [1] * 6
    assert place.top * 4 < top + side
    assert place.left * 3 < left + side
    least = min(place.count_shared_cells(window) for window in windows(place.side))
    elsewhere = [window for window in windows(place.side) if place.count_shared_cells(window) == least][:6]
    assert not predict_pasted(model, images[: len(elsewhere)], donors[: len(elsewhere)], elsewhere).any()


def test_the_smallest_patch_that_does_as_much_is_chosen() -> None:
    assert locate(*tagged(8, 12, 3)) == Window(2, 4, 1)  # within one cell of 4 x 3 pixels


def test_few_windows_are_tried() -> None:
    model, images, donors = tagged(8, 12, 3)
    tried: list[Window] = []
    gain = make_gain(model, images, donors, ONES)
    find_place(lambda place: tried.append(place) or gain(place), lambda _: 0.0)
    assert len(tried) == 9 + 3 * 4


def test_where_every_class_gains_is_no_place_of_one() -> None:
    gains = {Window(0, 0, 4): 0.9, Window(4, 4, 4): 0.5}
    anywhere = {Window(0, 0, 4): 0.8}
    place = find_place(lambda window: gains.get(window, 0.0), lambda window: anywhere.get(window, 0.0))
    assert place == Window(4, 4, 4)
