"""A run's predictions as arrays over instances and epochs, read from the tables."""

from dataclasses import dataclass

import numpy as np
from duckdb import DuckDBPyConnection

import queries
from tracking.catalogue import RunRecord
from tracking.errors import InputError


@dataclass(frozen=True)
class RecordAxes:
    """The N instances and E epochs of a record: the split asked for first, images added later after it."""

    run: RunRecord
    classes: tuple[str, ...]  # [K]
    epochs: tuple[int, ...]  # [E], ascending
    splits: tuple[str, ...]  # as table predictions names them
    split_indices: np.ndarray  # [N], index into splits, ascending
    instance_ids: np.ndarray  # [N], ascending within a split
    labels: np.ndarray  # [N], class_id; -1 if unknown
    names: tuple[str, ...] | None  # [N], what an imported log calls the instances
    sources: tuple[str, ...]  # [N], where the images are in the data set

    @property
    def shape(self) -> tuple[int, int]:
        """(N, E)."""
        return len(self.labels), len(self.epochs)

    @property
    def stored_split(self) -> str:
        """The first split as table instances names it: the instances of train_seen are those of train."""
        return "train" if self.splits[0] == "train_seen" else self.splits[0]

    def find_rows(self, splits: np.ndarray, instance_ids: np.ndarray) -> np.ndarray:
        """Row of each instance, given the name of its split and its ID; -1 if the record does not have it."""
        rows = np.full(len(instance_ids), -1)
        bounds = np.searchsorted(self.split_indices, np.arange(len(self.splits) + 1))
        for index, split in enumerate(self.splits):
            start, end = bounds[index], bounds[index + 1]
            split_ids = self.instance_ids[start:end]
            in_split = splits == split
            wanted_ids = instance_ids[in_split]
            positions = np.searchsorted(split_ids, wanted_ids)
            positions = np.minimum(positions, len(split_ids) - 1)
            rows[in_split] = np.where(split_ids[positions] == wanted_ids, start + positions, -1)
        return rows

    def find_columns(self, epochs: np.ndarray) -> np.ndarray:
        """Column of each epoch; the record must have all of them."""
        return np.searchsorted(self.epochs, epochs)


@dataclass(frozen=True)
class Record(RecordAxes):
    """What was predicted for every instance at every epoch."""

    predicted: np.ndarray  # [N, E], class_id; -1 where there is no prediction
    p_true: np.ndarray  # [N, E], NaN where unknown
    margin: np.ndarray  # [N, E], NaN where unknown


def read_record(connection: DuckDBPyConnection, run: RunRecord, split: str) -> Record:
    """The predictions of a split and of images added later. Raises InputError if the run has none of the split."""
    split_names = "select distinct split from predictions where run_id = $1 order by 1"
    predicted_splits = _read_column(connection, split_names, run.run_id)
    if split not in predicted_splits:
        available = f"there are: {', '.join(predicted_splits)}" if predicted_splits else "it has none yet"
        raise InputError(f"run {run.run_id[:8]} has no predictions of split {split!r}; {available}")

    stored_split = "train" if split == "train_seen" else split
    parameters = {"run_id": run.run_id, "home": stored_split}
    instances = queries.execute(connection, "flow_instances", parameters).fetchnumpy()
    added_splits = sorted(set(instances["split"]) - {stored_split})
    index_by_split = {name: index for index, name in enumerate((stored_split, *added_splits))}
    names_missing = np.ma.getmaskarray(np.ma.asarray(instances["name"]))
    class_names = "select name from classes where run_id = $1 order by class_id"
    epochs = "select distinct epoch from predictions where run_id = $1 and split = $2 order by 1"
    axes = RecordAxes(
        run=run,
        classes=_read_column(connection, class_names, run.run_id),
        epochs=_read_column(connection, epochs, run.run_id, split),
        splits=(split, *added_splits),
        split_indices=np.array([index_by_split[name] for name in instances["split"]]),
        instance_ids=instances["instance_id"],
        labels=np.ma.filled(instances["label"], -1),
        names=None if names_missing.any() else tuple(instances["name"]),
        sources=tuple(instances["source"]),
    )

    page_cells = {"run_id": run.run_id, "split": split, "epochs": list(axes.epochs)}
    predictions = queries.execute(connection, "flow_predictions", page_cells).fetchnumpy()
    rows = axes.find_rows(predictions["split"], predictions["instance_id"])
    in_record = rows >= 0
    cells = rows[in_record], axes.find_columns(predictions["epoch"][in_record])
    predicted = np.full(axes.shape, -1)
    predicted[cells] = predictions["predicted"][in_record]

    known_p_true = np.ma.filled(predictions["p_true"].astype(float), np.nan)
    p_true = np.full(axes.shape, np.nan)
    p_true[cells] = known_p_true[in_record]

    known_margin = np.ma.filled(predictions["margin"].astype(float), np.nan)
    margin = np.full(axes.shape, np.nan)
    margin[cells] = known_margin[in_record]
    return Record(**vars(axes), predicted=predicted, p_true=p_true, margin=margin)


def _read_column(connection: DuckDBPyConnection, sql: str, *values: str) -> tuple:
    return tuple(value for (value,) in connection.execute(sql, list(values)).fetchall())
