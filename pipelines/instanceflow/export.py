"""A run's predictions in InstanceFlow's JSON format, which `instanceflow_log.py` describes and reads."""

import json
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

import queries
from pipelines.common.outputs import check_new_file
from pipelines.common.terminal import say
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.files import write_text
from tracking.home import Home
from tracking.reading import connect

RUN_NAME = "select if(kind = 'import', dataset, name) from runs where run_id = $run_id"  # a log keeps its own name
CLASS_NAMES = "select name from classes where run_id = $run_id order by class_id"
EPOCH_COUNT = "select count(distinct epoch) from predictions where run_id = $run_id and split = $split"
SPLITS = "select distinct split from predictions where run_id = $run_id order by split"


def export(record: RunRecord, split: str, path: Path, home: Home) -> str:
    """Write a run's predictions in a split to a new file; returns its path. Raises InputError if it cannot."""
    check_new_file(path)
    with connect(home, run_ids=[record.run_id]) as connection:
        log = export_flow(connection, record.run_id, split)
    try:
        return str(write_text(path, json.dumps(log) + "\n"))
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r} ({error.strerror}); name another file") from None


def export_flow(connection: DuckDBPyConnection, run_id: str, split: str) -> dict[str, Any]:
    """A run's predictions in a split as a log; notes which instances are left out, as the format cannot hold them.

    The format has neither unknown labels nor missing predictions. Raises InputError if no instance is left.
    """
    run = {"run_id": run_id}
    run_split = {"run_id": run_id, "split": split}
    [(epoch_count,)] = connection.execute(EPOCH_COUNT, run_split).fetchall()
    if not epoch_count:
        split_names = [name for (name,) in connection.execute(SPLITS, run).fetchall()]
        available = ", ".join(split_names) or "none"
        raise InputError(f"run {run_id[:8]} has no predictions in split {split!r}; it has some in: {available}")

    rows = queries.execute(connection, "export_instances", run_split).fetchall()
    instances = []
    instance_ids = []
    unlabelled_count = 0
    incomplete_count = 0
    for instance_id, exported_id, actual, image, predicted_epochs in rows:
        if actual is None:
            unlabelled_count += 1
        elif predicted_epochs < epoch_count:
            incomplete_count += 1
        else:
            instance_ids.append(instance_id)
            instances.append({"id": exported_id, "actual": actual, "image": image})

    reasons = []
    if unlabelled_count:
        reasons.append(f"{unlabelled_count:,} without a known label")
    if incomplete_count:
        reasons.append(f"{incomplete_count:,} not predicted at every epoch")
    if not instances:
        raise InputError(
            f"run {run_id[:8]} has no instance in {split} that InstanceFlow's format can hold: {', '.join(reasons)}"
        )
    if reasons:
        say(f"left out of {len(rows):,} instances: {', '.join(reasons)}")

    [(name,)] = connection.execute(RUN_NAME, run).fetchall()
    class_names = [name for (name,) in connection.execute(CLASS_NAMES, run).fetchall()]
    exported = run_split | {"instances": instance_ids}
    epochs = queries.execute(connection, "export_classifications", exported).fetchall()
    return {
        "name": name,
        "labels": class_names,
        "instances": instances,
        "epochs": [{"id": str(epoch), "classifications": predicted} for epoch, predicted in epochs],
    }
