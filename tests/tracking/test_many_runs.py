"""A home of many runs: what is known is not read again, and what has changed is."""

import json
import os
import shutil
import time
from pathlib import Path

import duckdb
import pytest

from support.homes import commit_epoch, everything, prediction_rows, start, up_to_date
from tracking import catalogue, committing, index, reading, run_summaries, runs
from tracking.catalogue import list_runs, resolve
from tracking.files import write_table
from tracking.home import Home, find_home
from tracking.index import ingest, rebuild
from tracking.reading import connect

STEPS = "select instance_id, epoch, previous_epoch, previous from predictions order by all"


@pytest.fixture
def many(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose two runs count as many, with an index that was made once their files were at rest."""
    for module in (run_summaries, catalogue):
        monkeypatch.setattr(module, "FEW_RUNS", 1)
    for module in (index, reading):
        monkeypatch.setattr(module, "FEW_FILES", 1)
    for name in ("first", "second"):
        run = start(home, name)
        commit_epoch(run, 0)
        runs.finish_run(run)
    settle(home)
    return home


def settle(home: Home) -> None:
    """Bring the index up to date at a time that lies clearly behind every change."""
    time.sleep(1.5 * run_summaries.CLOCK_STEP / 1e9)
    assert ingest(home)
    run_summaries._known.clear()  # as in a new process


def test_known_runs_are_listed_without_their_records(many: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = list_runs(many)
    run_summaries._known.clear()
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "read_record", None)
        assert list_runs(many) == listed
        with connect(many, sql="select 1"):
            pass
    assert [run.name for run in listed] == ["first", "second"]
    assert run_summaries.UNSETTLED not in [run.changed for run in listed]


def test_a_new_commit_and_a_new_state_are_seen_at_once(many: Home) -> None:
    record = resolve(many, "first")
    run = runs.reopen_run(many, record)
    assert [run.status for run in list_runs(many)] == ["KILLED", "FINISHED"]  # nobody holds its lock
    commit_epoch(run, 1)
    with connect(many) as connection:
        counts = "select run_id, count(*) from predictions where run_id = ? group by 1"
        assert connection.execute(counts, [record.run_id]).fetchall() == [(record.run_id, 6)]
    commit_epoch(run, 2)
    run_summaries._known.clear()
    with connect(many) as connection:
        assert connection.execute(counts, [record.run_id]).fetchall() == [(record.run_id, 9)]
    runs.finish_run(run)
    assert [run.status for run in list_runs(many)] == ["FINISHED", "FINISHED"]
    with connect(many):
        assert up_to_date(many)


def test_a_file_that_was_changed_in_place_is_found_where_its_run_is_named(many: Home, caplog) -> None:
    first, second = list_runs(many)
    place = many.run_folder(first.run_id) / "predictions/epoch_0000.parquet"
    place.write_bytes(place.read_bytes()[::-1])
    with connect(many, run_ids=[second.run_id]) as connection:
        assert connection.execute("select count(*) from predictions").fetchone() == (6,)
    assert caplog.messages == []
    with connect(many, run_ids=[first.run_id]) as connection:
        assert connection.sql("select distinct run_id from predictions").fetchall() == [(second.run_id,)]
    assert [line.split(";")[0] for line in caplog.messages] == [
        f"{place} was changed after it was committed (its sha256 differs)"
    ]


def test_of_many_runs_those_that_a_question_names_have_their_large_columns(many: Home) -> None:
    first, second = list_runs(many)
    sql = f"select epoch, probabilities from predictions where run_id = '{first.run_id}'"
    for options in (
        {"sql": sql, "is_free": True},
        {"run_ids": [first.run_id], "sql": sql.replace("from ", "from full_")},
    ):
        with connect(many, **options) as connection:
            assert connection.execute(options["sql"]).fetchall() == [(0, [0.75, 0.25])] * 3
    star = f"select * exclude (probabilities, top_classes, top_probabilities) from predictions -- of {first.run_id}"
    with connect(many, sql=star, is_free=True) as connection:
        assert {row[0] for row in connection.execute(star).fetchall()} == {first.run_id, second.run_id}
        with pytest.raises(duckdb.InvalidInputException, match=r"write the ID of each run .* into the question"):
            connection.execute("select probabilities from predictions").fetchall()


def test_a_record_that_was_edited_is_seen_once_the_index_is_rebuilt(many: Home) -> None:
    file = many.run_folder(list_runs(many)[0].run_id) / "run.json"
    content = json.loads(file.read_text()) | {"status": "FAILED"}
    file.write_text(json.dumps(content))
    rebuild(many)
    assert [run.status for run in list_runs(many)] == ["FAILED", "FINISHED"]


def test_a_copied_home_is_looked_at_once(many: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy every run seems to have changed."""
    home = find_home(str(tmp_path / "copy"))
    shutil.copytree(many.path, home.path)
    time.sleep(1.5 * run_summaries.CLOCK_STEP / 1e9)
    monkeypatch.setattr(reading, "MOST_DOUBTFUL", 1)
    for doubtful_count in (2, 0):
        index, found = reading.complete_index(home, list_runs(home))
        assert (index is not None, found) == (True, doubtful_count)
        index.close()
        with connect(home) as connection:
            assert connection.execute("select count(*) from predictions").fetchone() == (6,)
        run_summaries._known.clear()


def test_a_removed_run_is_forgotten_and_comes_back(many: Home) -> None:
    first, second = list_runs(many)
    os.rename(many.artifacts / first.run_id, many.path / "elsewhere")
    assert list_runs(many) == [second]
    with connect(many) as connection:
        assert connection.sql("select distinct run_id from predictions").fetchall() == [(second.run_id,)]
    os.rename(many.path / "elsewhere", many.artifacts / first.run_id)
    run_summaries._known.clear()
    assert list_runs(many) == [first, second]  # oldest first, though the index has the second alone
    with connect(many) as connection:
        assert connection.sql("select count(distinct run_id) from predictions").fetchall() == [(2,)]


def test_a_change_of_this_moment_is_looked_at_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems count time in steps, so that a second change may leave the time of the first."""
    commit_epoch(start(home), 0)
    for step, is_unsettled in ((10**15, True), (0, False)):
        monkeypatch.setattr(run_summaries, "CLOCK_STEP", step)
        [listed] = list_runs(home)
        assert (listed.changed == run_summaries.UNSETTLED) == is_unsettled


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_units_added_together_or_alone_are_the_same(home: Home, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Also if one of them is no table, and if images are left out of an epoch."""
    for name in ("one", "two"):
        run = start(home, name)
        for epoch, instances in enumerate([[0, 1, 2], [0, 2], [0, 1], [1, 2]]):
            columns = prediction_rows(run.run_id, epoch, len(instances)) | {"instance_id": instances}
            if (name, epoch) == ("two", 2):
                columns["label"] = ["no number"] * len(instances)
            unit = f"epoch_{epoch:04d}"
            with runs.staging_folder(home) as folder:
                file = write_table(folder / f"{unit}.parquet", columns)
                committing.commit(run, unit, {f"predictions/{unit}.parquet": file}, {"accuracy": 0.5}, epoch)
    monkeypatch.setattr(index, "UNITS_AT_ONCE", at_once)
    rebuild(home)
    with connect(home) as connection:
        run_ids = [run_id for (run_id,) in connection.execute("select run_id from runs order by name").fetchall()]
        steps = {
            run_id: connection.execute(STEPS.replace("order", "where run_id = ? order"), [run_id]).fetchall()
            for run_id in run_ids
        }
        assert len(everything(connection, "metrics")) == 8
    assert steps[run_ids[0]] == [
        (0, 0, None, None), (0, 1, 0, 0), (0, 2, 1, 0),
        (1, 0, None, None), (1, 2, 0, 0), (1, 3, 2, 0),
        (2, 0, None, None), (2, 1, 0, 0), (2, 3, 1, 0),
    ]  # fmt: skip
    assert steps[run_ids[1]] == [
        (0, 0, None, None), (0, 1, 0, 0), (1, 0, None, None), (1, 3, 0, 0), (2, 0, None, None), (2, 1, 0, 0),
        (2, 3, 1, 0),
    ]  # fmt: skip


def test_progress_of_a_rebuild_is_told(many: Home) -> None:
    told: list[tuple[int, int]] = []
    assert rebuild(many, lambda done, total: told.append((done, total))) == 2
    assert told == [(1, 2), (2, 2)]
