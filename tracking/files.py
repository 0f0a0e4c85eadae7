"""Files of a run: written whole or not at all, known by their sha256."""

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracking.errors import InputError

ROW_GROUP = 122_880  # rows, as in DuckDB's own files: what a question leaves out is passed over in such pieces


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> Path:
    return write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Raises InputError if the file is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({str(error)[:100]}); it was changed, so restore it") from None


def write_text(path: Path, text: str) -> Path:
    """Replace `path` in one step, so that a reader never sees half a file."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace `path` in one step, as write_text does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own for each thread of each process, so that none writes into another's
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def write_table(path: Path, *parts: dict[str, Any]) -> Path:
    """Write columns of equal length as a Parquet file, those of several parts one after the other.

    An array [N, K] becomes a column of lists of length K.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [pa.table({name: _to_arrow(values) for name, values in columns.items()}) for columns in parts]
    parquet.write_table(pa.concat_tables(tables), path, compression="zstd", row_group_size=ROW_GROUP)
    return path


def join_tables(path: Path, parts: Sequence[Path], order: str) -> Path:
    """Write the rows of Parquet files of the same columns as one, in the order of one of these."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = pa.concat_tables([parquet.ParquetFile(part).read() for part in parts]).sort_by(order)
    parquet.write_table(rows, path, compression="zstd", row_group_size=ROW_GROUP)
    return path


def read_table(path: Path, columns: Sequence[str] | None = None) -> dict[str, list]:
    """Columns of a Parquet file, by default all."""
    from pyarrow import parquet

    return parquet.ParquetFile(path).read(columns).to_pydict()


def _to_arrow(values: Any) -> Any:  # a pyarrow array; that library has no types
    import numpy as np
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 2:
        # of any length, as fixed ones take their room for a null too
        offsets = np.arange(len(values) + 1) * values.shape[1]
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
    return pa.array(values)
