"""Names of files and classes are the user's and may have any characters, but a message stays one line."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from pipelines.common.terminal import printable
from tracking.errors import InputError

LISTED_NAMES = 8


def format_name(name: object) -> str:
    """A name as part of a line."""
    return printable(str(name))


def format_names(names: Iterable[object]) -> str:
    """The first few names, and how many more there are."""
    printable_names = [format_name(name) for name in names]
    text = ", ".join(printable_names[:LISTED_NAMES])
    hidden_count = len(printable_names) - LISTED_NAMES
    return f"{text} and {hidden_count} more" if hidden_count > 0 else text


def normalise_name(name: str) -> str:
    """A class name as it is stored and compared: systems write the same accent as one character or as two."""
    return unicodedata.normalize("NFC", name)


def find_look_alikes(names: Iterable[str]) -> list[str]:
    """Notes on classes whose names differ only by case, white space or invisible characters."""
    groups = defaultdict(list)
    for name in names:
        visible = ""
        for character in unicodedata.normalize("NFKC", name):
            is_invisible = character.isspace() or unicodedata.category(character) == "Cf"
            if not is_invisible:
                visible += character
        groups[visible.casefold()].append(name)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    return [f"classes whose names look alike: {format_names(alike)}"]


def check_text(names: Iterable[str]) -> None:
    """Raise InputError on a name that no table can hold, because it is not valid Unicode."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"the name {format_name(name)} is not valid UTF-8; rename it") from None
