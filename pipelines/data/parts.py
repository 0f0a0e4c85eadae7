"""The parts of a data set of the user's: what they are called, their classes, and their images decoded together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.data.decoding import NamedFile, decode_images
from pipelines.data.file_stamps import stamp_files
from pipelines.data.names import format_name, format_names, normalise_name
from pipelines.data.raw import LoadOptions, RawDataset, Split
from pipelines.data.splitting import add_test_images
from tracking.errors import InputError

NAMES_BY_PART = {  # what a part is called, in any case
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class PartRows:
    """The images of a part, in order: where each lies in the data set, and its label."""

    sources: Sequence[str]
    labels: Sequence[int]


def find_part(name: str) -> str | None:
    """The part (train, val or test) that is called `name`, if one is."""
    return next((part for part, names in NAMES_BY_PART.items() if name.strip().casefold() in names), None)


def name_classes(labels: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Classes in order, by value if all are whole numbers, and the class ID of each image, by part.

    Raises InputError on a class that no training image has.
    """
    names = {part: [normalise_name(label) for label in of_part] for part, of_part in labels.items()}
    found = set(names["train"])
    for part, of_part in names.items():
        unknown = sorted(set(of_part) - found)
        if unknown:
            raise InputError(
                f"{part} has classes that train lacks: {format_names(unknown)}; train has: "
                f"{format_names(sorted(found)) or 'none'}; add training images or remove them"
            )
    are_numbers = all(name.isascii() and name.isdigit() for name in found)
    classes = sorted(found, key=lambda name: (int(name), name)) if are_numbers else sorted(found)
    class_ids = {name: class_id for class_id, name in enumerate(classes)}
    return tuple(classes), {part: [class_ids[name] for name in of_part] for part, of_part in names.items()}


def decode_parts(
    classes: tuple[str, ...],
    files: Iterable[NamedFile],
    parts: Mapping[str, PartRows],
    options: LoadOptions,
    notes: Sequence[str],
    origins: Iterable[str | Path],
) -> RawDataset:
    """All parts, decoded together, so that they get one shape and one range of levels.

    `files` are those of one part after the other, and are read twice; `origins` are the files and folders that they
    come from. Test images are split off where there are none.
    """
    empty = [part for part, rows in parts.items() if not rows.labels]
    if empty:
        raise InputError(f"the data has no images in {format_names(empty)}; add some, or remove it")
    stamps = stamp_files(origins)
    sources = [source for rows in parts.values() for source in rows.sources]
    labels = torch.tensor([label for rows in parts.values() for label in rows.labels], dtype=torch.long)
    decoded = decode_images(files, sources, options)
    all_images = Split(decoded.images, labels[decoded.rows], decoded.sources)
    ends = np.cumsum([len(rows.labels) for rows in parts.values()])
    bounds = np.searchsorted(decoded.rows, [0, *ends])  # among the images that were read
    splits = {}
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        splits[part] = all_images.part(start, end)
        if start == end:
            raise InputError(f"the data has no images in {format_name(part)} that can be read; add some, or remove it")
    splits, split_notes = add_test_images(splits, options.test_fraction)
    all_notes = (*notes, *split_notes, *decoded.notes)
    return RawDataset(
        classes,
        splits["train"],
        splits["test"],
        flips=True,
        shrinks=False,
        notes=all_notes,
        reading=decoded.reading,
        val=splits.get("val"),
        files=stamps,
    )
