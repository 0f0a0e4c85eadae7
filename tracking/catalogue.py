"""Which runs a study home holds, and which one a user's RUN refers to. Fast, as it reads only their run.json files."""

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

LONGEST_NAME = 200  # characters of a run's name
TRAINED = ("train", "import")  # kinds of run that own epochs
SHORT_ID = 8  # hex digits by which messages name a run
LISTED = 5  # runs that a message lists
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
        """ID of the run that this one is about. Raises InputError if its record names none."""
        if self.source_run_id is None:
            raise InputError(f"run {self.run_id[:SHORT_ID]} of kind {self.kind} does not say which run it is about")
        return self.source_run_id

    def content(self) -> dict:
        return asdict(self)


def utc_now() -> str:
    """The time in UTC, to the microsecond, without an offset: the form of the tables' timestamps."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ")


def read_records(home: Home) -> list[RunRecord]:
    """All runs of the home that are not deleted in MLflow, oldest first, with their current names there.

    A run recorded as RUNNING whose writer is gone is KILLED. One whose files cannot be read is named and left out.
    """
    return _read_all(home)[0]


def _read_all(home: Home) -> tuple[list[RunRecord], list[str]]:
    """As `read_records`, and why runs are left out."""
    entries = read_entries(home)
    deleted = _deleted_runs(home, entries)
    found: list[RunRecord] = []
    files, faults = _record_files(home)
    for run_id, file in files:
        if run_id in deleted:
            continue
        try:
            record = read_record(file, run_id)
        except FileNotFoundError:  # removed since it was listed, as by `mlflow gc`
            continue
        if record.status == "RUNNING" and is_abandoned(home, run_id):
            record = replace(record, status="KILLED")
        if run_id in entries:
            record = replace(record, name=entries[run_id].name or record.name)
        found.append(record)
    return sorted(found, key=lambda record: (record.started_at, record.run_id)), faults


def _record_files(home: Home) -> tuple[list[tuple[str, Path]], list[str]]:
    """Run IDs and their run.json files, also those of deleted runs; and what is wrong with those that are left out.

    Raises InputError if the folder of all runs cannot be read.
    """
    try:
        run_ids = os.listdir(home.artifacts)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise InputError(f"{home.artifacts} cannot be read ({error.strerror}); restore its permissions") from None
    files: list[tuple[str, Path]] = []
    faults: list[str] = []
    for run_id in run_ids:
        file = home.run_folder(run_id) / "run.json"
        try:
            committed_units(home, run_id)
            file.open().close()
            files.append((run_id, file))
        except (FileNotFoundError, NotADirectoryError):  # not started yet, or not a run
            continue
        except OSError as error:
            faults.append(f"{error.filename} cannot be read ({error.strerror})")
            _warn_unreadable(run_id, faults[-1])
    return files, faults


@cache  # so once per process
def _warn_unreadable(run_id: str, reason: str) -> None:
    logging.getLogger(__name__).warning(f"{reason}; run {run_id[:SHORT_ID]} is left out until it can be")


def deleted_runs(home: Home) -> set[str]:
    """Runs that were deleted in MLflow, whose files stay until `mlflow gc`."""
    return _deleted_runs(home, read_entries(home))


def _deleted_runs(home: Home, entries: dict[str, Entry]) -> set[str]:
    """Those deleted in the home's own database, and those that were deleted on a server at the last fetch."""
    marked = {mark.parent.name for mark in home.artifacts.glob(f"*/{DELETED}")}
    return marked | {run_id for run_id, entry in entries.items() if entry.deleted}


def deleted_experiments(home: Home) -> list[str]:
    """A line for each experiment that was deleted in MLflow together with runs of the home."""
    run_counts: Counter[tuple[str, int]] = Counter()
    for run_id, entry in read_entries(home).items():
        if entry.experiment_deleted and os.path.exists(home.run_folder(run_id)):
            run_counts[entry.experiment, entry.experiment_id] += 1
    lines: list[str] = []
    for (experiment, experiment_id), count in run_counts.items():
        runs = "1 run" if count == 1 else f"{count} runs"
        lines.append(describe_deleted_experiment(home.mlflow_address, experiment, experiment_id, runs))
    return lines


def describe_deleted_experiment(address: str, experiment: str, experiment_id: str | int, runs: str = "its runs") -> str:
    """Says that an experiment was deleted in the MLflow at an address, and how to restore it."""
    restore = f"MLFLOW_TRACKING_URI={shlex.quote(address)} mlflow experiments restore --experiment-id {experiment_id}"
    return f"the experiment {experiment!r} was deleted in MLflow with {runs}; restore it: {restore}"


def read_record(file: Path, run_id: str) -> RunRecord:
    """A run's record in its run.json. Raises InputError if the file holds no such record."""
    try:
        record = RunRecord(**read_json(file))
        texts = (record.kind, record.name, record.status, record.started_at)
        is_right = (
            record.run_id == run_id
            and isinstance(record.params, dict)
            and all(isinstance(text, str) for text in texts)
        )  # fmt: skip
        datetime.fromisoformat(record.started_at)
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        raise InputError(f"{file} is no record of this run; it was changed, so restore it or move the run away")
    return record


def resolve(home: Home, reference: str, kinds: tuple[str, ...] = TRAINED) -> RunRecord:
    """The run that `reference` means: a run ID, a unique prefix of one, a run name, or `latest`.

    A full ID takes precedence over a name, and a name over a prefix of fewer than 8 characters; `latest` is the newest
    run of `kinds`. Raises InputError if no run matches, several do, or the match is of another kind.
    """
    all_records, faults = _read_all(home)
    if reference == "latest":
        matches = [record for record in all_records if record.kind in kinds][-1:]
    else:
        matches = _find_matches(all_records, reference)
    if not matches:
        raise InputError(_explain_no_match(home, reference, all_records, faults, kinds))
    if len(matches) > 1:
        runs = ", ".join(f"{record.run_id[:SHORT_ID]} ({record.name})" for record in matches)
        raise InputError(f"{reference!r} means {len(matches)} runs: {runs}; give more of the run ID")
    [match] = matches
    if match.kind not in kinds:
        reason = " (imported, so without checkpoints)" if match.kind == "import" else ""
        sources = [one for one in all_records if one.run_id == match.source_run_id and one.kind in kinds]
        advice = (
            f"name run {sources[0].run_id[:SHORT_ID]}, which it is about" if sources else "`study ask runs` lists all"
        )
        raise InputError(
            f"run {match.run_id[:SHORT_ID]} is of kind {match.kind}{reason}, needed is {' or '.join(kinds)}; {advice}"
        )
    return match


def matches(home: Home, reference: str) -> bool:
    """Whether a reference means any run, of whatever kind."""
    return bool(_find_matches(read_records(home), reference))


def _find_matches(all_records: list[RunRecord], reference: str) -> list[RunRecord]:
    with_id = [record for record in all_records if record.run_id == reference]
    if with_id:
        return with_id
    with_name = [record for record in all_records if record.name == reference]
    if with_name and len(reference) < SHORT_ID:
        return with_name
    with_prefix = [record for record in all_records if reference and record.run_id.startswith(reference)]
    return with_name + [record for record in with_prefix if record not in with_name]


def _explain_no_match(
    home: Home, reference: str, all_records: list[RunRecord], faults: list[str], kinds: tuple[str, ...]
) -> str:
    if explanation := _explain_deleted(home, reference, all_records):
        return explanation
    for record in all_records:
        recorded_name = read_record(home.run_folder(record.run_id) / "run.json", record.run_id).name
        if recorded_name == reference:
            run = f"run {record.run_id[:SHORT_ID]}"
            return f"{run} was called {reference!r}; it was renamed {record.name!r} in MLflow"
    candidates = [record for record in all_records if record.kind in kinds]
    if faults:  # it may be one of these
        others = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        return (
            f"no run {reference!r} among those that can be read: {faults[0]}{others}; make them readable, or try again"
        )
    if not candidates:
        kind = f" of kind {' or '.join(kinds)}" if all_records else ""
        return f"no run{kind} in {home.path} yet; `study train` makes one, --home names another study home"
    newest_first = candidates[::-1][:LISTED]
    newest = ", ".join(f"{record.run_id[:SHORT_ID]} ({record.name})" for record in newest_first)
    return f"no run {reference!r} in {home.path}; the newest are: {newest}; `study ask runs` lists all"


def _explain_deleted(home: Home, reference: str, all_records: list[RunRecord]) -> str | None:
    """Says that the run meant was deleted, by itself or with its experiment; None if no deleted run is meant."""
    entries = read_entries(home)
    matches: list[str] = []
    for run_id in sorted(_deleted_runs(home, entries)):
        name = entries[run_id].name if run_id in entries else None
        if reference == name or (reference and run_id.startswith(reference)):
            matches.append(run_id)
    experiments = deleted_experiments(home)
    if experiments and (matches or not all_records):
        return experiments[0]
    if matches:
        run_id = matches[0]
        address = f"MLFLOW_TRACKING_URI={shlex.quote(home.mlflow_address)} " if run_id in entries else ""
        restore = f"{address}mlflow runs restore --run-id {run_id}"
        return f"run {run_id[:SHORT_ID]} was deleted in MLflow; restore it there: {restore}"
    return None


def free_name(home: Home, wanted: str | None, default: str) -> str:
    """`wanted` if no run has that name and no run ID begins with it; otherwise raises InputError.

    Without `wanted`, `default`, with a number if taken. Whoever uses the name must hold `locks.taking_a_name`.
    """
    if wanted and (wanted == "latest" or len(wanted) > LONGEST_NAME or not wanted.isprintable()):
        raise InputError(f"--name is {wanted!r}; it takes 1 to {LONGEST_NAME} printable characters, and not latest")
    taken_names = {record.name for record in read_records(home)}
    if wanted in taken_names:
        raise InputError(f"there is a run called {wanted!r} already; choose another --name")
    if wanted and (reason := _resemblance_to_an_id(home, wanted)):
        raise InputError(f"--name {wanted} {reason}; choose another --name")
    if wanted:
        return wanted
    name = default
    number = 1
    while name in taken_names:
        number += 1
        name = f"{default}-{number}"
    return name


def _resemblance_to_an_id(home: Home, name: str) -> str | None:
    """Why a name could be confused with a run's ID; None if it could not. Deleted runs count, as they may come back."""
    if len(name) >= SHORT_ID:
        for run_id, _ in _record_files(home)[0]:
            if run_id.startswith(name.lower()):
                return f"is how the ID of run {run_id} begins"
    return "looks like a run ID" if re.fullmatch("[0-9a-fA-F]{32}", name) else None
