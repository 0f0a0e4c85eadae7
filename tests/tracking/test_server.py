"""A study whose truth lies on a MLflow server, and a second home that knows nothing but its address."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipelines.common.settings import CompareSettings, ExplainSettings, RebuildSettings, ReportSettings, ResumeSettings
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.home.rebuild import rebuild
from pipelines.recording.record import record
from pipelines.reporting.report import report
from pipelines.resuming import resume
from pipelines.training import train as training
from pipelines.training.train import replace, train
from support.homes import TINY, predictions, rows
from support.logged_models import find_model
from support.places import ROOT
from support.recorded import CLASSES, make_net, make_sets
from support.servers import free_port, kill, serve
from tracking import commits
from tracking.catalogue import RunRecord, read_records
from tracking.errors import RunError
from tracking.home import Home, find_home
from tracking.reading import connect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    (folder / "server.db").write_bytes(empty_tracker.read_bytes())
    process = serve(folder, port)
    yield f"http://127.0.0.1:{port}"
    kill(process)


def test_a_second_home_fetches_the_whole_study(server: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    run_id = train(replace(TINY, epochs=1), first)
    explain(ExplainSettings(count=4), first)
    assert not first.mlflow_db.exists()
    second.artifacts.mkdir(parents=True)
    capsys.readouterr()
    rebuild(RebuildSettings(), second)
    assert "Downloading" not in capsys.readouterr().err
    for table in ("runs", "predictions", "attributions", "instances", "maps"):
        with connect(first) as one, connect(second) as other:
            rows = one.execute(f"select * from {table} order by all").fetchall()
            assert other.execute(f"select * from {table} order by all").fetchall() == rows != []
    [explained] = explain(ExplainSettings(run=run_id, count=4, epochs="0"), second)  # checkpoints came along
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
    logged = rows(home, "select probabilities from predictions where split = 'test' order by instance_id")
    shutil.rmtree(home.path)

    np.save(tmp_path / "pictures.npy", make_sets()["test"].images)
    model = f"models:/{find_model(server, run_id, 0)}"
    arguments = [sys.executable, "-c", LOADING, model, tmp_path / "pictures.npy", tmp_path / "found.npy"]
    subprocess.run(arguments, cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"})
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), [row for (row,) in logged], atol=1e-5)
    assert not home.path.exists()
    listed = MlflowClient(server).list_logged_model_artifacts(model.removeprefix("models:/"))
    assert {file.path for file in listed} == {"MLmodel", "requirements.txt"}


def test_a_server_that_dies_ends_a_run_that_goes_on_when_it_is_back(
    study: Home, trained: RunRecord, tmp_path: Path, empty_tracker: Path, monkeypatch
) -> None:
    port, home = free_port(), find_home(str(tmp_path / "study"))
    (tmp_path / "server.db").write_bytes(empty_tracker.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    process = serve(tmp_path, port)

    def dies(training, epoch, *rest):
        if epoch == 2:
            kill(process)
        return commit_epoch(training, epoch, *rest)

    commit_epoch = training._commit_epoch
    with monkeypatch.context() as patch:
        patch.setattr(training, "_commit_epoch", dies)
        with pytest.raises(RunError, match="what it committed is kept; resume it with: study resume"):
            train(TINY, home)
    [stopped] = read_records(home)
    assert stopped.status == "KILLED"
    assert len(commits.read_epochs(home, stopped.run_id)) == 2
    again = serve(tmp_path, port)
    try:
        assert resume(ResumeSettings(stopped.run_id), home) == stopped.run_id
        run = MlflowClient().get_run(stopped.run_id)
        history = MlflowClient().get_metric_history(stopped.run_id, "test_accuracy")
    finally:
        kill(again)
    assert run.info.status == "FINISHED"
    assert sorted(point.step for point in history) == [0, 1, 2, 3]
    assert predictions(home, stopped.run_id) == predictions(study, trained.run_id)


def test_an_unreachable_server_gets_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    from pipelines.cli import main

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["train", "--size", "8", "--home", str(tmp_path / "study")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("study: MLflow at http://127.0.0.1:9 does not answer")
    assert not [line for line in lines if "Traceback" in line]
