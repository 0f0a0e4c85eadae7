"""CIFAR-10 as its author and torchvision have it: the folder cifar-10-batches-py."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.data.names import format_name
from pipelines.data.pixels import resize_pixels
from pipelines.data.raw import Split
from tracking.errors import InputError

TRAIN_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
TEST_BATCH = "test_batch"
# the files are pickles, which could run anything: exactly these are read, no others (md5 as published)
PUBLISHED_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def read_batches(folder: Path, size: int | None) -> tuple[Split, Split]:
    """Training and test images [N, 3, 32, 32], or of another `size`. Raises InputError on any other file."""
    train = _read_split(folder, "train", TRAIN_BATCHES, size)
    test = _read_split(folder, "test", (TEST_BATCH,), size)
    return train, test


def _read_split(folder: Path, part: str, names: tuple[str, ...], size: int | None) -> Split:
    batches = [_read_batch(folder / name) for name in names]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([batch[b"labels"] for batch in batches]).astype(np.int64)
    if size not in (None, 32):
        images = np.ascontiguousarray([resize_pixels(image, (size, size)) for image in images])
    sources = tuple(f"{part}/{row:05d}" for row in range(len(labels)))
    return Split(torch.from_numpy(images), torch.from_numpy(labels), sources)


def _read_batch(file: Path) -> dict[bytes, Any]:
    advice = f"delete {format_name(file.parent)} to have it downloaded, or unpack the whole archive there"
    if not file.is_file():
        raise InputError(f"{format_name(file)} is missing; {advice}")
    content = file.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != PUBLISHED_MD5[file.name]:
        raise InputError(f"{format_name(file)} is not CIFAR-10's own file (its md5 differs) and is not read; {advice}")
    return pickle.loads(content, encoding="bytes")
