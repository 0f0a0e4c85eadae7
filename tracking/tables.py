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
FilesByTable = Mapping[str, Sequence[str]]  # names of files by the table that they feed, as DuckDB's patterns
READ_COMMITS = """read_json('{pattern}', hive_partitioning = false, columns = {{
    run_id: 'varchar',
    files: 'struct(path varchar, sha256 varchar)[]'}})"""
# predictions with columns that no file holds: the same instance's prediction before, for questions about moves
WITH_PREVIOUS = """
    select *, lag(epoch) over steps as previous_epoch, lag(predicted) over steps as previous
    from ({rows})
    window steps as (partition by run_id, split, instance_id order by epoch)"""
DERIVED_COLUMNS = {"predictions": ("previous_epoch", "previous")}
# that files of earlier versions lack
LATER_COLUMNS = {
    "instances": ("name", "content"),
    "predictions": ("top_classes", "top_probabilities"),
    "concepts": ("stability",),
    "attributions": ("sampled",),
}
# that stay in the runs' files, as they take many times the room of all others
LARGE_COLUMNS = {"predictions": ("probabilities", "top_classes", "top_probabilities")}
TOO_MANY_FILES = (
    "probabilities of classes are in the files of runs, which are too many here: ask with `study sql`, and write the "
    "ID of each run that you ask about into the question, such as run_id = ''...''"
)
KEY = ("run_id", "epoch", "split", "instance_id")  # of a prediction
FILE_VIEWS = ("predictions_live", "full_predictions", "maps")  # that read the runs' files themselves
LATEST_LABELS = "select run_id, epoch, concept_id, arg_max(label, labelled_at) as label from {labels} group by all"
MAP_COLUMNS = {
    "run_id": "varchar", "source_run_id": "varchar", "epoch": "integer", "method": "varchar", "split": "varchar",
    "instance_id": "integer", "target": "integer", "target_kind": "varchar", "height": "integer", "width": "integer",
    "map": "float[]",
}  # fmt: skip
# for each of our types, the Parquet types whose values fit unless out of range; columns of nulls only are INT32
PARQUET_TYPES = {
    "INTEGER": ("INT32", "INT64"),
    "FLOAT": ("FLOAT", "DOUBLE", "INT32"),
    "DOUBLE": ("DOUBLE", "FLOAT", "INT32"),
    "VARCHAR": ("BYTE_ARRAY", "INT32"),
    "BOOLEAN": ("BOOLEAN",),
}
NO_PARQUET_TYPE = ("none that tells without a look at the values",)


@cache
def columns() -> dict[str, dict[str, str]]:
    """Names and types of every table's columns, in order."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA)
        return read_columns(connection)


@cache
def index_columns() -> dict[str, dict[str, str]]:
    """The same as study.duckdb has them: without the large columns."""
    return {table: _without(types, LARGE_COLUMNS.get(table, ())) for table, types in columns().items()}


def _without(types: Mapping[str, str], left_out: Collection[str]) -> dict[str, str]:
    return {column: data_type for column, data_type in types.items() if column not in left_out}


def read_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Names and types of the columns of every table and view of a database, in order."""
    sql = """
        select table_name, column_name, data_type from duckdb_columns()
        where database_name = current_database() and not internal
        order by table_oid, column_index"""
    by_table: dict[str, dict[str, str]] = {}
    for table, column, data_type in connection.execute(sql).fetchall():
        by_table.setdefault(table, {})[column] = data_type
    return by_table


@cache
def required_columns() -> dict[str, list[str]]:
    """The columns of every table that are never null."""
    sql = """
        select table_name, list(column_name order by column_index) from duckdb_columns()
        where database_name = current_database() and not internal and not is_nullable
        group by table_name"""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA)
        return dict(connection.execute(sql).fetchall())


def add_macros(connection: duckdb.DuckDBPyConnection, temporary: bool = False) -> None:
    """Create the macros of macros.sql, in the database or for this connection alone; their tables must exist."""
    # in one transaction, as each that is committed waits for the disk
    sql = f"begin; {MACROS}; create or replace macro macros_version() as '{MACROS_VERSION}'; commit"
    if temporary:
        sql = sql.replace("create or replace macro", "create or replace temporary macro")
    connection.execute(sql)


def holds_macros(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a database has the macros as they are now."""
    try:
        return connection.execute("select macros_version()").fetchone() == (MACROS_VERSION,)
    except duckdb.CatalogException:
        return False


def select_incomplete_files(table: str, *patterns: str) -> str:
    """Select the names of files that lack a column of their table; read with others, they would get nulls for it."""
    optional = ("run_id", *LATER_COLUMNS.get(table, ()), *DERIVED_COLUMNS.get(table, ()))
    needed = tuple(column for column in columns()[table] if column not in optional)
    return f"""
        select file_name from parquet_schema({_list_of(patterns)})
        group by file_name having count(distinct name) filter (name in {needed}) < {len(needed)}"""


def select_sound_files(table: str, *patterns: str, of: Collection[str] = ()) -> str:
    """Select the names of files whose footers show that every value fits its column. Others must be read to know.

    `of` are the columns that matter, by default all.
    """
    types = columns()[table]
    if table == "attributions":
        types = MAP_COLUMNS | types
    conditions = {
        column: _fits(data_type.upper(), never_null=column in required_columns()[table])
        for column, data_type in types.items()
        if column != "run_id" and column not in DERIVED_COLUMNS.get(table, ()) and (not of or column in of)
    }
    cases = " ".join(f"when '{column}' then {condition}" for column, condition in conditions.items())
    needed_count = len(conditions) - len(LATER_COLUMNS.get(table, ()))
    return f"""
        with parts as (
            select *, split_part(path_in_schema, ', ', 1) as name from parquet_metadata({_list_of(patterns)})
        )
        select file_name
        from parts
        where name in {tuple(conditions)}
        group by file_name
        having bool_and(case name {cases} end) and count(distinct name) >= {needed_count}"""


def _fits(data_type: str, *, never_null: bool) -> str:
    """SQL that is true if the statistics of a part of a Parquet column show that all its values fit a type."""
    element, is_list, length = data_type.removesuffix("]").partition("[")
    parquet_types = ", ".join(f"'{name}'" for name in PARQUET_TYPES.get(element, NO_PARQUET_TYPE))
    conditions = [f"type in ({parquet_types})"]
    for extreme in ("stats_min_value", "stats_max_value"):
        # statistics are text: a number out of a float's range becomes infinity as text, but no float as a number
        value = f"try_cast({extreme} as double)" if element == "FLOAT" else extreme
        conditions.append(f"({value} is null or try_cast({value} as {element}) is not null)")
    conditions.append("path_in_schema like '%, list, %'" if is_list else "path_in_schema = name")
    if length or not is_list:  # a list of any length says nothing about the number of rows
        conditions.append(f"num_values = row_group_num_rows * {length or 1}")
    if never_null:
        conditions.append("coalesce(stats_null_count = 0, false)")
    return f"({' and '.join(conditions)})"


def table_of(path: str) -> str | None:
    """Table that a run's file feeds: named like its folder, or like itself at the top; None for other files."""
    name = path.split("/")[0].removesuffix(".parquet")
    return name if path.endswith(".parquet") and name in columns() else None


def exact_pattern(path: str | Path) -> str:
    """The pattern that matches this path alone, as DuckDB reads every path as a pattern."""
    return re.sub(r"[\[*?]", r"[\g<0>]", str(path))


def quoted(path: str | Path) -> str:
    """A path as it stands between the quotes of an SQL text."""
    return str(path).replace("'", "''")


def select_rows(home: Home, table: str, *patterns: str, without: Collection[str] = ()) -> str:
    """Select a table's rows, in its types, from Parquet files; without the derived columns, and those left out.

    A column that earlier files lack is null. A row belongs to the run in whose folder it lies, not to the one it names;
    folder names such as `epoch=3` have no effect. Without files there are no rows.
    """
    types = _without(columns()[table], (*DERIVED_COLUMNS.get(table, ()), *without))
    if not patterns:
        return _select_nothing(types)
    source = _read_parquet(patterns)
    if later := [column for column in LATER_COLUMNS.get(table, ()) if column in types]:
        empty = ", ".join(f'null::{types[column]} as "{column}"' for column in later)
        source = f"(select {empty} where false union all by name select * from {source})"
    return f"select {_typed(home, types)} from {source}"


def select_all_values(home: Home, table: str, *patterns: str) -> list[str]:
    """Everything that is ever selected from files of a table: its rows and, for `attributions`, the full maps."""
    selects = [select_rows(home, table, *patterns)]
    if table == "attributions":
        selects.append(_select_maps(home, patterns, ""))
    return selects


def select_table(home: Home, table: str, files: FilesByTable) -> str | None:
    """Select a table's rows from files, with the derived columns and labels; None if the table has no file."""
    if not files.get(table):
        return None
    rows = select_rows(home, table, *files[table])
    if table == "predictions":
        return WITH_PREVIOUS.format(rows=rows)
    if table == "concepts":
        return _with_labels(home, rows, files)
    return rows


def _with_labels(home: Home, concepts: str, files: FilesByTable) -> str:
    """Select concepts with the latest name that a user gave each."""
    labels = select_table(home, "concept_labels", files)
    if labels is None:
        return concepts
    latest = LATEST_LABELS.format(labels=f"({labels})")
    return f"""
        select concepts.* replace (coalesce(latest.label, concepts.label) as label)
        from ({concepts}) as concepts left join ({latest}) as latest using (run_id, epoch, concept_id)"""


def view_definitions(
    home: Home,
    files: FilesByTable,
    condition: str = "",
    has_few: bool = True,
    only_runs: Sequence[str] = (),
    narrow: str = "predictions",
) -> dict[str, str]:
    """The views beside the tables: `predictions_live`, `full_predictions`, and `maps` with the full maps.

    `condition` is SQL that restricts the files' rows. `narrow` is the table `predictions` of study.duckdb. DuckDB opens
    each file before it reads the first. So unless the home has few, `predictions_live` is the table, the files of
    predictions are those of `only_runs`, and reading a large column of another run is an error.
    """
    patterns = files.get("predictions", ()) if has_few or only_runs else ()
    rows = select_rows(home, "predictions", *patterns) + (condition if patterns else "")
    full_predictions = _with_large_columns(narrow, rows)
    if has_few:
        predictions_live = WITH_PREVIOUS.format(rows=rows)
    else:
        predictions_live = "select * from predictions"
        full_predictions += f" union all {_with_errors(narrow, only_runs)}"
    return {
        "predictions_live": predictions_live,
        "full_predictions": full_predictions,
        "maps": _select_maps(home, files.get("attributions", ()), condition),
    }


def _with_large_columns(narrow: str, rows: str) -> str:
    """Select predictions of study.duckdb with the large columns, which are in `rows` of files."""
    key, large = ", ".join(KEY), ", ".join(LARGE_COLUMNS["predictions"])
    return f"""
        select {", ".join(columns()["predictions"])}
        from {narrow} join (select {key}, {large} from ({rows})) using ({key})"""


def _with_errors(narrow: str, left_out: Sequence[str]) -> str:
    """Select predictions of study.duckdb, but for some runs, with errors where large columns are read."""
    shown = [
        f"error('{TOO_MANY_FILES}')::{data_type} as {column}" if column in LARGE_COLUMNS["predictions"] else column
        for column, data_type in columns()["predictions"].items()
    ]
    return f"select {', '.join(shown)} from {narrow} where not list_contains({_list_of(left_out)}::varchar[], run_id)"


def _select_nothing(types: Mapping[str, str]) -> str:
    """Select no rows, so that questions can be asked before there are any."""
    return f"select {', '.join(f'null::{data_type} as {column}' for column, data_type in types.items())} where false"


def stored_view_definitions(home: Home, tables: Collection[str], has_few: bool) -> dict[str, str]:
    """The same for other programs that open study.duckdb: with real patterns, so that they see later commits too.

    `tables` are those with files, as DuckDB refuses a pattern that matches nothing.
    """
    files = {table: [f"{exact_pattern(home.artifacts)}/*/artifacts/{table}/*.parquet"] for table in tables}
    commits = READ_COMMITS.format(pattern=quoted(f"{exact_pattern(home.artifacts)}/*/artifacts/commits/*.json"))
    committed = f"""
        select '{quoted(home.artifacts)}/' || run_id || '/artifacts/' || file.path as filename
        from (select run_id, unnest(files) as file from {commits})
        semi join runs using (run_id)"""
    return view_definitions(home, files, f" semi join ({committed}) using (filename)", has_few)


def _select_maps(home: Home, patterns: Sequence[str], condition: str) -> str:
    """Select the full maps."""
    if not patterns:
        return _select_nothing(MAP_COLUMNS)
    # all files have all columns, in the same types
    return f"select {_typed(home, MAP_COLUMNS)} from {_read_parquet(patterns, union_by_name=False)}{condition}"


def _typed(home: Home, types: Mapping[str, str]) -> str:
    """SQL of a table's columns in its types; run_id, its first, is that of the run in whose folder the file lies."""
    start = len(str(home.artifacts)) + 2
    run_id = f"split_part(substr(filename, {start}), '/', 1) as run_id"
    others = [f'"{column}"::{data_type} as "{column}"' for column, data_type in types.items() if column != "run_id"]
    return ", ".join([run_id, *others])


def _read_parquet(patterns: Sequence[str], *, union_by_name: bool = True) -> str:
    files = f"{_list_of(patterns)}, union_by_name = {union_by_name}"
    return f"read_parquet({files}, filename = true, hive_partitioning = false)"


def _list_of(patterns: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{quoted(pattern)}'" for pattern in patterns) + "]"
