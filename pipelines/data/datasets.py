"""Data sets behind one interface: `load_dataset(name, ...)` gives classes and splits of images.

Each data set is a line in DATASETS, with a function that returns its classes and images as `RawDataset`; splitting off
what a data set does not come with, the checks and the digest are the same for all.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.common.checked_settings import flag_name
from pipelines.common.wording import plural
from pipelines.data.cifar10 import load_cifar10
from pipelines.data.csv_table import load_csv
from pipelines.data.digits import load_digits
from pipelines.data.faulty_digits import load_faulty_digits
from pipelines.data.folder import load_folder
from pipelines.data.hugging_face import load_hugging_face
from pipelines.data.names import check_text, format_name, format_names
from pipelines.data.picture_store import SplitFacts, find_by_digest, keep_facts, read_facts, read_through_store
from pipelines.data.planted import load_planted, load_planted_pair, load_planted_shortcut
from pipelines.data.raw import READ_AT_ONCE, LoadOptions, RawDataset, Reading, Split
from pipelines.data.recorded import load_recorded
from pipelines.data.splitting import split_off
from pipelines.data.suspicions import find_suspicions
from pipelines.data.torch_loading import load_factory, load_torchvision
from tracking.errors import InputError
from tracking.home import Home

OPTIONS = ("test_fraction", "image_column", "label_column", "split_column")  # which not every data set takes


@dataclass(frozen=True)
class DatasetLoader:
    """How a data set is loaded."""

    load: Callable[..., RawDataset]  # from --data, the home's data/ and options; before them, its name if it `is_named`
    takes_data: bool = True  # whether --data says where it is; otherwise it needs no folder
    takes: tuple[str, ...] = ()  # which of OPTIONS mean something for it
    argument: str | None = None  # what follows the colon, as help calls it: the same as --data
    is_named: bool = False  # then it is the data set's name instead
    is_in_home: bool = False  # whether --data is a path in the home's data/
    is_read: bool = True  # from files or foreign code, so that its images are kept; otherwise made in no time


DATASETS = {
    "digits": DatasetLoader(load_digits, takes_data=False, is_read=False),
    "cifar10": DatasetLoader(load_cifar10),
    "folder": DatasetLoader(load_folder, takes=("test_fraction",)),
    "planted": DatasetLoader(load_planted, takes_data=False, is_read=False),
    "planted:pair": DatasetLoader(load_planted_pair, takes_data=False, is_read=False),
    "planted:shortcut": DatasetLoader(load_planted_shortcut, takes_data=False, is_read=False),
    "digits:faults": DatasetLoader(load_faulty_digits, takes_data=False, is_read=False),
    "csv": DatasetLoader(load_csv, takes=OPTIONS, argument="FILE"),
    "hf": DatasetLoader(load_hugging_face, takes=("test_fraction", "image_column", "label_column"), argument="PATH"),
    "torchvision": DatasetLoader(load_torchvision, takes=("test_fraction",), argument="NAME", is_named=True),
    "recorded": DatasetLoader(load_recorded, is_in_home=True, is_read=False),
}
FACTORY = DatasetLoader(load_factory, takes=("test_fraction",), is_named=True)  # package.module:factory
FORMS = (
    *(f"{name}:{loader.argument}" if loader.argument else name for name, loader in DATASETS.items()),
    "package.module:factory",
)


@dataclass(frozen=True)
class Dataset:
    """Images for training, for validation (val) and for testing."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]  # train, val unless the data set says that it has none, test
    flips: bool  # whether a mirrored image keeps its class
    shrinks: bool  # whether an image of half the side still shows its class
    notes: tuple[str, ...]  # what was converted on the way in, left out, or looks wrong
    digest: str  # sha256 over every image, label and class name
    reading: Reading  # how image files were read
    mean: tuple[float, ...]  # of the training pixels, by channel, in 0..1
    std: tuple[float, ...]
    location: str | None = None  # where it was read from, an absolute path; None where no --data was needed

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.splits["train"].images.shape
        return channels, height, width


def load_dataset(
    name: str,
    path: str | None,
    home: Home,
    *,
    val_fraction: float,
    seed: int,
    size: int | None,
    skip_unreadable: bool = False,
    recorded_reading: Reading | None = None,
    recorded_digest: str | None = None,
    **options: Any,
) -> Dataset:
    """Load data set `name`, from `path` where it needs one.

    Images are [N, C, H, W], uint8, and lie in the home's store, unless they are made in no time. Where the data set
    has no validation images of its own, `val_fraction` of the training images, the same fraction of each class, become
    the validation split, chosen by `seed`. `recorded_reading` is how a run read the same files, and
    `recorded_digest` the digest of what it got: if the store has that, the files are not looked at. Further `options`
    are those of OPTIONS. Raises InputError on an unknown name and on bad data.
    """
    loader, name, path = _find_loader(name, path)
    if path and not loader.takes_data:
        raise InputError(
            f"--dataset {name} needs no --data; for your own images: --dataset folder --data {format_name(path)}"
        )
    given_options = {option: value for option, value in options.items() if value is not None}
    for option in given_options:
        if option not in loader.takes:
            raise InputError(f"{flag_name(option)} does nothing for --dataset {format_name(name)}; leave it out")
    load_options = LoadOptions(size, skip_unreadable, recorded_reading, **given_options)
    location = path if path is None or loader.is_in_home else str(Path(path).absolute())
    load = partial(loader.load, path, home.data)
    if loader.is_read:
        reading = recorded_reading or Reading()
        kept = recorded_digest and find_by_digest(home, recorded_digest, reading, val_fraction=val_fraction, seed=seed)
        raw = kept or read_through_store(home, name, location, load_options, load)
    else:
        raw = load(load_options)
    return prepare_dataset(name, raw, location, val_fraction=val_fraction, seed=seed, recorded_reading=recorded_reading)


def prepare_dataset(
    name: str,
    raw: RawDataset,
    location: str | None,
    *,
    val_fraction: float,
    seed: int,
    recorded_reading: Reading | None = None,
) -> Dataset:
    """What a data set's source gave, checked, split and known by its digest. Raises InputError as `load_dataset`."""
    _check_classes(raw)
    splits = _make_splits(raw, val_fraction, seed)
    facts = read_facts(raw.folder, val_fraction=val_fraction, seed=seed)
    if facts is None:
        facts = _measure_splits(raw.classes, splits)
        keep_facts(raw.folder, facts, val_fraction=val_fraction, seed=seed)

    notes = list(raw.notes)
    if recorded_reading and recorded_reading.unreadable:
        sources = recorded_reading.unreadable
        notes.append(
            f"{plural(len(sources), 'image')} left out, which could not be read when the run was made: "
            f"{format_names(sources)}"
        )
    for part, split in (("validation", raw.val), ("test", raw.test)):
        if split is None or len(split.labels) == 0:
            continue
        missing = [class_name for class_name, count in _count_by_class(split, raw.classes).items() if count == 0]
        if missing:
            notes.append(f"no {part} image of class {format_names(missing)}")
    notes += find_suspicions(raw)

    return Dataset(
        name=name,
        classes=raw.classes,
        splits=splits,
        flips=raw.flips,
        shrinks=raw.shrinks,
        notes=tuple(notes),
        digest=facts.digest,
        reading=raw.reading,
        mean=facts.mean,
        std=facts.std,
        location=location,
    )


def _find_loader(name: str, path: str | None) -> tuple[DatasetLoader, str, str | None]:
    """How data set `name` is loaded, and its name and path as they are recorded: csv:FILE is csv at FILE."""
    exact = DATASETS.get(name)
    if exact and not exact.is_named:
        return exact, name, path
    kind, _, argument = name.partition(":")
    loader = DATASETS.get(kind, FACTORY)
    if not argument or (loader is not FACTORY and not loader.argument):
        raise InputError(f"no data set {format_name(name)}; there are: {', '.join(FORMS)}")
    if loader.is_named:
        named_load = partial(loader.load, name if loader is FACTORY else argument)
        return replace(loader, load=named_load), name, path
    if path:
        raise InputError(
            f"both --dataset {format_name(name)} and --data {format_name(path)} say where the data is; leave one out"
        )
    return loader, kind, argument


def _check_classes(raw: RawDataset) -> None:
    if len(raw.classes) < 2:
        raise InputError(
            f"a classifier needs two classes or more; the data has only {format_names(raw.classes) or 'none'}; "
            "add a class"
        )
    if len(raw.test.labels) == 0:
        raise InputError("the data has no test images; add some, because a study evaluates on them")
    counts = _count_by_class(raw.train, raw.classes)
    empty_classes = [name for name, count in counts.items() if count == 0]
    if empty_classes:
        raise InputError(f"no training image: class {format_names(empty_classes)}; add some or remove the class")
    single_image_classes = [name for name, count in counts.items() if count == 1]
    if single_image_classes and raw.val is None:
        raise InputError(
            "only one training image, which leaves none for validation: class "
            f"{format_names(single_image_classes)}; add some or remove the class"
        )
    shapes = {part: tuple(split.images.shape[1:]) for part, split in raw.parts.items() if len(split.labels)}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise InputError(
                f"the images of {part} have shape {shape}, those of train {shapes['train']} (channels, height, width); "
                "bring them to one shape"
            )
    check_text(raw.classes)
    for split in raw.parts.values():
        check_text(split.sources)


def _count_by_class(split: Split, classes: tuple[str, ...]) -> dict[str, int]:
    counts = torch.bincount(split.labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def _make_splits(raw: RawDataset, val_fraction: float, seed: int) -> dict[str, Split]:
    """The splits of a study: validation images are split off only where the data set does not come with its own.

    None are split off if the fraction is 0.
    """
    if raw.val is None and val_fraction > 0:
        train, val = split_off(raw.train, val_fraction, seed)
        return {"train": train, "val": val, "test": raw.test}
    return {name: split for name, split in raw.parts.items() if len(split.labels)}


def _measure_splits(classes: tuple[str, ...], splits: dict[str, Split]) -> SplitFacts:
    digest = hashlib.sha256(json.dumps(classes).encode())
    levels = _Levels(splits["train"].images.shape[1])
    for name, split in splits.items():
        digest.update(f"{name} {tuple(split.images.shape)}".encode())
        for images in split.images.split(READ_AT_ONCE):
            pixels = images.contiguous().numpy()
            digest.update(pixels.data)
            if name == "train":
                levels.count(pixels)
        digest.update(split.labels.numpy().data)
    return SplitFacts(digest.hexdigest(), levels.mean, levels.std)


def leave_out(data: Dataset, is_left_out: np.ndarray) -> Dataset:
    """The data set without some of its training images [N]; mean and deviation are those of the pixels that remain."""
    train = data.splits["train"].rows(np.flatnonzero(~is_left_out))
    levels = _Levels(train.images.shape[1])
    for images in train.images.split(READ_AT_ONCE):
        levels.count(images.numpy())
    return replace(data, splits=data.splits | {"train": train}, mean=levels.mean, std=levels.std)


class _Levels:
    """How often each level 0..255 occurs in images, by channel."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)

    def count(self, pixels: np.ndarray) -> None:
        """Add images [N, C, H, W], uint8."""
        self._counts += [np.bincount(pixels[:, channel].ravel(), minlength=256) for channel in range(pixels.shape[1])]

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the pixels, by channel, in 0..1."""
        return tuple(self._moment(1).float().tolist())

    @property
    def std(self) -> tuple[float, ...]:
        variance = (self._moment(2) - self._moment(1) ** 2).clamp_min(1e-12)
        return tuple(variance.sqrt().float().clamp_min(1e-3).tolist())

    def _moment(self, power: int) -> torch.Tensor:
        levels = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.from_numpy(self._counts).double()
        return (counts * levels**power).sum(1) / counts.sum(1)
