"""Runs in MLflow: started, given files, finished.

Only this, `committing.py`, `display.py`, `mlflow_client.py`, `mlflow_internals.py`, `models.py`, `stored_models.py` and
`remote.py` talk to MLflow.
"""

import getpass
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from tracking import locks, mlflow_internals, patience  # noqa: F401
from tracking.catalogue import TRAINED, WITH_CHECKPOINTS, RunRecord, free_name, list_runs, read_current_record, utc_now
from tracking.environment import git_commit
from tracking.errors import InputError
from tracking.files import write_json
from tracking.home import Home, check_writable, make_home
from tracking.mlflow_client import connect, find_experiment, server_address
from tracking.run_summaries import note_change
from tracking.staging import copy_into_place, staging_folder

# isort: split
# after `mlflow_internals`, as MLflow reads its settings when it is imported
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param

NOTE = "mlflow.note.content"  # the tag in which MLflow keeps a description, of a run, a model or an experiment
SOURCE = "mlflow.source.name"  # the tag that says what made a run; by default the command of its kind
GROUP = "study.group"  # the tag of runs that share a recipe but for the seed: the name of their group
LAST_COMMIT = "study.last_commit"  # the tag that tells other homes whether a run has commits that they lack
PENDING = "pending"  # its value while a run that has ended gets another commit
UPLOADS = 8  # at once; MLflow keeps up to ten connections open


@dataclass(frozen=True)
class Run:
    """A run that is being written."""

    home: Home
    record: RunRecord
    client: MlflowClient

    @property
    def run_id(self) -> str:
        return self.record.run_id


@cache
def experiment_id(home: Home) -> str:
    """ID of the experiment that all runs belong to. Raises InputError if MLflow does not answer."""
    experiment = find_experiment(home)
    _end_abandoned_runs(home, connect(home), experiment.experiment_id)
    return experiment.experiment_id


def _end_abandoned_runs(home: Home, client: MlflowClient, experiment: str) -> None:
    """Set runs whose writer was killed to KILLED in MLflow too."""
    for running in client.search_runs([experiment], "attributes.status = 'RUNNING' and tags.`study.kind` != ''"):
        run_id = running.info.run_id
        if not locks.is_abandoned(home, run_id):
            continue
        status = "KILLED"
        for summary in list_runs(home, [run_id]):  # none if it ended before its record was written
            log_record(Run(home, read_current_record(home, summary), client))
            status = summary.status
        client.set_terminated(run_id, status)


def start_run(home: Home, record: RunRecord, tags: dict[str, str], note: str) -> Run:
    """A new run in MLflow with the record's name and kind; the record's run_id is filled in.

    Params are logged of runs that own epochs, which one compares by them. MLflow writes a run's params above each of
    its pictures, where those of an explainer run would push the heatmaps out of sight; they stand in its note.
    """
    client = connect(home)
    all_tags = {
        "study.kind": record.kind,
        "study.training": record.name,  # of a run that owns epochs; others bring that of their source
        NOTE: note,
        "mlflow.user": user_name(),
        SOURCE: f"study {record.kind}",
        "mlflow.source.type": "LOCAL",
    }
    if record.git_commit:
        all_tags["mlflow.source.git.commit"] = record.git_commit.split("-")[0]
    all_tags |= tags
    if record.seed_group:
        all_tags[GROUP] = record.seed_group
    if record.source_run_id:
        all_tags["mlflow.parentRunId"] = record.source_run_id
        all_tags["study.source_run_id"] = record.source_run_id

    created = client.create_run(experiment_id(home), run_name=record.name, tags=all_tags)
    run = Run(home, replace(record, run_id=created.info.run_id), client)
    locks.hold(home, run.run_id)

    if record.kind in TRAINED:
        params = [Param(key, str(value)) for key, value in record.params.items() if value is not None]
        client.log_batch(run.run_id, params=params)
    if record.dataset and record.data_digest:
        source = json.dumps({"uri": record.params.get("data") or record.dataset})
        # MLflow writes it after the name; the whole digest is in the run's record
        dataset = Dataset(record.dataset, record.data_digest[:8], source_type="local", source=source)
        context = InputTag("mlflow.data.context", "training" if record.kind in WITH_CHECKPOINTS else record.kind)
        client.log_inputs(run.run_id, datasets=[DatasetInput(dataset, tags=[context])])
    return run


def user_name() -> str:
    """Who runs this process, by number where the system has no name for it, as in `docker run --user 12345`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"  # Windows has no numbers for users


def check_start(home: Home, wanted: str | None) -> None:
    """Raise InputError if no run could be started in the home under the requested name. Makes nothing."""
    check_writable(home)
    free_name(home, wanted, "")


@contextmanager
def taking_name(home: Home, wanted: str | None, default: str) -> Iterator[str]:
    """A free name, which no other process takes during the block, in which the run must be started and recorded."""
    experiment_id(home)  # may take seconds, so before the lock, where others would have to wait
    with locks.taking_a_name(home):
        yield free_name(home, wanted, default)


def new_record(
    kind: str,
    name: str,
    params: dict[str, Any],
    *,
    source_run_id: str | None = None,
    dataset: str | None = None,
    data_digest: str | None = None,
    seed: int | None = None,
) -> RunRecord:
    """Record of a run about to start, its run_id still empty."""
    return RunRecord(
        run_id="",
        kind=kind,
        name=name,
        source_run_id=source_run_id,
        status="RUNNING",
        dataset=dataset,
        data_digest=data_digest,
        seed=seed,
        git_commit=git_commit(),
        started_at=utc_now(),
        finished_at=None,
        params=params,
    )


@contextmanager
def claimed(home: Home, record: RunRecord) -> Iterator[None]:
    """No other process writes the run during the block. Raises InputError if one does, here or on another machine."""
    make_home(home)  # refuses one that is read-only
    is_from_elsewhere = os.environ.get("MLFLOW_TRACKING_URI") and not locks.was_written_here(home, record.run_id)
    if is_from_elsewhere and record.status == "RUNNING":
        raise InputError(f"run {record.run_id[:8]} was RUNNING in another home when it was fetched; resume it there")
    with locks.held(home, record.run_id):
        connect(home)  # after the lock, as a writer that hangs may hold MLflow's database
        yield


def reopen_run(home: Home, record: RunRecord) -> Run:
    """The run of `record`, RUNNING again."""
    experiment_id(home)
    run = Run(home, replace(record, status="RUNNING", finished_at=None), connect(home))
    run.client.update_run(run.run_id, status="RUNNING")
    log_record(run)
    return run


def open_run(home: Home, record: RunRecord) -> Run:
    """The run of `record`, to commit more to it without a change of its status."""
    experiment_id(home)
    return Run(home, record, connect(home))


def finish_run(run: Run, status: str = "FINISHED") -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    finished = replace(run.record, status=status, finished_at=utc_now())
    log_record(replace(run, record=finished))
    run.client.set_terminated(run.run_id, status)
    locks.release(run.home, run.run_id)


def give_up(run: Run, status: str) -> None:
    """End a run that cannot continue, as far as disk and server allow; the rest is done later."""
    with suppress(Exception), patience.limits(patience.SHORTEST):
        finish_run(run, status)
    locks.release(run.home, run.run_id)


def log_record(run: Run) -> None:
    """Write the run's row of table `runs` to run.json, the only file of a run that changes."""
    with staging_folder(run.home) as folder:
        log_file(run, write_json(folder / "run.json", run.record.content()), "run.json")
    note_change(run.home, run.run_id)


def log_file(run: Run, local: Path, path: str) -> None:
    """Put `local` into the run's files as `path`, whole or not at all."""
    log_files(run, {path: local})


def log_files(run: Run, files: dict[str, Path]) -> None:
    """Put files (path in the run: local file) into the run's, each whole or not at all, in any order."""
    for path, local in files.items():
        if local.name != os.path.basename(path):
            raise ValueError(f"MLflow keeps file names: {local} cannot be logged as {path}")
    if files and os.environ.get("MLFLOW_TRACKING_URI"):
        # its threads are daemons, so that a command that is stopped does not wait for a lost server
        with ThreadPool(min(len(files), UPLOADS)) as pool:
            pool.starmap(partial(upload, run), files.items(), chunksize=1)
    for path, local in files.items():
        # not by MLflow: its copy would go where its database says, and could be read half-written
        copy_into_place(run.home, local, run.home.run_folder(run.run_id) / path)


def upload(run: Run, path: str, local: Path) -> None:
    """Put `local` into the run's files on the server as `path`; the home does not get it."""
    run.client.log_artifact(run.run_id, str(local), os.path.dirname(path) or None)


def unreachable(home: Home) -> str | None:
    """Why the MLflow server cannot be written to at this moment; None if it can, or if there is none."""
    if not server_address():
        return None
    try:
        with patience.limits(patience.SHORTEST):
            experiment_id(home)
    except InputError as error:
        return str(error)
    return None


def log_page(home: Home, record: RunRecord, page: Path) -> Path:
    """Put a page about a run among its files and return its path. If the server is down, only the home has it."""
    place = home.run_folder(record.run_id) / page.name
    if server_address():
        copy_into_place(home, page, place)  # before the server is tried
    if reason := unreachable(home):
        logging.getLogger(__name__).warning(
            f"{page.name} is in the study home, not on the server: {reason}; make the page again once it answers"
        )
    else:
        log_file(open_run(home, record), page, page.name)
    return place


def set_tag(run: Run, key: str, value: str, run_id: str | None = None) -> None:
    """A tag that `run`, or another run, shows in MLflow."""
    run.client.set_tag(run_id or run.run_id, key, value)
