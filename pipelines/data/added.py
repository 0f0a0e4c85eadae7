"""Images added to a training run after it began: its splits extra:NAME, read back from what is committed.

Each addition is committed as extra_NAME_0001, 0002 and so on, with rows of table `instances` and the images as PNG.
Its predictions are committed as extra_NAME_0001_epoch_0003, with the number of the addition that they cover; earlier
versions let the last one cover all before it that had none.
"""

import io
import re
from pathlib import PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.data.raw import Split
from tracking import commits
from tracking.catalogue import RunRecord
from tracking.files import read_table
from tracking.home import Home

EXTRA_PREFIX = "extra:"
# not ending in _epoch, as an addition's unit could then have the name of another split's predictions
NAME_PATTERN = r"[A-Za-z0-9_-]{1,40}(?<!_epoch)"
ADDITION_UNIT = re.compile(rf"extra_(?P<name>{NAME_PATTERN})_(?P<number>\d+)")
EVALUATION_UNIT = re.compile(rf"extra_(?P<name>{NAME_PATTERN})_(?P<number>\d+)_epoch_\d+")


def read_extra_splits(home: Home, record: RunRecord) -> dict[str, Split]:
    """Every split extra:NAME of a run; a label is -1 where it is unknown."""
    names = set()
    for commit in commits.read_commits(home, record.run_id):
        addition = ADDITION_UNIT.fullmatch(commit.unit)
        if addition:
            names.add(addition["name"])
    return {EXTRA_PREFIX + name: join_splits(read_additions(home, record.run_id, name)) for name in sorted(names)}


def read_additions(home: Home, run_id: str, name: str) -> list[Split]:
    """What was added to extra:NAME, addition by addition."""
    additions: dict[int, Split] = {}
    for commit in commits.read_commits(home, run_id):
        addition = ADDITION_UNIT.fullmatch(commit.unit)
        if not addition or addition["name"] != name:
            continue
        paths = {PurePosixPath(file.path).parts[0]: file.path for file in commit.files}
        instances, pixels = (
            read_table(commits.committed_file(home, commit, paths[table])) for table in ("instances", "pixels")
        )
        images = torch.stack([decode_png(png) for png in pixels["png"]])
        labels = torch.tensor([-1 if label is None else label for label in instances["label"]])
        additions[int(addition["number"])] = Split(images, labels, tuple(instances["source"]))
    return [additions[number] for number in sorted(additions)]


def count_evaluated_additions(home: Home, run_id: str, name: str) -> dict[int, int]:
    """By epoch, the number of the last addition to extra:NAME that is evaluated there, as are all before it."""
    evaluated: dict[int, int] = {}
    for commit in commits.epoch_commits(home, run_id).values():
        evaluation = EVALUATION_UNIT.fullmatch(commit.unit)
        if evaluation and evaluation["name"] == name:
            evaluated[commit.epoch] = max(int(evaluation["number"]), evaluated.get(commit.epoch, 0))
    return evaluated


def join_splits(parts: list[Split]) -> Split:
    """One split with the rows of all parts, in order."""
    images = torch.cat([part.images[:] for part in parts])
    labels = torch.cat([part.labels for part in parts])
    sources = tuple(source for part in parts for source in part.sources)
    return Split(images, labels, sources)


def encode_png(image: Tensor) -> bytes:
    """An image [C, H, W], uint8, of one or three channels, as a lossless PNG."""
    pixels = image.permute(1, 2, 0).numpy()
    if len(image) == 1:
        pixels = pixels.squeeze(2)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def decode_png(content: bytes) -> Tensor:
    """The image [C, H, W], uint8, that `encode_png` was given."""
    pixels = np.array(Image.open(io.BytesIO(content), formats=("PNG",)))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)
