"""Which runs a study home holds, and which one a user's RUN refers to."""

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from tracking.commits import committed_units
from tracking.errors import InputError
from tracking.files import read_json
from tracking.home import Home, is_copy
from tracking.locks import is_abandoned
from tracking.mlflow_db import read_entries, runs_in_deleted_experiments
from tracking.run_summaries import FEW_RUNS, UNSETTLED, RunSummary, known_summaries, last_change

LONGEST_NAME = 200  # characters of a run's name
TRAINED = ("train", "import", "improve")  # kinds of run that own epochs
WITH_CHECKPOINTS = ("train", "improve")  # those of them whose epochs have checkpoints
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

    @property
    def seed_group(self) -> str | None:
        """Name of the group of runs that share a recipe but for the seed; None if it is in none."""
        return self.params.get("group")

    def content(self) -> dict:
        return asdict(self)


def utc_now() -> str:
    """The time in UTC, to the microsecond, without an offset: the form of the tables' timestamps."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ")


def digits_of(time: str) -> str:
    """The digits of such a time, for the name of a unit that is committed at it."""
    return time.translate(str.maketrans("", "", "-: ."))


def read_records(home: Home) -> list[RunRecord]:
    """The records of all runs that `list_runs` lists, in its order, with their current names and status."""
    records: list[RunRecord] = []
    for summary in list_runs(home):
        with suppress(FileNotFoundError):  # removed since it was listed, as by `mlflow gc`
            records.append(read_current_record(home, summary))
    return records


def read_current_record(home: Home, summary: RunSummary) -> RunRecord:
    """A listed run's record, with its current name and status."""
    record = read_record(home.record_file(summary.run_id), summary.run_id)
    return replace(record, name=summary.name, status=summary.status)


def list_runs(home: Home, run_ids: Collection[str] | None = None) -> list[RunSummary]:
    """All runs of the home, or of `run_ids`, that are not deleted in MLflow, oldest first, with their names there.

    A run recorded as RUNNING whose writer is gone is KILLED. One whose files cannot be read is named and left out.
    """
    return read_listing(home, run_ids).runs


@dataclass(frozen=True)
class Listing:
    """The runs of a home, and why others are left out."""

    runs: list[RunSummary]
    faults: list[str]


def read_listing(home: Home, run_ids: Collection[str] | None = None) -> Listing:
    """As `list_runs`, with what is wrong with runs that are left out."""
    entries = read_entries(home)
    found: list[RunSummary] = []
    faults: list[str] = []
    for summary in _read_summaries(home, run_ids, faults):
        if summary.deleted or summary.run_id in entries.deleted:
            continue
        name = entries.names.get(summary.run_id)
        if name and name != summary.name:
            summary = summary._replace(name=name)
        if summary.status == "RUNNING" and is_abandoned(home, summary.run_id):
            summary = summary._replace(status="KILLED")
        found.append(summary)
    return Listing(sorted(found, key=attrgetter("started_at", "run_id")), faults)


def _read_summaries(home: Home, run_ids: Collection[str] | None, faults: list[str]) -> Iterator[RunSummary]:
    """The runs of the home as recorded, also deleted ones; only what may have changed since it was known is read.

    Why others cannot be read is added to `faults`. Raises InputError if the folder of all runs cannot be read.
    """
    known = known_summaries(home)
    all_ids = set(_run_folders(home))
    has_few = len(all_ids) <= FEW_RUNS
    if run_ids is None:  # in the index's order, nearly that of a listing; memory is read faster as it was filled
        run_ids = [*(run_id for run_id in known if run_id in all_ids), *(all_ids - known.keys())]
    artifacts = str(home.artifacts)  # as making a path takes longer than all the rest for a run
    for run_id in run_ids:
        changed = last_change(f"{artifacts}/{run_id}/artifacts", with_record=has_few)
        summary = known.get(run_id)
        if summary is None or changed == UNSETTLED or summary.changed != changed:
            try:
                summary = _read_summary(home, run_id, changed)
            except (FileNotFoundError, NotADirectoryError):  # not started yet, removed since it was listed, or no run
                continue
            except OSError as error:
                faults.append(f"{error.filename} cannot be read ({error.strerror})")
                _warn_unreadable(run_id, faults[-1])
                continue
            known[run_id] = summary
        yield summary


def _run_folders(home: Home) -> list[str]:
    try:
        return os.listdir(home.artifacts)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{home.artifacts} cannot be read ({error.strerror}); restore its permissions") from None


def _read_summary(home: Home, run_id: str, changed: int) -> RunSummary:
    """A run as its record says. Raises OSError if this user may not read its files."""
    committed_units(home, run_id)
    record = read_record(home.record_file(run_id), run_id)
    is_deleted = (home.run_folder(run_id).parent / DELETED).exists()
    return RunSummary(
        run_id,
        record.kind,
        record.name,
        record.source_run_id,
        record.status,
        record.seed_group,
        record.started_at,
        is_deleted,
        changed,
    )


@cache  # so once per process
def _warn_unreadable(run_id: str, reason: str) -> None:
    logging.getLogger(__name__).warning(f"{reason}; run {run_id[:SHORT_ID]} is left out until it can be")


def deleted_runs(home: Home) -> set[str]:
    """Runs that were deleted in MLflow, or on a server at the last fetch; their files stay until `mlflow gc`."""
    marked = {summary.run_id for summary in _read_summaries(home, None, []) if summary.deleted}
    return marked | read_entries(home).deleted


def deleted_experiments(home: Home) -> list[str]:
    """A line for each experiment that was deleted in MLflow together with runs of the home."""
    run_counts: Counter[tuple[str, int]] = Counter()
    for experiment, experiment_id, run_id in runs_in_deleted_experiments(home):
        if os.path.exists(home.run_folder(run_id)):
            run_counts[experiment, experiment_id] += 1
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
        raise InputError(f"{file} is not a record of this run; it was changed, so restore it or move the run away")
    return record


def resolve(home: Home, reference: str, kinds: tuple[str, ...] = TRAINED, listing: Listing | None = None) -> RunRecord:
    """The record of the run that `reference` means: a run ID, a unique prefix of one, a run name, or `latest`.

    A full ID takes precedence over a name, and a name over a prefix of fewer than 8 characters; `latest` is the newest
    run of `kinds` in the home. A run that only the server has is fetched. Raises InputError if no run matches, several
    do, or the match is of another kind.
    """
    listing = _list_with(home, reference, listing)
    all_runs = listing.runs
    if reference == "latest":
        matches = [run for run in all_runs if run.kind in kinds][-1:]
    else:
        matches = find_matches(all_runs, reference)
    if not matches:
        raise InputError(_explain_no_match(home, reference, listing, kinds))
    if len(matches) > 1:
        raise InputError(f"{reference!r} means {len(matches)} runs: {describe_runs(matches)}; give more of the run ID")
    [match] = matches
    if match.kind not in kinds:
        reason = " (imported, so without checkpoints)" if match.kind == "import" else ""
        sources = [one for one in all_runs if one.run_id == match.source_run_id and one.kind in kinds]
        advice = (
            f"name run {sources[0].run_id[:SHORT_ID]}, which it is about" if sources else "`study ask runs` lists all"
        )
        raise InputError(
            f"run {match.run_id[:SHORT_ID]} is of kind {match.kind}{reason}, needed is {' or '.join(kinds)}; {advice}"
        )
    return read_current_record(home, match)


def resolve_all(
    home: Home, reference: str, kinds: tuple[str, ...] = TRAINED, listing: Listing | None = None
) -> list[RunRecord]:
    """The records that `reference` means: the finished runs of a group of seeds, by seed, or the one of `resolve`.

    Runs of the group that are not finished are named and left out. Raises InputError as `resolve` does, if none is
    finished, or if a run has the name of the group.
    """
    listing = _list_with(home, reference, listing)
    members = [run for run in find_members(listing.runs, reference) if run.kind in kinds]
    if not members:
        return [resolve(home, reference, kinds, listing)]
    if namesakes := find_matches(listing.runs, reference):
        raise InputError(
            f"{reference!r} means a group of {len(members)} runs, and {describe_runs(namesakes)}; give the run's ID, "
            "or rename it in MLflow"
        )
    finished = [run for run in members if run.status == "FINISHED"]
    unfinished = [run for run in members if run.status != "FINISHED"]
    if not finished:
        raise InputError(f"no run of group {reference!r} is finished; there are: {describe_runs(unfinished)}")
    if unfinished:
        logging.getLogger(__name__).warning(
            f"not finished, so left out of group {reference!r}: {describe_runs(unfinished)}"
        )
    return sort_by_seed([read_current_record(home, run) for run in finished])


def read_members(home: Home, group: str) -> list[RunRecord]:
    """The records of all runs of a group, finished or not, by seed; none if there is no such group."""
    listing = _list_with(home, group, None)
    return sort_by_seed([read_current_record(home, run) for run in find_members(listing.runs, group)])


def sort_by_seed(records: list[RunRecord]) -> list[RunRecord]:
    return sorted(records, key=lambda record: (record.seed is None, record.seed, record.started_at))


def split_epoch(home: Home, reference: str) -> tuple[str, str | None]:
    """The run and the epoch of RUN:EPOCH. The epoch is not checked.

    What means a run or a group as a whole, such as a name with a colon, has none.
    """
    all_runs = list_runs(home)
    run, colon, epoch = reference.rpartition(":")
    if not colon or find_matches(all_runs, reference) or find_members(all_runs, reference):
        return reference, None
    return run, epoch


def _list_with(home: Home, reference: str, listing: Listing | None) -> Listing:
    """The runs of the home, with those that only the server has and `reference` means, which are fetched."""
    listing = listing or read_listing(home)
    is_here = find_matches(listing.runs, reference) or find_members(listing.runs, reference)
    if is_here or reference in ("", "latest") or not is_copy(home):
        return listing

    from tracking.remote import fetch_named  # imports mlflow, which is slow and needed for this alone

    try:
        fetch_named(home, reference)
    except InputError as error:
        raise InputError(
            f"no run {reference!r} in {home.path}, and it cannot be looked for elsewhere: {error}"
        ) from None
    return read_listing(home)


def matches(home: Home, reference: str) -> bool:
    """Whether a reference means a run of any kind."""
    return bool(find_matches(list_runs(home), reference))


def find_matches(all_runs: list[RunSummary], reference: str) -> list[RunSummary]:
    """The runs that a reference other than `latest` may mean, by the rules of `resolve`."""
    with_id = [run for run in all_runs if run.run_id == reference]
    if with_id:
        return with_id
    with_name = [run for run in all_runs if run.name == reference]
    if with_name and len(reference) < SHORT_ID:
        return with_name
    with_prefix = [run for run in all_runs if reference and run.run_id.startswith(reference)]
    return with_name + [run for run in with_prefix if run not in with_name]


def find_members(all_runs: list[RunSummary], reference: str) -> list[RunSummary]:
    """The runs of the group of seeds that a reference names."""
    return [run for run in all_runs if run.seed_group is not None and run.seed_group == reference]


def describe_runs(runs: list[RunSummary]) -> str:
    """Their IDs and names, for a message."""
    return ", ".join(f"{run.run_id[:SHORT_ID]} ({run.name})" for run in runs)


def _explain_no_match(home: Home, reference: str, listing: Listing, kinds: tuple[str, ...]) -> str:
    all_runs, faults = listing.runs, listing.faults
    if members := find_members(all_runs, reference):
        return f"{reference!r} is a group of {len(members)} runs: {describe_runs(members)}; name one of them"
    if explanation := _explain_deleted(home, reference, all_runs):
        return explanation
    for run in all_runs:
        if read_record(home.record_file(run.run_id), run.run_id).name == reference:
            was_called = f"run {run.run_id[:SHORT_ID]} was called {reference!r}"
            return f"{was_called}; it was renamed {run.name!r} in MLflow"
    candidates = [run for run in all_runs if run.kind in kinds]
    if faults:  # it may be one of these
        others = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        return (
            f"no run {reference!r} among those that can be read: {faults[0]}{others}; make them readable, or try again"
        )
    if not candidates:
        kind = f" of kind {' or '.join(kinds)}" if all_runs else ""
        fetching = "`study rebuild` fetches those of the server, " if is_copy(home) else ""
        return f"no run{kind} in {home.path} yet; {fetching}`study train` makes one, --home names another study home"
    newest_first = candidates[::-1][:LISTED]
    newest = describe_runs(newest_first)
    elsewhere = ", nor on the server" if is_copy(home) else ""
    return f"no run {reference!r} in {home.path}{elsewhere}; the newest are: {newest}; `study ask runs` lists all"


def _explain_deleted(home: Home, reference: str, all_runs: list[RunSummary]) -> str | None:
    """Says that the run meant was deleted, by itself or with its experiment; None if no deleted run is meant."""
    names = read_entries(home).names
    matches: list[str] = []
    for run_id in sorted(deleted_runs(home)):
        if reference == names.get(run_id) or (reference and run_id.startswith(reference)):
            matches.append(run_id)
    experiments = deleted_experiments(home)
    if experiments and (matches or not all_runs):
        return experiments[0]
    if matches:
        run_id = matches[0]
        address = f"MLFLOW_TRACKING_URI={shlex.quote(home.mlflow_address)} " if run_id in names else ""
        restore = f"{address}mlflow runs restore --run-id {run_id}"
        return f"run {run_id[:SHORT_ID]} was deleted in MLflow; restore it there: {restore}"
    return None


def free_name(home: Home, wanted: str | None, default: str, flag: str = "--name") -> str:
    """`wanted` if no run or group has that name and no run ID begins with it; otherwise raises InputError.

    Without `wanted`, `default`, with a number if taken. The caller must hold `locks.taking_a_name` while it uses the
    name. `flag` is what `wanted` was given by.
    """
    if wanted and (wanted == "latest" or len(wanted) > LONGEST_NAME or not wanted.isprintable()):
        raise InputError(f"{flag} is {wanted!r}; it takes 1 to {LONGEST_NAME} printable characters, and not latest")
    all_runs = list_runs(home)
    taken_names = {run.name for run in all_runs} | {run.seed_group for run in all_runs if run.seed_group}
    if wanted in taken_names:
        what = "group" if find_members(all_runs, wanted) else "run"
        raise InputError(f"there is a {what} called {wanted!r} already; choose another {flag}")
    if wanted and (reason := _resemblance_to_an_id(home, wanted)):
        raise InputError(f"{flag} {wanted} {reason}; choose another {flag}")
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
        for run_id in _run_folders(home):
            if run_id.startswith(name.lower()):
                return f"is how the ID of run {run_id} begins"
    return "looks like a run ID" if re.fullmatch("[0-9a-fA-F]{32}", name) else None
