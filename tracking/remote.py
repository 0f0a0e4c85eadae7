"""Runs on an MLflow server that others, or this study on another machine, have written: fetched into the home."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tracking import mlflow_internals  # noqa: F401  first, as MLflow reads its settings when it is imported
from tracking.catalogue import DELETED, read_record
from tracking.commits import Commit, CommittedFile, find_fault, read_commit
from tracking.errors import InputError
from tracking.files import sha256, write_json
from tracking.home import Home
from tracking.mlflow_client import connect
from tracking.run_summaries import note_change
from tracking.runs import experiment_id
from tracking.staging import copy_into_place, staging_folder

# isort: split
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException


def fetch(home: Home) -> int:
    """Bring the home's copy of every run up to date with the server; returns the number of files fetched.

    A file already here with the committed sha256 is not fetched again; one that arrives with another is dropped. A run
    whose own files are not sound is named and left out.
    """
    runs = connect(home).search_runs([experiment_id(home)], "tags.`study.kind` != ''", ViewType.ALL)
    return sum(_fetch_run(home, run) for run in runs)


def _fetch_run(home: Home, run: Run) -> int:
    run_id = run.info.run_id
    deletion_mark = home.run_folder(run_id).parent / DELETED
    if run.info.lifecycle_stage == "deleted":
        if deletion_mark.parent.exists():
            deletion_mark.touch()
            note_change(home, run_id)
        return 0
    if deletion_mark.exists():
        deletion_mark.unlink()
        note_change(home, run_id)
    try:
        count = _fetch_files(home, run_id)
        _rename(home, run_id, run.info.run_name)
        return count
    except MlflowException:  # it has not reached its first file
        return 0
    except InputError as error:
        logging.getLogger(__name__).warning(f"run {run_id[:8]} is not fetched: {error}")
        return 0


def _fetch_files(home: Home, run_id: str) -> int:
    client = connect(home)
    count = int(_download(home, run_id, "run.json", lambda local: read_record(local, run_id)))
    note_change(home, run_id)
    for artifact in client.list_artifacts(run_id, "commits"):
        with staging_folder(home) as folder:
            commit = read_commit(Path(client.download_artifacts(run_id, artifact.path, str(folder))), run_id)
        for file in _missing_files(home, commit):
            count += _download(home, run_id, file.path, _has(file.sha256))
        count += _download(home, run_id, artifact.path, Path.is_file)  # last, as when it was written
    return count


def _has(digest: str) -> Callable[[Path], bool]:
    return lambda local: sha256(local) == digest


def _rename(home: Home, run_id: str, name: str | None) -> None:
    """Give the home's copy of a run's record the name that the run now has on the server."""
    file = home.run_folder(run_id) / "run.json"
    if not file.exists():
        return
    record = read_record(file, run_id)
    if name and name != record.name:
        write_json(file, replace(record, name=name).content())
        note_change(home, run_id)


def _missing_files(home: Home, commit: Commit) -> list[CommittedFile]:
    """Files of a commit that the home lacks, but for optimizer states: each epoch replaces them, so they stay there."""
    return [
        file
        for file in commit.files
        if not file.path.startswith("resume/") and find_fault(home, commit.run_id, file)
    ]  # fmt: skip


def _download(home: Home, run_id: str, path: str, is_right: Callable[[Path], object]) -> bool:
    """Fetch one file into its place in one step if it `is_right`; returns whether it is there now."""
    folder = home.run_folder(run_id).resolve()
    place = (folder / path).resolve()
    if not (place.is_relative_to(folder) and folder.is_relative_to(home.artifacts.resolve())):
        return False  # a name that climbs out of the run's folder
    with staging_folder(home) as download_folder:
        local = Path(connect(home).download_artifacts(run_id, path, str(download_folder)))
        if not is_right(local):
            return False
        copy_into_place(home, local, place)
    return True
