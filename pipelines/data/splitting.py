"""Part of a split becomes another split, with the same fraction of every class in both."""

import numpy as np

from pipelines.data.raw import Split
from tracking.errors import InputError

TEST_SEED = 0  # test images are the same for every --seed, so that runs can be compared on them
TEST_FRACTION = 0.2  # of all images
TEST_FRACTION_OF_VALIDATION = 0.5  # of the validation images, where there are some


def split_off(split: Split, fraction: float, seed: int, kept: int = 1) -> tuple[Split, Split]:
    """What remains and what is split off: of each class `fraction` of its images, rounded, but at least one.

    At least `kept` images of each class remain.
    """
    random = np.random.default_rng(seed)
    labels = split.labels.numpy()
    is_split_off = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(len(rows) * fraction)), max(0, len(rows) - kept))
        is_split_off[random.permutation(rows)[:count]] = True
    return split.rows(np.flatnonzero(~is_split_off)), split.rows(np.flatnonzero(is_split_off))


def add_test_images(parts: dict[str, Split], fraction: float | None) -> tuple[dict[str, Split], list[str]]:
    """The parts of a data set with test images: where it has none, they are split off. Notes on it.

    They are split off the validation images where there are any, else off the training images. Raises InputError on a
    `fraction` that is not needed.
    """
    if "test" in parts:
        if fraction is not None:
            raise InputError("--test-fraction does nothing for data with its own test images; leave it out")
        return parts, []
    if "val" in parts:
        source, what, kept, fraction = "val", "validation", 1, fraction or TEST_FRACTION_OF_VALIDATION
    else:
        source, what, kept, fraction = "train", "training", 2, fraction or TEST_FRACTION  # to learn and to validate
    remaining, test = split_off(parts[source], fraction, TEST_SEED, kept)
    note = (
        f"no test images of its own: {len(test.labels):,} of {len(parts[source].labels):,} {what} images are held out "
        f"for testing, {fraction:g} of each class (--test-fraction), the same ones for every --seed"
    )
    return parts | {source: remaining, "test": test}, [note]
