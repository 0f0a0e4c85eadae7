"""Names of files and classes are the user's: any characters, but a message stays one line."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from pipelines.common.terminal import printable
from tracking.errors import InputError

LISTED = 8


def format_name(name: object) -> str:
    """A name as part of a line."""
    return printable(str(name))


def format_names(names: Iterable[object]) -> str:
    """The first few names, and how many more there are."""
    every = [format_name(name) for name in names]
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more


def normalise_name(name: str) -> str:
    """A class name as it is stored and compared: systems write the same accent as one character or as two."""
    return unicodedata.normalize("NFC", name)


def find_look_alikes(names: Iterable[str]) -> list[str]:
    """Notes on classes whose names differ by case, white space or characters without shape alone."""
    groups = defaultdict(list)
    for name in names:
        kept = (c for c in unicodedata.normalize("NFKC", name) if not c.isspace() and unicodedata.category(c) != "Cf")
        groups["".join(kept).casefold()].append(name)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return [f"classes whose names look alike: {format_names(alike)}"] if alike else []


def check_text(names: Iterable[str]) -> None:
    """Raises InputError on a name that no table can hold, being no valid Unicode."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"the name {format_name(name)} is not valid UTF-8; rename it") from None
