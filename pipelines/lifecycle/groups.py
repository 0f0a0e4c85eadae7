"""Groups of seeds: training runs on the same images that share a recipe and differ only in the seed."""

import re
from dataclasses import replace
from typing import Any, TypeVar

from pipelines.common.settings import TrackedSettings
from pipelines.data.datasets import Dataset
from tracking.catalogue import SHORT_ID, RunRecord, free_name, read_members
from tracking.errors import InputError
from tracking.home import Home

Settings = TypeVar("Settings", bound=TrackedSettings)

MOST_SEEDS = 1000

# recorded settings in which runs of a group may differ: the seed, names, where data lies, and the machine
OWN_SETTINGS = ("seed", "name", "data", "device", "threads", "memory", "evaluation_batch")


def join_group(settings: Settings, home: Home) -> Settings:
    """The settings with the seed that chooses validation images: in a group, that of its first run.

    So all its runs have the same images, and each image can be compared over seeds. Raises InputError as `find_group`.
    """
    if settings.group is None:
        return settings
    members = find_group(home, settings.group, settings.seed)
    if settings.split_seed is not None:
        return settings
    first = members[0].params.get("split_seed") if members else None
    return replace(settings, split_seed=settings.seed if first is None else first)


def find_group(home: Home, group: str, seed: int | None) -> list[RunRecord]:
    """The runs that a group has, to which one of another seed is to be added; none of a new group.

    Raises InputError if it has that seed already, or if the name of a new group is taken.
    """
    members = read_members(home, group)
    if not members:
        free_name(home, group, "", "--group")
    for member in members:
        if member.seed == seed:
            raise InputError(
                f"group {group!r} has a run of seed {seed} already, {member.run_id[:SHORT_ID]} ({member.name}); give "
                "another --seed, or another --group"
            )
    return members


def list_finished(home: Home, group: str | None) -> list[RunRecord]:
    """The finished runs of a group, by seed; none without a group."""
    return [member for member in read_members(home, group) if member.status == "FINISHED"] if group else []


def check_recipe(group: str, members: list[RunRecord], data: Dataset, params: dict[str, Any]) -> None:
    """Raise InputError if a run with these recorded settings differs from a group's runs in more than the seed."""
    for member in members[:1]:  # the others were compared with it
        for key in params.keys() & member.params.keys():
            if key not in OWN_SETTINGS and params[key] != member.params[key]:
                raise InputError(
                    f"the runs of group {group!r} have {key} {member.params[key]!r}, this one has {params[key]!r}; "
                    "make them the same, or give another --group"
                )
        if data.digest != member.data_digest:
            raise InputError(
                f"the runs of group {group!r} have other images, or other ones for validation (digest "
                f"{(member.data_digest or 'none')[:12]}, here {data.digest[:12]}); give another --group"
            )


def parse_seeds(text: str) -> list[int]:
    """The seeds of a text such as 0-4 or 0,3,7, in its order. Raises InputError on another text, or a repeated seed."""
    seeds: list[int] = []
    for part in text.split(","):
        numbers = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
        if not numbers:
            raise InputError(f"--seeds is {text!r}; it takes whole numbers such as 0-4 or 0,3,7")
        first = int(numbers[1])
        last = int(numbers[2] or first)
        if last < first or last - first >= MOST_SEEDS:
            raise InputError(f"--seeds has {part.strip()!r}; give a range upwards of at most {MOST_SEEDS} seeds")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds is {text!r}, with a seed more than once; give each once")
    return seeds
