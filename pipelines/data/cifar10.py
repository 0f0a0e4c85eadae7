"""cifar10: 60,000 colour photographs of 32x32 pixels in ten classes.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from os.path import exists, isdir  # unlike those of Path, these take names of any length
from pathlib import Path

from pipelines.data.cifar10_batches import PUBLISHED_MD5, read_batches
from pipelines.data.cifar10_parquet import read_parquet
from pipelines.data.downloads import download_into
from pipelines.data.file_stamps import stamp_files
from pipelines.data.names import format_name
from pipelines.data.raw import LoadOptions, RawDataset, Reading
from pipelines.data.shards import check_shards
from tracking.errors import InputError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES_FOLDER = "cifar-10-batches-py"
PARQUET_FOLDERS = ("", "plain_text", "data")  # where Hugging Face's repositories keep their Parquet files


def load_cifar10(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Colour images [N, 3, 32, 32] from `path` or the study home, in either layout; downloaded if in neither."""
    searched_folders = [Path(path)] if path else [home_data / "cifar10", home_data]
    for folder in searched_folders:
        dataset = _read_folder(folder, options)
        if dataset is not None:
            return dataset

    places = " or ".join(_describe_place(folder) for folder in searched_folders)
    missing = (
        f"no CIFAR-10 in {places}: looked for train*.parquet with test*.parquet (columns img, label) and for "
        f"{BATCHES_FOLDER}/; put either there, or name its folder with --data"
    )
    if path:
        raise InputError(missing)

    from torchvision.datasets import CIFAR10

    download_into(home_data / "cifar10", lambda folder: CIFAR10(str(folder), download=True), missing)
    return _from_batches(home_data / "cifar10" / BATCHES_FOLDER, options)


def _read_folder(folder: Path, options: LoadOptions) -> RawDataset | None:
    """The data set in the layout in which the folder holds it; None if in neither."""
    if not isdir(folder):
        return None
    for name in PARQUET_FOLDERS:
        train_files = sorted((folder / name).glob("train*.parquet"))
        test_files = sorted((folder / name).glob("test*.parquet"))
        if not train_files or not test_files:
            continue
        check_shards([*train_files, *test_files], folder / name)
        stamps = stamp_files([folder, folder / name, *train_files, *test_files])
        train, train_notes, unreadable_train = read_parquet(train_files, "train", len(CLASSES), options)
        test, test_notes, unreadable_test = read_parquet(test_files, "test", len(CLASSES), options)
        notes = (*train_notes, *test_notes)
        reading = Reading(unreadable=(*unreadable_train, *unreadable_test))
        return RawDataset(CLASSES, train, test, flips=True, shrinks=True, notes=notes, reading=reading, files=stamps)
    for batches in (folder, folder / BATCHES_FOLDER):
        if (batches / "test_batch").is_file():
            return _from_batches(batches, options)
    return None


def _from_batches(folder: Path, options: LoadOptions) -> RawDataset:
    stamps = stamp_files([folder, *(folder / name for name in PUBLISHED_MD5)])
    train, test = read_batches(folder, options.size)
    return RawDataset(CLASSES, train, test, flips=True, shrinks=True, files=stamps)


def _describe_place(folder: Path) -> str:
    if isdir(folder):
        return format_name(folder)
    state = "a file, not a folder" if exists(folder) else "which does not exist"
    return f"{format_name(folder)} ({state})"
