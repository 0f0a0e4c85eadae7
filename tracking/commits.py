"""The commit protocol: what counts as remembered.

A run's files come in units (its start, an epoch, one method's maps of an epoch). A unit counts once its commit
file is there, which names every file with its sha256 and is written last. Readers trust nothing else.
"""

import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from tracking.errors import InputError
from tracking.files import read_json, sha256
from tracking.home import Home


@dataclass(frozen=True)
class CommittedFile:
    path: str  # within the run's files, with forward slashes
    sha256: str


@dataclass(frozen=True)
class Commit:
    """One committed unit of a run; the content of commits/UNIT.json."""

    run_id: str
    unit: str
    epoch: int | None
    time_ms: int  # the metrics' fixed timestamp, so that logging them again changes nothing
    files: tuple[CommittedFile, ...]
    metrics: dict[str, float]

    @property
    def path(self) -> str:
        return f"commits/{self.unit}.json"

    def content(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class EpochCommit(Commit):
    """A committed unit of one epoch: of a training run's own, or of one that an explainer looked at."""

    epoch: int


def read_commit(path: Path, run_id: str) -> Commit:
    """The commit of a run in the file UNIT.json. Raises InputError if it is no such commit."""
    content = read_json(path)
    try:
        kind = Commit if content["epoch"] is None else EpochCommit
        commit = kind(**content | {"files": tuple(CommittedFile(**file) for file in content["files"])})
        right = (commit.run_id, commit.unit) == (run_id, path.stem) and _sound(commit)
    except (TypeError, KeyError, AttributeError):
        right = False
    if not right:
        raise InputError(f"{path} is no commit of this run and unit; it was changed, so restore it or remove the run")
    return commit


def _sound(commit: Commit) -> bool:
    """Whether the parts are what they should be, and no file lies outside the run's folder."""
    paths = [PurePosixPath(file.path) for file in commit.files]
    inside = not any(path.is_absolute() or ".." in path.parts or "\\" in str(path) for path in paths)
    numbers = [commit.time_ms, *([] if commit.epoch is None else [commit.epoch])]
    measured = all(isinstance(value, int | float) for value in commit.metrics.values())
    return inside and measured and all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def commits(home: Home, run_id: str) -> list[Commit]:
    """All commits of a run, in the order of their time. Raises InputError if one of them cannot be read."""
    found = [read_commit(commit_file(home, run_id, unit), run_id) for unit in committed_units(home, run_id)]
    return sorted(found, key=lambda commit: commit.time_ms)


def readable_commits(home: Home, run_id: str) -> tuple[list[Commit], dict[str, str]]:
    """The same of a run with damaged commits: those that can be read, and by unit what is wrong with the others."""
    found, faults = [], {}
    for unit in committed_units(home, run_id):
        place = commit_file(home, run_id, unit)
        try:
            found.append(read_commit(place, run_id))
        except InputError:
            faults[unit] = f"{place} is no commit of this run and unit"
        except OSError as error:
            faults[unit] = f"{place} cannot be read ({error.strerror})"
    return sorted(found, key=lambda commit: commit.time_ms), faults


def commit_file(home: Home, run_id: str, unit: str) -> Path:
    return home.run_folder(run_id) / "commits" / f"{unit}.json"


def committed_units(home: Home, run_id: str) -> list[str]:
    """Names of a run's units, without a look into their commits. Raises OSError if the folder cannot be read."""
    try:
        names = os.listdir(home.run_folder(run_id) / "commits")
    except FileNotFoundError:
        return []
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def by_unit(home: Home, run_id: str) -> dict[str, Commit]:
    """The commits of a run by their units."""
    return {commit.unit: commit for commit in commits(home, run_id)}


def epoch_units(home: Home, run_id: str) -> dict[str, EpochCommit]:
    """The commits of a run that belong to an epoch, by their units."""
    return {unit: commit for unit, commit in by_unit(home, run_id).items() if isinstance(commit, EpochCommit)}


def epochs(home: Home, run_id: str) -> list[EpochCommit]:
    """The committed epochs of a training run without a gap: 0, 1, 2, ..."""
    found = {commit.epoch: commit for unit, commit in epoch_units(home, run_id).items() if unit.startswith("epoch_")}
    whole: list[EpochCommit] = []
    while len(whole) in found:
        whole.append(found[len(whole)])
    return whole


def stored(home: Home, run_id: str) -> list[EpochCommit]:
    """The committed epochs of a training run whose checkpoints were not pruned."""
    gone = pruned(home, run_id)
    return [commit for commit in epochs(home, run_id) if commit.epoch not in gone]


def pruned(home: Home, run_id: str) -> set[int]:
    """Epochs whose checkpoints were given up."""
    lists = [commit for commit in commits(home, run_id) if commit.unit.startswith("pruned_")]
    return {
        epoch
        for commit in lists
        for file in commit.files
        for epoch in read_json(committed_file(home, commit, file.path))
    }


def committed_file(home: Home, commit: Commit, path: str) -> Path:
    """A file of a commit, found and checked against its sha256.

    Raises InputError if the commit has no such file, or the file is missing or was changed.
    """
    known = {file.path: file for file in commit.files}
    if path not in known:
        raise InputError(f"run {commit.run_id} has no {path}; {commit.unit} holds: {', '.join(known)}")
    if wrong := fault(home, commit.run_id, known[path]):
        raise InputError(f"{wrong}; it is not used, so restore it or make it again")
    return home.run_folder(commit.run_id) / path


def fault(home: Home, run_id: str, file: CommittedFile) -> str | None:
    """What is wrong with a committed file; None if it is what was committed."""
    place = home.run_folder(run_id) / file.path
    try:
        if not place.is_file():
            return f"{place} is missing though it was committed"
        if _sha256_of(place, *stamp(place)) != file.sha256:
            return f"{place} was changed after it was committed (its sha256 differs)"
    except OSError as error:
        return f"{place} cannot be read ({error.strerror})"
    return None


def stamp(place: Path) -> tuple[int, int]:
    """What tells whether a file may be another than before: its size and the time of its last change, in ns.

    Unlike the time of modification nobody can set that one. (-1, -1) where there is no file.
    """
    try:
        known = place.stat()
    except OSError:
        return -1, -1
    return known.st_size, known.st_ctime_ns


@cache
def _sha256_of(place: Path, size: int, changed: int) -> str:
    """Kept while the file has this stamp, as who asks again and again reads the same files."""
    return sha256(place)
