"""Runs in MLflow: started, committed to, finished.

Only this, `mlflow_client.py`, `mlflow_internals.py`, `models.py`, `stored_models.py` and `remote.py` talk to MLflow.
"""

import getpass
import json
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, overload

from tracking import locks, mlflow_internals, patience
from tracking.catalogue import TRAINED, WITH_CHECKPOINTS, RunRecord, free_name, list_runs, read_current_record, utc_now
from tracking.commits import Commit, CommittedFile, EpochCommit, read_commit
from tracking.environment import git_commit
from tracking.errors import InputError
from tracking.files import sha256, write_json, write_table
from tracking.home import Home, check_writable, is_copy, make_home
from tracking.mlflow_client import connect, find_experiment, server_address
from tracking.run_summaries import note_change
from tracking.staging import copy_into_place, staging_folder

# isort: split
# after `mlflow_internals`, as MLflow reads its settings when it is imported
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from PIL import Image

NOTE = "mlflow.note.content"  # the tag in which MLflow keeps a description, of a run, a model or an experiment
SOURCE = "mlflow.source.name"  # the tag that says what made a run; by default the command of its kind
GROUP = "study.group"  # the tag of runs that share a recipe but for the seed: the name of their group
LAST_COMMIT = "study.last_commit"  # the tag that tells other homes whether a run has commits that they lack
PENDING = "pending"  # its value while a run that has ended gets another commit
VERDICT_TAG = "study.verdict"  # a few words, for the list of runs
FOUND = "**Found:** "  # how a sentence at the top of a description begins that another run put there
UPLOADS = 8  # at once; MLflow keeps up to ten connections open
PNG_LEVEL = 3  # of 9: half of the default's time, for a twentieth more bytes


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
            pool.starmap(partial(_upload, run), files.items(), chunksize=1)
    for path, local in files.items():
        # not by MLflow: its copy would go where its database says, and could be read half-written
        copy_into_place(run.home, local, run.home.run_folder(run.run_id) / path)


def _upload(run: Run, path: str, local: Path) -> None:
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


@overload
def commit(
    run: Run,
    unit: str,
    files: dict[str, Path],
    metrics: dict[str, float],
    epoch: int,
    details: dict[str, float] | None = None,
) -> EpochCommit: ...
@overload
def commit(run: Run, unit: str, files: dict[str, Path], metrics: dict[str, float], epoch: None) -> Commit: ...
def commit(
    run: Run,
    unit: str,
    files: dict[str, Path],
    metrics: dict[str, float],
    epoch: int | None,
    details: dict[str, float] | None = None,
) -> Commit:
    """Log `files` (path in the run: local file), then the commit that makes them count, then the metrics.

    MLflow draws a chart per metric, so it gets some ten of a run's; `details` are rows of table metrics alone.
    """
    committed_files = log_unit_files(run, files)
    time_ms = time.time_ns() // 1_000_000
    new_commit: Commit
    if epoch is None:
        new_commit = Commit(run.run_id, unit, None, time_ms, committed_files, metrics, details or {})
    else:
        new_commit = EpochCommit(run.run_id, unit, epoch, time_ms, committed_files, metrics, details or {})
    log_commit(run, new_commit)
    log_metrics(run, new_commit)
    return new_commit


def commit_first(run: Run, unit: str, tables: dict[str, dict[str, Any]]) -> bool:
    """Commit rows as a unit of which other homes may commit another at the same moment; returns whether these count.

    On a server, the first home that logs its commit as a param named like the unit decides, as MLflow never changes a
    param. A home that comes later puts that commit in place there, in case the first was killed before it could.
    """
    with staging_folder(run.home) as folder:
        committed_files = log_unit_files(run, _write_tables(folder, f"{unit}_{_new_end()}", tables))
    own = Commit(run.run_id, unit, None, time.time_ns() // 1_000_000, committed_files, {})
    first = _log_commit_once(run, own) if is_copy(run.home) else own  # elsewhere one process at a time holds a lock
    if first == own:
        log_commit(run, own)
    else:
        with staging_folder(run.home) as folder:
            _upload(run, first.path, write_json(folder / f"{unit}.json", first.content()))
    log_metrics(run, first)
    return first == own


def _log_commit_once(run: Run, own: Commit) -> Commit:
    """Log a commit as a param; returns the one that the param has, which may be another home's."""
    value = json.dumps(own.content())
    try:
        run.client.log_param(run.run_id, own.unit, value)
    except MlflowException:
        params = run.client.get_run(run.run_id).data.params
        if own.unit not in params:
            raise
        value = params[own.unit]
    with staging_folder(run.home) as folder:
        (folder / f"{own.unit}.json").write_text(value)
        return read_commit(folder / f"{own.unit}.json", run.run_id)


def log_unit_files(run: Run, files: dict[str, Path]) -> tuple[CommittedFile, ...]:
    """Log the files of a unit whose commit follows."""
    if run.record.status != "RUNNING":  # a running one is looked at anyway
        set_tag(run, LAST_COMMIT, PENDING)
    log_files(run, files)
    return tuple(CommittedFile(path, sha256(local)) for path, local in files.items())


def log_commit(run: Run, commit: Commit) -> None:
    """Log a commit, which makes its files count. MLflow does not show its metrics before `log_metrics`."""
    with staging_folder(run.home) as folder:
        log_file(run, write_json(folder / f"{commit.unit}.json", commit.content()), commit.path)


def commit_tables(
    run: Run,
    unit: str,
    tables: dict[str, dict[str, Any]],
    epoch: int | None,
    metrics: dict[str, float] | None = None,
    is_shared: bool = False,
) -> None:
    """Commit rows, given as columns by the name of their table, each table's as file TABLE/UNIT.parquet.

    Other homes may commit a shared unit too, with equal rows but for the last digits, so each gives its files an end.
    """
    with staging_folder(run.home) as folder:
        files = _write_tables(folder, f"{unit}_{_new_end()}" if is_shared else unit, tables)
        commit(run, unit, files, metrics or {}, epoch)


def _new_end() -> str:
    """End of a file's name that no other home uses."""
    return uuid.uuid4().hex[:8]


def _write_tables(folder: Path, name: str, tables: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Tables as local files, by their paths in the run, TABLE/NAME.parquet."""
    paths = {f"{table}/{name}.parquet": columns for table, columns in tables.items()}
    return {path: write_table(folder / path, columns) for path, columns in paths.items()}


def log_metrics(run: Run, commit: Commit, model_id: str | None = None, shown: Collection[str] = ()) -> None:
    """A commit's metrics, under its own timestamp, and the tag that announces it, in one request.

    A LoggedModel, if given, has the `shown` ones of them too. MLflow stores equal points once, so repeating it is
    harmless.
    """
    points = [
        Metric(key, value, commit.time_ms, commit.epoch or 0)
        if key not in shown
        else Metric(key, value, commit.time_ms, commit.epoch or 0, model_id=model_id, run_id=run.run_id)
        for key, value in commit.metrics.items()
    ]
    tag = RunTag(LAST_COMMIT, f"{commit.unit} {commit.time_ms}")
    run.client.log_batch(run.run_id, metrics=points, tags=[tag])


def log_points(
    run: Run, run_id: str, metrics: dict[str, float], epoch: int, time_ms: int, model_id: str | None = None
) -> None:
    """Metrics of an epoch, measured at a given time, that `run` or another run shows in MLflow, and a model if given.

    May be repeated.
    """
    points = [
        Metric(key, value, time_ms, epoch, model_id=model_id, run_id=run_id if model_id else None)
        for key, value in metrics.items()
    ]
    if points:
        run.client.log_batch(run_id, metrics=points)


def set_tag(run: Run, key: str, value: str, run_id: str | None = None) -> None:
    """A tag that `run`, or another run, shows in MLflow."""
    run.client.set_tag(run_id or run.run_id, key, value)


def set_finding(run: Run, sentence: str, verdict: str, run_id: str) -> None:
    """What `run` found about another run: a verdict in the list of runs, a sentence at the top of its description.

    It replaces what was found before; the rest of the description stays, as someone may have changed it in MLflow.
    """
    set_tag(run, VERDICT_TAG, verdict, run_id)
    _, note = _split_note(run.client, run_id)
    set_tag(run, NOTE, f"{FOUND}{sentence}\n\n{note}", run_id)


def add_to_note(run: Run, line: str, run_id: str) -> None:
    """Add a line to a run's description, unless it is there."""
    note = run.client.get_run(run_id).data.tags.get(NOTE, "")
    if line not in note:
        set_tag(run, NOTE, f"{note}\n\n{line}", run_id)


def read_finding(home: Home, run_id: str) -> str:
    """The sentence that `set_finding` put at the top of a run's description; empty if there is none."""
    return _split_note(connect(home), run_id)[0]


def _split_note(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """The sentence that `set_finding` put at the top of a run's description, and the rest."""
    note = client.get_run(run_id).data.tags.get(NOTE, "")
    if not note.startswith(FOUND):
        return "", note
    first, _, rest = note.partition("\n\n")
    return first.removeprefix(FOUND), rest


def log_picture(run: Run, image: np.ndarray, path: str) -> None:
    """Save an image [H, W, 3], uint8, as `path`, a .png in the run's files."""
    with staging_folder(run.home) as folder:
        local = folder / Path(path).name
        Image.fromarray(image).save(local, compress_level=PNG_LEVEL)
        log_file(run, local, path)


def log_image(run: Run, image: np.ndarray, key: str, step: int) -> None:
    """Log an image [H, W, 3], uint8, under a key that MLflow shows with a step slider and across runs.

    MlflowClient.log_image gives its files a new name every time, so that a resumed run would show pictures twice. Here
    they have names of the same form that never change.
    """
    started = datetime.fromisoformat(f"{run.record.started_at}+00:00")
    started_ms = round(started.timestamp() * 1000)
    image_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{run.run_id}/{key}/{step}")
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{started_ms}+{image_id}"
    picture = Image.fromarray(image)
    with staging_folder(run.home) as folder:
        picture.save(folder / f"{name}.png", compress_level=PNG_LEVEL)
        # what the page shows: MLflow's own is 256 pixels wide, too few to read a text by
        picture.save(folder / f"{name}+compressed.webp", method=0)
        # the picture last: where it is, `list_images` finds it, and both are there
        log_files(run, {f"images/{file}": folder / file for file in (f"{name}+compressed.webp", f"{name}.png")})
    _mark_as_pictured(run.home, run.run_id)


@cache  # so once per process
def _mark_as_pictured(home: Home, run_id: str) -> None:
    """Tell MLflow's page that a run has images."""
    connect(home).set_tag(run_id, mlflow_internals.MLFLOW_LOGGED_IMAGES, "True")


def list_images(home: Home, run_id: str) -> Iterator[tuple[str, int]]:
    """Keys and steps of the images that `log_image` has logged of a run."""
    with suppress(FileNotFoundError):
        for name in os.listdir(home.run_folder(run_id) / "images"):
            if name.endswith(".png"):
                key, _, step, *_ = name.split("+")
                yield key.replace("~", "/"), int(step)


def read_experiment_tags(home: Home) -> dict[str, str]:
    return connect(home).get_experiment(experiment_id(home)).tags


def set_experiment_tag(home: Home, key: str, value: str) -> None:
    connect(home).set_experiment_tag(experiment_id(home), key, value)


def log_tables(run: Run, tables: dict[str, list[dict]]) -> None:
    """Log rows by name of a .json file, which MLflow shows as a table; the first table is the one it opens.

    Images [H, W, 3], uint8, in them become files of the run. Logging them again replaces the run's tables.

    MlflowClient.log_table would append to an existing table, which a resumed run must not.
    """
    for name, rows in tables.items():
        data = []
        for number, row in enumerate(rows):
            cells = []
            for column, value in row.items():
                if isinstance(value, np.ndarray):
                    path = f"{Path(name).stem}/{column}_{number:03d}.png"
                    log_picture(run, value, path)
                    value = {"type": "image", "filepath": path, "compressed_filepath": path}
                cells.append(value)
            data.append(cells)
        content = {"columns": list(rows[0]), "data": data}
        with staging_folder(run.home) as folder:
            log_file(run, write_json(folder / name, content), name)
    listed = [{"path": name, "type": "table"} for name in tables]
    set_tag(run, mlflow_internals.MLFLOW_LOGGED_ARTIFACTS, json.dumps(listed))
