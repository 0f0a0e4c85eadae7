"""Runs in MLflow: started, committed to, finished. Only this, `models.py` and `remote.py` talk to MLflow."""

import getpass
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, overload

from tracking import locks, patience
from tracking.catalogue import RunRecord, free_name, now, records, was_deleted
from tracking.commits import Commit, CommittedFile, EpochCommit
from tracking.environment import git_commit
from tracking.errors import InputError
from tracking.files import sha256, write_json
from tracking.home import Home, check_writable, make_home
from tracking.mlflow_db import EXPERIMENT, follow_move, is_own_folder, schema_revision, take_experiment
from tracking.staging import put, staging, sweep

# read by MLflow when it is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it carries our results
try:
    Path.home()
except RuntimeError:  # a user whom the system does not know, without HOME; its import fails then
    os.environ["HOME"] = "/nonexistent"  # as such users have by convention

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as db_utils
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_LOGGED_IMAGES
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

for name in ("mlflow", "alembic"):  # their word on tables they create is no news to a user
    logging.getLogger(name).setLevel(logging.WARNING)
patience.set_limits()
db_utils.MAX_RETRY_COUNT = patience.DATABASE_TRIES  # else a database that is not there takes two minutes


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
def connect(home: Home) -> MlflowClient:
    """Client of the home's own MLflow database, or of the server in MLFLOW_TRACKING_URI.

    Whatever writes comes through here, so a home that was copied has its own places first. Raises InputError if MLflow
    cannot serve.
    """
    _check_address()
    make_home(home)
    sweep(home)
    try:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            _open_database(home)
        return MlflowClient(tracking_uri(home))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise InputError(_no_answer(tracking_uri(home), str(error).splitlines()[0])) from None
    except ImportError as error:
        raise InputError(f"MLflow at {tracking_uri(home)} needs a package that is not installed: {error}") from None


def _check_address() -> None:
    """Raise InputError on a password with characters that part an address: what follows would be taken for a host."""
    if re.match(r"https?://[^/?#]*[/?#].*@", os.environ.get("MLFLOW_TRACKING_URI", "")):
        raise InputError(
            "MLFLOW_TRACKING_URI has / ? or # before an @; in its password write %2F, %3F and %23 instead of them"
        )


def _open_database(home: Home) -> None:
    """Make the home's database if there is none; see that it is one that MLflow can use, with the home's own places."""
    if not home.mlflow_db.exists():
        if count := len(list(home.artifacts.glob("*/artifacts/run.json"))):
            # MLflow gives new runs IDs of its own choice, so those there are cannot be made again from their files
            raise InputError(
                f"{home.mlflow_db} is gone, but {count} runs lie in {home.artifacts}; restore it from a backup, set "
                "MLFLOW_TRACKING_URI if a server keeps these runs, or start anew with another --home"
            )
        _make_database(home)
    if newer := _newer_schema(home.mlflow_address, schema_revision(home)):
        raise InputError(newer)
    follow_move(home)


def _make_database(home: Home) -> None:
    """An empty MLflow database, put in place whole: MLflow takes seconds to make one and cannot use half a one."""
    with staging(home) as folder:
        made = Home(folder).mlflow_db
        MlflowClient(Home(folder).mlflow_address).search_experiments()
        whole = Path(shutil.copyfile(made, folder / "whole"))  # with the mode that the umask says
        try:
            os.link(whole, home.mlflow_db)
        except FileExistsError:  # another process was quicker
            pass
        except OSError:  # a file system without links
            os.replace(whole, home.mlflow_db)


def tracking_uri(home: Home) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or home.mlflow_address


def server_address() -> str | None:
    """Address of the MLflow server that keeps the runs, None where a database of our own does."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    return address if address.startswith(("http://", "https://")) else None


@cache
def experiment_id(home: Home) -> str:
    """The experiment all runs belong to; made when it is not there. Raises InputError if MLflow cannot serve."""
    client, name = connect(home), os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    try:
        with patience.limits(patience.SHORT):
            found = client.get_experiment_by_name(name)
        if found is None:
            # a server chooses its own place; a database must be told, or files land in the current folder
            place = None if server_address() else home.artifacts.as_uri()
            found = _create_experiment(client, name, place)
    except (MlflowException, OSError) as error:
        raise InputError(_no_answer(tracking_uri(home), str(error).splitlines()[0])) from None
    if found.lifecycle_stage == "deleted":
        raise InputError(was_deleted(tracking_uri(home), name, found.experiment_id))
    if not (os.environ.get("MLFLOW_TRACKING_URI") or is_own_folder(home, found.artifact_location)):
        _take_over(home, found)
    _end_abandoned(home, client, found.experiment_id)
    return found.experiment_id


def _take_over(home: Home, experiment: Experiment) -> None:
    """Let an experiment that was made in MLflow keep its files where the study's lie."""
    if not take_experiment(home, experiment.experiment_id):
        raise InputError(
            f"the experiment {experiment.name!r} keeps the files of its runs in {experiment.artifact_location}, not in "
            "the study home; choose another MLFLOW_EXPERIMENT_NAME"
        )


def _no_answer(address: str, reason: str) -> str:
    if schema := re.search(r"out-of-date database schema \(found version (\w+)", reason):
        advice = f"after a backup, bring it up to date: mlflow db upgrade {address}"
        return _newer_schema(address, schema[1]) or f"{address} was made by an older MLflow; {advice}"
    return f"MLflow at {address} does not answer: {reason}"


def _newer_schema(address: str, revision: str) -> str | None:
    """What to tell of a database whose tables this MLflow does not know; None if it does."""
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    if revision in {file.name.partition("_")[0] for file in migrations.iterdir()}:
        return None
    return f"{address} was made by a newer MLflow than {mlflow.__version__}; update MLflow here: pip install -U mlflow"


def _end_abandoned(home: Home, client: MlflowClient, experiment: str) -> None:
    """Runs whose writer is gone without a word are KILLED in MLflow too."""
    known = {record.run_id: record for record in records(home)}
    for running in client.search_runs([experiment], "attributes.status = 'RUNNING' and tags.`study.kind` != ''"):
        run_id = running.info.run_id
        if not locks.abandoned(home, run_id):
            continue
        if record := known.get(run_id):  # else it was not even begun
            log_record(Run(home, record, client))
        client.set_terminated(run_id, record.status if record else "KILLED")


def _create_experiment(client: MlflowClient, name: str, place: str | None) -> Experiment:
    """The new experiment, or the one that another process made at the same moment."""
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=place))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return found


def start_run(home: Home, record: RunRecord, tags: dict[str, str], note: str) -> Run:
    """A new run in MLflow with the record's name, kind and params; the record's run_id is filled in."""
    client = connect(home)
    all_tags = {
        "study.kind": record.kind,
        "mlflow.note.content": note,
        "mlflow.user": _user(),
        "mlflow.source.name": f"study {record.kind}",
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": record.git_commit.split("-")[0]} if record.git_commit else {}),
        **tags,
    }
    if record.source_run_id:
        all_tags |= {"mlflow.parentRunId": record.source_run_id, "study.source_run_id": record.source_run_id}
    created = client.create_run(experiment_id(home), run_name=record.name, tags=all_tags)
    run = Run(home, replace(record, run_id=created.info.run_id), client)
    locks.hold(home, run.run_id)
    params = [Param(key, str(value)) for key, value in record.params.items() if value is not None]
    client.log_batch(run.run_id, params=params)
    if record.dataset and record.data_digest:
        source = json.dumps({"uri": record.params.get("data") or record.dataset})
        data = Dataset(record.dataset, record.data_digest[:36], source_type="local", source=source)
        context = InputTag("mlflow.data.context", "training" if record.kind == "train" else record.kind)
        client.log_inputs(run.run_id, datasets=[DatasetInput(data, tags=[context])])
    return run


def _user() -> str:
    """Who runs this process, by number where the system has no name for it, as in `docker run --user 12345`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def check_start(home: Home, wanted: str | None) -> None:
    """Raise InputError where no run could be started in the home by the name wanted. Makes nothing."""
    check_writable(home)
    free_name(home, wanted, "")


@contextmanager
def taking_name(home: Home, wanted: str | None, default: str) -> Iterator[str]:
    """A free name, which nobody else takes in the block; in it the run has to be started and its record written."""
    experiment_id(home)  # may take seconds, for which nobody else has to wait
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
        run_id="", kind=kind, name=name, source_run_id=source_run_id, status="RUNNING", dataset=dataset,
        data_digest=data_digest, seed=seed, git_commit=git_commit(), started_at=now(), finished_at=None, params=params,
    )  # fmt: skip


@contextmanager
def claimed(home: Home, record: RunRecord) -> Iterator[None]:
    """Nobody else writes the run meanwhile. Raises InputError where somebody does, here or on another machine."""
    make_home(home)  # refuses one that is read-only
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI") and not locks.known(home, record.run_id)
    if elsewhere and record.status == "RUNNING":
        raise InputError(f"run {record.run_id[:8]} was RUNNING in another home when it was fetched; resume it there")
    with locks.held(home, record.run_id):
        connect(home)  # behind the lock, as a writer that stands still may hold MLflow's database
        yield


def reopen_run(home: Home, record: RunRecord) -> Run:
    """The run of `record`, RUNNING again."""
    experiment_id(home)
    run = Run(home, replace(record, status="RUNNING", finished_at=None), connect(home))
    run.client.update_run(run.run_id, status="RUNNING")
    log_record(run)
    return run


def open_run(home: Home, record: RunRecord) -> Run:
    """The run of `record`, to commit more to it; its status stays."""
    experiment_id(home)
    return Run(home, record, connect(home))


def finish_run(run: Run, status: str = "FINISHED") -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    log_record(replace(run, record=replace(run.record, status=status, finished_at=now())))
    run.client.set_terminated(run.run_id, status)
    locks.release(run.home, run.run_id)


def give_up(run: Run, status: str) -> None:
    """End a run that cannot go on, as far as disk and server let; what they do not is caught up later."""
    with suppress(Exception), patience.limits(patience.SHORTEST):
        finish_run(run, status)
    locks.release(run.home, run.run_id)


def log_record(run: Run) -> None:
    """Write the run's row of table `runs`; the one file of a run that changes."""
    with staging(run.home) as folder:
        log_file(run, write_json(folder / "run.json", run.record.content()), "run.json")


def log_file(run: Run, local: Path, path: str) -> None:
    """Put `local` into the run's files as `path`; whole or not at all."""
    folder, name = os.path.split(path)
    if local.name != name:
        raise ValueError(f"MLflow keeps file names: {local} cannot be logged as {path}")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        run.client.log_artifact(run.run_id, str(local), folder or None)
    # MLflow's own copy would go where its database says, and could be seen half written
    put(run.home, local, run.home.run_folder(run.run_id) / path)


def unreachable(home: Home) -> str | None:
    """Why the MLflow server cannot be written to at this moment; None where it can, or where there is none."""
    if not server_address():
        return None
    try:
        with patience.limits(patience.SHORTEST):
            experiment_id(home)
    except InputError as error:
        return str(error)
    return None


def log_page(home: Home, record: RunRecord, page: Path) -> Path:
    """Put a page about a run among its files; returns its place. Without the server it lies in the home alone."""
    place = home.run_folder(record.run_id) / page.name
    if server_address():
        put(home, page, place)
    if reason := unreachable(home):
        advice = "make the page again once it answers"
        logging.getLogger(__name__).warning(f"{page.name} is in the study home, not on the server: {reason}; {advice}")
    else:
        log_file(open_run(home, record), page, page.name)
    return place


@overload
def commit(run: Run, unit: str, files: dict[str, Path], metrics: dict[str, float], epoch: int) -> EpochCommit: ...
@overload
def commit(run: Run, unit: str, files: dict[str, Path], metrics: dict[str, float], epoch: None) -> Commit: ...
def commit(run: Run, unit: str, files: dict[str, Path], metrics: dict[str, float], epoch: int | None) -> Commit:
    """Log `files` (path in the run: local file), then the commit that makes them count, then the metrics."""
    for path, local in files.items():
        log_file(run, local, path)
    known = tuple(CommittedFile(path, sha256(local)) for path, local in files.items())
    time_ms = time.time_ns() // 1_000_000
    made = (
        Commit(run.run_id, unit, None, time_ms, known, metrics)
        if epoch is None
        else EpochCommit(run.run_id, unit, epoch, time_ms, known, metrics)
    )
    with staging(run.home) as folder:
        log_file(run, write_json(folder / f"{unit}.json", made.content()), made.path)
    log_metrics(run, made)
    return made


def log_metrics(run: Run, made: Commit) -> None:
    """A commit's metrics, under its own timestamp: MLflow keeps equal points once, so repeating is harmless."""
    points = [Metric(key, value, made.time_ms, made.epoch or 0) for key, value in made.metrics.items()]
    if points:
        run.client.log_batch(run.run_id, metrics=points)


def set_tag(run: Run, key: str, value: str) -> None:
    run.client.set_tag(run.run_id, key, value)


def log_picture(run: Run, image: np.ndarray, path: str) -> None:
    """An image [H, W, 3], uint8, as `path`, a .png in the run's files."""
    with staging(run.home) as folder:
        local = folder / Path(path).name
        Image.fromarray(image).save(local)
        log_file(run, local, path)


def log_image(run: Run, image: np.ndarray, key: str, step: int) -> None:
    """An image [H, W, 3], uint8, under a key that MLflow shows with a step slider and across runs.

    MlflowClient.log_image gives its files a new name every time, so that a resumed run would show pictures twice. These
    have the names it would give, but always the same.
    """
    began = round(datetime.fromisoformat(f"{run.record.started_at}+00:00").timestamp() * 1000)
    known = uuid.uuid5(uuid.NAMESPACE_URL, f"{run.run_id}/{key}/{step}")
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{began}+{known}"
    whole = Image.fromarray(image)
    with staging(run.home) as folder:
        for shown, file in ((whole, f"{name}.png"), (compress_image_size(whole), f"{name}+compressed.webp")):
            shown.save(folder / file)
            log_file(run, folder / file, f"images/{file}")
    set_tag(run, MLFLOW_LOGGED_IMAGES, "True")


def log_table(run: Run, rows: list[dict], name: str) -> None:
    """Rows as `name`, a .json that MLflow shows as a table; logging it again replaces it.

    MlflowClient.log_table would append to the table there is, which a resumed run must not.
    """
    content = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    with staging(run.home) as folder:
        log_file(run, write_json(folder / name, content), name)
    set_tag(run, MLFLOW_LOGGED_ARTIFACTS, json.dumps([{"path": name, "type": "table"}]))
