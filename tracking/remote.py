"""Runs on a MLflow server that others, or this study on another machine, have written: fetched into the home."""

import os
import tempfile
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tracking.commits import Commit, read_commit
from tracking.files import sha256
from tracking.home import Home
from tracking.runs import connect, experiment_id


def fetch(home: Home) -> int:
    """Bring the home's copy of every run up to date with the server; returns the number of files fetched.

    A file that is there with the committed sha256 is not fetched again; one that arrives with another is dropped.
    """
    found = connect(home).search_runs([experiment_id(home)], "tags.`study.kind` != ''")
    return sum(_fetch_run(home, run) for run in found)


def _fetch_run(home: Home, run: Run) -> int:
    run_id, client = run.info.run_id, connect(home)
    try:
        listed = [file.path for file in client.list_artifacts(run_id, "commits")]
        record = _download(home, run_id, "run.json", None)
    except MlflowException:  # it has not got as far as its first file
        return 0
    fetched = int(record)
    for path in listed:
        with tempfile.TemporaryDirectory() as folder:
            commit = read_commit(Path(client.download_artifacts(run_id, path, folder)))
        fetched += sum(_download(home, run_id, file.path, file.sha256) for file in _needed(home, commit))
        fetched += _download(home, run_id, path, None)  # last, as when it was written
    return fetched


def _needed(home: Home, commit: Commit) -> list:
    """Files of a commit that the home lacks. Optimizer states change hands between epochs and stay where they are."""
    folder = home.run_folder(commit.run_id)
    return [
        file
        for file in commit.files
        if not file.path.startswith("resume/")
        and not ((folder / file.path).is_file() and sha256(folder / file.path) == file.sha256)
    ]


def _download(home: Home, run_id: str, path: str, digest: str | None) -> bool:
    """Fetch one file into its place in one step; whether it is there now and has the digest."""
    place = (home.run_folder(run_id) / path).resolve()
    if not place.is_relative_to(home.run_folder(run_id).resolve()):
        return False  # a name that climbs out of the run's folder
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetch-") as folder:
        local = Path(connect(home).download_artifacts(run_id, path, folder))
        if digest is not None and sha256(local) != digest:
            return False
        os.replace(local, place)
    return True
