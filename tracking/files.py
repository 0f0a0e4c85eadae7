"""Files of a run: written whole or not at all, known by their sha256."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> Path:
    """Replace `path` in one step, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(part, path)
    return path


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    """Parquet file of equally long columns; an array [N, K] becomes a column of lists of K."""
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: _column(values) for name, values in columns.items()})
    parquet.write_table(table, path, compression="zstd")
    return path


def _column(values: Any):
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values)
