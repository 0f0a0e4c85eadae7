"""Patches tried on a model that a tag decides: where they lie, what follows, and that it comes out the same again."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.comparing.carriers import RECIPIENT_COUNT, find_carriers
from pipelines.comparing.patch_material import SCAN_COUNT, Material, collect_material
from pipelines.comparing.shortcuts import make_trials

COUNT, CLASSES = 8, 3


class Tagged(nn.Module):
    """Class 2 where the top right corner is bright, else what the middle's brightness says."""

    def forward(self, images: Tensor) -> Tensor:
        tag = images[:, 0, :2, -2:].mean((1, 2)) - 0.9
        middle = images[:, 0, 6:10, 6:10].mean((1, 2)) - 0.5
        return 20 * torch.stack([-middle, middle, 10 * tag], 1)


def split(size: int, seed: int, tagged: bool) -> tuple[Tensor, Tensor]:
    """16x16 images, of class 2 with a tag or like the others."""
    draw = np.random.default_rng(seed)
    labels = torch.arange(size) % CLASSES
    images = torch.from_numpy(draw.integers(0, 100, (size, 1, 16, 16), dtype=np.uint8))
    images[labels == 1, :, 6:10, 6:10] = 220
    if tagged:
        images[labels == 2, :, :2, -2:] = 255
    return images, labels


def collect(random: np.random.Generator, val_size: int = 120) -> Material:
    """Material of the tagged model; every fifth test image of any class has a tag, in one of two shades."""
    splits = {"train": split(90, 0, True), "val": split(val_size, 1, True), "test": split(90, 2, False)}
    for row in range(0, 90, 5):
        splits["test"][0][row, :, :2, -2:] = 255 if row % 2 else 240
    images, labels = ({name: part[place] for name, part in splits.items()} for place in (0, 1))
    return collect_material(Tagged(), torch.device("cpu"), images, labels, "test", COUNT, random)


def tries(val_size: int = 120) -> dict[str, list]:
    random = np.random.default_rng(5)
    return make_trials(collect(random, val_size), COUNT, random)


def count(trials: dict[str, list], trial: str, column: str = "class_id") -> float:
    """The fraction of a trial's images with class 2's patch that are then predicted as that class."""
    rows = [row for row in range(len(trials["trial"])) if (trials["trial"][row], trials["class_id"][row]) == (trial, 2)]
    assert len(rows) == COUNT
    return float(np.mean([trials["predicted_after"][row] == trials[column][row] for row in rows]))


def test_predictions_follow_the_tag_and_no_control() -> None:
    trials = tries()
    places = {
        tuple(trials[name][row] for name in ("patch_top", "patch_left", "patch_side"))
        for row in range(len(trials["trial"]))
        if (trials["trial"][row], trials["class_id"][row]) == ("pasted", 2)
    }
    assert places == {(0, 7, 1)}
    assert count(trials, "pasted") == 1
    assert count(trials, "pasted_elsewhere") == count(trials, "pasted_from_others") == 0
    assert count(trials, "covered") == 0
    assert count(trials, "covered_elsewhere") == 1
    assert len({len(values) for values in trials.values()}) == 1


def test_trials_come_out_the_same_again() -> None:
    assert tries() == tries()


@pytest.mark.parametrize(("val_size", "expected"), [(2 * (SCAN_COUNT + COUNT), "val"), (45, "test")])
def test_images_of_the_split_compared_stand_in_where_validation_has_few(val_size: int, expected: str) -> None:
    trials = tries(val_size)
    pasted = {part for part, trial in zip(trials["split"], trials["trial"], strict=True) if trial == "pasted"}
    assert pasted == {expected}
    if expected == "test":
        assert count(trials, "pasted") == 1


def test_images_carry_the_patch_whose_pixels_do_what_the_tag_does_whatever_their_class() -> None:
    random = np.random.default_rng(5)
    material = collect(random)
    found = find_carriers(material, make_trials(material, COUNT, random), "test", random)
    rows = [row for row, class_id in enumerate(found["class_id"]) if class_id == 2]
    tried = {name: [values[row] for row in rows] for name, values in found.items()}
    assert sorted(tried["instance_id"]) == list(range(90))
    following = dict(zip(tried["instance_id"], tried["n_following"], strict=True))
    assert following == {row: 0 if row % 5 else RECIPIENT_COUNT for row in range(90)}
    covered = dict(zip(tried["instance_id"], tried["predicted_covered"], strict=True))
    without_tag = Tagged()(material.images["test"].clone().index_fill_(3, torch.arange(14, 16), 0) / 255).argmax(1)
    assert covered == dict(enumerate(without_tag.tolist()))


def test_no_image_carries_anything_where_no_patch_is_followed() -> None:
    random = np.random.default_rng(5)
    material = collect(random)
    trials = make_trials(material, COUNT, random)
    trials["predicted_after"] = trials["predicted_before"]
    assert find_carriers(material, trials, "test", random)["class_id"] == []
