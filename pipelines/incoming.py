"""Images that a user names by file or folder: found, labelled by their folders, brought to a run's shape."""

import os
from pathlib import Path

import torch

from pipelines.datasets.folder import ENDINGS, images_below
from pipelines.datasets.names import check_text, listed, shown
from pipelines.datasets.raw import Split, fill
from pipelines.say import say
from tracking.errors import InputError


def find_images(paths: tuple[str, ...]) -> list[Path]:
    """The files that `paths` name, and the image files in the folders they name. Raises InputError if one has none."""
    files = [file for path in paths for file in _files(path)]
    check_text(map(str, files))
    return files


def read_images(files: list[Path], classes: tuple[str, ...], shape: tuple[int, int, int]) -> Split:
    """The images as `shape` (C, H, W); a label is -1 where the file's folder is named after no class."""
    channels, height, width = shape
    sources = tuple(map(str, files))
    named = zip(sources, files, strict=True)
    images, notes = fill(named, len(files), (width, height), "L" if channels == 1 else "RGB")
    for note in notes:
        say(f"  {note}")
    return Split(images, torch.tensor([_label(file, classes) for file in files]), sources)


def _files(path: str) -> list[Path]:
    if os.path.isfile(path):
        return [Path(path)]
    if not os.path.isdir(path):
        raise InputError(f"there is no file or folder {shown(path)!r}; give image files, or folders of them")
    images, other = images_below(Path(path))
    if not images:
        raise InputError(f"{shown(path)} has no images ({', '.join(ENDINGS)}) in it or its folders; name another")
    if other:
        say(f"  {len(other)} files ignored, no images: {listed(other)}")
    return images


def _label(file: Path, classes: tuple[str, ...]) -> int:
    folder = os.path.basename(os.path.dirname(os.path.abspath(file)))
    return classes.index(folder) if folder in classes else -1
