"""Checks that a run has what a question asks about; otherwise the answer would be empty without a reason."""

from duckdb import DuckDBPyConnection

import queries
from pipelines.common.splits import TRAIN_FOLDS, TRAIN_SEEN
from tracking.errors import InputError

# by question, what it needs that runs of earlier versions did not record
NEEDS = {"leaks": ("select count(content) from instances where run_id = $run_id", "the content of its images")}
SELECT_FOLDS = f"""
    select distinct split
    from predictions
    where
        run_id = (select coalesce(source_run_id, run_id) from runs where run_id = $run_id)
        and split = '{TRAIN_FOLDS}'"""
SELECT_EPOCHS = "select distinct epoch from metrics where run_id = $run_id order by epoch"  # every epoch has metrics


def check_recorded(connection: DuckDBPyConnection, question: str, run_id: str | None) -> None:
    """Raise InputError if a run did not record what a question is about."""
    if question not in NEEDS or run_id is None:
        return
    sql, what = NEEDS[question]
    if _read_column(connection, sql, run_id) == [0]:
        raise InputError(f"run {run_id[:8]} did not record {what}, as study train does now; train again")


def check_parameters(connection: DuckDBPyConnection, values: dict[str, str | None]) -> None:
    """Raise InputError if a split, an epoch or a range of epochs is not in a run.

    `values` are those that `queries.run` accepted: runs as IDs, epochs as whole numbers; None means not given.
    """
    chosen = {name: value for name, value in values.items() if value is not None}
    for run_key, epoch_key in (("run_id", "epoch"), ("other_run_id", "other_epoch")):
        if run_key not in chosen:
            continue
        run_id = chosen[run_key]
        if "split" in chosen:
            _check_split(connection, chosen["split"], run_id)
        if {epoch_key, "early_epoch", "from_epoch", "to_epoch"} & set(chosen):
            epochs = _read_column(connection, SELECT_EPOCHS, run_id)
            _check_epochs(chosen, epoch_key, epochs, run_id)


def _check_split(connection: DuckDBPyConnection, split: str, run_id: str) -> None:
    splits = _read_column(connection, queries.internal_text("run_splits"), run_id)
    if "train" in splits:
        splits = [*splits, TRAIN_SEEN]  # the same images, as seen in training
    if split not in splits:  # only then, as it takes longer
        splits += _read_column(connection, SELECT_FOLDS, run_id)
    if split not in splits:
        raise InputError(f"run {run_id[:8]} has no split {split!r}; there are: {', '.join(splits) or 'none yet'}")


def _check_epochs(chosen: dict[str, str], epoch_key: str, epochs: list[int], run_id: str) -> None:
    """A single epoch must be one of the run's; a range must include one, but its ends may lie outside."""
    listed = ", ".join(map(str, epochs)) or "none yet"
    for key in {epoch_key, "early_epoch"} & set(chosen):
        epoch = int(chosen[key])
        if epoch not in epochs:
            raise InputError(f"run {run_id[:8]} has no epoch {epoch}; there are: {listed}")
    first = int(chosen.get("from_epoch", 0))
    last = int(chosen.get("to_epoch", max(epochs, default=0)))
    if not any(first <= epoch <= last for epoch in epochs):
        raise InputError(f"run {run_id[:8]} has no epoch from {first} to {last}; there are: {listed}")


def _read_column(connection: DuckDBPyConnection, sql: str, run_id: str) -> list:
    return [value for (value,) in connection.execute(sql, {"run_id": run_id}).fetchall()]
