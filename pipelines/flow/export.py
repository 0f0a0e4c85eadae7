"""A run's predictions in InstanceFlow's JSON format, which `pipelines/flow/instanceflow_log.py` describes and reads."""

import json
import os
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

import queries
from pipelines.common.terminal import say
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.files import write_text
from tracking.home import Home
from tracking.reading import connect

# an imported log keeps its own name
NAME = "select if(kind = 'import', dataset, name) from runs where run_id = $run_id"
LABELS = "select name from classes where run_id = $run_id order by class_id"
EPOCHS = "select count(distinct epoch) from predictions where run_id = $run_id and split = $split"


def export(record: RunRecord, split: str, path: Path, home: Home) -> str:
    """Write a run's predictions in a split to a new file; returns its path."""
    if os.path.exists(path):  # unlike Path.exists, for names of any length
        raise InputError(f"{str(path)!r} exists already and is not replaced; name another file or remove it")
    if not os.path.isdir(path.absolute().parent):
        raise InputError(
            f"cannot write {str(path)!r}, as there is no folder {str(path.parent)!r}; make it, or name another"
        )
    with connect(home) as connection:
        log = export_flow(connection, record.run_id, split)
    try:
        return str(write_text(path, json.dumps(log) + "\n"))
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r} ({error.strerror}); name another file") from None


def export_flow(connection: DuckDBPyConnection, run_id: str, split: str) -> dict[str, Any]:
    """The log of a run's predictions in a split; says which instances the format cannot hold, and leaves them out."""
    run, place = {"run_id": run_id}, {"run_id": run_id, "split": split}
    [(epochs,)] = connection.execute(EPOCHS, place).fetchall()
    if not epochs:
        raise InputError(_nothing_there(connection, run_id, split))
    rows = queries.execute(connection, "export_instances", place).fetchall()
    kept = [row for row in rows if row[2] is not None and row[4] == epochs]
    _say_left_out(run_id, split, unlabelled=sum(row[2] is None for row in rows), rows=len(rows), kept=len(kept))
    [(name,)] = connection.execute(NAME, run).fetchall()
    instances = [row[0] for row in kept]
    found = queries.execute(connection, "export_classifications", place | {"instances": instances}).fetchall()
    return {
        "name": name,
        "labels": [name for (name,) in connection.execute(LABELS, run).fetchall()],
        "instances": [{"id": own_id, "actual": actual, "image": image} for _, own_id, actual, image, _ in kept],
        "epochs": [{"id": str(epoch), "classifications": predicted} for epoch, predicted in found],
    }


def _nothing_there(connection: DuckDBPyConnection, run_id: str, split: str) -> str:
    sql = "select distinct split from predictions where run_id = $run_id order by split"
    there = ", ".join(name for (name,) in connection.execute(sql, {"run_id": run_id}).fetchall())
    return f"run {run_id[:8]} has no predictions in split {split!r}; it has some in: {there or 'none'}"


def _say_left_out(run_id: str, split: str, *, unlabelled: int, rows: int, kept: int) -> None:
    """InstanceFlow's format has neither unknown labels nor gaps."""
    reasons = {"without a known label": unlabelled, "not predicted at every epoch": rows - kept - unlabelled}
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    if not kept:
        raise InputError(f"run {run_id[:8]} has no instance in {split} that InstanceFlow's format can hold: {counts}")
    if counts:
        say(f"left out of {rows:,} instances: {counts}")
