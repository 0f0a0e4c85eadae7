"""Which runs a study home holds, and what a user's RUN means. Reads their run.json files, so it is quick."""

import logging
import os
import re
import shlex
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tracking.commits import committed_units
from tracking.errors import InputError
from tracking.files import read_json
from tracking.home import Home
from tracking.locks import is_abandoned
from tracking.mlflow_db import Entry, read_entries

LONGEST = 200  # characters of a run's name
TRAINED = ("train", "import")  # kinds of run that own epochs
SHORT = 8  # hex digits by which messages name a run
DELETED = "deleted"  # marks the folder of a run that was deleted on a server


@dataclass(frozen=True)
class RunRecord:
    """One row of table `runs`; the content of a run's run.json."""

    run_id: str
    kind: str
    name: str
    source_run_id: str | None
    status: str
    dataset: str | None
    data_digest: str | None
    seed: int | None
    git_commit: str | None
    started_at: str
    finished_at: str | None
    params: dict[str, Any]

    @property
    def source(self) -> str:
        """ID of the run that this one looks at. Raises InputError where its record names none."""
        if self.source_run_id is None:
            raise InputError(f"run {self.run_id[:SHORT]} of kind {self.kind} names no run that it looks at")
        return self.source_run_id

    def content(self) -> dict:
        return asdict(self)


def now() -> str:
    """UTC, to the microsecond, without an offset: the form of the tables' timestamps."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ")


def records(home: Home) -> list[RunRecord]:
    """All runs of the home that are not deleted in MLflow, oldest first, by the names they have there now.

    One whose writer is gone is KILLED.
    """
    entries = read_entries(home)
    gone = _gone(home, entries)
    found = []
    for run_id, file in _files(home):
        if run_id in gone:
            continue
        record = read_record(file, run_id)
        if record.status == "RUNNING" and is_abandoned(home, run_id):
            record = replace(record, status="KILLED")
        if run_id in entries:
            record = replace(record, name=entries[run_id].name or record.name)
        found.append(record)
    return sorted(found, key=lambda record: (record.started_at, record.run_id))


def _files(home: Home) -> list[tuple[str, Path]]:
    """Run IDs and their run.json files, those of deleted runs too.

    A run whose files this user may not read is named and left out. Raises InputError if that is every run.
    """
    try:
        run_ids = os.listdir(home.artifacts)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{home.artifacts} cannot be read ({error.strerror}); restore its permissions") from None
    found = []
    for run_id in run_ids:
        file = home.run_folder(run_id) / "run.json"
        try:
            committed_units(home, run_id)
            file.open().close()
            found.append((run_id, file))
        except (FileNotFoundError, NotADirectoryError):  # not begun yet, or no run
            continue
        except OSError as error:
            _name_unreadable(run_id, f"{error.filename} cannot be read ({error.strerror})")
    return found


@cache  # once a process
def _name_unreadable(run_id: str, reason: str) -> None:
    logging.getLogger(__name__).warning(f"{reason}; run {run_id[:SHORT]} is left out until it can be")


def deleted(home: Home) -> set[str]:
    """Runs that were deleted in MLflow, whose files stay until `mlflow gc`."""
    return _gone(home, read_entries(home))


def _gone(home: Home, entries: dict[str, Entry]) -> set[str]:
    """Those deleted in the home's own database, and those deleted on a server when they were fetched last."""
    marked = {mark.parent.name for mark in home.artifacts.glob(f"*/{DELETED}")}
    return marked | {run_id for run_id, entry in entries.items() if entry.deleted}


def deleted_experiments(home: Home) -> list[str]:
    """What to tell of each experiment that was deleted in MLflow with runs of the home."""
    entries = [entry for run_id, entry in read_entries(home).items() if os.path.exists(home.run_folder(run_id))]
    counts = Counter((entry.experiment, entry.experiment_id) for entry in entries if entry.experiment_deleted)
    return [
        was_deleted(home.mlflow_address, *experiment, f"{count} run{'s' * (count > 1)}")
        for experiment, count in counts.items()
    ]


def was_deleted(address: str, experiment: str, experiment_id: str | int, runs: str = "its runs") -> str:
    """What to tell of an experiment that was deleted in the MLflow at an address, and how it comes back."""
    restore = f"MLFLOW_TRACKING_URI={shlex.quote(address)} mlflow experiments restore --experiment-id {experiment_id}"
    return f"the experiment {experiment!r} was deleted in MLflow with {runs}; restore it: {restore}"


def read_record(file: Path, run_id: str) -> RunRecord:
    """A run's record in its run.json. Raises InputError if it is none."""
    try:
        record = RunRecord(**read_json(file))
        texts = (record.kind, record.name, record.status, record.started_at)
        right = record.run_id == run_id and isinstance(record.params, dict)
        right = right and all(isinstance(text, str) for text in texts)
        datetime.fromisoformat(record.started_at)
    except (TypeError, ValueError):
        right = False
    if not right:
        raise InputError(f"{file} is no record of this run; it was changed, so restore it or move the run away")
    return record


def resolve(home: Home, reference: str, kinds: tuple[str, ...] = TRAINED) -> RunRecord:
    """The run that `reference` means: a run ID, a unique prefix of one, a run name, or `latest`.

    A whole ID wins over a name, and a name over a prefix of fewer than 8 characters; `latest` is the newest run of
    `kinds`. Raises InputError when no run, several, or one of another kind fits.
    """
    known = records(home)
    if reference == "latest":
        fitting = [record for record in known if record.kind in kinds][-1:]
    else:
        fitting = _fitting(known, reference)
    if not fitting:
        raise InputError(_nothing_fits(home, reference, known, kinds))
    if len(fitting) > 1:
        runs = ", ".join(f"{record.run_id[:SHORT]} ({record.name})" for record in fitting)
        raise InputError(f"{reference!r} means {len(fitting)} runs: {runs}; give more of the run ID")
    if fitting[0].kind not in kinds:
        without = " (imported, so without checkpoints)" if fitting[0].kind == "import" else ""
        raise InputError(
            f"run {fitting[0].run_id[:8]} is of kind {fitting[0].kind}{without}, needed is {' or '.join(kinds)}; "
            "`study ask runs` lists all"
        )
    return fitting[0]


def _fitting(known: list[RunRecord], reference: str) -> list[RunRecord]:
    whole = [record for record in known if record.run_id == reference]
    named = [record for record in known if record.name == reference]
    begun = [record for record in known if reference and record.run_id.startswith(reference)]
    if whole or (named and len(reference) < SHORT):
        return whole or named
    return named + [record for record in begun if record not in named]


def _nothing_fits(home: Home, reference: str, known: list[RunRecord], kinds: tuple[str, ...]) -> str:
    if told := _was_deleted(home, reference, known):
        return told
    for record in known:
        if read_record(home.run_folder(record.run_id) / "run.json", record.run_id).name == reference:
            return f"run {record.run_id[:SHORT]} was called {reference!r}; it was renamed {record.name!r} in MLflow"
    candidates = [record for record in known if record.kind in kinds]
    if not candidates:
        kind = f" of kind {' or '.join(kinds)}" if known else ""
        return f"no run{kind} in {home.path} yet; `study train` makes one, --home names another study home"
    newest = ", ".join(f"{record.run_id[:SHORT]} ({record.name})" for record in candidates[:-6:-1])
    return f"no run {reference!r} in {home.path}; the newest are: {newest}; `study ask runs` lists all"


def _was_deleted(home: Home, reference: str, known: list[RunRecord]) -> str | None:
    """What to tell of a run that was deleted, by itself or with its experiment; None if none is meant."""
    entries, experiments = read_entries(home), deleted_experiments(home)
    gone = [
        run_id
        for run_id in sorted(_gone(home, entries))
        if reference == (entries[run_id].name if run_id in entries else None) or run_id.startswith(reference or " ")
    ]
    if experiments and (gone or not known):
        return experiments[0]
    if gone:
        address = f"MLFLOW_TRACKING_URI={shlex.quote(home.mlflow_address)} " if gone[0] in entries else ""
        restore = f"{address}mlflow runs restore --run-id {gone[0]}"
        return f"run {gone[0][:SHORT]} was deleted in MLflow; restore it there: {restore}"
    return None


def free_name(home: Home, wanted: str | None, default: str) -> str:
    """`wanted` if no run is called that and no run ID begins so, else an InputError.

    Without it `default`, numbered if taken. To be used, the name must be chosen while `locks.taking_a_name` is held.
    """
    if wanted and (wanted == "latest" or len(wanted) > LONGEST or not wanted.isprintable()):
        raise InputError(f"--name is {wanted!r}; it takes 1 to {LONGEST} printable characters, and not latest")
    taken = {record.name for record in records(home)}
    if wanted in taken:
        raise InputError(f"there is a run called {wanted!r} already; choose another --name")
    if wanted and (reason := _like_an_id(home, wanted)):
        raise InputError(f"--name {wanted} {reason}; choose another --name")
    names = [default, *(f"{default}-{number}" for number in range(2, len(taken) + 3))]
    return wanted or next(name for name in names if name not in taken)


def _like_an_id(home: Home, name: str) -> str | None:
    """Why a name would be taken for a run's ID, None if it would not. A deleted run may come back, so it counts."""
    begun = [run_id for run_id, _ in _files(home) if len(name) >= SHORT and run_id.startswith(name.lower())]
    if begun:
        return f"is how the ID of run {begun[0]} begins"
    return "looks like a run ID" if re.fullmatch("[0-9a-fA-F]{32}", name) else None
