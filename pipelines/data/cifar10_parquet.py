"""CIFAR-10 as Hugging Face has it: Parquet files, columns img (bytes, path) and label."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipelines.data.decoding import NamedFile, decode_to_shape
from pipelines.data.names import format_name, format_names
from pipelines.data.raw import LoadOptions, Reading, Split
from tracking.errors import InputError

ROWS_PER_BATCH = 1000  # read at a time
SIDE = 32


def read_parquet(
    files: list[Path], part: str, class_count: int, options: LoadOptions
) -> tuple[Split, tuple[str, ...], tuple[str, ...]]:
    """The rows of all files in order, images [N, 3, 32, 32]; notes on what was converted, and sources left out."""
    labels: list[int] = []
    for file in files:
        labels += _read_labels(file, class_count)
    sources = [f"{part}/{row:05d}" for row in range(len(labels))]
    side = options.size or SIDE
    reading = options.recorded_reading or Reading()
    decoded = decode_to_shape(_read_images(files), sources, (3, side, side), reading, options)
    split = Split(decoded.images, torch.tensor(labels, dtype=torch.long)[decoded.rows], decoded.sources)
    notes = tuple(f"{part}: {note}" for note in decoded.notes)
    return split, notes, decoded.reading.unreadable


@contextmanager
def _open_parquet(file: Path) -> Iterator[Any]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(file) as opened:
            yield opened
    except (ArrowException, OSError) as error:
        reason = format_name(str(error).splitlines()[0])
        raise InputError(f"cannot read {format_name(file)}: {reason}; fetch the file again") from None


def _read_labels(file: Path, class_count: int) -> list[int]:
    """The labels of a file; raises InputError if it lacks a column or a label is not a class."""
    from pyarrow import types

    with _open_parquet(file) as opened:
        schema = opened.schema_arrow
        img = schema.field("img").type if "img" in schema.names else None
        label = schema.field("label").type if "label" in schema.names else None
        missing = None
        if img is None or not types.is_struct(img) or img.get_field_index("bytes") < 0:
            missing = "column img with bytes in it"
        elif label is None or not types.is_integer(label):
            missing = "column label of integers"
        if missing:
            columns = format_names(f"{field.name} ({field.type})" for field in schema)
            raise InputError(f"{format_name(file)} has no {missing}; it has {columns}; rename or convert its columns")
        labels = opened.read(columns=["label"])["label"].to_pylist()
    for row, label in enumerate(labels):
        if label is None or not 0 <= label < class_count:
            raise InputError(
                f"row {row} of {format_name(file)} has label {label}, not one of 0..{class_count - 1}; fix the row"
            )
    return labels


def _read_images(files: list[Path]) -> Iterator[NamedFile]:
    """The encoded images of all files, each named by its row for messages."""
    for file in files:
        row = 0
        with _open_parquet(file) as opened:
            for batch in opened.iter_batches(ROWS_PER_BATCH, columns=["img"]):
                for content in batch.column("img").field("bytes").to_pylist():
                    yield f"in row {row} of {file}", content or b""
                    row += 1
