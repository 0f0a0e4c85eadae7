"""Pictures that a training loop of somebody's own gave through Python, kept in the home for every later command.

They lie in data/recorded/DIGEST/: an array of images [N, C, H, W], uint8, and one of labels [N] per split, and what the
labels mean. Arrays are read through the page cache, copied only where they are written to.
"""

import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipelines.data.names import format_name
from pipelines.data.raw import LoadOptions, RawDataset, Split
from tracking.errors import InputError
from tracking.files import read_json, write_json
from tracking.home import Home
from tracking.staging import staging_folder

FOLDER = "recorded"
PARTS = ("train", "val", "test")
DESCRIPTION = "description.json"


def store_recorded(home: Home, classes: tuple[str, ...], splits: dict[str, Split], digest: str) -> str:
    """Keep pictures in the home, once; returns where they lie below its data/."""
    place = home.data / FOLDER / digest[:16]
    if not (place / DESCRIPTION).exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(home) as staging:
            made = staging / place.name
            made.mkdir()
            for name, split in splits.items():
                np.save(made / f"{name}_images.npy", split.images.numpy())
                np.save(made / f"{name}_labels.npy", split.labels.numpy())
            sources = {name: list(split.sources) for name, split in splits.items()}
            write_json(made / DESCRIPTION, {"classes": classes, "sources": sources})
            shutil.rmtree(place, ignore_errors=True)  # without a description it is not whole
            os.replace(made, place)
    return f"{FOLDER}/{place.name}"


def load_recorded(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Raises InputError if there are no such pictures."""
    if options.size is not None:
        raise InputError("--size: recorded pictures keep the size they were recorded in")
    folder = home_data / path if path else home_data / FOLDER
    if not (folder / DESCRIPTION).is_file():
        known = sorted(file.parent.name for file in (home_data / FOLDER).glob(f"*/{DESCRIPTION}"))
        there = f"recorded here: {', '.join(known)}" if known else "none are recorded here"
        raise InputError(
            f"no recorded pictures in {format_name(folder)}; {there}; name the folder with --data, such as "
            f"--data {FOLDER}/DIGEST"
        )
    described = read_json(folder / DESCRIPTION)
    parts = {name: _read_split(folder, name, described["sources"]) for name in PARTS if name in described["sources"]}
    return RawDataset(
        classes=tuple(described["classes"]),
        train=parts["train"],
        test=parts["test"],
        flips=False,  # neither is known of them
        shrinks=False,
        val=parts.get("val", parts["test"].part(0, 0)),  # where there is none, none is to be split off
    )


def _read_split(folder: Path, name: str, sources: dict[str, list[str]]) -> Split:
    mode: Literal["c"] | None = "c" if sources[name] else None  # an array of nothing cannot be mapped
    try:
        images, labels = (np.load(folder / f"{name}_{what}.npy", mmap_mode=mode) for what in ("images", "labels"))
    except (OSError, ValueError) as error:
        raise InputError(f"the recorded pictures in {format_name(folder)} cannot be read: {error}") from None
    return Split(torch.from_numpy(images), torch.from_numpy(labels), tuple(sources[name]))
