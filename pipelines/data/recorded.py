"""Pictures that a user's training loop gave through Python, kept in the home for every later command.

They lie in data/recorded/DIGEST/, as those of other data sets in data/pictures/ (picture_store.py).
"""

from dataclasses import replace
from pathlib import Path

from pipelines.data.names import format_name
from pipelines.data.picture_store import DESCRIPTION, move_store, read_store, write_store
from pipelines.data.raw import LoadOptions, RawDataset, Split
from pipelines.data.stored_images import full_disk_reported
from tracking.errors import InputError
from tracking.home import Home

FOLDER = "recorded"


def store_recorded(home: Home, made: Path, classes: tuple[str, ...], splits: dict[str, Split], digest: str) -> str:
    """Keep pictures, which lie in folder `made`, in the home, once; returns where they lie below its data/."""
    train, test = splits["train"], splits["test"]
    raw = RawDataset(classes, train, test, flips=False, shrinks=False, val=splits.get("val"))  # the rest is not known
    place = home.data / FOLDER / digest[:16]
    if not (place / DESCRIPTION).exists():
        with full_disk_reported(place.parent):
            write_store(made, raw)
            move_store(made, place)
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
    raw = read_store(folder)
    return raw if raw.val else replace(raw, val=raw.test.part(0, 0))  # where there is none, none is to be split off
