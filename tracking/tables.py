"""The tables of schema.sql, and SQL that reads their rows straight from the runs' committed files."""

from functools import cache
from pathlib import Path

import duckdb

from tracking.home import Home

SCHEMA = Path(__file__).with_name("schema.sql").read_text()
COMMITS = """read_json('{artifacts}/*/artifacts/commits/*.json', columns = {{
    run_id: 'varchar', unit: 'varchar', epoch: 'integer', time_ms: 'bigint',
    files: 'struct(path varchar, sha256 varchar)[]', metrics: 'map(varchar, double)'}})"""
# columns that no file holds: where an instance comes from, which every question about moves asks
STEPS = """
    select *, lag(epoch) over steps as previous_epoch, lag(predicted) over steps as previous
    from ({rows})
    window steps as (partition by run_id, split, instance_id order by epoch)"""
# columns that files of earlier versions lack
ADDED = {"instances": ("name",)}
DERIVED = {"predictions": ("previous_epoch", "previous")}
LATEST = "select run_id, epoch, concept_id, arg_max(label, labelled_at) as label from {labels} group by all"
MAPS = {
    "run_id": "varchar", "source_run_id": "varchar", "epoch": "integer", "method": "varchar", "split": "varchar",
    "instance_id": "integer", "target": "integer", "target_kind": "varchar", "height": "integer", "width": "integer",
    "map": "real[]",
}  # fmt: skip


@cache
def columns() -> dict[str, dict[str, str]]:
    """Of every table the columns' names and types, in order."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA)
        return columns_of(connection)


def columns_of(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """The same of the tables and views of a database."""
    sql = """
        select table_name, column_name, data_type from duckdb_columns() where not internal
        order by table_oid, column_index"""
    found: dict[str, dict[str, str]] = {}
    for table, name, kind in connection.execute(sql).fetchall():
        found.setdefault(table, {})[name] = kind
    return found


def table_of(path: str) -> str | None:
    """Table that a run's file feeds: named like its folder, or like itself at the top; None for other files."""
    name = path.split("/")[0].removesuffix(".parquet")
    return name if path.endswith(".parquet") and name in columns() else None


def rows_of(table: str, *places: str) -> str:
    """Select a table's rows, in its types, from Parquet files; without the derived columns.

    Places are paths or patterns. A column that earlier files lack is null.
    """
    held = {name: kind for name, kind in columns()[table].items() if name not in DERIVED.get(table, ())}
    typed = ", ".join(f'"{name}"::{kind} as "{name}"' for name, kind in held.items())
    listed = ", ".join(f"'{place}'" for place in places)
    files = f"from read_parquet([{listed}], filename = true, union_by_name = true)"
    if added := ADDED.get(table):
        empty = ", ".join(f'null::{held[name]} as "{name}"' for name in added)
        files = f"from (select {empty} where false union all by name select * {files})"
    return f"select {typed} {files}"


def runs_of(place: str) -> str:
    """Select rows of table `runs` from run.json files."""
    types = ", ".join(f"{name}: '{kind}'" for name, kind in columns()["runs"].items())
    return f"select {', '.join(columns()['runs'])} from read_json('{place}', columns = {{{types}}})"


def committed_rows(home: Home, table: str) -> str | None:
    """Select a table's rows from the committed files of all runs; None while there is no such file."""
    artifacts = quoted(home.artifacts)
    if table == "runs":
        return runs_of(f"{artifacts}/*/artifacts/run.json") if _any(home, "run.json") else None
    if not _any(home, "commits/*.json"):
        return None
    if table == "metrics":
        return _committed_metrics(artifacts)
    patterns = [pattern for pattern in (f"{table}.parquet", f"{table}/*.parquet") if _any(home, pattern)]
    if not patterns:
        return None
    rows = rows_of(table, *(f"{artifacts}/*/artifacts/{pattern}" for pattern in patterns))
    return _completed(home, table, f"{rows} semi join ({_committed_files(artifacts)}) using (filename)")


def views(home: Home) -> dict[str, str]:
    """The views beside the tables: `predictions_live` and `maps`, which holds the full maps; either may be empty."""
    live = committed_rows(home, "predictions") or "select * from predictions where false"
    return {"predictions_live": live, "maps": _maps(home)}


def quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _maps(home: Home) -> str:
    """Select the full maps; no row while there is none, so that questions about them can be asked."""
    if (select := committed_rows(home, "attributions")) is None:
        return f"select {', '.join(f'null::{kind} as {name}' for name, kind in MAPS.items())} where false"
    return f"select {', '.join(MAPS)} {select[select.index('from read_parquet') :]}"


def _completed(home: Home, table: str, rows: str) -> str:
    """Select a table's rows with what other rows say of them."""
    if table == "predictions":
        return STEPS.format(rows=rows)
    return _with_labels(home, rows) if table == "concepts" else rows


def _with_labels(home: Home, concepts: str) -> str:
    """Select concepts with the latest name a user gave each."""
    if (labels := committed_rows(home, "concept_labels")) is None:
        return concepts
    latest = LATEST.format(labels=f"({labels})")
    return f"""
        select concepts.* replace (coalesce(latest.label, concepts.label) as label)
        from ({concepts}) as concepts left join ({latest}) as latest using (run_id, epoch, concept_id)"""


def _any(home: Home, pattern: str) -> bool:
    return next(home.artifacts.glob(f"*/artifacts/{pattern}"), None) is not None


def _committed_files(artifacts: str) -> str:
    return f"""
        select '{artifacts}/' || run_id || '/artifacts/' || file.path as filename
        from (select run_id, unnest(files) as file from {COMMITS.format(artifacts=artifacts)})"""


def _committed_metrics(artifacts: str) -> str:
    return f"""
        select run_id, coalesce(epoch, 0) as epoch, entry.key as key, entry.value as value
        from (select run_id, epoch, unnest(map_entries(metrics)) as entry
              from {COMMITS.format(artifacts=artifacts)})"""
