"""The tables of schema.sql, the macros over them, and SQL that reads rows straight from the runs' committed files."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb

from tracking.home import Home

SCHEMA = Path(__file__).with_name("schema.sql").read_text()
MACROS = Path(__file__).with_name("macros.sql").read_text()
MACROS_VERSION = hashlib.sha256(MACROS.encode()).hexdigest()
COMMITS = """read_json('{pattern}', hive_partitioning = false, columns = {{
    run_id: 'varchar',
    files: 'struct(path varchar, sha256 varchar)[]'}})"""
Places = Mapping[str, Sequence[str]]  # patterns of files by table
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
    "map": "float[]",
}  # fmt: skip
# types of Parquet whose values become one of ours, unless they lie beyond its ends; a column of nulls alone is INT32
STORED = {
    "INTEGER": ("INT32", "INT64"), "FLOAT": ("FLOAT", "DOUBLE", "INT32"), "DOUBLE": ("DOUBLE", "FLOAT", "INT32"),
    "VARCHAR": ("BYTE_ARRAY", "INT32"), "BOOLEAN": ("BOOLEAN",),
}  # fmt: skip


@cache
def columns() -> dict[str, dict[str, str]]:
    """Of every table the columns' names and types, in order."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA)
        return columns_of(connection)


def add_macros(connection: duckdb.DuckDBPyConnection, temporary: bool = False) -> None:
    """Make the macros of macros.sql, in the database or for this connection alone; their tables must be there."""
    made = f"{MACROS}; create or replace macro macros_version() as '{MACROS_VERSION}'"
    connection.execute(
        made.replace("create or replace macro", "create or replace temporary macro") if temporary else made
    )


def holds_macros(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a database has the macros as they are now."""
    try:
        return connection.execute("select macros_version()").fetchone() == (MACROS_VERSION,)
    except duckdb.CatalogException:
        return False


def columns_of(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """The same of the tables and views of a database."""
    sql = """
        select table_name, column_name, data_type from duckdb_columns() where not internal
        order by table_oid, column_index"""
    found: dict[str, dict[str, str]] = {}
    for table, name, kind in connection.execute(sql).fetchall():
        found.setdefault(table, {})[name] = kind
    return found


@cache
def required() -> dict[str, list[str]]:
    """Of every table the columns that are never null."""
    sql = """
        select table_name, list(column_name order by column_index) from duckdb_columns()
        where not internal and not is_nullable
        group by table_name"""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA)
        return dict(connection.execute(sql).fetchall())


def lacking(table: str, *patterns: str) -> str:
    """Select the names of files that lack a column of their table; read together, they would get nulls for it."""
    optional = ("run_id", *ADDED.get(table, ()), *DERIVED.get(table, ()))
    held = [name for name in columns()[table] if name not in optional]
    listed = ", ".join(f"'{quoted(pattern)}'" for pattern in patterns)
    return f"""
        select file_name from parquet_schema([{listed}])
        group by file_name having count(distinct name) filter (name in {tuple(held)}) < {len(held)}"""


def sound(table: str, *patterns: str) -> str:
    """Select the names of files whose footers show that every value fits its column; of others only reading tells."""
    kinds = (MAPS if table == "attributions" else {}) | columns()[table]
    optional = ADDED.get(table, ())
    fits = {
        name: _fits(kind.upper(), never_null=name in required()[table])
        for name, kind in kinds.items()
        if name != "run_id" and name not in DERIVED.get(table, ())
    }
    cases = " ".join(f"when '{name}' then {condition}" for name, condition in fits.items())
    listed = ", ".join(f"'{quoted(pattern)}'" for pattern in patterns)
    return f"""
        with parts as (select *, split_part(path_in_schema, ', ', 1) as name from parquet_metadata([{listed}]))
        select file_name
        from parts
        where name in {tuple(fits)}
        group by file_name
        having bool_and(case name {cases} end) and count(distinct name) >= {len(fits) - len(optional)}"""


def _fits(kind: str, *, never_null: bool) -> str:
    """SQL that is true where the statistics of a part of a Parquet column show that all its values fit a type."""
    element, is_list, length = kind.removesuffix("]").partition("[")
    stored = ", ".join(f"'{name}'" for name in STORED.get(element, ("none of its values for sure",)))
    ends = ("stats_min_value", "stats_max_value")
    # numbers beyond a float's end are no floats, but the same as text become infinity
    values = [f"try_cast({end} as double)" if element == "FLOAT" else end for end in ends]
    within = " and ".join(f"({value} is null or try_cast({value} as {element}) is not null)" for value in values)
    shape = "path_in_schema like '%, list, %'" if is_list else "path_in_schema = name"
    count = "true" if is_list and not length else f"num_values = row_group_num_rows * {length or 1}"
    nulls = "coalesce(stats_null_count = 0, false)" if never_null else "true"
    return f"(type in ({stored}) and {within} and {shape} and {count} and {nulls})"


def selects_of(home: Home, table: str, *patterns: str) -> list[str]:
    """All that is ever selected from files of a table: its rows and, for `attributions`, the full maps."""
    whole = [_maps(home, patterns, "")] if table == "attributions" else []
    return [rows_of(home, table, *patterns), *whole]


def table_of(path: str) -> str | None:
    """Table that a run's file feeds: named like its folder, or like itself at the top; None for other files."""
    name = path.split("/")[0].removesuffix(".parquet")
    return name if path.endswith(".parquet") and name in columns() else None


def exactly(path: str | Path) -> str:
    """The pattern that this path alone fits, as DuckDB takes every place for a pattern."""
    return re.sub(r"[\[*?]", r"[\g<0>]", str(path))


def rows_of(home: Home, table: str, *patterns: str) -> str:
    """Select a table's rows, in its types, from Parquet files; without the derived columns.

    A column that earlier files lack is null. A row belongs to the run in whose folder it lies, whatever it says itself;
    names of folders, as in `epoch=3`, say nothing.
    """
    held = {name: kind for name, kind in columns()[table].items() if name not in DERIVED.get(table, ())}
    typed = ", ".join(f'"{name}"::{kind} as "{name}"' for name, kind in held.items() if name != "run_id")
    listed = ", ".join(f"'{quoted(pattern)}'" for pattern in patterns)
    files = f"from read_parquet([{listed}], filename = true, union_by_name = true, hive_partitioning = false)"
    if added := ADDED.get(table):
        empty = ", ".join(f'null::{held[name]} as "{name}"' for name in added)
        files = f"from (select {empty} where false union all by name select * {files})"
    return f"select {_owner(home)}, {typed} {files}"


def completed_rows(home: Home, table: str, places: Places) -> str | None:
    """Select a table's rows from files, with what other rows say of them; None where the table has no file."""
    if not places.get(table):
        return None
    rows = rows_of(home, table, *places[table])
    if table == "predictions":
        return STEPS.format(rows=rows)
    return _with_labels(home, rows, places) if table == "concepts" else rows


def views(home: Home, places: Places, only: str = "") -> dict[str, str]:
    """The views beside the tables: `predictions_live` and `maps`, which holds the full maps; either may be empty.

    `only` is SQL that narrows the files' rows.
    """
    live = "select * from predictions where false"
    if known := places.get("predictions"):
        live = STEPS.format(rows=rows_of(home, "predictions", *known) + only)
    return {"predictions_live": live, "maps": _maps(home, places.get("attributions", ()), only)}


def stored_views(home: Home, deleted: Collection[str]) -> dict[str, str]:
    """The same for other programs that open study.duckdb: with patterns, so that they see what is committed later."""
    places = {table: _patterns(home, table) for table in ("predictions", "attributions")}
    return views(home, places, f" semi join ({_committed_files(home, deleted)}) using (filename)")


def quoted(path: str | Path) -> str:
    return str(path).replace("'", "''")


def _owner(home: Home) -> str:
    """The run in whose folder a file lies, as column run_id."""
    return f"split_part(substr(filename, {len(str(home.artifacts)) + 2}), '/', 1) as run_id"


def _maps(home: Home, places: Sequence[str], only: str) -> str:
    """Select the full maps; no row while there is none, so that questions about them can be asked."""
    if not places:
        return f"select {', '.join(f'null::{kind} as {name}' for name, kind in MAPS.items())} where false"
    rows = rows_of(home, "attributions", *places)
    typed = ", ".join(f'"{name}"::{kind} as "{name}"' for name, kind in list(MAPS.items())[1:])
    return f"select {_owner(home)}, {typed} {rows[rows.index('from read_parquet') :]}{only}"


def _with_labels(home: Home, concepts: str, places: Places) -> str:
    """Select concepts with the latest name a user gave each."""
    if (labels := completed_rows(home, "concept_labels", places)) is None:
        return concepts
    latest = LATEST.format(labels=f"({labels})")
    return f"""
        select concepts.* replace (coalesce(latest.label, concepts.label) as label)
        from ({concepts}) as concepts left join ({latest}) as latest using (run_id, epoch, concept_id)"""


def _patterns(home: Home, table: str) -> list[str]:
    """Patterns of the files of a table that lie in folders of its name; none while there is no such file."""
    pattern = f"*/artifacts/{table}/*.parquet"
    return [f"{exactly(home.artifacts)}/{pattern}"] if next(home.artifacts.glob(pattern), None) else []


def _committed_files(home: Home, deleted: Collection[str]) -> str:
    commits = COMMITS.format(pattern=quoted(f"{exactly(home.artifacts)}/*/artifacts/commits/*.json"))
    without = ", ".join(f"'{quoted(run_id)}'" for run_id in ("", *sorted(deleted)))
    return f"""
        select '{quoted(home.artifacts)}/' || run_id || '/artifacts/' || file.path as filename
        from (select run_id, unnest(files) as file from {commits})
        where run_id not in ({without})"""
