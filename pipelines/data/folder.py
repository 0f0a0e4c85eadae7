"""folder: your own images as train/CLASS/* and test/CLASS/*; the sub-folders' names are the classes."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pipelines.data.decoding import decode_images
from pipelines.data.names import find_look_alikes, format_name, format_names, normalise_name
from pipelines.data.pixels import SUFFIXES_BY_FORMAT
from pipelines.data.raw import LoadOptions, RawDataset, Split
from tracking.errors import InputError

SUFFIXES = tuple(sorted(suffix for suffixes in SUFFIXES_BY_FORMAT.values() for suffix in suffixes))
SYSTEM_FILES = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # left by Windows and macOS
PARTS = ("train", "test")

LabelledFile = tuple[Path, int]


def load_folder(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape."""
    if not path:
        raise InputError("--dataset folder needs --data FOLDER with train/CLASS/ and test/CLASS/ in it")
    root = Path(path)
    files: dict[str, list[LabelledFile]] = {"train": [], "test": []}
    try:
        _check_parts(root)
        classes, class_folders = _find_class_folders(root)
        for part in PARTS:
            for label, name in enumerate(classes):
                if name in class_folders[part]:
                    # a link to the part itself would make every class's images this class's too
                    part_folder = os.path.realpath(root / part)
                    files[part] += [(file, label) for file in _walk(class_folders[part][name], {part_folder})]
        notes = _describe_unused_files(root, files)
    except OSError as error:
        raise _make_listing_error(error) from None

    images = {part: [(file, label) for file, label in files[part] if _is_image(file)] for part in PARTS}
    labels_with_images = {label for _, label in images["train"]}
    empty_classes = [name for label, name in enumerate(classes) if label not in labels_with_images]
    if empty_classes:
        raise InputError(
            f"{format_name(root / 'train')} has no images of class {format_names(empty_classes)} "
            f"({', '.join(SUFFIXES)}); add some or remove the folder"
        )
    if not images["test"]:
        raise InputError(f"{format_name(root / 'test')} has no images in class folders; add some")
    notes += _describe_nested_classes(root, classes, images)
    notes += find_look_alikes(classes)
    return _decode_parts(root, classes, images, options, notes)


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files of all nested folders, in an order that only names decide, and the other files."""
    try:
        files = list(_walk(folder, set()))
    except OSError as error:
        raise _make_listing_error(error) from None
    images = [file for file in files if _is_image(file)]
    other_files = [file for file in files if not _is_image(file)]
    return images, other_files


def _check_parts(root: Path) -> None:
    if not os.path.isdir(root):  # unlike Path.is_dir, for names of any length
        problem = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise InputError(
            f"{format_name(root)} {problem}; --data takes the folder with train/CLASS/ and test/CLASS/ in it"
        )
    for part in PARTS:
        if not (root / part).is_dir():
            entries = format_names(_list_visible(root)) or "nothing"
            raise InputError(
                f"{format_name(root)} has no folder {part}/ (it has: {entries}); "
                "needed are train/CLASS/*.png and test/CLASS/*.png"
            )


def _find_class_folders(root: Path) -> tuple[tuple[str, ...], dict[str, dict[str, Path]]]:
    """The classes' names, sorted, and by part the folder of each; every class of test/ is one of train/."""
    folders: dict[str, dict[str, Path]] = {}
    for part in PARTS:
        folders[part] = {}
        for entry in _list_visible(root / part):
            folder = root / part / entry
            if not folder.is_dir():
                continue
            name = normalise_name(entry)
            if name in folders[part]:
                raise InputError(
                    f"{format_name(root / part)} has class {format_name(name)} twice, as "
                    f"{folders[part][name].name!a} and {entry!a}: one name whose accents are written in two ways; put "
                    "their images into one folder"
                )
            folders[part][name] = folder

    classes = sorted(folders["train"])
    if not classes:
        raise InputError(f"{format_name(root / 'train')} has no folders; sort its images into one folder per class")
    test_only = sorted(folders["test"].keys() - folders["train"].keys())
    if test_only:
        raise InputError(
            f"{format_name(root / 'test')} has classes that train/ lacks: {format_names(test_only)}; "
            f"train/ has: {format_names(classes)}; add training images or remove them"
        )
    return tuple(classes), folders


def _decode_parts(
    root: Path,
    classes: tuple[str, ...],
    images: dict[str, list[LabelledFile]],
    options: LoadOptions,
    notes: list[str],
) -> RawDataset:
    """Both parts, decoded together, so that they get one shape and one range of levels."""
    paths, labels = zip(*images["train"], *images["test"], strict=True)
    sources = [path.relative_to(root).as_posix() for path in paths]
    decoded = decode_images([(str(path), path) for path in paths], sources, options)
    all_images = Split(decoded.images, torch.tensor(labels)[decoded.rows], decoded.sources)
    train_count = int((decoded.rows < len(images["train"])).sum())
    train = all_images.part(0, train_count)
    # a copy, so that the memory of all images is freed once training images are drawn from them
    test = all_images.rows(np.arange(train_count, len(decoded.rows)))
    all_notes = (*notes, *decoded.notes)
    return RawDataset(classes, train, test, flips=True, shrinks=False, notes=all_notes, reading=decoded.reading)


def _walk(folder: Path, visited: set[str]) -> Iterator[Path]:
    """Files of all nested folders, in an order that only names decide; links are followed, but not to `visited`."""
    real_path = os.path.realpath(folder)
    if real_path in visited:
        return
    visited.add(real_path)
    for name in _list_visible(folder):
        path = folder / name
        if path.is_dir():
            yield from _walk(path, visited)
        else:
            yield path


def _list_visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in SYSTEM_FILES)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _make_listing_error(error: OSError) -> InputError:
    return InputError(f"cannot list {format_name(error.filename)}: {error.strerror}; grant access to it")


def _describe_unused_files(root: Path, files: dict[str, list[LabelledFile]]) -> list[str]:
    """Notes on what lies in the folder but is not used, so that nobody thinks it is."""
    ignored = [file for part in PARTS for file, _ in files[part] if not _is_image(file)]
    for part in PARTS:
        entries = [root / part / name for name in _list_visible(root / part)]
        ignored += [entry for entry in entries if not entry.is_dir()]
    unused_folders = [name for name in _list_visible(root) if name not in PARTS and (root / name).is_dir()]

    notes = []
    if ignored:
        names = [file.relative_to(root).as_posix() for file in ignored]
        notes.append(f"{len(names)} files ignored, no images in class folders: {format_names(names)}")
    if unused_folders:
        notes.append(f"folders beside train/ and test/ not used: {format_names(unused_folders)}")
    return notes


def _describe_nested_classes(root: Path, classes: tuple[str, ...], images: dict[str, list[LabelledFile]]) -> list[str]:
    """A note on images in a folder that is named after another class than the one they count as."""
    counts: Counter[str] = Counter()
    for part in PARTS:
        for file, label in images[part]:
            _, class_folder, *nested_folders = file.relative_to(root).parts[:-1]
            for depth, folder in enumerate(nested_folders, 1):
                name = normalise_name(folder)
                if name in classes and name != classes[label]:
                    counts["/".join((part, class_folder, *nested_folders[:depth]))] += 1
    if not counts:
        return []
    return [
        f"{counts.total()} images lie in folders named after another class, and count as the class of the outer "
        f"folder: {format_names(counts)}"
    ]
