"""Runs on a MLflow server that others, or this study on another machine, have written: fetched into the home."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from tracking.catalogue import DELETED, read_record
from tracking.commits import Commit, CommittedFile, fault, read_commit
from tracking.errors import InputError
from tracking.files import sha256, write_json
from tracking.home import Home
from tracking.mlflow_client import connect
from tracking.runs import experiment_id
from tracking.staging import put, staging


def fetch(home: Home) -> int:
    """Bring the home's copy of every run up to date with the server; returns the number of files fetched.

    A file that is there with the committed sha256 is not fetched again; one that arrives with another is dropped. A run
    whose own files are not right is named and left out.
    """
    found = connect(home).search_runs([experiment_id(home)], "tags.`study.kind` != ''", ViewType.ALL)
    return sum(_fetch_run(home, run) for run in found)


def _fetch_run(home: Home, run: Run) -> int:
    mark = home.run_folder(run.info.run_id).parent / DELETED
    if run.info.lifecycle_stage == "deleted":
        if mark.parent.exists():
            mark.touch()
        return 0
    mark.unlink(missing_ok=True)
    try:
        fetched = _fetch_files(home, run.info.run_id)
        _rename(home, run.info.run_id, run.info.run_name)
        return fetched
    except MlflowException:  # it has not got as far as its first file
        return 0
    except InputError as error:
        logging.getLogger(__name__).warning(f"run {run.info.run_id[:8]} is not fetched: {error}")
        return 0


def _fetch_files(home: Home, run_id: str) -> int:
    client = connect(home)
    fetched = int(_download(home, run_id, "run.json", lambda file: read_record(file, run_id)))
    for listed in client.list_artifacts(run_id, "commits"):
        with staging(home) as folder:
            commit = read_commit(Path(client.download_artifacts(run_id, listed.path, str(folder))), run_id)
        fetched += sum(_download(home, run_id, file.path, _has(file)) for file in _needed(home, commit))
        fetched += _download(home, run_id, listed.path, Path.is_file)  # last, as when it was written
    return fetched


def _rename(home: Home, run_id: str, name: str | None) -> None:
    """Let the home's copy of a run's record have the name that the run was given on the server."""
    file = home.run_folder(run_id) / "run.json"
    if not file.exists():
        return
    record = read_record(file, run_id)
    if name and name != record.name:
        write_json(file, replace(record, name=name).content())


def _needed(home: Home, commit: Commit) -> list[CommittedFile]:
    """Files of a commit that the home lacks. Optimizer states change hands between epochs and stay where they are."""
    return [file for file in commit.files if not file.path.startswith("resume/") and fault(home, commit.run_id, file)]


def _has(file: CommittedFile) -> Callable[[Path], bool]:
    return lambda local: sha256(local) == file.sha256


def _download(home: Home, run_id: str, path: str, right: Callable[[Path], object]) -> bool:
    """Fetch one file into its place in one step, if it is `right`; whether it is there now."""
    folder = home.run_folder(run_id).resolve()
    place = (folder / path).resolve()
    if not (place.is_relative_to(folder) and folder.is_relative_to(home.artifacts.resolve())):
        return False  # a name that climbs out
    with staging(home) as fetched:
        local = Path(connect(home).download_artifacts(run_id, path, str(fetched)))
        if not right(local):
            return False
        put(home, local, place)
    return True
