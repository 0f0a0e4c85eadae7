"""A run's predictions as arrays over instances and epochs, read from the tables: of all instances, or a sample."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from duckdb import DuckDBPyConnection

import queries
from pipelines.common.splits import stored_split
from tracking.catalogue import RunRecord
from tracking.errors import InputError

MAX_CELLS = 5_000_000  # predictions on a page: more take seconds to open, and long to answer
MAX_INSTANCES = 200_000


@dataclass(frozen=True)
class RecordAxes:
    """The N instances and E epochs of a record: the split asked for first, images added later after it."""

    run: RunRecord
    classes: tuple[str, ...]  # [K]
    epochs: tuple[int, ...]  # [E], ascending
    splits: tuple[str, ...]  # as table predictions names them
    split_sizes: tuple[int, ...]  # instances that the run has of each split; a sample holds fewer
    split_indices: np.ndarray  # [N], index into splits, ascending
    instance_ids: np.ndarray  # [N], ascending within a split
    labels: np.ndarray  # [N], class_id; -1 if unknown
    names: pa.Array | None  # [N], what an imported log calls the instances
    sources: pa.Array  # [N], where the images are in the data set

    @property
    def shape(self) -> tuple[int, int]:
        """(N, E)."""
        return len(self.labels), len(self.epochs)

    @property
    def stored_split(self) -> str:
        """The first split as table instances names it."""
        return stored_split(self.splits[0])

    @property
    def is_sample(self) -> bool:
        return len(self.labels) < sum(self.split_sizes)

    @property
    def missing_code(self) -> int:
        """The number that stands on the page in place of a class where there is none."""
        return 255 if len(self.classes) < 255 else 65535

    def take(self, rows: np.ndarray) -> "RecordAxes":
        """The axes of some instances, whose rows ascend."""
        return replace(
            self,
            split_indices=self.split_indices[rows],
            instance_ids=self.instance_ids[rows],
            labels=self.labels[rows],
            names=None if self.names is None else self.names.take(pa.array(rows)),
            sources=self.sources.take(pa.array(rows)),
        )

    def name_instances(self, rows: np.ndarray | slice = slice(None)) -> dict[str, object]:
        """Parameters of a query about instances; `rows` are theirs, by default all."""
        return {
            "run_id": self.run.run_id,
            "splits": np.array(self.splits, object)[self.split_indices[rows]].tolist(),
            "instance_ids": self.instance_ids[rows],
        }

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
    """The predictions of a split and of images added later, or of a sample of them if there are many.

    Raises InputError if the run has none of the split.
    """
    axes = read_axes(connection, run, split)
    return read_predictions(connection, axes.take(choose_rows(axes, len(axes.epochs))))


def read_axes(connection: DuckDBPyConnection, run: RunRecord, split: str) -> RecordAxes:
    """All instances of a split and those added later. Raises InputError if the run has no predictions of the split."""
    split_names = "select distinct split from predictions where run_id = $1 order by 1"
    predicted_splits = _read_column(connection, split_names, run.run_id)
    if split not in predicted_splits:
        available = f"there are: {', '.join(predicted_splits)}" if predicted_splits else "it has none yet"
        raise InputError(f"run {run.run_id[:8]} has no predictions of split {split!r}; {available}")

    parameters = {"run_id": run.run_id, "home": stored_split(split)}
    instances = queries.execute_to_batches(connection, "flow_instances", parameters).read_all()
    split_column = instances["split"].combine_chunks().dictionary_encode()  # the split asked for comes first
    split_indices = split_column.indices.to_numpy()
    names = instances["name"].combine_chunks()
    class_names = "select name from classes where run_id = $1 order by class_id"
    epochs = "select distinct epoch from predictions where run_id = $1 and split = $2 order by 1"
    return RecordAxes(
        run=run,
        classes=_read_column(connection, class_names, run.run_id),
        epochs=_read_column(connection, epochs, run.run_id, split),
        splits=(split, *split_column.dictionary.to_pylist()[1:]),
        split_sizes=tuple(np.bincount(split_indices).tolist()),
        split_indices=split_indices,
        instance_ids=instances["instance_id"].to_numpy(),
        labels=instances["label"].fill_null(-1).to_numpy(),
        names=None if names.null_count else names,
        sources=instances["source"].combine_chunks(),
    )


def choose_rows(axes: RecordAxes, epoch_count: int) -> np.ndarray:
    """Rows of the instances that a page of this many epochs has room for, ascending: all, or a sample."""
    return draw_rows(axes.split_indices, min(MAX_INSTANCES, MAX_CELLS // epoch_count))


def draw_rows(split_indices: np.ndarray, room: int) -> np.ndarray:
    """At most `room` rows, ascending: all, or a random sample, the same each time.

    Splits share the room; what small ones leave goes to larger ones.
    """
    random = np.random.default_rng(0)
    sizes = np.bincount(split_indices)
    chosen = []
    for place, split_index in enumerate(np.argsort(sizes, kind="stable")):
        share = room // (len(sizes) - place)
        rows = random.permutation(np.flatnonzero(split_indices == split_index))[:share]
        room -= len(rows)
        chosen.append(rows)
    return np.sort(np.concatenate(chosen))


def read_predictions(connection: DuckDBPyConnection, axes: RecordAxes) -> Record:
    """What was predicted for the instances of the axes."""
    predicted = np.full(axes.shape, -1, np.int32)
    p_true = np.full(axes.shape, np.nan, np.float32)
    margin = np.full(axes.shape, np.nan, np.float32)
    page_cells = axes.name_instances() | {"epochs": list(axes.epochs)}
    for batch in queries.execute_to_batches(connection, "flow_predictions", page_cells):
        cells = batch["row"].to_numpy(), axes.find_columns(batch["epoch"].to_numpy())
        predicted[cells] = batch["predicted"].to_numpy()
        p_true[cells] = batch["p_true"].to_numpy(zero_copy_only=False)  # null becomes NaN
        margin[cells] = batch["margin"].to_numpy(zero_copy_only=False)
    return Record(**vars(axes), predicted=predicted, p_true=p_true, margin=margin)


def count_totals(connection: DuckDBPyConnection, axes: RecordAxes) -> np.ndarray:
    """What became of all images of the splits, also of those that a sample lacks: [splits, K + 1, E, 8].

    By true class, of which the last is an unknown one, and epoch: labelled images, correct ones, and the outcomes of
    `transition_outcomes`, from fixed to unlabelled.
    """
    scope = {"run_id": axes.run.run_id, "splits": list(axes.splits)}
    rows = queries.execute_to_batches(connection, "flow_totals", scope).read_all()
    labels = rows["label"].fill_null(len(axes.classes)).to_numpy()
    is_shown = np.isin(rows["epoch"].to_numpy(), axes.epochs)
    totals = np.zeros((len(axes.splits), len(axes.classes) + 1, len(axes.epochs), 8), np.int32)
    cells = rows["split_index"].to_numpy(), labels, axes.find_columns(rows["epoch"].to_numpy())
    counts = np.stack([column.to_numpy() for column in rows.columns[3:]], axis=1)
    totals[tuple(place[is_shown] for place in cells)] = counts[is_shown]
    return totals


def _read_column(connection: DuckDBPyConnection, sql: str, *values: str) -> tuple:
    return tuple(value for (value,) in connection.execute(sql, list(values)).fetchall())
