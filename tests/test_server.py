"""A study whose truth lies on a MLflow server, and a second home that knows nothing but its address."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TINY, free_port, wait_until_it_answers
from mlflow import MlflowClient

from pipelines.ask import rebuild
from pipelines.compare import compare
from pipelines.explain import explain
from pipelines.report import report
from pipelines.settings import CompareSettings, ExplainSettings, RebuildSettings, ReportSettings
from pipelines.train import replace, train
from tracking.home import find_home
from tracking.reading import connect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", address.rpartition(":")[2], "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder)]
    (folder / "server.db").write_bytes(empty_tracker.read_bytes())
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | quiet)
    wait_until_it_answers(f"{address}/health", process)
    yield address
    process.terminate()
    process.wait(20)


def test_a_second_home_fetches_the_whole_study(server: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    first, second = find_home(str(tmp_path / "first")), find_home(str(tmp_path / "second"))
    run_id = train(replace(TINY, epochs=1), first)
    explain(ExplainSettings(count=4), first)
    assert not first.mlflow_db.exists()
    second.artifacts.mkdir(parents=True)
    rebuild(RebuildSettings(), second)
    for table in ("runs", "predictions", "attributions", "instances", "maps"):
        with connect(first) as one, connect(second) as other:
            rows = one.execute(f"select * from {table} order by all").fetchall()
            assert other.execute(f"select * from {table} order by all").fetchall() == rows != []
    [explained] = explain(ExplainSettings(run=run_id, count=4, epochs="0"), second)  # checkpoints came along
    with connect(second) as connection:
        sql = "select count(*) from attributions where run_id = ?"
        assert connection.execute(sql, [explained]).fetchone() == (4,)
    compare(CompareSettings(run=run_id, randomized=0), second)
    page = Path(report(ReportSettings(run=run_id), second))
    logged = MlflowClient(server).list_artifacts(run_id)
    assert "report.html" in {file.path for file in logged}
    assert "an edge detector" in page.read_text()


def test_an_unreachable_server_gets_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    from pipelines.cli import main

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["train", "--size", "8", "--home", str(tmp_path / "study")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("study: MLflow at http://127.0.0.1:9 does not answer")
    assert not [line for line in lines if "Traceback" in line]
