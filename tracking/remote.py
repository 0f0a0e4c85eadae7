"""Runs on an MLflow server that others, or this study on another machine, have written: fetched into the home.

A run that the server describes as it did when all of it was fetched costs no request. Tables and small records are
fetched by `fetch`; checkpoints, pictures and training states when they are first used.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from operator import attrgetter
from pathlib import Path, PurePosixPath

from tracking import mlflow_internals
from tracking.catalogue import DELETED, SHORT_ID, RunRecord, describe_runs, find_matches, find_members, read_record
from tracking.commits import Commit, CommittedFile, find_fault, read_commit, readable_commits
from tracking.errors import InputError, redacted
from tracking.files import read_json, sha256, write_json
from tracking.home import Home, is_copy
from tracking.mlflow_client import connect, no_answer, tracking_uri
from tracking.run_summaries import UNSETTLED, RunSummary, family_of, note_change
from tracking.runs import GROUP, LAST_COMMIT, PENDING, experiment_id
from tracking.staging import copy_into_place, staging_folder
from tracking.tables import table_of

# isort: split
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from requests import RequestException

FETCHED = "fetched.json"  # beside a run's files: what the server said of the run when all of it was fetched
DOWNLOADS = 8  # at once; MLflow keeps up to ten connections open


@dataclass(frozen=True)
class State:
    """What a server says of a run. It differs as soon as the run has a new record or commit."""

    status: str
    ended_ms: int | None
    last_commit: str | None  # None in runs of earlier versions

    @property
    def is_settled(self) -> bool:
        """Whether each change from now on will show in it."""
        return self.status != "RUNNING" and self.last_commit not in (None, PENDING)


def fetch(home: Home, progress: Callable[[int, int], None] | None = None) -> int:
    """Bring the home's copy of every run up to date with the server; returns the number of files fetched.

    A file already here with the committed sha256 is not fetched again; one that arrives with another is dropped. A run
    whose own files are not sound is named and left out. `progress` is told how many of how many runs are done. Raises
    InputError if the server does not answer.
    """
    count = 0
    experiment = experiment_id(home)
    with _answering(home), ThreadPoolExecutor(DOWNLOADS) as pool:
        runs = list(_search_runs(home, experiment))
        for done, run in enumerate(runs, 1):
            count += _fetch_run(home, run, pool)
            if progress:
                progress(done, len(runs))
    return count


def fetch_named(home: Home, reference: str) -> None:
    """Fetch what a reference means on the server: a run, by its name, ID or the beginning of one, or a group of seeds.

    With it come those that belong to it: the training run, and all that explain it, compare its maps or report on it.
    Raises InputError if several runs without a group are meant, or if the server does not answer.
    """
    experiment = experiment_id(home)
    with _answering(home), ThreadPoolExecutor(DOWNLOADS) as pool:
        runs = {run.info.run_id: run for run in _search_runs(home, experiment)}
        summaries = sorted(map(_summarize, runs.values()), key=attrgetter("started_at"))
        summaries = [summary for summary in summaries if not summary.deleted]
        members = find_members(summaries, reference)
        named = members or find_matches(summaries, reference)
        described = describe_runs(named)
        if len(named) > 1 and not members:
            raise InputError(
                f"{reference!r} means {len(named)} runs on the server: {described}; give more of the run ID"
            )
        family = family_of([run.source_run_id or run.run_id for run in named], summaries)
        for summary in summaries:
            if summary.run_id in family:
                _fetch_run(home, runs[summary.run_id], pool)
    if named:
        others = f" and {len(family) - len(named)} that belong to it" if len(family) > len(named) else ""
        what = f"group {reference!r}:" if members else "run"
        _warn(f"fetched {what} {described}{others} from {redacted(tracking_uri(home))}")


def _summarize(run: Run) -> RunSummary:
    """What a server says of a run, which may have no record in the home."""
    return RunSummary(
        run_id=run.info.run_id,
        kind=run.data.tags["study.kind"],
        name=run.info.run_name,
        source_run_id=run.data.tags.get("study.source_run_id"),
        status=run.info.status,
        seed_group=run.data.tags.get(GROUP),
        started_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(),
        deleted=run.info.lifecycle_stage == "deleted",
        changed=UNSETTLED,
    )


def fetch_run(home: Home, run_id: str) -> None:
    """Bring the home's copy of one run up to date with the server, if there is one.

    Raises InputError if that does not answer.
    """
    if not is_copy(home):
        return
    with _answering(home), ThreadPoolExecutor(DOWNLOADS) as pool:
        _fetch_run(home, connect(home).get_run(run_id), pool)


def fetch_file(home: Home, run_id: str, file: CommittedFile) -> None:
    """Fetch one committed file that the home lacks. Raises InputError if the server does not have it."""
    with _answering(home):
        fault = _Server(home, run_id).download(file.path, partial(_check_sha256, file))
    if fault:
        raise InputError(f"{fault}; restore it there")


@contextmanager
def _answering(home: Home) -> Iterator[None]:
    try:
        yield
    except (MlflowException, RequestException) as error:
        raise no_answer(tracking_uri(home), error) from None


def _search_runs(home: Home, experiment: str) -> Iterator[Run]:
    """All runs of the study on the server, deleted ones too; MLflow returns up to 1,000 at a time."""
    token = None
    while True:
        page = connect(home).search_runs([experiment], "tags.`study.kind` != ''", ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _fetch_run(home: Home, run: Run, pool: ThreadPoolExecutor) -> int:
    run_id = run.info.run_id
    deletion_mark = home.run_folder(run_id).parent / DELETED
    if run.info.lifecycle_stage == "deleted":
        if deletion_mark.parent.exists() and not deletion_mark.exists():
            deletion_mark.touch()
            note_change(home, run_id)
        return 0
    if deletion_mark.exists():
        deletion_mark.unlink()
        note_change(home, run_id)
    try:
        count = _fetch_files(home, run, pool)
        _rename(home, run_id, run.info.run_name)
        return count
    except FileNotFoundError:  # it has not reached its first file
        return 0
    except InputError as error:
        _warn(f"run {run_id[:SHORT_ID]} is not fetched: {error}")
        return 0


def _fetch_files(home: Home, run: Run, pool: ThreadPoolExecutor) -> int:
    """Fetch what the home lacks of a run, without a request if it lacks nothing.

    Raises FileNotFoundError if the server has no record of the run, InputError if that is not sound.
    """
    run_id = run.info.run_id
    server = _Server(home, run_id, run.info.artifact_uri)
    state = State(run.info.status, run.info.end_time, run.data.tags.get(LAST_COMMIT))
    note = home.run_folder(run_id).parent / FETCHED
    commits, faults = readable_commits(home, run_id)
    new_units = set(faults)
    count = 0
    if not state.is_settled or _read_note(note) != asdict(state) or _read_own_record(home, run_id) is None:
        if fault := server.download("run.json", partial(_check_record, run_id)):
            raise FileNotFoundError(fault)
        count += 1
        new_units |= server.list_units() - {commit.unit for commit in commits}

    fetching = [
        *pool.map(server.fetch_missing, commits),
        *pool.map(server.fetch_unit, sorted(new_units)),
    ]
    file_count = sum(count for count, _ in fetching)
    all_faults = [fault for _, faults in fetching for fault in faults]
    for fault in all_faults:
        _warn(f"{fault}; it is left out until it is restored there")
    if count + file_count:
        note_change(home, run_id)
    if not all_faults and _read_note(note) != asdict(state):
        write_json(note, asdict(state))
    return count + file_count


def _read_note(note: Path) -> object:
    with suppress(OSError, InputError):
        return read_json(note)
    return None


def _read_own_record(home: Home, run_id: str) -> RunRecord | None:
    with suppress(OSError, InputError):
        return read_record(home.record_file(run_id), run_id)
    return None


def _rename(home: Home, run_id: str, name: str | None) -> None:
    """Give the home's copy of a run's record the name that the run now has on the server."""
    record = _read_own_record(home, run_id)
    if record and name and name != record.name:
        write_json(home.record_file(run_id), replace(record, name=name).content())
        note_change(home, run_id)


def _is_wanted(file: CommittedFile) -> bool:
    """Whether questions need a file; others are fetched when they are used."""
    return table_of(file.path) is not None or (file.path.endswith(".json") and not file.path.startswith("resume/"))


def _check_record(run_id: str, local: Path) -> None:
    read_record(local, run_id)


def _check_sha256(file: CommittedFile, local: Path) -> str | None:
    return None if sha256(local) == file.sha256 else "not what was committed (its sha256 differs)"


def _warn(line: str) -> None:
    logging.getLogger(__name__).warning(line)


@cache
def _find_artifact_uri(home: Home, run_id: str) -> str:
    return connect(home).get_run(run_id).info.artifact_uri


class _Server:
    """Where a server keeps the files of one run, and the home their copies."""

    def __init__(self, home: Home, run_id: str, artifact_uri: str | None = None) -> None:
        self.home = home
        self.run_id = run_id
        uri = artifact_uri or _find_artifact_uri(home, run_id)
        self.files = mlflow_internals.StoredFiles(uri, tracking_uri(home))

    def list_units(self) -> set[str]:
        names = [PurePosixPath(path) for path in self.files.list_folder("commits")]
        return {name.stem for name in names if name.suffix == ".json"}

    def fetch_unit(self, unit: str) -> tuple[int, list[str]]:
        """Fetch a commit and, before it is in place, its files; returns their number, and what is wrong with others."""
        path = f"commits/{unit}.json"
        with staging_folder(self.home) as folder:
            local = folder / f"{unit}.json"
            try:
                self.files.download(path, local)
                commit = read_commit(local, self.run_id)
            except FileNotFoundError:
                return 0, [self._describe(path, "gone")]
            except InputError:
                return 0, [self._describe(path, "no commit of this run and unit")]
            count, faults = self.fetch_missing(commit)
            copy_into_place(self.home, local, self.home.run_folder(self.run_id) / path)
        return count + 1, faults

    def fetch_missing(self, commit: Commit) -> tuple[int, list[str]]:
        """Fetch what questions need and the home lacks; returns the number of files, and what is wrong with others."""
        missing = [file for file in commit.files if _is_wanted(file) and find_fault(self.home, self.run_id, file)]
        faults = [self.download(file.path, partial(_check_sha256, file)) for file in missing]
        return faults.count(None), [fault for fault in faults if fault]

    def download(self, path: str, find_fault: Callable[[Path], str | None]) -> str | None:
        """Fetch one file into its place in one step, unless something is wrong with it, which is returned."""
        folder = self.home.run_folder(self.run_id).resolve()
        place = (folder / path).resolve()
        if not (place.is_relative_to(folder) and folder.is_relative_to(self.home.artifacts.resolve())):
            return self._describe(path, "outside of the run's folder")
        with staging_folder(self.home) as download_folder:
            local = download_folder / place.name
            try:
                self.files.download(path, local)
            except FileNotFoundError:
                return self._describe(path, "gone")
            if fault := find_fault(local):
                return self._describe(path, fault)
            copy_into_place(self.home, local, place)
        return None

    def _describe(self, path: str, fault: str) -> str:
        return f"{path} of run {self.run_id[:SHORT_ID]} on {redacted(tracking_uri(self.home))} is {fault}"
