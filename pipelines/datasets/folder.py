"""folder: your own images as train/CLASS/* and test/CLASS/*; the sub-folders' names are the classes."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from pipelines.datasets.names import listed, shown
from pipelines.datasets.raw import Raw, Split, decode
from tracking.errors import InputError

ENDINGS = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SYSTEM = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # left by Windows and macOS
PARTS = ("train", "test")


def load_folder(path: str | None, home_data: Path, size: int | None) -> Raw:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape."""
    if not path:
        raise InputError("--dataset folder needs --data FOLDER with train/CLASS/ and test/CLASS/ in it")
    root = Path(path)
    _check_root(root)
    try:
        classes = _classes(root)
        found = {part: list(_files(root / part, classes)) for part in PARTS}
    except OSError as error:
        raise _not_listed(error) from None
    files = {part: [(file, label) for file, label in found[part] if _is_image(file)] for part in PARTS}
    _check_classes(root, classes, files)
    images, notes = decode([(str(file), file) for part in PARTS for file, _ in files[part]], size)
    border = len(files["train"])  # decoded together, so that both splits get one shape
    train, test = _split(root, images[:border], files["train"]), _split(root, images[border:], files["test"])
    return Raw(classes, train, test, flips=True, shrinks=False, notes=(*_unused(root, found), *notes))


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files of all nested folders, in an order that only names decide, and the other files."""
    try:
        found = list(_walk(folder, set()))
    except OSError as error:
        raise _not_listed(error) from None
    return [file for file in found if _is_image(file)], [file for file in found if not _is_image(file)]


def _not_listed(error: OSError) -> InputError:
    return InputError(f"cannot list {shown(error.filename)}: {error.strerror}; grant access to it")


def _check_root(root: Path) -> None:
    if not os.path.isdir(root):  # unlike Path.is_dir, for names of any length
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise InputError(f"{shown(root)} {what}; --data takes the folder with train/CLASS/ and test/CLASS/ in it")
    for part in PARTS:
        if not (root / part).is_dir():
            there = listed(_visible(root)) or "nothing"
            raise InputError(f"{shown(root)} has no folder {part}/ (it has: {there}); needed are train/CLASS/*.png "
                             "and test/CLASS/*.png")  # fmt: skip


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in SYSTEM)


def _classes(root: Path) -> tuple[str, ...]:
    known = {part: {name for name in _visible(root / part) if (root / part / name).is_dir()} for part in PARTS}
    if not known["train"]:
        raise InputError(f"{shown(root / 'train')} has no folders; sort its images into one folder per class")
    if extra := sorted(known["test"] - known["train"]):
        raise InputError(f"{shown(root / 'test')} has classes that train/ lacks: {listed(extra)}; train/ has: "
                         f"{listed(sorted(known['train']))}; add training images or remove them")  # fmt: skip
    return tuple(sorted(known["train"]))


def _files(folder: Path, classes: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    """Every file that lies in a class folder, with its label, in an order that only names decide."""
    for label, name in enumerate(classes):
        if (folder / name).is_dir():
            for file in _walk(folder / name, {os.path.realpath(folder)}):
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
    known = {label for _, label in files["train"]}
    if empty := [name for label, name in enumerate(classes) if label not in known]:
        raise InputError(f"{shown(root / 'train')} has no images of class {listed(empty)} ({', '.join(ENDINGS)}); "
                         "add some or remove the folder")  # fmt: skip
    if not files["test"]:
        raise InputError(f"{shown(root / 'test')} has no images in class folders; a study needs some to judge by")


def _unused(root: Path, found: dict[str, list[tuple[Path, int]]]) -> list[str]:
    """Notes on what lies in the folder but is not used, lest it be missed."""
    other = [file for part in PARTS for file, _ in found[part] if not _is_image(file)]
    for part in PARTS:
        other += [root / part / name for name in _visible(root / part) if not (root / part / name).is_dir()]
    names = [file.relative_to(root).as_posix() for file in other]
    notes = [f"{len(names)} files ignored, no images in class folders: {listed(names)}"] if names else []
    extra = [name for name in _visible(root) if name not in PARTS and (root / name).is_dir()]
    return notes + ([f"folders beside train/ and test/ not used: {listed(extra)}"] if extra else [])


def _split(root: Path, images: torch.Tensor, files: list[tuple[Path, int]]) -> Split:
    sources = tuple(file.relative_to(root).as_posix() for file, _ in files)
    return Split(images, torch.tensor([label for _, label in files], dtype=torch.long), sources)
