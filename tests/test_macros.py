"""The macros over the tables: each has a name, a comment and a definition that plain Python agrees with."""

import math
import re
from pathlib import Path

import duckdb
import pytest
import queries_data as data
from test_tracking import commit_epoch, start

from pipelines.asking.sql_process import rows_of
from tracking import tables
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import _open_files, connect
from tracking.tables import MACROS, holds_macros

DEFINED = re.findall(r"^create or replace macro (\w+)\(", MACROS, re.MULTILINE)


@pytest.fixture
def tiny() -> duckdb.DuckDBPyConnection:
    connection = data.empty()
    data.add_tiny(connection)
    return connection


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple]:
    return connection.execute(sql).fetchall()


# --- the file


def test_every_macro_has_a_comment_and_a_test() -> None:
    assert len(DEFINED) == len(set(DEFINED)) == MACROS.count("create ")
    blocks = MACROS.split("\n\n")[1:]
    undocumented = [block for block in blocks if not block.startswith("-- ") and "wilson_half" not in block]
    assert undocumented == []
    tested = Path(__file__).read_text()
    assert [name for name in DEFINED if f"{name}(" not in tested] == []


def test_macros_are_lower_case_and_their_parameters_hide_no_column() -> None:
    statements = re.sub(r"--.*|'[^']*'", "", MACROS)
    assert statements == statements.lower()
    named = {name for table in tables.columns().values() for name in table}
    parameters = re.findall(r"^create or replace macro \w+\(([^)]*)\)", MACROS, re.MULTILINE)
    assert named.isdisjoint({name.strip() for names in parameters for name in names.split(",")})


# --- where they are


def without_macros(home: Home) -> None:
    """The index as an earlier version left it."""
    kinds = "select function_name, replace(function_type, 'table_macro', 'macro table') from duckdb_functions()"
    with duckdb.connect(str(home.database)) as connection:
        for name, kind in answer(connection, f"{kinds} where not internal"):
            connection.execute(f"drop {kind} {name}")
        assert not holds_macros(connection)


ASKED = "select count(*) from labelled_predictions('{}', 'test')"


@pytest.fixture
def remembered(home: Home) -> tuple[Home, str]:
    """A home with one epoch, and SQL that uses a macro."""
    run = start(home)
    commit_epoch(run, 0, 5)
    assert ingest(home)
    return home, ASKED.format(run.run_id)


def test_another_program_that_opens_the_index_has_them(remembered: tuple[Home, str]) -> None:
    home, sql = remembered
    with duckdb.connect(str(home.database), read_only=True) as connection:
        assert answer(connection, sql) == [(5,)]


def test_an_index_of_an_earlier_version_gets_them_when_it_is_read(remembered: tuple[Home, str], caplog) -> None:
    home, sql = remembered
    without_macros(home)
    with connect(home) as connection:
        assert rows_of(connection, sql)[1] == [(5,)]
    with duckdb.connect(str(home.database), read_only=True) as connection:
        assert holds_macros(connection)
    assert caplog.messages == []


def test_macros_of_another_version_are_replaced(remembered: tuple[Home, str], monkeypatch: pytest.MonkeyPatch) -> None:
    home, sql = remembered
    changed = MACROS.replace("and label is not null;", "and label is null;", 1)
    assert changed != MACROS
    with monkeypatch.context() as other:
        other.setattr(tables, "MACROS", changed)
        other.setattr(tables, "MACROS_VERSION", "of another version")
        with connect(home) as connection:
            assert answer(connection, sql) == [(0,)]
    with connect(home) as connection:
        assert answer(connection, sql) == [(5,)]


def test_an_index_that_another_program_reads_has_them_for_the_question_alone(remembered: tuple[Home, str]) -> None:
    home, sql = remembered
    without_macros(home)
    with duckdb.connect(str(home.database), read_only=True) as reader:
        with connect(home) as connection:
            assert answer(connection, sql) == [(5,)]
        assert not holds_macros(reader)


def test_the_runs_files_alone_have_them(remembered: tuple[Home, str]) -> None:
    home, sql = remembered
    with _open_files(home) as connection:
        assert answer(connection, sql) == [(5,)]


# --- what they say


def test_class_names(tiny) -> None:
    assert answer(tiny, "from class_names('tiny') order by class_id") == list(enumerate(data.CLASSES))
    assert answer(tiny, "from class_names('other')") == []


def test_labelled_predictions(tiny) -> None:
    sql = "select distinct instance_id from labelled_predictions('tiny', 'test') order by 1"
    assert answer(tiny, sql) == [(i,) for i, (label, *_) in enumerate(data.TINY) if label is not None]
    assert answer(tiny, "select count(*) from labelled_predictions('tiny', 'val')") == [(0,)]


def test_moves(tiny) -> None:
    sql = "select epoch, next_epoch, predicted, next_predicted from moves('tiny', 'test') where instance_id = 2"
    assert sorted(answer(tiny, sql)) == [(0, 1, 0, 2), (1, 3, 2, 2), (3, 4, 2, 1)]
    assert answer(tiny, "select count(*) from moves('tiny', 'test')") == [(3 * len(data.TINY),)]


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 7), (3, 7), (20, 20), (1, 10**6)])
def test_wilson(tiny, right: int, n: int) -> None:
    z, p = 1.96, right / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    ends = "wilson_low(p, n), wilson_high(p, n), wilson_centre(p, n) - wilson_half(p, n)"
    [(low, high, unbounded)] = answer(tiny, f"select {ends} from (select {right} / {n} as p, {n} as n)")
    assert low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-11)
    assert high == pytest.approx(min(1, (centre + half) / (1 + z * z / n)), abs=1e-12)
    assert unbounded == pytest.approx(low, abs=1e-11)
    assert low == 0 if right == 0 else low > 0


def test_wilson_of_nothing_is_null(tiny) -> None:
    assert answer(tiny, "select wilson_low(null, 0), wilson_high(0.5, 0)") == [(None, None)]
