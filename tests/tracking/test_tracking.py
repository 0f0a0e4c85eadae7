"""The store: only committed rows, always an answer, nothing lost with the index."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import duckdb
import pytest

from support.homes import commit_epoch, everything, prediction_rows, start, up_to_date
from tracking import commits, committing, runs, tables
from tracking.catalogue import RunRecord, free_name, resolve
from tracking.errors import InputError
from tracking.files import write_json, write_table
from tracking.home import Home, find_home
from tracking.index import ingest, rebuild
from tracking.reading import _open_files, connect

FILLED = ("runs", "metrics", "classes", "instances", "predictions", "attributions")


def test_every_column_of_the_schema_is_commented() -> None:
    lines = [line for line in tables.SCHEMA.splitlines() if line.startswith("    ")]
    assert len(lines) > 60
    assert [line for line in lines if not re.fullmatch(r"    \w+ [a-z][\w \[\]]*,?  -- .{8,}", line)] == []


def test_rows_count_only_when_committed(home: Home) -> None:
    run = start(home)
    commit_epoch(run, 0)
    with runs.staging_folder(home) as folder:  # epoch 1: the file is there, the commit is not
        file = write_table(folder / "epoch_0001.parquet", prediction_rows(run.run_id, 1, 3))
        runs.log_file(run, file, "predictions/epoch_0001.parquet")
    with connect(home) as connection:
        for table in ("predictions", "predictions_live"):
            assert connection.execute(f"select distinct epoch from {table}").fetchall() == [(0,)]


def test_index_and_files_give_the_same_rows(study: Home) -> None:
    with connect(study) as index, _open_files(study) as files:
        for table in FILLED:
            assert everything(index, table) == everything(files, table) != []


WITH_LARGE_COLUMNS = [
    "select probabilities, top_classes from predictions order by all",
    "select * from predictions order by all",
    "from predictions order by all",
    "select p.* from labelled_predictions((select run_id from runs where kind = 'train'), 'test') as p order by all",
    "select column_name, column_type from (describe predictions)",
]


@pytest.mark.parametrize("sql", WITH_LARGE_COLUMNS)
def test_free_sql_finds_the_columns_that_the_index_lacks(study: Home, sql: str) -> None:
    with connect(study, sql=sql, is_free=True) as index, _open_files(study) as files:
        assert index.execute(sql).fetchall() == files.execute(sql).fetchall() != []


@pytest.mark.parametrize("sql", ["select count(*), avg(p_true * margin) from predictions -- *", "select * from runs"])
def test_other_sql_reads_the_index_alone(study: Home, sql: str) -> None:
    with connect(study, sql=sql, is_free=True) as index:
        assert "PARQUET" not in index.execute(f"explain {sql}").fetchall()[0][1].upper()


def test_live_view_and_maps(study: Home) -> None:
    with connect(study) as connection:
        assert everything(connection, "predictions_live") == everything(connection, "predictions")
        rows = connection.execute("select epoch, count(*), min(len(map)), any_value(height) from maps group by 1")
        assert sorted(rows.fetchall()) == [(0, 20, 64, 8), (1, 20, 64, 8), (3, 20, 64, 8)]


def test_one_process_may_ask_twice_at_once(study: Home) -> None:
    with connect(study) as first, connect(study) as second:
        assert everything(first, "runs") == everything(second, "runs")
        for connection in (first, second):
            with pytest.raises(duckdb.Error, match=r"disabled|locked"):
                connection.execute("select * from read_text('/etc/hostname')")


def test_the_index_alone_has_the_maps_too(study: Home) -> None:
    """They came after its first units, when the view was still empty."""
    with connect(study) as connection:
        [(count,)] = connection.execute("select count(*) from maps").fetchall()
    with duckdb.connect(str(study.database), read_only=True) as connection:
        assert connection.execute("select count(*) from maps").fetchall() == [(count,)]
    assert count > 0


def test_a_home_without_maps_has_an_empty_view_of_them(home: Home, study: Home) -> None:
    start(home)
    with connect(home) as nothing, connect(study) as something:
        assert everything(nothing, "maps") == []
        assert nothing.execute("describe maps").fetchall() == something.execute("describe maps").fetchall()


def test_rebuild_gives_the_same_rows(study: Home, tmp_path, monkeypatch) -> None:
    with connect(study) as connection:
        before = {table: everything(connection, table) for table in FILLED}
    study.database.unlink()
    assert rebuild(study) == 2
    with connect(study) as connection:
        assert {table: everything(connection, table) for table in FILLED} == before


def test_ingest_twice_changes_nothing(home: Home) -> None:
    run = start(home)
    commit_epoch(run, 0)
    assert ingest(home)
    assert ingest(home)
    with connect(home) as connection:
        assert connection.execute("select count(*) from predictions").fetchone() == (3,)
        assert connection.execute("select epoch, key, value from metrics").fetchall() == [(0, "accuracy", 0.5)]


def test_every_prediction_knows_the_one_before(home: Home) -> None:
    run = start(home)
    for epoch, rows in ((0, 2), (3, 1), (1, 3)):  # epoch 1 comes late, and instance 2 is seen there alone
        commit_epoch(run, epoch, rows)
        ingest(home)
    with connect(home) as index, _open_files(home) as files:
        sql = "select epoch, instance_id, previous_epoch, previous from predictions order by all"
        found = index.execute(sql).fetchall()
        assert found == files.execute(sql).fetchall()
    assert found == [
        (0, 0, None, None), (0, 1, None, None), (1, 0, 0, 0), (1, 1, 0, 0), (1, 2, None, None), (3, 0, 1, 0),
    ]  # fmt: skip


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Another program has the index open for writing."""
    holder = textwrap.dedent(f"""
        import duckdb, sys
        connection = duckdb.connect({str(home.database)!r})
        print("held", flush=True)
        sys.stdin.read()""")
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.communicate()


def test_an_index_of_another_version_is_made_again(home: Home) -> None:
    commit_epoch(start(home), 0)
    ingest(home)
    with duckdb.connect(str(home.database)) as connection:
        connection.execute("drop view predictions_live; drop view full_predictions")
        connection.execute("alter table predictions add column probabilities real[]")  # as it had once
    assert not up_to_date(home)
    with held(home), connect(home) as connection:
        assert everything(connection, "predictions")[0][10] == [0.75, 0.25]
    with connect(home) as connection:
        assert connection.execute("select count(previous_epoch), count(*) from predictions").fetchone() == (0, 3)
        assert everything(connection, "predictions")[0][10] == [0.75, 0.25]
    assert up_to_date(home)


def test_answers_while_another_program_holds_the_index(home: Home) -> None:
    run = start(home)
    commit_epoch(run, 0)
    assert ingest(home)
    with held(home):
        commit_epoch(run, 1)
        assert not ingest(home, wait=0.1)
        with connect(home) as connection:
            assert connection.execute("select distinct epoch from predictions order by 1").fetchall() == [(0,), (1,)]
        with pytest.raises(InputError, match="another program holds"):
            rebuild(home)
    assert not up_to_date(home)
    assert ingest(home)
    assert up_to_date(home)


def test_index_opens_in_duckdb_1_5(home: Home) -> None:
    start(home)
    ingest(home)
    version = int.from_bytes(home.database.read_bytes()[12:20], "little")
    assert 64 <= version <= 68  # the storage versions that DuckDB 1.5 reads


@pytest.mark.parametrize(
    "sql",
    [
        "delete from runs",
        "create table stolen as from runs",
        "copy runs to '{tmp}/runs.csv'",
        "select * from read_text('/etc/hostname')",
        "attach '{tmp}/other.duckdb'",
        "install httpfs",
        "set enable_external_access = true",
    ],
)
def test_questions_cannot_write_or_leave_the_study(study: Home, tmp_path, sql: str) -> None:
    with connect(study) as connection, pytest.raises(duckdb.Error):
        connection.execute(sql.format(tmp=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_not_there(tmp_path) -> None:
    nowhere = find_home(str(tmp_path / "nowhere"))
    for question in (connect, rebuild):
        with pytest.raises(InputError, match="no study in"):
            question(nowhere)
    assert not nowhere.path.exists()


def test_resolve(home: Home) -> None:
    with pytest.raises(InputError, match="no run in"):
        resolve(home, "latest")
    first, second = start(home, "one"), start(home, "two")
    runs.finish_run(first)
    assert resolve(home, "latest").run_id == second.run_id
    assert resolve(home, "one").run_id == resolve(home, first.run_id).run_id == first.run_id
    assert resolve(home, first.run_id[:12]).status == "FINISHED"
    with pytest.raises(InputError, match=r"no run 'three'.*two.*one"):
        resolve(home, "three")
    with pytest.raises(InputError, match="no run ''"):
        resolve(home, "")
    start(home, "two")
    with pytest.raises(InputError, match="means 2 runs"):
        resolve(home, "two")
    with pytest.raises(InputError, match="of kind train"):
        resolve(home, "one", ("explain",))


def test_free_name(home: Home) -> None:
    assert free_name(home, None, "digits") == "digits"
    start(home, "digits")
    assert free_name(home, None, "digits") == "digits-2"
    assert free_name(home, "mine", "digits") == "mine"
    with pytest.raises(InputError, match="already"):
        free_name(home, "digits", "digits")


def test_equal_metric_points_are_kept_once(home: Home) -> None:
    run = start(home)
    made = commit_epoch(run, 0)
    for _ in range(3):
        committing.log_metrics(run, made)
    assert len(run.client.get_metric_history(run.run_id, "accuracy")) == 1


def test_details_are_rows_of_metrics_that_mlflow_does_not_show(home: Home) -> None:
    run = start(home)
    committing.commit(run, "epoch_0000", {}, {"accuracy": 0.5}, 0, {"accuracy/dog": 0.25})
    committing.commit(run, "epoch_0001", {}, {"accuracy": 0.75}, 1)
    ingest(home, [run.run_id])
    sql = "select epoch, key, value from metrics order by all"
    for opened in (connect(home), _open_files(home)):
        with opened as connection:
            found = connection.execute(sql).fetchall()
        assert found == [(0, "accuracy", 0.5), (0, "accuracy/dog", 0.25), (1, "accuracy", 0.75)]
    assert run.client.get_run(run.run_id).data.metrics == {"accuracy": 0.75}
    made = commits.commits_by_unit(home, run.run_id)
    assert made["epoch_0000"].details == {"accuracy/dog": 0.25}
    assert "details" not in made["epoch_0001"].content()  # as earlier versions wrote it


def test_a_training_goes_on_behind_the_first_gap(home: Home) -> None:
    run = start(home)
    for epoch in (0, 1, 3):
        commit_epoch(run, epoch)
    committed = commits.read_epochs(home, run.run_id)
    assert [commit.epoch for commit in committed] == [0, 1, 3]
    assert [commit.epoch for commit in commits.until_gap(committed)] == [0, 1]


def test_missing_and_unknown_files_are_named(home: Home) -> None:
    made = commit_epoch(start(home), 0)
    with pytest.raises(InputError, match="has no checkpoints/x"):
        commits.committed_file(home, made, "checkpoints/x")
    (home.run_folder(made.run_id) / "predictions/epoch_0000.parquet").unlink()
    with pytest.raises(InputError, match="is missing though it was committed"):
        commits.committed_file(home, made, "predictions/epoch_0000.parquet")


def test_half_written_json_is_never_seen(tmp_path) -> None:
    file = write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert file.read_text() == '{\n "a": 1\n}\n'


def test_record_round_trip() -> None:
    record = runs.new_record("train", "x", {"a": (1, 2)})
    assert RunRecord(**record.content()) == record


def test_a_commit_says_by_its_type_whether_it_is_of_an_epoch(home: Home) -> None:
    run = start(home)
    committing.commit(run, "start", {}, {}, None)
    commit_epoch(run, 0)
    kinds = {unit: type(commit) for unit, commit in commits.commits_by_unit(home, run.run_id).items()}
    assert kinds == {"start": commits.Commit, "epoch_0000": commits.EpochCommit}
    assert list(commits.epoch_commits(home, run.run_id)) == ["epoch_0000"]


def test_an_explainer_record_that_names_no_source_is_refused_in_one_line(home: Home) -> None:
    record = runs.new_record("explain", "one", {})
    assert replace(record, source_run_id="a").source == "a"
    with pytest.raises(InputError, match="of kind explain does not say which run"):
        record.source  # noqa: B018
