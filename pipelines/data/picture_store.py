"""Decoded pictures, kept in the home: a data set is read once, and every later command takes of it what it needs.

    data/pictures/CONTENT/        images in .npy files, labels, and what a data set says of them
    data/pictures/sources/KEY.json  which content a data set had, and the state of its files then

Everything here can be deleted: it is made again from the data set, if that is still there.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipelines.common.terminal import say
from pipelines.data.file_stamps import are_unchanged, stamp_files
from pipelines.data.names import format_name
from pipelines.data.raw import READ_AT_ONCE, LoadOptions, RawDataset, Reading, Split
from pipelines.data.stored_images import ImageFile, ImageWriter, StoredImages, full_disk_reported
from tracking.errors import InputError
from tracking.files import read_json, write_json
from tracking.home import Home, check_writable
from tracking.staging import staging_folder, sweep, unmade_home_removed

SOURCES = "sources"
DESCRIPTION = "description.json"
STAMPS = "stamps.json"  # the state of a store's files when it was certain that they hold what was decoded
FORMAT = 1  # of what decoding makes of a file: raised when that changes, so that files are read again


@dataclass(frozen=True)
class SplitFacts:
    """What follows from all pixels of a data set's splits, and so is measured once."""

    digest: str  # sha256 over every image, label and class name
    mean: tuple[float, ...]  # of the training pixels, by channel, in 0..1
    std: tuple[float, ...]


def read_through_store(
    home: Home, name: str, path: str | None, options: LoadOptions, load: Callable[[LoadOptions], RawDataset]
) -> RawDataset:
    """What `load` gives, with images in the home's store; from there alone if the data set's files are unchanged."""
    place = home.pictures
    way = {**asdict(options), "folder": None, "format": FORMAT, "name": name, "path": path}
    key = hashlib.sha256(json.dumps(way, sort_keys=True).encode()).hexdigest()[:16]
    source = place / SOURCES / f"{key}.json"  # one for each way to read a data set
    if source.is_file():
        known = read_json(source)
        content = place / known["content"]
        if (content / DESCRIPTION).is_file() and are_unchanged(known["files"]):
            return read_store(content)
    try:
        check_writable(home)
    except InputError:
        say("  the pictures are read for this command alone, as the study home is read-only")
        return load(options)

    sweep(home)  # what a killed decoding left may be large
    with unmade_home_removed(home), staging_folder(home) as staging:
        made = staging / place.name
        made.mkdir()
        raw = load(replace(options, folder=made))
        with full_disk_reported(place):
            content = place / write_store(made, raw)
            move_store(made, content)
    if raw.files is not None:
        source.parent.mkdir(parents=True, exist_ok=True)
        write_json(source, {"data_set": name, "path": path, "content": content.name, "files": raw.files})
    return read_store(content)


def find_by_digest(home: Home, digest: str, reading: Reading, *, val_fraction: float, seed: int) -> RawDataset | None:
    """The pictures that a run was made with, even if the data set they came from is gone."""
    for file in sorted(home.pictures.glob(f"*/{_facts_name(val_fraction, seed)}")):
        if read_json(file)["digest"] == digest and (file.parent / DESCRIPTION).is_file():
            raw = read_store(file.parent)
            if raw.reading == reading:
                return raw
    return None


def write_store(folder: Path, raw: RawDataset) -> str:
    """Make the folder, in which decoded images may lie, a store of the data set; returns a name for its content."""
    content = hashlib.sha256()
    files = {}
    for name, split in raw.parts.items():
        images = split.images
        if not (isinstance(images, StoredImages) and images.file.path and images.file.path.parent == folder):
            images = _copy_images(split, folder / f"{name}_images.npy")
        files[name] = images.file.path.name if images.file.path else None
        arrays = {
            "rows": images.rows,
            "labels": split.labels.numpy(),
            "contents": np.array(split.pixel_digests(), dtype="S64"),
        }
        for what, values in arrays.items():
            np.save(folder / f"{name}_{what}.npy", values)
            if what != "rows":
                content.update(values.tobytes())
    description = {
        "classes": raw.classes,
        "sources": {name: list(split.sources) for name, split in raw.parts.items()},
        "files": files,
        "flips": raw.flips,
        "shrinks": raw.shrinks,
        "notes": raw.notes,
        "reading": asdict(raw.reading),
    }
    write_json(folder / DESCRIPTION, description)
    write_json(folder / STAMPS, _stamp_store(folder))
    content.update(json.dumps(description | {"files": None}, sort_keys=True).encode())
    return content.hexdigest()[:16]


def move_store(made: Path, place: Path) -> None:
    """Move a store to where it is kept, unless it is there already, as when another process was faster."""
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            os.replace(made, place)  # fails if anything is there
            return
        except OSError:
            if (place / DESCRIPTION).is_file():
                return
            if not place.exists():
                raise
        shutil.rmtree(place)  # without a description it is not whole


def read_store(folder: Path) -> RawDataset:
    """The data set in a store. Raises InputError if it is damaged."""
    opened: dict[str, ImageFile] = {}  # parts may share one
    parts = {}
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        for name, sources in described["sources"].items():
            file = described.get("files", {}).get(name, f"{name}_images.npy")
            if file not in opened:
                opened[file] = ImageFile.open(folder / file)
            images = opened[file].all_images()
            if (folder / f"{name}_rows.npy").exists():
                images = images.select(np.load(folder / f"{name}_rows.npy"))
            contents = None
            if (folder / f"{name}_contents.npy").exists():
                contents = tuple(np.load(folder / f"{name}_contents.npy").astype("U64").tolist())
            labels = torch.from_numpy(np.load(folder / f"{name}_labels.npy"))
            parts[name] = Split(images, labels, tuple(sources), contents=contents)
    except (OSError, ValueError) as error:
        raise InputError(f"the pictures kept in {format_name(folder)} cannot be read ({error}); delete it") from None
    _check_pictures(folder, parts)
    reading = described.get("reading", {})
    return RawDataset(
        classes=tuple(described["classes"]),
        train=parts["train"],
        test=parts["test"],
        flips=described.get("flips", False),
        shrinks=described.get("shrinks", False),
        notes=tuple(described.get("notes", ())),
        reading=Reading(**reading | {"unreadable": tuple(reading.get("unreadable", ()))}),
        val=parts.get("val"),
        folder=folder,
    )


def _check_pictures(folder: Path, parts: Mapping[str, Split]) -> None:
    """Raise InputError if pictures of a store are no longer those that were decoded.

    As long as its files are as they were, they are not read. In a home that was copied they have other times: then the
    digest of every picture tells, once.
    """
    stamps = _stamp_store(folder)
    place = folder / STAMPS
    if place.is_file() and read_json(place) == stamps:
        return
    say(f"  checking the pictures kept in {format_name(folder)}, whose files have changed since they were written")
    for name, split in parts.items():
        if split.contents is None:  # of an earlier version's store
            continue
        digests = zip(split.contents, replace(split, contents=None).pixel_digests(), strict=True)
        changed = [row for row, (kept, now) in enumerate(digests) if kept != now]
        if changed:
            raise InputError(
                f"the pictures kept in {format_name(folder)} were changed: image {changed[0]} of {name} is not what "
                "was decoded; restore the folder, or delete it, so that the data set is read again"
            )
    if os.access(folder, os.W_OK):  # otherwise they are checked again
        write_json(place, stamps)


def _stamp_store(folder: Path) -> dict[str, list[int]]:
    """The state of a store's arrays, by name, as the store may be moved."""
    stamps = stamp_files(sorted(folder.glob("*.npy")))
    return {Path(path).name: list(stamp) for path, stamp in stamps.items()}


def read_facts(folder: Path | None, *, val_fraction: float, seed: int) -> SplitFacts | None:
    """What was measured of the splits of a store; None if nothing was."""
    file = folder and folder / _facts_name(val_fraction, seed)
    if not file or not file.is_file():
        return None
    known = read_json(file)
    return SplitFacts(known["digest"], tuple(known["mean"]), tuple(known["std"]))


def keep_facts(folder: Path | None, facts: SplitFacts, *, val_fraction: float, seed: int) -> None:
    if folder and os.access(folder, os.W_OK):  # otherwise they are measured again
        write_json(folder / _facts_name(val_fraction, seed), asdict(facts))


def _facts_name(val_fraction: float, seed: int) -> str:
    return f"splits_{val_fraction:g}_{seed}.json"


def _copy_images(split: Split, place: Path) -> StoredImages:
    with ImageWriter(place) as writer:
        for images in split.images.split(READ_AT_ONCE):
            for image in images.numpy():
                writer.append(image)
        return writer.finish()
