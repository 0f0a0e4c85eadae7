"""CIFAR-10 as its author and torchvision have it: the folder cifar-10-batches-py."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.data.names import format_name
from pipelines.data.raw import Split
from tracking.errors import InputError

# the files are pickles, which could run anything: these exact ones are read, no others (md5 as published)
KNOWN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def read_batches(folder: Path, size: int | None) -> tuple[Split, Split]:
    """Training and test images [N, 3, 32, 32]."""
    train = [_batch(folder / name) for name in KNOWN if name != "test_batch"]
    return _split("train", train, size), _split("test", [_batch(folder / "test_batch")], size)


def _split(part: str, batches: list[tuple[np.ndarray, list[int]]], size: int | None) -> Split:
    images = np.concatenate([data for data, _ in batches]).reshape(-1, 3, 32, 32)
    if size not in (None, 32):
        images = np.ascontiguousarray([_resized(image, size) for image in images])
    labels = torch.tensor([label for _, labels in batches for label in labels])
    return Split(torch.from_numpy(images), labels, tuple(f"{part}/{row:05d}" for row in range(len(labels))))


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """As files are resized, so that both layouts give the same pixels."""
    shrunk = Image.fromarray(image.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(shrunk).transpose(2, 0, 1)


def _batch(file: Path) -> tuple[np.ndarray, list[int]]:
    advice = f"delete {format_name(file.parent)} to have it downloaded, or unpack the whole archive there"
    if not file.is_file():
        raise InputError(f"{format_name(file)} is missing; {advice}")
    content = file.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != KNOWN[file.name]:
        raise InputError(f"{format_name(file)} is not CIFAR-10's own file (its md5 differs) and is not read; {advice}")
    batch = pickle.loads(content, encoding="bytes")
    return batch[b"data"], batch[b"labels"]
