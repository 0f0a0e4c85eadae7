"""cifar10: 60,000 colour photographs of 32x32 pixels in ten classes.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import contextlib
import sys
from os.path import exists, isdir  # unlike those of Path, for names of any length
from pathlib import Path

from pipelines.data.cifar10_batches import read_batches
from pipelines.data.cifar10_parquet import read_parquet
from pipelines.data.names import format_name
from pipelines.data.raw import Options, Raw, Reading
from tracking.errors import InputError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = "cifar-10-batches-py"
INSIDE = ("", "plain_text", "data")  # where Hugging Face's repositories keep their Parquet files


def load_cifar10(path: str | None, home_data: Path, options: Options) -> Raw:
    """Colour images [N, 3, 32, 32] from `path` or the study home, either layout; downloaded if in neither."""
    searched = [Path(path)] if path else [home_data / "cifar10", home_data]
    for folder in searched:
        if (data := _find(folder, options)) is not None:
            return data
    if path:
        raise InputError(_where_to_put_it(searched))
    return _from_batches(_download(home_data / "cifar10", searched), options)


def _find(folder: Path, options: Options) -> Raw | None:
    if not isdir(folder):
        return None
    for inside in (folder / name for name in INSIDE):
        train, test = sorted(inside.glob("train*.parquet")), sorted(inside.glob("test*.parquet"))
        if train and test:
            return _from_parquet(train, test, options)
    for batches in (folder, folder / BATCHES):
        if (batches / "test_batch").is_file():
            return _from_batches(batches, options)
    return None


def _from_parquet(train_files: list[Path], test_files: list[Path], options: Options) -> Raw:
    train, train_notes, unreadable_train = read_parquet(train_files, "train", len(CLASSES), options)
    test, test_notes, unreadable_test = read_parquet(test_files, "test", len(CLASSES), options)
    reading = Reading(unreadable=(*unreadable_train, *unreadable_test))
    return Raw(CLASSES, train, test, flips=True, shrinks=True, notes=(*train_notes, *test_notes), reading=reading)


def _from_batches(folder: Path, options: Options) -> Raw:
    return Raw(CLASSES, *read_batches(folder, options.size), flips=True, shrinks=True)


def _where_to_put_it(searched: list[Path]) -> str:
    places = " or ".join(f"{format_name(folder)}{_state(folder)}" for folder in searched)
    return (
        f"no CIFAR-10 in {places}: looked for train*.parquet with test*.parquet (columns img, label) and for "
        f"{BATCHES}/; put either there, or name its folder with --data"
    )


def _state(folder: Path) -> str:
    if isdir(folder):
        return ""
    return " (a file, not a folder)" if exists(folder) else " (which does not exist)"


def _download(folder: Path, searched: list[Path]) -> Path:
    from torchvision.datasets import CIFAR10

    missing = _where_to_put_it(searched)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            CIFAR10(str(folder), download=True)
    except Exception as error:  # urllib, ssl and torchvision raise many kinds
        reason = format_name((str(error) or type(error).__name__).splitlines()[0])
        raise InputError(f"{missing}; downloading it failed too: {reason}") from None
    return folder / BATCHES
