"""New images to train on: read, labelled by their folders, and kept apart from what guides and judges a training."""

import hashlib

import numpy as np

from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.data.incoming import find_images, read_images
from pipelines.data.names import format_names
from pipelines.data.raw import Split
from tracking.errors import InputError


def read_new_images(paths: tuple[str, ...], data: Dataset) -> Split | None:
    """Images that the data set lacks, each picture once; None if no path is given.

    Raises InputError if one has no label or cannot be read, or if the data set has all of them. A picture of val or
    test is left out as much as one of train: a model would be judged on what it was trained on.
    """
    if not paths:
        return None
    images = read_images(find_images(paths), data, skip_unreadable=False)
    unlabelled = [source for source, label in zip(images.sources, images.labels.tolist(), strict=True) if label < 0]
    if unlabelled:
        raise InputError(
            f"--images: {plural(len(unlabelled), 'image')} in no folder that is named after a class "
            f"({format_names(unlabelled)}); the classes are {format_names(data.classes)}"
        )
    known = {digest: name for name, split in data.splits.items() for digest in split.pixel_digests()}
    new_rows, found = [], []
    for row, digest in enumerate(images.pixel_digests()):
        if digest in known:
            found.append(known[digest])
            continue
        known[digest] = "--images"
        new_rows.append(row)
    for name in dict.fromkeys(found):
        where = "twice among the new images" if name == "--images" else f"images of {name} already"
        say(f"  {plural(found.count(name), 'new image')} left out: {where}")
    if not new_rows:
        raise InputError("--images: none of these is new to the data set; give others, or leave the flag out")
    say(f"  {plural(len(new_rows), 'new image')} trained on")
    return images.rows(np.array(new_rows))


def digest_images(images: Split) -> str:
    """The sha256 of the images and their labels, in order."""
    labelled = zip(images.pixel_digests(), images.labels.tolist(), strict=True)
    return hashlib.sha256(" ".join(f"{digest}:{label}" for digest, label in labelled).encode()).hexdigest()
