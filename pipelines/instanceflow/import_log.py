"""Imports an InstanceFlow log as a run of kind import, with epochs and predictions but no checkpoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.common.progress import work
from pipelines.common.settings import ImportFlowSettings
from pipelines.common.terminal import printable, say
from pipelines.common.wording import plural
from pipelines.instanceflow.instanceflow_log import FlowEpoch, Log, read_log
from pipelines.lifecycle.start import commit_start
from tracking import committing, runs
from tracking.home import Home
from tracking.index import ingest

COMMAND = "import-flow"
SPLIT = "test"


def import_flow(settings: ImportFlowSettings, home: Home) -> str:
    """Import a log as a run; returns the run ID. Raises InputError, leaving nothing behind, if the log is invalid."""
    path = Path(settings.file).absolute()
    log = read_log(path)
    runs.check_start(home, settings.name)
    contents = [
        plural(len(log.labels), "class", "classes"),
        plural(len(log.ids), "instance"),
        plural(len(log.epochs), "epoch"),
    ]
    note = (
        f"**{log.name}**, a training log imported from `{path.name}`: {', '.join(contents)}. It has predicted classes "
        "only: no probabilities, no checkpoints."
    )
    with runs.taking_name(home, settings.name, f"import-{printable(log.name)}") as name:
        settings = replace(settings, file=str(path), name=name)
        record = runs.new_record("import", name, settings.params(), dataset=log.name, data_digest=log.digest)
        run = runs.start_run(home, record, {runs.SOURCE: f"study {COMMAND}"}, note)
        runs.log_record(run)
    size = f"{plural(len(log.epochs), 'epoch')} of {plural(len(log.ids), 'instance')}"
    say(f"{COMMAND}: run {run.run_id} ({name}), {size}")
    if log.renumbered:
        last = len(log.epochs) - 1
        say(f"  its epoch IDs are not ascending whole numbers; epochs are numbered 0 to {last} in the log's order")

    try:
        commit_start(run, COMMAND, settings, _instance_columns(run.run_id, log), log.labels)
        with work("importing", len(log.epochs), "epochs") as epochs:
            for epoch in log.epochs:
                _commit_epoch(run, log, epoch)
                epochs.advance()
    except BaseException as error:
        runs.give_up(run, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        say(f"run {run.run_id[:8]} is not complete; import the log again")
        raise
    runs.finish_run(run)
    ingest(home, [run.run_id], wait=5)
    return run.run_id


def _instance_columns(run_id: str, log: Log) -> dict:
    """Columns of table `instances`."""
    count = len(log.ids)
    return {
        "run_id": [run_id] * count,
        "split": [SPLIT] * count,
        "instance_id": np.arange(count, dtype=np.int32),
        "label": log.actual,
        "source": [image or log_id for image, log_id in zip(log.images, log.ids, strict=True)],
        "name": log.ids,
    }


def _commit_epoch(run: runs.Run, log: Log, epoch: FlowEpoch) -> None:
    count = len(log.ids)
    unknown = pa.nulls(count, pa.float32())  # a log has no probabilities
    columns = {
        "run_id": [run.run_id] * count,
        "epoch": np.full(count, epoch.number, np.int32),
        "split": [SPLIT] * count,
        "instance_id": np.arange(count, dtype=np.int32),
        "label": log.actual,
        "predicted": epoch.predicted,
        "p_true": unknown,
        "p_predicted": unknown,
        "margin": unknown,
        "p_sq": unknown,
        "probabilities": pa.nulls(count, pa.list_(pa.float32())),
    }
    accuracy = float((epoch.predicted == log.actual).mean())
    unit = f"epoch_{epoch.number:04d}"
    committing.commit_tables(run, unit, {"predictions": columns}, epoch.number, {"test_accuracy": accuracy})
