"""Images that a user names by file or folder: found, labelled by their folders, brought to a run's shape."""

import os
from pathlib import Path

import torch

from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.data.folder import ENDINGS, images_below
from pipelines.data.names import check_text, format_name, format_names, normalise_name
from pipelines.data.raw import Options, Split, fill
from tracking.errors import InputError


def find_images(paths: tuple[str, ...]) -> list[Path]:
    """The files that `paths` name, and the image files in the folders they name. Raises InputError if one has none."""
    files = [file for path in paths for file in _files(path)]
    check_text(map(str, files))
    return files


def read_images(files: list[Path], data: Dataset, skip_unreadable: bool) -> Split:
    """The images in the shape of a run's data, and read as these; a label is -1 where a file's folder is no class.

    Raises InputError naming those that cannot be read, unless they are to be skipped.
    """
    channels, height, width = data.image_shape
    named, mode = ((str(file), file) for file in files), "L" if channels == 1 else "RGB"
    options = Options(skip_unreadable=skip_unreadable)
    decoded = fill(named, len(files), (width, height), mode, data.reading, options)
    for note in decoded.notes:
        say(f"  {note}")
    used = [files[row] for row in decoded.rows]
    return Split(decoded.images, torch.tensor([_label(file, data.classes) for file in used]), tuple(map(str, used)))


def _files(path: str) -> list[Path]:
    if os.path.isfile(path):
        return [Path(path)]
    if not os.path.isdir(path):
        raise InputError(f"there is no file or folder {format_name(path)!r}; give image files, or folders of them")
    images, other = images_below(Path(path))
    if not images:
        raise InputError(f"{format_name(path)} has no images ({', '.join(ENDINGS)}) in it or its folders; name another")
    if other:
        say(f"  {len(other)} files ignored, no images: {format_names(other)}")
    return images


def _label(file: Path, classes: tuple[str, ...]) -> int:
    folder = normalise_name(os.path.basename(os.path.dirname(os.path.abspath(file))))
    return classes.index(folder) if folder in classes else -1
