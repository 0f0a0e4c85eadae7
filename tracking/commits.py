"""The commit protocol: which files of a run count.

A run's files come in units (its start, an epoch, one method's maps of an epoch). A unit counts once its commit file is
there, which names every file with its sha256 and is written last. Readers trust nothing else.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from tracking.errors import InputError
from tracking.files import read_json, sha256
from tracking.home import Home, is_copy

LARGEST_INTEGER = 2**63 - 1  # of a column in study.duckdb


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
    metrics: dict[str, float]  # shown in MLflow and rows of table metrics
    details: dict[str, float] = field(default_factory=dict)  # rows of table metrics alone

    @property
    def path(self) -> str:
        return f"commits/{self.unit}.json"

    def content(self) -> dict:
        content = asdict(self)
        if not self.details:
            del content["details"]  # as in homes of earlier versions
        return content


@dataclass(frozen=True)
class EpochCommit(Commit):
    """A committed unit of one epoch: a training run's own, or one that an explainer run explains."""

    epoch: int


def read_commit(path: Path, run_id: str) -> Commit:
    """The commit of a run in the file UNIT.json. Raises InputError if the file holds no such commit."""
    content = read_json(path)
    try:
        files = tuple(CommittedFile(**file) for file in content["files"])
        commit_type = Commit if content["epoch"] is None else EpochCommit
        commit = commit_type(**content | {"files": files})
        is_right = commit.run_id == run_id and commit.unit == path.stem and _is_sound(commit)
    except (TypeError, KeyError, AttributeError):
        is_right = False
    if not is_right:
        raise InputError(
            f"{path} is not a commit of this run and unit; it was changed, so restore it or remove the run"
        )
    return commit


def _is_sound(commit: Commit) -> bool:
    """Whether every value has its type and range, and no file lies outside the run's folder."""
    for file in commit.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or "\\" in file.path:
            return False
    integers = [commit.time_ms] if commit.epoch is None else [commit.time_ms, commit.epoch]
    if not all(type(number) is int and 0 <= number <= LARGEST_INTEGER for number in integers):
        return False
    return all(isinstance(value, int | float) for value in [*commit.metrics.values(), *commit.details.values()])


def read_commits(home: Home, run_id: str) -> list[Commit]:
    """All commits of a run, oldest first. Raises InputError if one of them cannot be read."""
    commits = [read_commit(commit_file(home, run_id, unit), run_id) for unit in committed_units(home, run_id)]
    return sorted(commits, key=lambda commit: commit.time_ms)


def readable_commits(
    home: Home, run_id: str, units: Sequence[str] | None = None
) -> tuple[list[Commit], dict[str, str]]:
    """The readable commits of a run, or of some of its units, oldest first; and by unit what is wrong with others."""
    commits: list[Commit] = []
    faults: dict[str, str] = {}
    for unit in committed_units(home, run_id) if units is None else units:
        path = commit_file(home, run_id, unit)
        try:
            commits.append(read_commit(path, run_id))
        except InputError:
            faults[unit] = f"{path} is not a commit of this run and unit"
        except OSError as error:
            faults[unit] = f"{path} cannot be read ({error.strerror})"
    return sorted(commits, key=lambda commit: commit.time_ms), faults


def commit_file(home: Home, run_id: str, unit: str) -> Path:
    return home.run_folder(run_id) / "commits" / f"{unit}.json"


def committed_units(home: Home, run_id: str) -> list[str]:
    """Names of a run's units, without reading their commits. Raises OSError if the folder cannot be read."""
    try:
        names = os.listdir(home.run_folder(run_id) / "commits")
    except FileNotFoundError:
        return []
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def commits_by_unit(home: Home, run_id: str) -> dict[str, Commit]:
    """The commits of a run by their units."""
    return {commit.unit: commit for commit in read_commits(home, run_id)}


def epoch_commits(home: Home, run_id: str) -> dict[str, EpochCommit]:
    """The commits of a run that belong to an epoch, by their units."""
    commits = commits_by_unit(home, run_id)
    return {unit: commit for unit, commit in commits.items() if isinstance(commit, EpochCommit)}


def read_epochs(home: Home, run_id: str) -> list[EpochCommit]:
    """The committed epochs of a training run, ascending; not every run has all from 0 on."""
    commits = epoch_commits(home, run_id).items()
    epochs = [commit for unit, commit in commits if unit.startswith("epoch_")]
    return sorted(epochs, key=lambda commit: commit.epoch)


def until_gap(epochs: list[EpochCommit], first: int = 0) -> list[EpochCommit]:
    """Epochs `first`, `first` + 1, ... up to the first that is missing: a training continues after these."""
    return [commit for number, commit in enumerate(epochs, first) if commit.epoch == number]


def stored_epochs(home: Home, run_id: str) -> list[EpochCommit]:
    """The committed epochs of a training run whose checkpoints were not pruned."""
    pruned = pruned_epochs(home, run_id)
    return [commit for commit in read_epochs(home, run_id) if commit.epoch not in pruned]


def pruned_epochs(home: Home, run_id: str) -> set[int]:
    """Epochs whose checkpoints were deleted by `study prune`."""
    pruned: set[int] = set()
    for commit in read_commits(home, run_id):
        if commit.unit.startswith("pruned_"):
            for file in commit.files:
                pruned.update(read_json(committed_file(home, commit, file.path)))
    return pruned


def committed_file(home: Home, commit: Commit, path: str) -> Path:
    """A file of a commit, found and checked against its sha256; if a server keeps the truth, fetched if need be.

    Raises InputError if the commit has no such file, or the file is missing or was changed.
    """
    files = {file.path: file for file in commit.files}
    if path not in files:
        raise InputError(f"run {commit.run_id} has no {path}; {commit.unit} holds: {', '.join(files)}")
    fault = find_fault(home, commit.run_id, files[path])
    if fault and is_copy(home):
        from tracking.remote import fetch_file  # imports mlflow, which is slow and needed for this alone

        fetch_file(home, commit.run_id, files[path])
    elif fault:
        raise InputError(f"{fault}; it is not used, so restore it or make it again")
    return home.run_folder(commit.run_id) / path


def find_fault(home: Home, run_id: str, file: CommittedFile) -> str | None:
    """What is wrong with a committed file; None if it is what was committed."""
    path = home.run_folder(run_id) / file.path
    try:
        if not path.is_file():
            return f"{path} is missing though it was committed"
        if _sha256_of(path, *file_stamp(path)) != file.sha256:
            return f"{path} was changed after it was committed (its sha256 differs)"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None


def file_stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns, which reveal that a file has changed. Unlike its modification
    time, a file's change time cannot be set. (-1, -1) if there is no file.
    """
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_ctime_ns


@cache
def _sha256_of(path: Path, size: int, changed_ns: int) -> str:
    """Cached for as long as the file keeps its stamp, as repeated questions read the same files."""
    return sha256(path)
