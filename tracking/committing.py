"""How work enters a run: its files, the commit that makes them count, then its metrics in MLflow."""

import json
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any, overload

from tracking import mlflow_internals, runs  # noqa: F401
from tracking.commits import Commit, CommittedFile, EpochCommit, read_commit
from tracking.files import sha256, write_json, write_table
from tracking.home import is_copy
from tracking.runs import Run
from tracking.staging import staging_folder

# isort: split
# after `mlflow_internals`, as MLflow reads its settings when it is imported
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException


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
            runs.upload(run, first.path, write_json(folder / f"{unit}.json", first.content()))
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
        runs.set_tag(run, runs.LAST_COMMIT, runs.PENDING)
    runs.log_files(run, files)
    return tuple(CommittedFile(path, sha256(local)) for path, local in files.items())


def log_commit(run: Run, commit: Commit) -> None:
    """Log a commit, which makes its files count. MLflow does not show its metrics before `log_metrics`."""
    with staging_folder(run.home) as folder:
        runs.log_file(run, write_json(folder / f"{commit.unit}.json", commit.content()), commit.path)


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
    tag = RunTag(runs.LAST_COMMIT, f"{commit.unit} {commit.time_ms}")
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
