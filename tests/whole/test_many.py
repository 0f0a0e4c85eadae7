"""Trainings and questions share a study home: nothing is lost, refused or half there."""

import duckdb
import pytest

from benchmarks.many_at_once import many, report
from support.commands import at_once
from support.homes import commit_epoch, everything, start, up_to_date
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect
from tracking.tables import columns


@pytest.fixture
def home(home: Home) -> Home:
    """A home whose index is still to be made."""
    home.database.unlink()
    return home


def test_trainings_and_readers_at_once(home: Home, capsys) -> None:
    done = many(home, trainings=2, explainers=0, epochs=1, seconds=120)
    assert [code for code, _ in done.ends] == [0, 0], done.ends
    assert done.status == ["FINISHED", "FINISHED"]
    assert (done.failures, done.wrong, done.unlike) == ([], [], [])
    rows, metrics = done.rows, done.metrics
    assert rows[0] == rows[1] == 2 * 2 * (582 + 1797)  # the table and the live view, two runs, epochs 0 and 1
    assert metrics[0] == metrics[1] > 10
    assert min(len(tally.seconds) for tally in done.tallies) > 0
    report("free", done)
    assert capsys.readouterr().out.split()[:4] == ["free", "2", "of", "2"]


def test_an_open_question_does_not_stop_the_same_process_from_committing(home: Home) -> None:
    run = start(home)
    commit_epoch(run, 0)
    with connect(home) as asking:
        commit_epoch(run, 1)
        assert not ingest(home, wait=0.1)
        assert asking.execute("select distinct epoch from predictions").fetchall() == [(0,)]
        with connect(home) as other:
            assert len(everything(other, "predictions")) == 6
    assert ingest(home)
    assert up_to_date(home)


def test_a_process_that_writes_the_index_may_ask(home: Home) -> None:
    commit_epoch(start(home), 0)
    ingest(home)
    with duckdb.connect(str(home.database)), connect(home) as asking:
        assert len(everything(asking, "predictions")) == 3


def test_threads_ask_at_once_though_the_index_is_not_there_yet(home: Home) -> None:
    run = start(home)
    for epoch in range(3):
        commit_epoch(run, epoch)

    def ask() -> int:
        with connect(home) as connection:
            return len(everything(connection, "predictions"))

    assert at_once([ask] * 6) == [9] * 6


@pytest.mark.parametrize("view", ["predictions_live", "maps"])
def test_views_are_there_before_their_first_row(home: Home, view: str) -> None:
    start(home)
    with connect(home) as connection:
        assert everything(connection, view) == []


def test_only_the_tables_of_the_schema_are_known() -> None:
    assert {"runs", "predictions", "concepts"} < set(columns())
    assert not {"columns", "duckdb_tables", "sqlite_master"} & set(columns())
