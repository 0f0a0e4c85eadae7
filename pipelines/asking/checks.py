"""Whether a question is about what a run has: else its answer would be empty, and nothing would say why."""

from duckdb import DuckDBPyConnection

import queries
from tracking.errors import InputError

EPOCHS = "select distinct epoch from metrics where run_id = $run_id order by epoch"  # each has some


def check_parameters(connection: DuckDBPyConnection, values: dict[str, str | None]) -> None:
    """Raise InputError on a split, an epoch or a range of epochs that a run does not have.

    `values` are what `queries.run` has taken: runs as IDs, epochs as whole numbers; None means: not given.
    """
    chosen = {name: value for name, value in values.items() if value is not None}
    for run_id in (chosen[name] for name in ("run_id", "other_run_id") if name in chosen):
        if "split" in chosen:
            splits = _column(connection, queries.internal_text("run_splits"), run_id)
            _check_split(chosen["split"], splits, run_id)
        if {"epoch", "from_epoch", "to_epoch"} & set(chosen):
            epochs = _column(connection, EPOCHS, run_id)
            _check_epochs(chosen, epochs, run_id)


def _check_split(wanted: str, splits: list[str], run_id: str) -> None:
    if "train" in splits:
        splits = [*splits, "train_seen"]  # the same images, as seen in training
    if wanted not in splits:
        raise InputError(f"run {run_id[:8]} has no split {wanted!r}; there are: {', '.join(splits) or 'none yet'}")


def _check_epochs(chosen: dict[str, str], epochs: list[int], run_id: str) -> None:
    """A chosen epoch must be one of the run's; of a range, whose ends may lie beyond all epochs, one must be."""
    listed = ", ".join(map(str, epochs)) or "none yet"
    if "epoch" in chosen and int(chosen["epoch"]) not in epochs:
        raise InputError(f"run {run_id[:8]} has no epoch {int(chosen['epoch'])}; there are: {listed}")
    first = int(chosen.get("from_epoch", 0))
    last = int(chosen.get("to_epoch", max(epochs, default=0)))
    if not any(first <= epoch <= last for epoch in epochs):
        raise InputError(f"run {run_id[:8]} has no epoch from {first} to {last}; there are: {listed}")


def _column(connection: DuckDBPyConnection, sql: str, run_id: str) -> list:
    return [value for (value,) in connection.execute(sql, {"run_id": run_id}).fetchall()]
