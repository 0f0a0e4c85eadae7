"""The commit protocol: what counts as remembered.

A run's files come in units (its start, an epoch, one method's maps of an epoch). A unit counts once its commit
file is there, which names every file with its sha256 and is written last. Readers trust nothing else.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tracking.errors import InputError
from tracking.files import sha256
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


def read_commit(path: Path) -> Commit:
    content = json.loads(path.read_text())
    return Commit(**content | {"files": tuple(CommittedFile(**file) for file in content["files"])})


def commits(home: Home, run_id: str) -> list[Commit]:
    """All commits of a run, in the order of their time."""
    folder = home.run_folder(run_id) / "commits"
    return sorted((read_commit(path) for path in folder.glob("*.json")), key=lambda commit: commit.time_ms)


def by_unit(home: Home, run_id: str) -> dict[str, Commit]:
    """The commits of a run by their units."""
    return {commit.unit: commit for commit in commits(home, run_id)}


def epochs(home: Home, run_id: str) -> list[Commit]:
    """The committed epochs of a training run without a gap: 0, 1, 2, ..."""
    found = {commit.epoch: commit for commit in commits(home, run_id) if commit.unit.startswith("epoch_")}
    whole = []
    while len(whole) in found:
        whole.append(found[len(whole)])
    return whole


def stored(home: Home, run_id: str) -> list[Commit]:
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
        for epoch in json.loads(committed_file(home, commit, file.path).read_text())
    }


def committed_file(home: Home, commit: Commit, path: str) -> Path:
    """A file of a commit, found and checked against its sha256.

    Raises InputError if the commit has no such file, or the file is missing or was changed.
    """
    known = {file.path: file for file in commit.files}
    if path not in known:
        raise InputError(f"run {commit.run_id} has no {path}; {commit.unit} holds: {', '.join(known)}")
    place = home.run_folder(commit.run_id) / path
    if not place.is_file():
        raise InputError(f"{place} is missing though it was committed; restore it or train again")
    if sha256(place) != known[path].sha256:
        raise InputError(f"{place} was changed after it was committed (its sha256 differs); it is not used")
    return place
