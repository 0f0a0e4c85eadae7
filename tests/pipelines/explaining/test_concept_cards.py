"""Cards of concepts: each shows its own concept alone, where reports cut it."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.explaining.concepts.figures import SQUARE_PLACES, Card, Panel, draw_cards, draw_squares
from pipelines.reporting.patterns import BOTTOM, FIRST, STEP, TOP

CLASSES = ("cat (3)", "a class without images (0)", "$dog$ (12)")
EXAMPLES = 8


def make_card(number: int, shape: tuple[int, int] = (16, 16)) -> Card:
    random = np.random.default_rng(number)
    captions = [f"#{row} cat  {random.random():.3g}" for row in range(EXAMPLES)]
    panel = Panel(random.random((EXAMPLES, *shape, 3)), random.random((EXAMPLES, *shape)), captions)
    values = np.array([random.random(), np.nan, random.random()])
    return Card(
        f"concept {number}", "grey; centre" * (3 - number), 10.0**number, panel, panel, values, values,
        values * (-10) ** number, np.array([True, False, number == 1]),
    )  # fmt: skip


def test_a_card_shows_nothing_of_the_card_before_it() -> None:
    cards = [make_card(number) for number in range(3)]
    together = list(draw_cards(cards, CLASSES))
    alone = [next(draw_cards([card], CLASSES)) for card in cards]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (50, 50), (300, 300)])
def test_reports_cut_the_images_out_of_a_card(shape: tuple[int, int]) -> None:
    images = np.zeros((EXAMPLES, *shape, 3))
    images[:, :, :, 0] = np.arange(1, EXAMPLES + 1)[:, None, None] / EXAMPLES  # from dark to bright red
    card = make_card(0, shape)
    card = replace(card, highest=replace(card.highest, images=images, maps=np.zeros((EXAMPLES, *shape))))
    [picture] = draw_cards([card], CLASSES)
    height, width = picture.shape[:2]
    assert (width, height) == (1560, 744)
    for number, red in enumerate(images[:, 0, 0, 0]):
        left, right = (round((FIRST + STEP * part) * width) for part in (number, number + 0.45))
        cut = picture[round(TOP * height) + 1 : round(BOTTOM * height) - 1, left + 1 : right]
        assert (cut == [round(red * 255), 0, 0]).all()


@pytest.mark.parametrize("shape", [(8, 8), (50, 50), (300, 150)])
def test_mlflow_gets_a_square_with_the_images_that_show_the_concept_most(shape: tuple[int, int]) -> None:
    """MLflow puts grey bands around any other shape, and no image may cover another's place."""
    images = np.zeros((EXAMPLES, *shape, 3))
    images[:, :, :, 0] = np.arange(1, EXAMPLES + 1)[:, None, None] / EXAMPLES
    card = make_card(0, shape)
    few = Panel(images[:1], card.highest.maps[:1], card.highest.captions[:1])
    cards = [replace(card, highest=panel) for panel in (replace(card.highest, images=images), few)]
    picture, other = draw_squares(cards, CLASSES)
    side = len(picture)
    assert (picture.shape, picture.dtype) == ((side, side, 3), np.uint8)
    for (left, top), red in zip(SQUARE_PLACES, images[:, 0, 0, 0], strict=False):
        assert picture[round(top * side) + 2, round(left * side) + 2].tolist() == [round(red * 255), 0, 0]
    assert (other[round(0.45 * side), : round(0.4 * side)] == 255).all()  # nothing of the picture before it


def test_every_pixel_of_a_small_image_has_nearly_the_same_size() -> None:
    images = np.zeros((EXAMPLES, 8, 8, 3))
    images[:, :, ::2] = 1  # stripes
    card = make_card(0, (8, 8))
    [picture] = draw_cards([replace(card, highest=replace(card.highest, images=images))], CLASSES)
    height, width = picture.shape[:2]
    row = picture[round((TOP + BOTTOM) / 2 * height), round(FIRST * width) : round((FIRST + STEP * 0.46) * width), 0]
    edges = np.flatnonzero(np.diff((row > 127).astype(int)))
    assert len(edges) == 7
    assert np.ptp(np.diff(edges)) <= 1
