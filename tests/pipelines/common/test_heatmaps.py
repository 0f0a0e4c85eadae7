"""How maps are drawn: scale, colours and outline, and that the InstanceFlow page draws the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.common import heatmaps
from pipelines.instanceflow.pictures import MAP_SIDES, StoredMap, _describe_style, _pack_map
from support.flow_pages import NODE, computed


def test_overlay_is_clear_at_zero_and_full_at_the_top() -> None:
    image = np.full((2, 2, 3), 0.5)
    values = np.array([[0.0, 1.0], [-1.0, 0.5]])
    drawn = heatmaps.overlay(image, values, 1.0, signed=True)
    grey = 0.25 + 0.35 * 0.5
    assert np.ptp(drawn[0, 0]) < 0.03  # next to nothing of a colour where the map is zero
    assert abs(drawn[0, 0].mean() - grey) < 0.1
    assert drawn[0, 1, 0] > drawn[0, 1, 2] + 0.2  # for: red
    assert drawn[1, 0, 2] > drawn[1, 0, 0] + 0.2  # against: blue
    assert heatmaps.full_colour_magnitude(np.zeros((3, 3))) == 1.0
    one = np.zeros((32, 32))
    one[3, 4] = -2
    assert heatmaps.full_colour_magnitude(one) == 2.0  # a single pixel is not lost to the percentile


@pytest.mark.parametrize("signed", [True, False])
def test_colours_are_those_of_their_ends(signed: bool) -> None:
    table = heatmaps.colour_table(signed).astype(int)
    assert table.shape == (256, 3)
    least, greatest = table[0], table[255]
    if signed:  # blue, white, red
        assert least[2] > least[0] + 50
        assert table[128].min() > 240
        assert greatest[0] > greatest[2] + 50
    else:  # the brighter the stronger
        assert (np.diff(table.sum(1)) > -3).all()


def test_only_the_strongest_tenth_is_outlined() -> None:
    values = np.zeros((32, 32))
    values[8:16, 20:28] = -3
    inside = heatmaps.find_strongest(values)
    assert 0.09 < inside.mean() < 0.12
    assert inside[9:15, 21:27].all()
    drawn = heatmaps.draw_map(np.full((32, 32, 3), 0.5), values, True, lambda tile: heatmaps.enlarge(tile, 3))
    assert drawn.shape == (96, 96, 3)
    assert (drawn == 255).all(2).sum() > 100
    nothing = np.zeros((32, 32))
    assert not heatmaps.find_strongest(nothing).any()
    drawn = heatmaps.draw_map(np.zeros((32, 32, 3)), nothing, False, lambda tile: heatmaps.enlarge(tile, 3))
    assert (drawn == drawn[0, 0]).all()


@pytest.mark.skipif(not NODE, reason="needs node on the PATH")
@pytest.mark.parametrize(("method", "signed"), [("integrated_gradients", True), ("saliency", False)])
@pytest.mark.parametrize("shape", [(32, 32), (28, 20), (9, 9)])
def test_the_page_draws_the_same_picture(tmp_path: Path, method: str, signed: bool, shape: tuple[int, int]) -> None:
    """Of maps of few levels, which bytes hold exactly, on an image."""
    random = np.random.default_rng(shape[0])
    magnitudes = random.integers(0, 128, shape) / 127
    magnitudes.ravel()[:20] = 1  # of the full colour, which is more than half a percent of the pixels
    values = magnitudes * random.choice([-1, 1], shape) if signed else np.round(magnitudes * 255) / 255
    image = random.random((*shape, 3))
    stored = StoredMap("test", 0, 0, method, 0, "label", *shape, values.astype(np.float32).ravel().tolist())
    packed = _pack_map(stored, *shape)

    head = {"instances": 0, "epochs": [], "classes": [], "missing": 255, "splits": [], "names": None,
            "runs": [{"run_id": "r", "name": "n", "kind": "train", "start": 0, "end": 0}],
            "maps": {"height": shape[0], "width": shape[1], "style": _describe_style()}}  # fmt: skip
    page = tmp_path / "page.html"
    page.write_text(f'<script type="application/json" id="head">{json.dumps(head)}</script>')
    brightness = image.mean(2).ravel().tolist()
    factor = 3
    expression = (
        f"drawMapPixels(unpackMap(Uint8Array.from({packed.tolist()}), 0), {brightness}, {json.dumps(signed)}, {factor})"
    )
    made = computed(str(page), expression)
    drawn = np.array(made["pixels"], np.uint8).reshape(made["height"], made["width"], 4)[:, :, :3].astype(int)
    expected = heatmaps.draw_map(image, values, signed, lambda tile: heatmaps.enlarge(tile, factor)).astype(int)
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).max() <= 1


def test_a_larger_map_is_packed_with_the_scale_of_its_own_pixels() -> None:
    """Averaging to fewer pixels makes a map paler, so the scale is that of the map as it was."""
    values = np.zeros((128, 128), np.float32)
    values[::2, ::2] = 2
    stored = StoredMap("test", 0, 0, "saliency", 0, "label", 128, 128, values.ravel().tolist())
    packed = _pack_map(stored, MAP_SIDES[0], MAP_SIDES[0])
    levels = packed[: MAP_SIDES[0] ** 2]
    assert set(levels.tolist()) == {64}  # a quarter of the pixels, at the full colour
    strongest = Image.fromarray(heatmaps.find_strongest(values)).resize((64, 64), Image.Resampling.NEAREST)
    assert (np.unpackbits(packed[MAP_SIDES[0] ** 2 :]).reshape(64, 64) == np.asarray(strongest)).all()
