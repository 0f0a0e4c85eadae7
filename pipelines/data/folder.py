"""folder: your own images as train/CLASS/* and test/CLASS/*; the sub-folders' names are the classes."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipelines.data.names import find_look_alikes, format_name, format_names, normalise_name
from pipelines.data.pixels import FORMATS
from pipelines.data.raw import Options, Raw, Split, decode
from tracking.errors import InputError

ENDINGS = tuple(sorted(ending for endings in FORMATS.values() for ending in endings))
SYSTEM = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # left by Windows and macOS
PARTS = ("train", "test")


def load_folder(path: str | None, home_data: Path, options: Options) -> Raw:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape."""
    if not path:
        raise InputError("--dataset folder needs --data FOLDER with train/CLASS/ and test/CLASS/ in it")
    root = Path(path)
    _check_root(root)
    try:
        folders = {part: _class_folders(root / part) for part in PARTS}
        classes = _classes(root, folders)
        files = {part: list(_files(root / part, classes, folders[part])) for part in PARTS}
    except OSError as error:
        raise _not_listed(error) from None
    images = {part: [(file, label) for file, label in files[part] if _is_image(file)] for part in PARTS}
    _check_classes(root, classes, images)
    notes = (*_unused(root, files), *_nested(root, classes, images), *find_look_alikes(classes))
    return _decode_splits(root, classes, images, options, notes)


def _decode_splits(
    root: Path, classes: tuple[str, ...], files: dict[str, list[tuple[Path, int]]], options: Options, notes: tuple
) -> Raw:
    """Both splits, decoded together, so that they get one shape and one range of levels."""
    paths, labels = zip(*files["train"], *files["test"], strict=True)
    sources = [path.relative_to(root).as_posix() for path in paths]
    left_out = set(options.recorded_reading.unreadable) if options.recorded_reading else set()
    kept_rows = [row for row, source in enumerate(sources) if source not in left_out]
    decoded = decode([(str(paths[row]), paths[row]) for row in kept_rows], options)
    readable_rows = [kept_rows[row] for row in decoded.rows]
    readable_sources = tuple(sources[row] for row in readable_rows)
    images = Split(decoded.images, torch.tensor(labels)[readable_rows], readable_sources)

    train_count = sum(row < len(files["train"]) for row in readable_rows)
    train = images.part(0, train_count)
    # a copy, so that memory of all images is freed once training images are drawn from them
    test = images.rows(np.arange(train_count, len(readable_rows)))
    unreadable = tuple(sources[row] for row in sorted(set(range(len(sources))) - set(readable_rows)))
    reading = replace(decoded.reading, unreadable=unreadable)
    return Raw(classes, train, test, flips=True, shrinks=False, notes=(*notes, *decoded.notes), reading=reading)


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files of all nested folders, in an order that only names decide, and the other files."""
    try:
        files = list(_walk(folder, set()))
    except OSError as error:
        raise _not_listed(error) from None
    images = [file for file in files if _is_image(file)]
    others = [file for file in files if not _is_image(file)]
    return images, others


def _not_listed(error: OSError) -> InputError:
    return InputError(f"cannot list {format_name(error.filename)}: {error.strerror}; grant access to it")


def _check_root(root: Path) -> None:
    if not os.path.isdir(root):  # unlike Path.is_dir, for names of any length
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise InputError(f"{format_name(root)} {what}; --data takes the folder with train/CLASS/ and test/CLASS/ in it")
    for part in PARTS:
        if not (root / part).is_dir():
            listed = format_names(_visible(root)) or "nothing"
            raise InputError(f"{format_name(root)} has no folder {part}/ (it has: {listed}); "
                             "needed are train/CLASS/*.png and test/CLASS/*.png")  # fmt: skip


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in SYSTEM)


def _class_folders(part: Path) -> dict[str, Path]:
    """The folder of each class."""
    folders: dict[str, Path] = {}
    for folder in (part / name for name in _visible(part)):
        if not folder.is_dir():
            continue
        name = normalise_name(folder.name)
        if name in folders:
            both = f"{folders[name].name!a} and {folder.name!a}"
            raise InputError(f"{format_name(part)} has class {format_name(name)} twice, as {both}: one name "
                             "whose accents are written in two ways; put their images into one folder")  # fmt: skip
        folders[name] = folder
    return folders


def _classes(root: Path, folders: dict[str, dict[str, Path]]) -> tuple[str, ...]:
    train, test = (folders[part].keys() for part in PARTS)
    if not train:
        raise InputError(f"{format_name(root / 'train')} has no folders; sort its images into one folder per class")
    if extra := sorted(test - train):
        raise InputError(f"{format_name(root / 'test')} has classes that train/ lacks: {format_names(extra)}; "
                         f"train/ has: {format_names(sorted(train))}; add training images or remove them")  # fmt: skip
    return tuple(sorted(train))


def _files(part: Path, classes: tuple[str, ...], folders: dict[str, Path]) -> Iterator[tuple[Path, int]]:
    """Every file that lies in a class folder, with its label, in an order that only names decide."""
    for label, name in enumerate(classes):
        if name in folders:
            for file in _walk(folders[name], {os.path.realpath(part)}):
                yield file, label


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Files of all nested folders, links followed, but none into a folder seen before."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for path in (folder / name for name in _visible(folder)):
        if path.is_dir():
            yield from _walk(path, seen)
        else:
            yield path


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS


def _check_classes(root: Path, classes: tuple[str, ...], files: dict[str, list[tuple[Path, int]]]) -> None:
    labels = {label for _, label in files["train"]}
    if empty := [name for label, name in enumerate(classes) if label not in labels]:
        raise InputError(f"{format_name(root / 'train')} has no images of class {format_names(empty)} "
                         f"({', '.join(ENDINGS)}); add some or remove the folder")  # fmt: skip
    if not files["test"]:
        raise InputError(f"{format_name(root / 'test')} has no images in class folders; add some")


def _unused(root: Path, files: dict[str, list[tuple[Path, int]]]) -> list[str]:
    """Notes on what is in the folder but is not used, so that nobody takes it for used."""
    ignored = [file for part in PARTS for file, _ in files[part] if not _is_image(file)]
    for part in PARTS:
        ignored += [root / part / name for name in _visible(root / part) if not (root / part / name).is_dir()]
    notes = []
    if names := [file.relative_to(root).as_posix() for file in ignored]:
        notes.append(f"{len(names)} files ignored, no images in class folders: {format_names(names)}")
    if folders := [name for name in _visible(root) if name not in PARTS and (root / name).is_dir()]:
        notes.append(f"folders beside train/ and test/ not used: {format_names(folders)}")
    return notes


def _nested(root: Path, classes: tuple[str, ...], files: dict[str, list[tuple[Path, int]]]) -> list[str]:
    """A note on images in a folder that is named after another class than the one that they count as."""
    counts: Counter[str] = Counter()
    for part in PARTS:
        for file, label in files[part]:
            _, class_folder, *nested_folders = file.relative_to(root).parts[:-1]
            for depth, name in enumerate(nested_folders, 1):
                if normalise_name(name) in classes and normalise_name(name) != classes[label]:
                    counts["/".join((part, class_folder, *nested_folders[:depth]))] += 1
    if not counts:
        return []
    return [f"{counts.total()} images lie in folders named after another class, and count as the class of the outer "
            f"folder: {format_names(counts)}"]  # fmt: skip
