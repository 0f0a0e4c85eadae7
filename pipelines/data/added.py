"""Images added to a training run after it began: its splits extra:NAME, read back from what is committed.

An addition is a unit extra_NAME_0001, its number counting on, with rows of table `instances` and the images as PNG.
Its predictions are units extra_NAME_0001_epoch_0003, whose number is that of the last addition they cover.
"""

import io
import re

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.data.raw import Split
from tracking import commits
from tracking.catalogue import RunRecord
from tracking.commits import Commit
from tracking.files import read_table
from tracking.home import Home

PREFIX = "extra:"
NAME = r"[A-Za-z0-9_-]{1,40}(?<!_epoch)"  # else an addition could be called like another split's predictions
ADDED = re.compile(rf"extra_({NAME})_(\d+)")
EVALUATED = re.compile(rf"extra_({NAME})_(\d+)_epoch_\d+")


def read_extra_splits(home: Home, record: RunRecord) -> dict[str, Split]:
    """Every split extra:NAME of a run; a label is -1 where it is unknown."""
    units = [ADDED.fullmatch(commit.unit) for commit in commits.read_commits(home, record.run_id)]
    names = sorted({unit[1] for unit in units if unit})
    return {PREFIX + name: join_splits(read_additions(home, record.run_id, name)) for name in names}


def read_additions(home: Home, run_id: str, name: str) -> list[Split]:
    """What was added to extra:NAME, addition by addition."""
    found = {}
    for commit in commits.read_commits(home, run_id):
        if (unit := ADDED.fullmatch(commit.unit)) and unit[1] == name:
            found[int(unit[2])] = _read(home, commit)
    return [found[number] for number in sorted(found)]


def count_evaluated_additions(home: Home, run_id: str, name: str) -> dict[int, int]:
    """By epoch, the last addition to extra:NAME that is evaluated there, as are all before it."""
    found: dict[int, int] = {}
    for commit in commits.epoch_commits(home, run_id).values():
        if (unit := EVALUATED.fullmatch(commit.unit)) and unit[1] == name:
            found[commit.epoch] = max(int(unit[2]), found.get(commit.epoch, 0))
    return found


def join_splits(parts: list[Split]) -> Split:
    images, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    return Split(images, labels, tuple(source for part in parts for source in part.sources))


def to_png(image: Tensor) -> bytes:
    """An image [C, H, W], uint8, of one or three channels, without loss."""
    pixels, file = image.permute(1, 2, 0).numpy(), io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if len(image) == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def from_png(content: bytes) -> Tensor:
    """The image [C, H, W], uint8, that `to_png` was given."""
    pixels = np.array(Image.open(io.BytesIO(content), formats=("PNG",)))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def _read(home: Home, commit: Commit) -> Split:
    instances, pixels = (
        read_table(commits.committed_file(home, commit, f"{folder}/{commit.unit}.parquet"))
        for folder in ("instances", "pixels")
    )
    labels = torch.tensor([-1 if label is None else label for label in instances["label"]])
    return Split(torch.stack([from_png(png) for png in pixels["png"]]), labels, tuple(instances["source"]))
