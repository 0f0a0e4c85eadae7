"""Answers as pandas DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import compute

import queries

if TYPE_CHECKING:
    import pandas as pd

NULLABLE = {"int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64", "bool": "boolean"}


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An answer as a DataFrame. Whole numbers stay whole: with nulls among them they are pandas's Int64 and the like.

    Dates are timestamps, and decimals, such as sums of whole numbers, are int64 where they fit and else float64.
    """
    import pandas as pd

    columns = {}
    for name, column in zip(queries.unique_names(table.column_names), table.columns, strict=True):
        if pa.types.is_decimal(column.type):
            column = _to_number(column)
        nullable = NULLABLE.get(str(column.type))
        if nullable and column.null_count:
            columns[name] = pd.Series(column.to_pylist(), dtype=nullable)
        else:
            columns[name] = column.to_pandas(date_as_object=False)
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def _to_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type.scale == 0:
        try:
            return compute.cast(column, pa.int64())
        except pa.ArrowInvalid:  # over 19 digits
            pass
    return compute.cast(column, pa.float64())
