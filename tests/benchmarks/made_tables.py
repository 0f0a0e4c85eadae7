"""Tables of studies that are made of random numbers, for the programs that ask questions of such studies."""

import duckdb
import pyarrow as pa

from tracking.tables import MAP_COLUMNS, SCHEMA, add_macros


def open_tables() -> duckdb.DuckDBPyConnection:
    """Empty tables with their macros, on one thread."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute(SCHEMA)
    add_macros(connection)
    connection.execute(f"create table maps ({', '.join(f'{name} {kind}' for name, kind in MAP_COLUMNS.items())})")
    connection.execute("create view full_predictions as from predictions")
    return connection


def add(connection: duckdb.DuckDBPyConnection, table: str, count: int, **columns: object) -> None:
    """Rows from columns, or from values that all rows share."""
    filled = {key: [value] * count if isinstance(value, str | int | float) else value for key, value in columns.items()}
    rows = pa.table({key: list(value) for key, value in filled.items()})
    connection.register("rows_to_add", rows)
    connection.execute(f"insert into {table} by name select * from rows_to_add")
    connection.unregister("rows_to_add")


def add_run(connection: duckdb.DuckDBPyConnection, run_id: str, kind: str, source: str | None = None) -> None:
    """A finished run; `source` is the training run of another kind of run."""
    sql = """
        insert into runs by name
        select ? as run_id, ? as kind, ? as source_run_id, '' as name, 'FINISHED' as status, '{}' as params,
            timestamp '2026-01-01' as started_at"""
    connection.execute(sql, [run_id, kind, source])
