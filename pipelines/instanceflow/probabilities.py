"""Class probabilities on the page: of every class or the likeliest, of all images or some, as there is room."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from duckdb import DuckDBPyConnection

import queries
from pipelines.instanceflow.packing import DOUBT, Payload, estimate_characters, quantize_fractions
from pipelines.instanceflow.record import Record

STEPS = (255, 60, 20)  # between 0 and 1, finest first; on a plot 150 pixels high 60 show no less than 255
MAX_DENSE = 50_000_000  # probabilities of every class that are held at once
TOP = 5  # likeliest classes of an image at an epoch: no others have a probability of 0.2 or more
BATCH_VALUES = 5_000_000  # probabilities read at a time
MAX_EPOCH = 10_000_000  # probabilities of an epoch, of which all are read: DuckDB may hold them at once
DESCRIPTION = "probabilities of all classes but the label"

Cells = tuple[np.ndarray, np.ndarray]  # rows and columns


@dataclass(frozen=True)
class TopClasses:
    """The likeliest classes of n instances at E epochs, likeliest first."""

    classes: np.ndarray  # [n, E, TOP], class_id; the code of none where there is none
    probabilities: np.ndarray  # [n, E, TOP], 0..255
    kept: int  # probabilities that the run keeps of an instance at an epoch, at most

    def estimate(self, row_count: int) -> float:
        """Characters that those of this many instances take."""
        return sum(estimate_characters(values, row_count) for values in (self.classes, self.probabilities))


def add_probabilities(
    payload: Payload, records: Sequence[Record], connection: DuckDBPyConnection, sample: np.ndarray
) -> dict | None:
    """Add what there is room for: array `probabilities`, and with the likeliest classes alone also `top_classes`.

    `sample` are the rows of those images that have them if not all can. Returns how many steps lie between 0 and 1,
    whether only the likeliest classes are there, and whether only those of the sample; None if nothing was added.
    """
    count, epochs = len(records[0].labels), sum(len(record.epochs) for record in records)
    every_row = np.arange(count)
    is_small = count * epochs * len(records[0].classes) <= MAX_DENSE
    sampled = _read_dense(records, connection, sample) if is_small else None
    if sampled is not None:
        for steps in STEPS:
            if not payload.has_room((1 - DOUBT) * estimate_characters(_quantize(sampled, steps), count)):
                continue
            values = _read_dense(records, connection, every_row)
            if values is not None and payload.add_array("probabilities", _quantize(values, steps), DESCRIPTION):
                return {"steps": steps, "is_top": False, "top": TOP, "is_sample": False}

    top = _read_top(records, connection, sample)
    if top is None:
        return None
    is_sample = count * top.kept > MAX_EPOCH or not payload.has_room((1 + DOUBT) * top.estimate(count))
    if is_sample and not payload.has_room((1 + DOUBT) * top.estimate(len(sample))):
        payload.left_out.add(DESCRIPTION)
        return None
    if not is_sample:
        top = _read_top(records, connection, every_row) or top
    payload.left_out.discard(DESCRIPTION)
    shown = min(TOP, top.kept)
    payload.add_array("top_classes", np.ascontiguousarray(top.classes[..., :shown]))
    payload.add_array("probabilities", np.ascontiguousarray(top.probabilities[..., :shown]))
    return {"steps": 255, "is_top": True, "top": shown, "is_sample": is_sample}


def _quantize(probabilities: np.ndarray, steps: int) -> np.ndarray:
    return np.round(probabilities * steps).astype(np.uint8)


def _read_dense(records: Sequence[Record], connection: DuckDBPyConnection, rows: np.ndarray) -> np.ndarray | None:
    """Probabilities of every class, [n, E, K], epochs of all records; None if a record does not have them."""
    parts = []
    for record in records:
        values = np.zeros((len(rows), len(record.epochs), len(record.classes)), np.float32)
        is_empty = True
        for cells, batch in _read_batches(record, connection, rows):
            if batch["probabilities"].null_count:
                return None
            values[cells] = _stack(batch["probabilities"])
            is_empty = False
        if is_empty:
            return None
        parts.append(values)
    return np.concatenate(parts, axis=1)


def _read_top(records: Sequence[Record], connection: DuckDBPyConnection, rows: np.ndarray) -> TopClasses | None:
    """The likeliest classes, epochs of all records; None if a record has none."""
    dtype = np.uint8 if records[0].missing_code == 255 else np.uint16
    class_parts, probability_parts = [], []
    kept = 0
    for record in records:
        classes = np.full((len(rows), len(record.epochs), TOP), record.missing_code, dtype)
        fractions = np.zeros(classes.shape, np.uint8)
        is_empty = True
        for cells, batch in _read_batches(record, connection, rows):
            likeliest, shares = _rank(batch)
            kept = max(kept, len(record.classes) if batch["top_classes"].null_count else likeliest.shape[1])
            ranks = slice(likeliest.shape[1])
            classes[(*cells, ranks)] = likeliest
            fractions[(*cells, ranks)] = quantize_fractions(shares, np.uint8)
            is_empty = False
        if is_empty:
            return None
        class_parts.append(classes)
        probability_parts.append(fractions)
    return TopClasses(np.concatenate(class_parts, axis=1), np.concatenate(probability_parts, axis=1), kept)


def _rank(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest classes of a batch's rows, likeliest first, and their probabilities, [b, at most TOP] each."""
    if batch["probabilities"].null_count:  # a run keeps those of all classes, or of the likeliest
        return _stack(batch["top_classes"])[:, :TOP], _stack(batch["top_probabilities"])[:, :TOP]
    probabilities = _stack(batch["probabilities"])
    top = min(TOP, probabilities.shape[1])
    classes = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
    order = np.argsort(-np.take_along_axis(probabilities, classes, 1), axis=1, kind="stable")
    classes = np.take_along_axis(classes, order, 1)
    return classes, np.take_along_axis(probabilities, classes, 1)


def _stack(lists: pa.ListArray) -> np.ndarray:
    """Lists of one length as rows."""
    return lists.flatten().to_numpy().reshape(len(lists), -1)


def _read_batches(
    record: Record, connection: DuckDBPyConnection, rows: np.ndarray
) -> Iterator[tuple[Cells, pa.RecordBatch]]:
    """Rows of `flow_probabilities`, a bounded number at a time, and their cells; rows are places among those given."""
    instances = record.name_instances(rows)
    batch_rows = max(1, BATCH_VALUES // len(record.classes))
    for column, epoch in enumerate(record.epochs):
        values = instances | {"epoch": epoch}
        for batch in queries.execute_to_batches(connection, "flow_probabilities", values, batch_rows):
            yield (batch["row"].to_numpy(), np.full(len(batch), column)), batch
