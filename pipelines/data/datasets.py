"""Data sets behind one interface: `load(name, ...)` gives classes and three splits of images.

Each data set is one function in DATASETS that returns `Raw`; splitting off the validation set, checking and the
digest are the same for all.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.data.cifar10 import load_cifar10
from pipelines.data.digits import load_digits
from pipelines.data.folder import load_folder
from pipelines.data.names import check_text, format_name, format_names
from pipelines.data.planted import load_planted
from pipelines.data.raw import Options, Raw, Reading, Split
from pipelines.data.suspicions import find_suspicions
from tracking.errors import InputError

DATASETS = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "folder": load_folder,
    "planted": load_planted,
}
CHUNK = 256  # images looked at together where copies of them are made
BUILT_IN = ("digits", "planted")


@dataclass(frozen=True)
class Dataset:
    """Images to train on, to choose by (val), and to judge by (test)."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]  # train, val, test
    flips: bool  # whether a mirrored image keeps its class
    shrinks: bool  # whether an image of half the side still shows its class
    notes: tuple[str, ...]  # what was converted on the way in, left out, or looks wrong
    digest: str  # sha256 over every image, label and class name
    reading: Reading  # how image files were read

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.splits["train"].images.shape[1:]
        return channels, height, width

    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training pixels per channel, [C] and [C], in 0..1."""
        images = self.splits["train"].images
        parts = [[torch.bincount(part[:, c].flatten(), minlength=256) for part in images.split(CHUNK)]
                 for c in range(images.shape[1])]  # fmt: skip
        counts = [torch.stack(part).sum(0).double() for part in parts]
        levels = torch.arange(256, dtype=torch.float64) / 255
        means = torch.stack([(count * levels).sum() / count.sum() for count in counts])
        squares = torch.stack([(count * levels**2).sum() / count.sum() for count in counts])
        return means.float(), (squares - means**2).clamp_min(1e-12).sqrt().clamp_min(1e-3).float()


def load(
    name: str,
    path: str | None,
    home_data: Path,
    *,
    val_fraction: float,
    seed: int,
    size: int | None,
    skip_unreadable: bool = False,
    known: Reading | None = None,
) -> Dataset:
    """Load data set `name`, from `path` where it needs one.

    Images are [N, C, H, W], uint8. `val_fraction` of the training images, the same share of each class, become the
    validation split, chosen by `seed`. `known` is how a run read the same files. Raises InputError on an unknown name
    and on bad data.
    """
    if name not in DATASETS:
        raise InputError(f"no data set {format_name(name)}; there are: {', '.join(DATASETS)}")
    if path and name in BUILT_IN:
        raise InputError(
            f"--dataset {name} needs no --data; for your own images: --dataset folder --data {format_name(path)}"
        )
    raw = DATASETS[name](path, home_data, Options(size, skip_unreadable, known))
    _check(raw)
    train, val = _split(raw.train, val_fraction, seed)
    splits = {"train": train, "val": val, "test": raw.test}
    notes = (*raw.notes, *_left_out(known), *_untested(raw), *find_suspicions(raw))
    digest = _digest(raw.classes, splits)
    return Dataset(name, raw.classes, splits, raw.flips, raw.shrinks, notes, digest, raw.reading)


def _check(raw: Raw) -> None:
    if len(raw.classes) < 2:
        raise InputError(
            f"a classifier needs two classes or more; the data has only {format_names(raw.classes) or 'none'}"
        )
    if len(raw.test.labels) == 0:
        raise InputError("the data has no test images; add some, a study needs them to judge by")
    counts = _counts(raw.train, raw.classes)
    for needed, what in ((1, "no training image"), (2, "only one training image, none would be left to validate with")):
        if few := [name for name, count in zip(raw.classes, counts, strict=True) if count < needed]:
            raise InputError(f"{what}: class {format_names(few)}; add some or remove the class")
    check_text((*raw.classes, *raw.train.sources, *raw.test.sources))


def _counts(split: Split, classes: tuple[str, ...]) -> list[int]:
    return torch.bincount(split.labels, minlength=len(classes)).tolist()


def _left_out(known: Reading | None) -> list[str]:
    if not known or not known.unreadable:
        return []
    count = len(known.unreadable)
    return [f"{count} images left out, which could not be read when the run was made: {format_names(known.unreadable)}"]


def _untested(raw: Raw) -> list[str]:
    counts = _counts(raw.test, raw.classes)
    names = [name for name, count in zip(raw.classes, counts, strict=True) if count == 0]
    return [f"no test image of class {format_names(names)}"] if names else []


def _split(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Training and validation part; each class gives round(share) of its images, but one at the least."""
    random = np.random.default_rng(seed)
    labels = split.labels.numpy()
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(len(rows) * share)), len(rows) - 1)
        chosen[random.permutation(rows)[:count]] = True
    return split.rows(np.flatnonzero(~chosen)), split.rows(np.flatnonzero(chosen))


def _digest(classes: tuple[str, ...], splits: dict[str, Split]) -> str:
    digest = hashlib.sha256(json.dumps(classes).encode())
    for name, split in splits.items():
        digest.update(f"{name} {tuple(split.images.shape)}".encode())
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.numpy().data)
    return digest.hexdigest()
