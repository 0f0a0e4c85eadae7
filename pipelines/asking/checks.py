"""Whether a question is about what a run has: else its answer would be empty, and nothing would say why."""

from duckdb import DuckDBPyConnection

import queries
from tracking.errors import InputError

EPOCHS = "select distinct epoch from metrics where run_id = $run_id order by epoch"  # each has some


def check_parameters(connection: DuckDBPyConnection, values: dict[str, str | None]) -> None:
    """Raise InputError on a split, an epoch or a range of epochs that a run does not have.

    `values` are what `queries.run` has taken: runs as IDs, epochs as whole numbers; None means: not given.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for run_id in (given[name] for name in ("run_id", "other_run_id") if name in given):
        if "split" in given:
            _check_split(given["split"], _column(connection, queries.internal_text("run_splits"), run_id), run_id)
        if {"epoch", "from_epoch", "to_epoch"} & set(given):
            _check_epochs(given, _column(connection, EPOCHS, run_id), run_id)


def _check_split(wanted: str, splits: list[str], run_id: str) -> None:
    there = [*splits, "train_seen"] if "train" in splits else splits  # images of train, as seen in training
    if wanted not in there:
        raise InputError(f"run {run_id[:8]} has no split {wanted!r}; there are: {', '.join(there) or 'none yet'}")


def _check_epochs(given: dict[str, str], there: list[int], run_id: str) -> None:
    """An epoch must be there; of a range, whose ends may lie beyond all epochs, one must be."""
    known = ", ".join(map(str, there)) or "none yet"
    if "epoch" in given and int(given["epoch"]) not in there:
        raise InputError(f"run {run_id[:8]} has no epoch {int(given['epoch'])}; there are: {known}")
    first, last = int(given.get("from_epoch", 0)), int(given.get("to_epoch", max(there, default=0)))
    if not any(first <= epoch <= last for epoch in there):
        raise InputError(f"run {run_id[:8]} has no epoch from {first} to {last}; there are: {known}")


def _column(connection: DuckDBPyConnection, sql: str, run_id: str) -> list:
    return [value for (value,) in connection.execute(sql, {"run_id": run_id}).fetchall()]
