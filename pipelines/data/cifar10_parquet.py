"""CIFAR-10 as Hugging Face has it: Parquet files, columns img (bytes, path) and label."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipelines.data.names import format_name, format_names
from pipelines.data.raw import File, Options, Reading, Split, fill
from tracking.errors import InputError

ROWS_PER_BATCH = 1000  # read at a time
SIDE = 32


def read_parquet(
    files: list[Path], part: str, classes: int, options: Options
) -> tuple[Split, tuple[str, ...], tuple[str, ...]]:
    """The rows of all files in order, images [N, 3, 32, 32]; notes on what was converted, and sources left out."""
    labels = torch.tensor([label for file in files for label in _labels(file, classes)], dtype=torch.long)
    sources = [f"{part}/{row:05d}" for row in range(len(labels))]
    left_out = set(options.recorded_reading.unreadable) if options.recorded_reading else set()
    kept_rows = [row for row, source in enumerate(sources) if source not in left_out]
    contents = (content for row, content in enumerate(_contents(files)) if sources[row] not in left_out)
    side = options.size or SIDE
    decoded = fill(contents, len(kept_rows), (side, side), "RGB", options.recorded_reading or Reading(), options)
    readable_rows = [kept_rows[row] for row in decoded.rows]
    unreadable = tuple(sources[row] for row in sorted(set(range(len(sources))) - set(readable_rows)))
    split = Split(decoded.images, labels[readable_rows], tuple(sources[row] for row in readable_rows))
    return split, tuple(f"{part}: {note}" for note in decoded.notes), unreadable


@contextmanager
def _opened(file: Path) -> Iterator:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(file) as opened:
            yield opened
    except (ArrowException, OSError) as error:
        reason = format_name(str(error).splitlines()[0])
        raise InputError(f"cannot read {format_name(file)}: {reason}; fetch the file again") from None


def _labels(file: Path, classes: int) -> list[int]:
    with _opened(file) as opened:
        _check_columns(file, opened.schema_arrow)
        labels = opened.read(columns=["label"])["label"].to_pylist()
    for row, label in enumerate(labels):
        if label is None or not 0 <= label < classes:
            raise InputError(
                f"row {row} of {format_name(file)} has label {label}, not one of 0..{classes - 1}; fix the row"
            )
    return labels


def _check_columns(file: Path, schema: Any) -> None:
    from pyarrow import types

    img, label = (schema.field(name).type if name in schema.names else None for name in ("img", "label"))
    if img is None or not types.is_struct(img) or img.get_field_index("bytes") < 0:
        wrong = "column img with bytes in it"
    elif label is None or not types.is_integer(label):
        wrong = "column label of integers"
    else:
        return
    columns = format_names(f"{field.name} ({field.type})" for field in schema)
    raise InputError(f"{format_name(file)} has no {wrong}; it has {columns}; rename or convert its columns")


def _contents(files: list[Path]) -> Iterator[File]:
    for file in files:
        with _opened(file) as opened:
            batches = opened.iter_batches(ROWS_PER_BATCH, columns=["img"])
            contents = (content for batch in batches for content in batch.column("img").field("bytes").to_pylist())
            for row, content in enumerate(contents):
                yield f"in row {row} of {file}", content or b""
