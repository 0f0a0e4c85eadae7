"""Names of files and classes are the user's: any characters, but a message stays one line."""

from collections.abc import Iterable

from pipelines.printable import printable
from tracking.errors import InputError

LISTED = 8


def shown(name: object) -> str:
    """A name as part of a line."""
    return printable(str(name))


def listed(names: Iterable[object]) -> str:
    """The first few names, and how many more there are."""
    every = [shown(name) for name in names]
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more


def check_text(names: Iterable[str]) -> None:
    """Raises InputError on a name that no table can hold, being no valid Unicode."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"the name {shown(name)} is not valid UTF-8; rename it") from None
