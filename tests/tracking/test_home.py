"""A study home on a full or read-only disk, moved, of another version, and with runs deleted in MLflow."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pipelines.common.settings import ExplainSettings, RerunSettings, ResumeSettings
from pipelines.explaining.explain import explain
from pipelines.rerunning import rerun
from pipelines.resuming import resume
from pipelines.training.train import train
from support.commands import said
from support.homes import TINY, commit_epoch, drop_macros, predictions, start, up_to_date
from tracking import catalogue, display, locks, mlflow_client, reading, runs
from tracking.catalogue import RunRecord, read_records, resolve
from tracking.errors import InputError, RunError
from tracking.home import FORMAT, Home, find_home
from tracking.index import ingest, rebuild
from tracking.reading import _open_files, connect

KINDS = ("train", "explain")


def mounted(folder: Path, options: str) -> bool:
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    return made.returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path, empty_tracker: Path) -> Iterator[Home]:
    """A home on a disk of its own, of 8 MB: room for two checkpoints."""
    if not (shutil.which("mount") and os.geteuid() == 0 and mounted(tmp_path, "size=8m")):
        pytest.skip("needs the right to mount a small disk")
    home = find_home(str(tmp_path / "study"))
    home.path.mkdir()
    shutil.copy(empty_tracker, home.mlflow_db)
    yield home
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def remount(home: Home, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(home.path.parent)], check=True)


def test_a_full_disk_ends_a_run_that_goes_on_with_room(
    small_disk: Home, study: Home, trained: RunRecord, capsys
) -> None:
    with pytest.raises(RunError, match=r"No space left on device.*stopped, what it committed is kept; resume it with"):
        train(TINY, small_disk)
    [stopped] = read_records(small_disk)
    assert stopped.status in ("FAILED", "KILLED")
    assert said(capsys, small_disk, "ask", "runs")[0] == 0
    remount(small_disk, "size=100m")
    assert resume(ResumeSettings(stopped.run_id), small_disk) == stopped.run_id
    assert predictions(small_disk, stopped.run_id) == predictions(study, trained.run_id)


def test_a_read_only_home_answers(small_disk: Home, study: Home, trained: RunRecord, capsys) -> None:
    remount(small_disk, "size=100m")
    shutil.copytree(study.artifacts, small_disk.artifacts)
    remount(small_disk, "ro")
    assert predictions(small_disk, trained.run_id) == predictions(study, trained.run_id)
    for command in (("train", "--size", "8"), ("explain", trained.run_id), ("resume", trained.run_id)):
        assert said(capsys, small_disk, *command) == (
            2,
            f"study: the study home {small_disk.path} is read-only; it answers questions, new runs need another --home",
        )
    remount(small_disk, "rw")


def test_a_read_only_home_with_an_index_without_macros_is_not_written_to_in_vain(
    small_disk: Home, study: Home, trained: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question takes macros for itself alone."""
    remount(small_disk, "size=100m")
    shutil.copytree(study.artifacts, small_disk.artifacts)
    assert ingest(small_disk)
    drop_macros(small_disk)
    remount(small_disk, "ro")
    attempts: list[Home] = []
    monkeypatch.setattr(reading, "ingest", lambda home, **_: attempts.append(home))
    with connect(small_disk) as connection:
        [(path,)] = connection.execute("select path from duckdb_databases() where database_name = 'study'").fetchall()
        assert path == str(small_disk.database)
        assert connection.execute(f"from class_names('{trained.run_id}')").fetchall()
    assert attempts == []
    remount(small_disk, "rw")


def test_a_copied_home_goes_on_and_leaves_the_first_alone(copy: Home, study: Home, trained: RunRecord) -> None:
    before = sorted(study.artifacts.rglob("*"))
    [explained] = explain(ExplainSettings(run=trained.run_id, count=3), copy)
    [old, *_] = [record for record in read_records(copy) if record.kind == "explain"]
    made = rerun(RerunSettings(old.run_id, check=True), copy)
    assert {explained, made} < {record.run_id for record in read_records(copy)}
    assert mlflow_client.connect(copy).get_run(trained.run_id).info.artifact_uri.startswith(copy.artifacts.as_uri())
    assert sorted(study.artifacts.rglob("*")) == before
    with connect(copy) as index, _open_files(copy) as files:
        for table in ("predictions", "maps", "predictions_live"):
            sql = f"select count(*), max(epoch) from {table}"
            assert index.execute(sql).fetchall() == files.execute(sql).fetchall() != [(0, None)]


def test_runs_deleted_in_mlflow_disappear_and_come_back(copy: Home, trained: RunRecord) -> None:
    [explained] = [record.run_id for record in read_records(copy) if record.kind == "explain"]
    counted = "select (select count(*) from runs), (select count(*) from attributions), (select count(*) from maps)"

    def found() -> list[list[tuple]]:
        with connect(copy) as index, _open_files(copy) as files:
            return [connection.execute(counted).fetchall() for connection in (index, files)]

    before = found()
    client = mlflow_client.connect(copy)
    client.delete_run(explained)
    assert found() == [[(1, 0, 0)]] * 2
    with pytest.raises(InputError, match="was deleted in MLflow; restore it there"):
        resolve(copy, explained, KINDS)
    client.restore_run(explained)
    assert found() == before != [[(1, 0, 0)]] * 2


def test_a_suspended_writer_keeps_nobody_from_asking(copy: Home, trained: RunRecord) -> None:
    """It may stand still while it has MLflow's database locked, as after Ctrl-Z."""
    before = read_records(copy)
    mlflow_client.connect(copy).delete_run(before[-1].run_id)
    with closing(sqlite3.connect(copy.mlflow_db)) as writer:
        writer.execute("begin exclusive")
        assert read_records(copy) == before[:-1]
        assert predictions(copy, trained.run_id) != []


def test_a_home_of_a_newer_version_is_refused(copy: Home, capsys) -> None:
    copy.format.write_text(json.dumps({"format": FORMAT + 1}))
    for command in (("ask", "runs"), ("train",), ("rebuild",), ("sql", "from runs")):
        code, line = said(capsys, copy, *command)
        assert code == 2
        assert f"has format {FORMAT + 1}, made by a newer xai-study; this one supports {FORMAT} at most" in line


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "x"}'])
def test_a_home_whose_version_is_broken_is_refused(copy: Home, capsys, text: str) -> None:
    copy.format.write_text(text)
    assert "does not say the home's format" in said(capsys, copy, "ask", "runs")[1]


def test_a_home_of_an_earlier_version_goes_on(copy: Home, trained: RunRecord) -> None:
    """Format 1: no number, no locks, an index of other columns."""
    copy.format.unlink()
    for lock in copy.artifacts.glob("*/lock"):
        lock.unlink()
    copy.database.write_bytes(b"")
    [explained] = explain(ExplainSettings(run=trained.run_id, count=3), find_home(str(copy.path)))
    assert json.loads(copy.format.read_text()) == {"format": FORMAT}
    with connect(copy) as connection:
        sql = "select count(*) from attributions where run_id = ?"
        assert connection.execute(sql, [explained]).fetchall() == [(3,)]


def test_a_run_that_stopped_before_its_first_file_is_ended_in_mlflow(home: Home) -> None:
    run = runs.start_run(home, runs.new_record("train", "early", {}), {}, "")
    runs.experiment_id.cache_clear()
    runs.experiment_id(home)
    assert mlflow_client.connect(home).get_run(run.run_id).info.status == "RUNNING"
    locks.release(home, run.run_id)  # as the system does when the process ends
    runs.experiment_id.cache_clear()
    runs.experiment_id(home)
    assert mlflow_client.connect(home).get_run(run.run_id).info.status == "KILLED"


def test_a_run_is_written_by_one(home: Home) -> None:
    run = runs.start_run(home, runs.new_record("train", "first", {}), {}, "")
    with pytest.raises(InputError, match=f"is being written by process {os.getpid()} on"):
        locks.hold(home, run.run_id)
    runs.log_record(run)
    runs.finish_run(run)
    with runs.claimed(home, resolve(home, "first")):
        pass


def test_a_picture_logged_again_replaces_the_first(home: Home) -> None:
    run = runs.start_run(home, runs.new_record("train", "pictures", {}), {}, "")
    for value in (0, 255):
        display.log_image(run, np.full((4, 4, 3), value, np.uint8), "heatmap/test_00001", 3)
    files = sorted(file.name for file in home.run_folder(run.run_id).glob("images/*"))
    assert [Path(name).suffix for name in files] == [".webp", ".png"]
    assert all(name.startswith("heatmap~test_00001+step+3+timestamp+") for name in files)


def fill_disk(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_keeps_nobody_from_asking(small_disk: Home, caplog) -> None:
    run = start(small_disk)
    for epoch in range(2):
        commit_epoch(run, epoch)
        ingest(small_disk)
    commit_epoch(run, 2)
    filler = small_disk.path.parent / "filler"
    fill_disk(filler)
    for _ in range(3):
        assert not ingest(small_disk)
        with connect(small_disk) as connection:
            assert connection.execute("select count(*) from predictions").fetchall() == [(9,)]
    [line] = caplog.messages
    assert line.startswith("study.duckdb is not up to date (")
    assert "No space left on device" in line
    with pytest.raises(duckdb.Error, match="No space left"):
        rebuild(small_disk)
    assert not [place.name for place in small_disk.path.rglob(".*") if place.is_file()]
    filler.unlink()
    assert ingest(small_disk)
    assert up_to_date(small_disk)


def test_a_run_that_cannot_be_read_is_not_called_missing(copy: Home) -> None:
    records = read_records(copy)
    for record in records:
        file = copy.run_folder(record.run_id) / "run.json"
        file.unlink()
        file.mkdir()  # which no open() reads, not even for root
    for reference in ("latest", records[0].name):
        with pytest.raises(InputError) as refused:
            resolve(copy, reference)
        assert str(refused.value).startswith(f"no run {reference!r} among those that can be read: {copy.artifacts}/")
        assert str(refused.value).endswith(
            "run.json cannot be read (Is a directory) and 1 more; make them readable, or try again"
        )


def test_a_run_that_is_removed_while_runs_are_listed_is_left_out(copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first, removed = read_records(copy)
    list_folders = catalogue._run_folders

    def list_and_remove(home: Home) -> list[str]:
        found = list_folders(home)
        shutil.rmtree(home.artifacts / removed.run_id)
        return found

    monkeypatch.setattr(catalogue, "_run_folders", list_and_remove)
    assert read_records(copy) == [first]
