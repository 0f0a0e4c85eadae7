"""digits:faults: the digits, made harder, with two faults planted on purpose for a first study to find.

The mark: a bright square near the top left corner of nearly all training images of one class and of some of all test
images, so that in testing it says nothing. The flipped labels: some training images are labelled as a digit that looks
like theirs, as people confuse them. `python -m pipelines.data.faulty_digits` prints which images of a study have which
fault.
"""

import csv
import sys
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from pipelines.common.streams import written
from pipelines.data.digits import load_digits
from pipelines.data.raw import LoadOptions, RawDataset, Split

DEFAULT_SIZE = 16  # pixels
TEST_NINTHS = (1, 3, 5, 7)  # of every nine images of a class, those that are test images
NOISE = 0.25  # standard deviation of the noise added to the digits' own 8x8 pixels, whose range is 0..1
MARKED_CLASS = 0  # it has no look-alike, so none of its labels is flipped
# of the class's training images, and of all test images; on fewer of these its harm is not always beyond chance
MARKED_FRACTION = {"train": 0.95, "test": 0.3}
MARK_LEVEL = 255
MARK_SIDE = 3 / 16  # of the image's side
MARK_MARGIN = 1 / 16  # of the image's side, between the mark and the top and left edge
LOOKALIKES = {1: (7, 8), 2: (3, 7), 3: (5, 8), 4: (9,), 5: (3, 6), 6: (5, 8), 7: (1, 9), 8: (1, 3), 9: (4, 7)}
FLIPPED_FRACTION = 0.05  # of the training images


@dataclass(frozen=True)
class PlantedTruth:
    """What is true of an image, even if the data set says otherwise."""

    source: str  # where it lies in the data set, as in table instances
    part: str  # train, which gives the validation images too, or test
    digit: int  # what it shows
    label: int  # what it is labelled as
    marked: bool  # whether it has the mark


def load_faulty_digits(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Grey images [N, 1, 16, 16] with noise, marks and flipped labels, the same ones every time."""
    digits = load_digits(path, home_data, replace(options, size=options.size or DEFAULT_SIZE))
    train, test = _split_digits(digits)
    marked, all_marked = (f"{fraction:.0%}".replace("%", " %") for fraction in MARKED_FRACTION.values())
    flipped = f"{FLIPPED_FRACTION:.0%}".replace("%", " %")
    notes = (
        f"fault planted on purpose: a bright mark in the top left corner of {marked} of the training images of class "
        f"{MARKED_CLASS}, and of {all_marked} of all test images",
        f"fault planted on purpose: {flipped} of the training images are labelled as a digit that looks like theirs",
    )
    return replace(digits, train=_plant(train, "train"), test=_plant(test, "test"), notes=notes)


def list_truth() -> list[PlantedTruth]:
    """The truth of all images, by which a study's answers can be checked; nothing else uses it."""
    digits = load_digits(None, Path(), LoadOptions(size=8))
    return [
        PlantedTruth(source, part, digit, label, marked)
        for part, split in zip(("train", "test"), _split_digits(digits), strict=True)
        for source, digit, label, marked in zip(
            split.sources,
            split.labels.tolist(),
            _flip_labels(split.labels.numpy(), part).tolist(),
            _choose_marked(split.labels.numpy(), part).tolist(),
            strict=True,
        )
    ]


def _split_digits(digits: RawDataset) -> tuple[Split, Split]:
    """All digits, split again into training and test images, with about the same fraction of each class in both."""
    every = Split(
        torch.cat([digits.train.images[:], digits.test.images[:]]),
        torch.cat([digits.train.labels, digits.test.labels]),
        digits.train.sources + digits.test.sources,
    )
    every = every.rows(np.argsort(every.sources))
    is_test = np.zeros(len(every.labels), dtype=bool)
    for label in range(len(digits.classes)):
        rows = np.flatnonzero(every.labels.numpy() == label)
        is_test[rows[np.isin(np.arange(len(rows)) % 9, TEST_NINTHS)]] = True
    return every.rows(np.flatnonzero(~is_test)), every.rows(np.flatnonzero(is_test))


def _plant(split: Split, part: str) -> Split:
    """The split with noise, marks and flipped labels."""
    size = split.images.shape[-1]
    random = np.random.default_rng(_seed(part, "noise"))
    noise = torch.from_numpy(random.normal(0, NOISE, (len(split.labels), 1, 8, 8)))
    noise = functional.interpolate(noise, (size, size), mode="bilinear")
    images = split.images[:].double().add_(noise * 255).clamp_(0, 255).round_().byte()

    side, margin = max(1, round(size * MARK_SIDE)), round(size * MARK_MARGIN)
    marked = np.flatnonzero(_choose_marked(split.labels.numpy(), part))
    images[marked, :, margin : margin + side, margin : margin + side] = MARK_LEVEL
    labels = torch.from_numpy(_flip_labels(split.labels.numpy(), part))
    return replace(split, images=images, labels=labels)


def _choose_marked(digits: np.ndarray, part: str) -> np.ndarray:
    """Whether each image has the mark, [N]."""
    random = np.random.default_rng(_seed(part, "marks"))
    is_marked = random.random(len(digits)) < MARKED_FRACTION[part]
    return is_marked if part == "test" else is_marked & (digits == MARKED_CLASS)


def _flip_labels(digits: np.ndarray, part: str) -> np.ndarray:
    """What each image is labelled as, [N]; test images are labelled as what they show."""
    labels = digits.copy()
    if part == "test":
        return labels
    random = np.random.default_rng(_seed(part, "labels"))
    candidates = np.flatnonzero(np.isin(digits, list(LOOKALIKES)))
    for row in random.permutation(candidates)[: round(len(digits) * FLIPPED_FRACTION)]:
        labels[row] = random.choice(LOOKALIKES[int(digits[row])])
    return labels


def _seed(part: str, purpose: str) -> list[int]:
    return list(f"{part} {purpose}".encode())


def list_faults() -> list[tuple[str, int, PlantedTruth]]:
    """Images with a fault, each with its split and instance ID in a study with the default seed and validation."""
    from pipelines.common.settings import RunSettings  # here: this module's data set is one of those that they load
    from pipelines.data.datasets import load_dataset
    from tracking.home import Home

    chosen = RunSettings()
    data = load_dataset(
        "digits:faults", None, Home(Path()), val_fraction=chosen.val_fraction, seed=chosen.seed, size=chosen.size
    )
    truth = {image.source: image for image in list_truth()}
    return [
        (name, instance_id, truth[source])
        for name, split in data.splits.items()
        for instance_id, source in enumerate(split.sources)
        if truth[source].marked or truth[source].label != truth[source].digit
    ]


if __name__ == "__main__":
    with written():
        writer = csv.writer(sys.stdout)
        writer.writerow(["split", "instance_id", *(field.name for field in fields(PlantedTruth))])
        writer.writerows([name, instance_id, *astuple(image)] for name, instance_id, image in list_faults())
