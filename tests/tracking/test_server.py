"""A study whose truth lies on a MLflow server, and a second home that knows nothing but its address."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from requests.adapters import HTTPAdapter

from pipelines.common.settings import (
    CompareSettings,
    ExplainSettings,
    FoldsSettings,
    PredictSettings,
    RebuildSettings,
    ReportSettings,
    ResumeSettings,
    VerdictSettings,
)
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.home.rebuild import rebuild
from pipelines.judging.verdict import verdict
from pipelines.lifecycle import epoch_commit
from pipelines.lifecycle.epoch_commit import StagedEpoch
from pipelines.predicting.predict import predict
from pipelines.recording.record import record
from pipelines.reporting.report import report
from pipelines.resuming import resume
from pipelines.training import folds as folding
from pipelines.training.folds import folds
from pipelines.training.train import train
from support.homes import FIRST, TINY, predictions, rows
from support.logged_models import find_model
from support.places import ROOT
from support.recorded import CLASSES, make_net, make_sets
from support.servers import LOST, Forked, free_port, kill, serve
from tracking import commits, committing, display, patience, runs
from tracking.catalogue import RunRecord, read_records, resolve, resolve_all
from tracking.commits import EpochCommit
from tracking.errors import RETRIES, InputError, RunError
from tracking.files import write_json, write_table
from tracking.home import Home, find_home
from tracking.mlflow_internals import StoredFiles
from tracking.reading import connect
from tracking.remote import fetch

ONE_EPOCH = replace(TINY, epochs=1)
MISSED = "which does not answer; tries left"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path, empty_tracker: Path) -> Iterator[str]:
    port = free_port()
    (folder / "server.db").write_bytes(empty_tracker.read_bytes())
    process = serve(folder, port)
    yield f"http://127.0.0.1:{port}"
    kill(process)


@pytest.fixture(scope="module")
def first(server: str, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home that trained a run of one epoch on the server."""
    home = find_home(str(tmp_path_factory.mktemp("first")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server)
        train(ONE_EPOCH, home)
    return home


def test_a_second_home_fetches_the_whole_study(first: Home, server: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    second = find_home(str(tmp_path / "second"))
    run_id = resolve(first, FIRST).run_id
    explain(ExplainSettings(run=run_id, count=4), first)
    assert not first.mlflow_db.exists()
    second.artifacts.mkdir(parents=True)
    capsys.readouterr()
    rebuild(RebuildSettings(), second)
    assert "Downloading" not in capsys.readouterr().err
    for table in ("runs", "full_predictions", "attributions", "instances", "maps"):
        with connect(first) as one, connect(second) as other:
            rows = one.execute(f"select * from {table} order by all").fetchall()
            assert other.execute(f"select * from {table} order by all").fetchall() == rows != []
    checkpoints = second.run_folder(run_id) / "checkpoints"
    assert not checkpoints.exists()
    [explained] = explain(ExplainSettings(run=run_id, count=4, epochs="0"), second)
    assert os.listdir(checkpoints) == ["epoch_0000.safetensors"]  # the one that was used
    with connect(second) as connection:
        sql = "select count(*) from attributions where run_id = ?"
        assert connection.execute(sql, [explained]).fetchone() == (4,)
    MlflowClient(server).delete_run(explained)  # by somebody else; it disappears here, and comes back
    for count in (0, 4):
        rebuild(RebuildSettings(), second)
        with connect(second) as connection:
            assert connection.execute(sql, [explained]).fetchone() == (count,)
        MlflowClient(server).restore_run(explained)
    compare(CompareSettings(run=run_id, randomization_count=0), second)
    page = Path(report(ReportSettings(run=run_id), second))
    logged = MlflowClient(server).list_artifacts(run_id)
    assert "report.html" in {file.path for file in logged}
    assert "an edge detector" in page.read_text()


def test_folds_and_verdicts_of_another_home_count(
    first: Home, server: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    second = find_home(str(tmp_path / "second"))
    run_id = resolve(second, FIRST).run_id  # fetched, before there are any
    settings = FoldsSettings(run_id, k=2)
    folds(settings, first)
    with monkeypatch.context() as patch:
        patch.setattr(folding, "train_epoch", lambda *_: pytest.fail("trained again"))
        folds(settings, second)
    predicted = "select * from full_predictions where split = 'train_folds' order by all"
    assert rows(second, predicted) == rows(first, predicted) != []

    def judge(home: Home, content: str) -> str:
        file = tmp_path / "verdicts.csv"
        file.write_text(f"split,instance_id,verdict,new_label\n{content}")
        capsys.readouterr()
        verdict(VerdictSettings(run_id, str(file), who="anna"), home)
        return capsys.readouterr().err

    [(label,)] = rows(
        first, "select label from instances where run_id = ? and (split, instance_id) = ('train', 0)", run_id
    )
    other = (label + 1) % 10
    given = f"train,0,label_wrong,{other}\ntrain,1,not_usable,\ntrain,2,not_usable,\n"
    assert "3 new verdicts" in judge(first, given)
    assert "0 new verdicts on run" in judge(second, given)
    assert "1 new verdict on run" in judge(second, "train,2,withdrawn,\n")
    trained = train(replace(ONE_EPOCH, verdicts="apply"), second)
    changed = rows(second, "select instance_id, new_label from label_changes where run_id = ? order by 1", trained)
    assert changed == [(0, other), (1, None)]
    assert "0 new verdicts on run" in judge(first, "train,2,withdrawn,\n")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that this process sends."""
    requests: list[str] = []
    send = HTTPAdapter.send

    def note(adapter, request, **settings):
        requests.append(f"{request.method} {request.path_url.partition('?')[0]}")
        return send(adapter, request, **settings)

    monkeypatch.setattr(HTTPAdapter, "send", note)
    return requests


def start(home: Home, name: str, folder: Path, params: dict | None = None) -> runs.Run:
    """A run with one epoch."""
    run = runs.start_run(home, runs.new_record("train", name, params or {}), {}, "")
    runs.log_record(run)
    checkpoint = folder / "epoch_0000.safetensors"
    checkpoint.write_bytes(b"weights")
    table = write_table(folder / "epoch_0000.parquet", {"class_id": [0, 1], "name": ["cat", "dog"]})
    files = {"checkpoints/epoch_0000.safetensors": checkpoint, "classes/epoch_0000.parquet": table}
    committing.commit(run, "epoch_0000", files, {"val_accuracy": 0.5}, 0)
    return run


def test_a_group_is_fetched_from_the_server_by_its_name(server: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "groups")
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    members = [start(first, name, tmp_path, {"group": "wide"}) for name in ("one", "two")]
    for run in (*members, start(first, "three", tmp_path)):
        runs.finish_run(run)
    assert [run.name for run in resolve_all(second, "wide")] == ["one", "two"]
    assert {run.name for run in read_records(second)} == {"one", "two"}


def test_a_run_that_has_not_changed_costs_no_request(server: str, tmp_path: Path, monkeypatch, sent) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "unchanged")
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    finished, running = start(first, "finished", tmp_path), start(first, "running", tmp_path)
    runs.finish_run(finished)
    assert fetch(second) == 6  # of each run the record, the table, the commit

    def count_requests(expected_files: int) -> int:
        sent.clear()
        assert fetch(second) == expected_files
        return len(sent)

    assert count_requests(1) == 3  # all runs at once; of the running one, its record and its list of commits
    runs.finish_run(running)
    assert count_requests(1) == 3
    assert count_requests(0) == 1

    # one that has ended gets another commit
    ended = runs.open_run(first, replace(finished.record, status="FINISHED"))
    note, note_again = (write_json(tmp_path / f"{name}.json", [name]) for name in ("note", "more"))
    committing.commit(ended, "note", {"notes/note.json": note}, {}, None)
    count_requests(3)
    paths = [request.partition(f"{finished.run_id}/artifacts/")[2] for request in sent[1:]]
    assert paths == ["run.json", "", "commits/note.json", "notes/note.json"]  # and the list of commits
    assert count_requests(0) == 1
    assert commits.committed_units(second, finished.run_id) == commits.committed_units(first, finished.run_id)

    # the process that wrote it was killed before it could tell
    with monkeypatch.context() as patch:
        patch.setattr(committing, "log_metrics", raises(ConnectionError()))
        with pytest.raises(ConnectionError):
            committing.commit(ended, "more", {"notes/more.json": note_again}, {}, None)
    assert count_requests(3) == 5

    # a run of an earlier version, whose tag is missing, is asked for its commits
    MlflowClient().delete_tag(running.run_id, runs.LAST_COMMIT)
    for _ in range(2):
        assert count_requests(1 + 1) == 5  # two for each of these runs

    # what is gone here comes back
    (second.run_folder(finished.run_id) / "notes/note.json").unlink()
    (second.run_folder(running.run_id) / "commits/epoch_0000.json").write_text("{")
    assert count_requests(2 + 2) == 7


def test_a_unit_whose_home_was_killed_is_completed_by_the_next(server: str, tmp_path: Path, monkeypatch) -> None:
    """Between the param that decides which home's commit counts, and the commit."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "first")
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    run = start(first, "one", tmp_path)
    runs.finish_run(run)
    fetch(second)
    unit, of_first, of_second = "extra_new_0001", *({"classes": {"class_id": [2], "name": [name]}} for name in "ab")
    with monkeypatch.context() as patch:
        patch.setattr(committing, "log_commit", raises(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            committing.commit_first(run, unit, of_first)
    [record] = read_records(second)
    assert not committing.commit_first(runs.open_run(second, record), unit, of_second)
    for home in (first, second):
        fetch(home)
        assert rows(home, "select name from classes where class_id = 2") == [("a",)]
    one, other = (commits.commits_by_unit(home, run.run_id)[unit] for home in (first, second))
    assert one == other


def raises(error: BaseException):
    def fail(*_):
        raise error

    return fail


def test_a_file_that_the_server_lost_is_named(server: str, folder: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "lost")
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    run = start(first, "one", tmp_path)
    runs.finish_run(run)
    [table] = folder.glob(f"*/{run.run_id}/artifacts/classes/epoch_0000.parquet")
    [checkpoint] = folder.glob(f"*/{run.run_id}/artifacts/checkpoints/*")
    content = table.read_bytes()
    told = f"classes/epoch_0000.parquet of run {run.run_id[:8]} on {server} is"
    for damage, fault in ((table.unlink, "gone"), (partial(table.write_bytes, b"no"), "not what was committed")):
        damage()
        caplog.clear()
        fetch(second)
        [line] = caplog.messages
        assert line.startswith(f"{told} {fault}")
        assert not (second.run_folder(run.run_id) / "classes").exists()
    table.write_bytes(content)
    assert fetch(second) == 2  # the record is asked for as long as a file is missing
    [commit] = commits.read_commits(second, run.run_id)
    weights = commits.committed_file(second, commit, "checkpoints/epoch_0000.safetensors")
    assert weights.read_bytes() == b"weights"
    weights.write_bytes(b"changed")
    assert commits.committed_file(second, commit, "checkpoints/epoch_0000.safetensors").read_bytes() == b"weights"
    weights.unlink()
    checkpoint.unlink()
    with pytest.raises(InputError, match=f"of run {run.run_id[:8]} on {server} is gone; restore it there"):
        commits.committed_file(second, commit, "checkpoints/epoch_0000.safetensors")


def test_a_loop_of_the_users_own_waits_until_others_know_its_epoch(
    server: str, tmp_path: Path, monkeypatch, sent: list[str]
) -> None:
    """And not for its picture, model and metrics in MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "loops")
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    run = record(make_net(), make_sets(), CLASSES, home=str(first.path))
    run._showing.result(20)
    shown = threading.Event()

    def show(*arguments) -> None:
        assert shown.wait(20)
        log_image(*arguments)

    log_image = display.log_image
    monkeypatch.setattr(display, "log_image", show)
    sent.clear()
    run.epoch()
    assert len(sent) == 4  # three files, the commit
    fetch(second)
    assert [commit.epoch for commit in commits.read_epochs(second, run.run_id)] == [0, 1]
    shown.set()
    run.finish()
    history = MlflowClient().get_metric_history(run.run_id, "test_accuracy")
    assert [point.step for point in history] == [0, 1]


LOADING = """
import sys, mlflow, numpy
model = mlflow.pyfunc.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2])).iloc[:, 1:].to_numpy())
"""


def test_another_machine_loads_models_from_the_server(server: str, tmp_path: Path, monkeypatch) -> None:
    """In a process that knows the server's address alone; no weights are there twice."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    home = find_home(str(tmp_path / "study"))
    run_id = record(make_net(), make_sets(), CLASSES, home=str(home.path), factory="support.recorded:make_net").finish()
    logged = rows(home, "select probabilities from full_predictions where split = 'test' order by instance_id")
    shutil.rmtree(home.path)

    np.save(tmp_path / "pictures.npy", make_sets()["test"].images)
    model = f"models:/{find_model(server, run_id, 0)}"
    arguments = [sys.executable, "-c", LOADING, model, tmp_path / "pictures.npy", tmp_path / "found.npy"]
    subprocess.run(arguments, cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"})
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), [row for (row,) in logged], atol=1e-5)
    assert not home.path.exists()
    listed = MlflowClient(server).list_logged_model_artifacts(model.removeprefix("models:/"))
    assert {file.path for file in listed} == {"MLmodel", "requirements.txt"}


def test_a_server_that_dies_ends_a_training_that_goes_on_when_it_is_back_and_holds_up_what_follows(
    study: Home, trained: RunRecord, tmp_path: Path, empty_tracker: Path, monkeypatch, sent, caplog
) -> None:
    port, home = free_port(), find_home(str(tmp_path / "study"))
    (tmp_path / "server.db").write_bytes(empty_tracker.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    process = serve(tmp_path, port)

    def dies(staged: StagedEpoch) -> EpochCommit:
        if staged.epoch == 2:
            kill(process)
        sent.clear()
        commit = commit_staged(staged)
        # three files, the commit, two for the picture, five for the model, the metrics; once, that there are pictures
        assert len(sent) == (12 if staged.epoch else 13)
        assert [path for path in sent if "/artifacts/" in path][3].endswith(commit.path)
        return commit

    commit_staged = epoch_commit.commit_staged
    with monkeypatch.context() as patch:
        patch.setattr(epoch_commit, "commit_staged", dies)
        with pytest.raises(RunError, match="what it committed is kept; resume it with: study resume") as error:
            train(TINY, home)
    assert re.match(rf"http://127\.0\.0\.1:{port} does not answer: {LOST}; run ", str(error.value))
    [stopped] = read_records(home)
    assert stopped.status == "KILLED"
    assert len(commits.read_epochs(home, stopped.run_id)) == 2
    servers = [serve(tmp_path, port)]
    try:
        assert resume(ResumeSettings(stopped.run_id), home) == stopped.run_id
        run = MlflowClient().get_run(stopped.run_id)
        history = MlflowClient().get_metric_history(stopped.run_id, "test_accuracy")
        assert run.info.status == "FINISHED"
        assert sorted(point.step for point in history) == [0, 1, 2, 3]
        assert predictions(home, stopped.run_id) == predictions(study, trained.run_id)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", patience.LONG[RETRIES])
        outlive_restarts(home, tmp_path, port, servers, monkeypatch, caplog)
    finally:
        kill(servers[-1])


def serve_once_missed(folder: Path, port: int, caplog: pytest.LogCaptureFixture) -> Forked:
    """A server, once a command has said that it waits for one."""
    deadline = time.monotonic() + 60
    while not any(MISSED in line for line in caplog.messages) and time.monotonic() < deadline:
        time.sleep(0.05)
    return serve(folder, port)


def outlive_restarts(home: Home, folder: Path, port: int, servers: list, monkeypatch, caplog) -> None:
    """What comes after a training waits for a server that dies in its middle, and is complete."""
    picture = folder / "new.png"
    Image.new("L", (8, 8), 100).save(picture)
    commands = {  # by the table whose first rows the server does not live to see
        "attributions": partial(explain, ExplainSettings(method=("saliency",), epochs="1,3", count=4)),
        "attribution_scores": partial(compare, CompareSettings(randomization_count=0, shortcut_count=0)),
        "predictions": partial(predict, PredictSettings("latest", (str(picture),))),
    }
    log_files = runs.log_files
    for table, command in commands.items():
        caplog.clear()
        with ThreadPoolExecutor() as pool, monkeypatch.context() as patch:
            starting = []

            def log_without_server(run: runs.Run, files: dict[str, Path], table=table, starting=starting) -> None:
                if not starting and any(path.startswith(f"{table}/") for path in files):
                    kill(servers[-1])
                    starting.append(pool.submit(serve_once_missed, folder, port, caplog))
                log_files(run, files)

            patch.setattr(runs, "log_files", log_without_server)
            command(home)
            servers.append(starting[0].result())
        assert any(MISSED in line for line in caplog.messages), table
    again = find_home(str(folder / "again"))
    rebuild(RebuildSettings(), again)
    assert {record.status for record in read_records(again)} == {"FINISHED"}
    for table in (*commands, "metrics"):
        found = rows(again, f"select * from {table} order by all")
        assert found == rows(home, f"select * from {table} order by all") != []


def test_a_server_that_is_started_again_is_waited_for(tmp_path: Path, empty_tracker: Path, monkeypatch) -> None:
    port, home = free_port(), find_home(str(tmp_path / "study"))
    (tmp_path / "server.db").write_bytes(empty_tracker.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    first = serve(tmp_path, port)
    run = start(home, "patient", tmp_path)
    notes = {f"notes/{name}.json": write_json(tmp_path / f"{name}.json", name) for name in ("a", "b", "c")}
    kill(first)
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(serve, tmp_path, port)
        committing.commit(run, "notes", notes, {}, None)
        runs.finish_run(run)
        again = starting.result()
    try:
        assert MlflowClient().get_run(run.run_id).info.status == "FINISHED"
        assert {file.path for file in MlflowClient().list_artifacts(run.run_id, "notes")} == set(notes)
    finally:
        kill(again)


def test_a_server_lost_while_runs_are_fetched_gets_one_line(
    tmp_path: Path, empty_tracker: Path, monkeypatch, caplog
) -> None:
    port, first, second = free_port(), find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    address = f"http://127.0.0.1:{port}"
    (tmp_path / "server.db").write_bytes(empty_tracker.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    process = serve(tmp_path, port)
    run = start(first, "one", tmp_path)
    for unit in ("two", "three"):
        committing.commit(run, unit, {f"notes/{unit}.json": write_json(tmp_path / f"{unit}.json", unit)}, {}, None)
    list_folder = StoredFiles.list_folder

    def list_and_die(files: StoredFiles, folder: str) -> list[str]:
        names = list_folder(files, folder)
        kill(process)
        return names

    monkeypatch.setattr(StoredFiles, "list_folder", list_and_die)
    told = rf"^MLflow at {address} does not answer: {LOST}, since [\d:]{{8}}; start it, or correct"
    with pytest.raises(InputError, match=told):
        fetch(second)
    assert [line for line in caplog.messages if line.startswith("waiting")] == [
        f"waiting for MLflow at {address}, which does not answer; tries left: 1, 30 seconds at most"
    ]
    assert not commits.committed_units(second, run.run_id)


@contextmanager
def breaking_server(answer: bytes | None) -> Iterator[str]:
    """A server that reads a request, sends `answer` (None: resets the connection), and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_all() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(1 if answer is None else 65536)  # closed with bytes unread, a connection is reset
                    connection.sendall(answer or b"")

        threading.Thread(target=answer_all, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "Connection reset by peer"),
        (b"", "Remote end closed connection without response"),
        (b"hello\r\n\r\n", "broken answer (hello)"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "broken answer (IncompleteRead(0 bytes read, 9 more expected))",
        ),
    ],
)
def test_a_connection_that_breaks_is_told_in_plain_words(
    tmp_path: Path, monkeypatch, answer: bytes | None, reason: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with breaking_server(answer) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(InputError) as error:
            runs.experiment_id(find_home(str(tmp_path / "study")))
    assert (
        str(error.value) == f"MLflow at {address} does not answer: {reason}; start it, or correct MLFLOW_TRACKING_URI"
    )


def test_an_unreachable_server_gets_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    from pipelines.cli import main

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["train", "--size", "8", "--home", str(tmp_path / "study")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == (
        "study: MLflow at http://127.0.0.1:9 does not answer: Connection refused; start it, or correct "
        "MLFLOW_TRACKING_URI"
    )
    assert not [line for line in lines if "Traceback" in line]


@pytest.mark.parametrize(
    ("scheme", "package", "advice"),
    [
        ("postgresql", "psycopg", "pip install 'psycopg[binary]', or psycopg2-binary for postgresql+psycopg2://"),
        ("mssql+pyodbc", "pyodbc", "install it, or name another driver in the address"),
    ],
)
def test_a_database_without_its_driver_gets_one_line(
    tmp_path: Path, monkeypatch, scheme: str, package: str, advice: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://127.0.0.1/study")
    monkeypatch.setitem(sys.modules, package, None)  # also where it is installed
    told = f"MLflow at {scheme}://127.0.0.1/study needs the package {package}, which is not installed here; {advice}"
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        fetch(find_home(str(tmp_path / "study")))
