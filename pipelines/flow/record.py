"""A run's predictions as arrays over instances and epochs, read from the tables."""

from dataclasses import dataclass

import numpy as np
from duckdb import DuckDBPyConnection

import queries
from tracking.catalogue import RunRecord
from tracking.errors import InputError


@dataclass(frozen=True)
class Rows:
    """Which N instances and E epochs there are; the split asked for first, images added later behind it."""

    run: RunRecord
    classes: tuple[str, ...]
    epochs: tuple[int, ...]
    splits: tuple[str, ...]  # as in predictions
    split: np.ndarray  # [N], index into splits, ascending
    ids: np.ndarray  # [N], ascending within a split
    labels: np.ndarray  # [N], -1 when unknown
    names: tuple[str, ...] | None  # [N], what an imported log calls them
    sources: tuple[str, ...]  # [N], where the images lie in the data set

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.labels), len(self.epochs)

    @property
    def home(self) -> str:
        """The first split as table instances has it: what was seen in training are images of train."""
        return "train" if self.splits[0] == "train_seen" else self.splits[0]

    def places(self, splits: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Row of each instance, by its split's name and its ID; -1 for one that is not there."""
        starts = np.searchsorted(self.split, np.arange(len(self.splits) + 1))
        found = np.full(len(ids), -1)
        for number, name in enumerate(self.splits):
            own, known = splits == name, self.ids[starts[number] : starts[number + 1]]
            at = np.minimum(np.searchsorted(known, ids[own]), len(known) - 1)
            found[own] = np.where(known[at] == ids[own], starts[number] + at, -1)
        return found

    def steps(self, epochs: np.ndarray) -> np.ndarray:
        """Column of each epoch; all must be there."""
        return np.searchsorted(self.epochs, epochs)


@dataclass(frozen=True)
class Record(Rows):
    """What was predicted of them."""

    predicted: np.ndarray  # [N, E], -1 where there is no prediction
    p_true: np.ndarray  # [N, E], NaN where unknown
    margin: np.ndarray  # [N, E], NaN where unknown


def read_record(connection: DuckDBPyConnection, run: RunRecord, split: str) -> Record:
    """Raises InputError if the run has no predictions of the split."""
    rows = _read_rows(connection, run, split)
    given = {"run_id": run.run_id, "split": split, "epochs": list(rows.epochs)}
    found = queries.execute(connection, "flow_predictions", given).fetchnumpy()
    places = rows.places(found["split"], found["instance_id"])
    at = places[places >= 0], rows.steps(found["epoch"][places >= 0])
    values = [np.full(rows.shape, empty) for empty in (-1, np.nan, np.nan)]
    for name, filled in zip(("predicted", "p_true", "margin"), values, strict=True):
        filled[at] = np.ma.filled(found[name].astype(float), np.nan)[places >= 0]
    return Record(**vars(rows), predicted=values[0].astype(int), p_true=values[1], margin=values[2])


def _read_rows(connection: DuckDBPyConnection, run: RunRecord, split: str) -> Rows:
    _check_split(connection, run, split)
    home = "train" if split == "train_seen" else split
    found = queries.execute(connection, "flow_instances", {"run_id": run.run_id, "home": home}).fetchnumpy()
    extra = sorted(set(found["split"]) - {home})
    epochs = "select distinct epoch from predictions where run_id = $1 and split = $2 order by 1"
    classes = "select name from classes where run_id = $1 order by class_id"
    number = {name: at for at, name in enumerate((home, *extra))}
    return Rows(
        run, _column(connection, classes, run.run_id), _column(connection, epochs, run.run_id, split), (split, *extra),
        np.array([number[name] for name in found["split"]]), found["instance_id"],
        np.ma.filled(found["label"], -1), _names(found["name"]), tuple(found["source"]),
    )  # fmt: skip


def _check_split(connection: DuckDBPyConnection, run: RunRecord, split: str) -> None:
    there = _column(connection, "select distinct split from predictions where run_id = $1 order by 1", run.run_id)
    if split not in there:
        raise InputError(
            f"run {run.run_id[:8]} has no predictions of split {split!r}; "
            + (f"there are: {', '.join(there)}" if there else "it has none yet")
        )


def _column(connection: DuckDBPyConnection, sql: str, *values: str) -> tuple:
    return tuple(value for (value,) in connection.execute(sql, list(values)).fetchall())


def _names(values: np.ndarray) -> tuple[str, ...] | None:
    known = np.ma.getmaskarray(np.ma.asarray(values))
    return None if known.any() else tuple(values)
