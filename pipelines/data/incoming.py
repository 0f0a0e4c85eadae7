"""Images that a user names by file or folder: found, labelled by their folders, brought to a run's shape."""

import os
from pathlib import Path

import torch

from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.data.decoding import decode_to_shape
from pipelines.data.folder import SUFFIXES, list_images
from pipelines.data.names import check_text, format_name, format_names, normalise_name
from pipelines.data.raw import LoadOptions, Split
from tracking.errors import InputError


def find_images(paths: tuple[str, ...]) -> list[Path]:
    """The files that `paths` name, and the image files in the folders they name. Raises InputError if one has none."""
    found_images: list[Path] = []
    for path in paths:
        if os.path.isfile(path):
            found_images.append(Path(path))
            continue
        if not os.path.isdir(path):
            raise InputError(f"there is no file or folder {format_name(path)!r}; give image files, or folders of them")
        images, other_files = list_images(Path(path))
        if not images:
            raise InputError(
                f"{format_name(path)} has no images ({', '.join(SUFFIXES)}) in it or its folders; name another"
            )
        if other_files:
            say(f"  {plural(len(other_files), 'file')} ignored, no images: {format_names(other_files)}")
        found_images += images
    check_text(map(str, found_images))
    return found_images


def read_images(files: list[Path], data: Dataset, skip_unreadable: bool) -> Split:
    """The images, read and shaped as those of a run's data; the label is -1 where a file's folder is not a class.

    Raises InputError naming those that cannot be read, unless they are to be skipped.
    """
    sources = [str(file) for file in files]
    named_files = zip(sources, files, strict=True)
    options = LoadOptions(skip_unreadable=skip_unreadable)
    decoded = decode_to_shape(named_files, sources, data.image_shape, data.reading, options)
    for note in decoded.notes:
        say(f"  {note}")

    labels = []
    for file in files:
        folder = os.path.basename(os.path.dirname(os.path.abspath(file)))
        name = normalise_name(folder)
        labels.append(data.classes.index(name) if name in data.classes else -1)
    return Split(decoded.images, torch.tensor(labels)[decoded.rows], decoded.sources)
