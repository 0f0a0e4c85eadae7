"""Finds the class that a user means: names take precedence over IDs, and an ambiguous number is reported."""

import logging
import re
import unicodedata
from collections.abc import Mapping
from functools import cache


def find_class(wanted: str, names: Mapping[int, str]) -> int | None:
    """ID of the class with the name `wanted`, otherwise of the class with that ID; None if there is neither.

    `names` are the run's classes by ID. Names are compared in a single Unicode form (NFC).
    """
    ids_by_name = {_normalize(name): class_id for class_id, name in names.items()}
    name = _normalize(wanted)
    number = int(name) if re.fullmatch(r"[0-9]{1,9}", name) else None
    if name not in ids_by_name:
        return number if number in names else None
    class_id = ids_by_name[name]
    if number is not None and number in names and class_id != number:
        _warn_once(f"class {name} is the class of that name (ID {class_id}), not ID {number} ({names[number]})")
    return class_id


def find_classes(wanted: str, names: Mapping[int, str]) -> list[int]:
    """IDs of the classes in a comma-separated list of names or IDs; names may contain commas. Raises ValueError."""
    normalized_names = {_normalize(name) for name in names.values()}
    max_parts = 1 + max((name.count(",") for name in names.values()), default=0)  # of a name, split at its commas
    parts = wanted.split(",")
    class_ids = []
    while parts:
        for part_count in range(min(max_parts, len(parts)), 0, -1):  # the longest name that fits
            item = ",".join(parts[:part_count])
            if _normalize(item) not in normalized_names:
                item = item.strip()
            class_id = find_class(item, names)
            if class_id is not None:
                class_ids.append(class_id)
                parts = parts[part_count:]
                break
        else:
            listed = ", ".join(f"{class_id} {name}" for class_id, name in names.items()) or "none"
            raise ValueError(f"no class {parts[0].strip()!r}; there are: {listed}")
    return class_ids


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@cache  # so once per process
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)
