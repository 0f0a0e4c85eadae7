"""Two runs on the same images: whether they can be shown side by side, and their records if so."""

from dataclasses import replace

import numpy as np
from duckdb import DuckDBPyConnection

from pipelines.data.names import format_name
from pipelines.instanceflow.record import Record, RecordAxes, choose_rows, read_axes, read_predictions
from tracking.catalogue import RunRecord
from tracking.errors import InputError


def read_pair(connection: DuckDBPyConnection, run: RunRecord, other: RunRecord, split: str) -> tuple[Record, Record]:
    """The records of two runs in a split, row by row of the same images: all, or a sample of many.

    Images added later are left out.

    Images are the same if their number in the split, label and source are; `read_images` checks the pictures. What the
    runs were trained on may differ. Raises InputError if images, classes or kinds of run differ.
    """
    names = f"runs {run.run_id[:8]} and {other.run_id[:8]}"
    if run.run_id == other.run_id:
        raise InputError(f"both runs are {run.run_id[:8]}; name another, or leave it out")
    if run.kind != other.kind:
        raise InputError(f"{names} are of kinds {run.kind} and {other.kind}; name two of one kind")

    first, second = (_leave_out_added(read_axes(connection, record, split)) for record in (run, other))
    if first.classes != second.classes:
        raise InputError(f"{names} have different classes ({_name_difference(first, second)}); name two with the same")
    if not np.array_equal(first.instance_ids, second.instance_ids):
        raise InputError(
            f"{names} have different images in {split} ({len(first.labels):,} and {len(second.labels):,}); "
            "name another split with --split"
        )
    display_names = [one.sources if one.names is None else one.names for one in (first, second)]
    for what, values, other_values in (
        ("the source", first.sources.to_pylist(), second.sources.to_pylist()),
        ("the name", *(column.to_pylist() for column in display_names)),
        ("the label", _name_labels(first), _name_labels(second)),
    ):
        differing = next((row for row, value in enumerate(values) if value != other_values[row]), None)
        if differing is not None:
            raise InputError(
                f"{names} have different images in {split}: {what} of image {first.instance_ids[differing]} is "
                f"{format_name(values[differing])} and {format_name(other_values[differing])}; name a split that no "
                "seed draws, such as test, with --split"
            )
    rows = choose_rows(first, len(first.epochs) + len(second.epochs))
    return read_predictions(connection, first.take(rows)), read_predictions(connection, second.take(rows))


def _leave_out_added(axes: RecordAxes) -> RecordAxes:
    """The axes of the first split alone: images added later belong to one run."""
    first = axes.take(np.flatnonzero(axes.split_indices == 0))
    return replace(first, splits=axes.splits[:1], split_sizes=axes.split_sizes[:1])


def _name_labels(record: RecordAxes) -> tuple[str, ...]:
    return tuple("unknown" if label < 0 else record.classes[label] for label in record.labels.tolist())


def _name_difference(first: RecordAxes, second: RecordAxes) -> str:
    if len(first.classes) != len(second.classes):
        return f"{len(first.classes)} and {len(second.classes)}"
    pairs = zip(first.classes, second.classes, strict=True)
    return next(f"{format_name(name)} and {format_name(other)}" for name, other in pairs if name != other)
