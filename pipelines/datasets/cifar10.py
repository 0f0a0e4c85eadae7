"""cifar10: 60,000 colour photographs of 32x32 pixels in ten classes.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import torch

from pipelines.datasets.raw import Raw, Split, decode
from tracking.errors import InputError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = "cifar-10-batches-py"
# the files are pickles: these exact ones are read, no others (md5 as published with the data set)
KNOWN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def load_cifar10(path: str | None, home_data: Path, size: int | None) -> Raw:
    """Colour images [N, 3, 32, 32] from `path` or the study home, either layout; downloaded if in neither."""
    looked = [Path(path)] if path else [home_data / "cifar10", home_data]
    for folder in looked:
        if sorted(folder.glob("train*.parquet")) and sorted(folder.glob("test*.parquet")):
            return _from_parquet(folder, size)
        batches = folder if (folder / "test_batch").is_file() else folder / BATCHES
        if (batches / "test_batch").is_file():
            return _from_batches(batches)
    if path:
        raise InputError(_where_to_put_it(looked))
    return _from_batches(_download(home_data / "cifar10", looked))


def _where_to_put_it(looked: list[Path]) -> str:
    places = " and ".join(str(folder) for folder in looked)
    return (
        f"no CIFAR-10 in {places}: looked for train*.parquet with test*.parquet (columns img, label) and for "
        f"{BATCHES}/; put either there, or name its folder with --data"
    )


def _from_parquet(folder: Path, size: int | None) -> Raw:
    train, notes = _parquet_split(sorted(folder.glob("train*.parquet")), "train", size)
    test, more = _parquet_split(sorted(folder.glob("test*.parquet")), "test", size)
    return Raw(CLASSES, train, test, flips=True, notes=(*notes, *more))


def _parquet_split(files: list[Path], name: str, size: int | None) -> tuple[Split, tuple[str, ...]]:
    from pyarrow import ArrowException, parquet

    try:
        rows = [row for file in files for row in parquet.read_table(file, columns=["img", "label"]).to_pylist()]
    except (ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot read {', '.join(map(str, files))}: {reason}") from None
    sources = tuple(f"{name}/{row:05d}" for row in range(len(rows)))
    for source, row in zip(sources, rows, strict=True):
        if row["label"] is None or not 0 <= row["label"] < len(CLASSES):
            raise InputError(f"{files[0].parent}: row {source} has label {row['label']}, not one of 0..9")
    images, notes = decode(((s, row["img"]["bytes"]) for s, row in zip(sources, rows, strict=True)), size)
    return Split(images, torch.tensor([row["label"] for row in rows]), sources), notes


def _from_batches(folder: Path) -> Raw:
    parts = [_batch(folder / name) for name in KNOWN]
    images = torch.from_numpy(np.concatenate([data for data, _ in parts])).view(-1, 3, 32, 32)
    labels = torch.tensor([label for _, batch in parts for label in batch])
    test = slice(len(labels) - len(parts[-1][1]), None)
    train = slice(0, test.start)
    sources = [f"train/{row:05d}" for row in range(test.start)]
    sources += [f"test/{row:05d}" for row in range(len(labels) - test.start)]
    return Raw(
        CLASSES,
        Split(images[train], labels[train], tuple(sources[train])),
        Split(images[test], labels[test], tuple(sources[test])),
        flips=True,
    )


def _batch(file: Path) -> tuple[np.ndarray, list[int]]:
    if not file.is_file():
        raise InputError(f"{file} is missing; unpack the whole CIFAR-10 archive there again")
    content = file.read_bytes()
    if hashlib.md5(content).hexdigest() != KNOWN[file.name]:
        raise InputError(f"{file} is not CIFAR-10's own file (its md5 differs) and is not read; unpack it again")
    batch = pickle.loads(content, encoding="bytes")
    return batch[b"data"], batch[b"labels"]


def _download(folder: Path, looked: list[Path]) -> Path:
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(str(folder), download=True)
    except Exception as error:  # urllib, ssl and torchvision raise many kinds
        raise InputError(f"{_where_to_put_it(looked)}; downloading it failed too: {error}") from None
    return folder / BATCHES
