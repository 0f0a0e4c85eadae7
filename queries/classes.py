"""Which class a user means: its name wins over an ID, and where a number is both, that is said."""

import logging
import re
import unicodedata
from collections.abc import Mapping
from functools import cache


def find_class(wanted: str, names: Mapping[int, str]) -> int | None:
    """ID of the class called `wanted`, else of the one with that ID; None where there is neither.

    `names` are the run's classes by ID. Names count as the same however their accents are composed (Unicode NFC).
    """
    by_name = {_composed(name): class_id for class_id, name in names.items()}
    wanted = _composed(wanted)
    number = int(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted) else None
    if wanted not in by_name:
        return number if number in names else None
    if number is not None and number in names and by_name[wanted] != number:
        _tell(f"class {wanted} is the class of that name (ID {by_name[wanted]}), not ID {number} ({names[number]})")
    return by_name[wanted]


def find_classes(wanted: str, names: Mapping[int, str]) -> list[int]:
    """IDs of the classes in a comma list of names or IDs; a name may hold commas itself. Raises ValueError."""
    parts, found, composed = wanted.split(","), [], {_composed(name) for name in names.values()}
    most = 1 + max((name.count(",") for name in names.values()), default=0)
    while parts:
        for length in range(min(most, len(parts)), 0, -1):  # the longest name that fits
            item = ",".join(parts[:length])
            if (class_id := find_class(item if _composed(item) in composed else item.strip(), names)) is not None:
                found.append(class_id)
                parts = parts[length:]
                break
        else:
            there = ", ".join(f"{class_id} {name}" for class_id, name in names.items()) or "none"
            raise ValueError(f"no class {parts[0].strip()!r}; there are: {there}")
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@cache  # once a process
def _tell(message: str) -> None:
    logging.getLogger(__name__).warning(message)
