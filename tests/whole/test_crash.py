"""Killed at any moment, the program loses nothing, doubles nothing, and ends with the same bits."""

import contextlib
import io
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import crash
from pipelines import cli
from support.homes import TINY
from tracking import index, mlflow_client, models, reading, runs
from tracking.catalogue import RunRecord, read_records, resolve
from tracking.home import Home, find_home

# as the program does, with less of it
TRAIN = ("train", "--size", "8", "--epochs", "2", "--batch", "128", "--threads", "1")
EXPLAIN = ("--method", "saliency", "smooth_grad", "--samples", "2", "--count", "4", "--epochs", "all")
COMPARE = ("--randomization-count", "4")
MAKE = "import sys; from tracking import runs, home; print(runs.experiment_id(home.find_home(sys.argv[1])))"


def completed(home: Home, *command: str) -> tuple[int, str, str]:
    """A command in this process, which spares the imports."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = cli.main([*command, "--home", str(home.path)])
    return code, out.getvalue(), errors.getvalue()


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "completed", completed)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, trained_home) -> Home:
    """A home with a training run, explained by two methods, all without a stop; tests add runs that are stopped."""
    home = trained_home(tmp_path_factory.mktemp("crash"), replace(TINY, epochs=2))
    assert completed(home, "explain", read_records(home)[0].run_id, *EXPLAIN)[0] == 0
    return home


@pytest.fixture
def explained(killed: Home) -> str:
    return read_records(killed)[0].run_id


def test_kills_leave_no_trace(killed: Home, explained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home = killed
    monkeypatch.setattr(crash, "EARLY", 0)
    chance = random.Random(0)
    for name, command, rest in (("train", TRAIN, 1.5), ("explain", ("explain", explained, *EXPLAIN), 0.7)):
        tally = crash.Tally()
        for _ in range(2):
            crash.kill_once(home, crash.Case(name, command, 0, rest), chance, tally)
        assert tally.failures == []
        assert tally.kills + tally.finished == 2


def stopped_in(place, name: str, home: Home, *command: str) -> str:
    """ID of the run of a command that is stopped where it calls `name`."""

    def stop(*_, **__) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, stop)
        assert completed(home, *command)[0] == 130
    return read_records(home)[-1].run_id


def test_what_hangs_on_models_is_completed(killed: Home, explained: str) -> None:
    """A stop between a commit and each of the steps that follow it."""
    home = killed
    assert completed(home, "compare", explained, *COMPARE)[0] == 0
    trainings = [(mlflow_client.MlflowClient, "finalize_logged_model"), (models, "log_metrics")]
    stopped = [stopped_in(*step, home, *TRAIN) for step in trainings]
    for command in (("explain", explained, *EXPLAIN), ("compare", explained, *COMPARE)):
        stopped.append(stopped_in(models, "log_explained", home, *command))
    for run_id in stopped:
        assert completed(home, "resume", run_id)[0] == 0
        assert list(crash.differences(home, resolve(home, run_id, ("train", "explain", "compare")))) == []


@pytest.mark.parametrize("size", [0, 100, 4096, 12288])
def test_an_index_cut_short_is_made_again(home: Home, trained: RunRecord, study: Home, size: int) -> None:
    shutil.copytree(study.artifacts, home.artifacts)
    home.database.write_bytes(study.database.read_bytes()[:size])
    with reading.connect(home) as connection:
        assert connection.execute("select count(distinct epoch) from predictions").fetchall() == [(4,)]
    home.database.write_bytes(study.database.read_bytes()[:size])
    assert index.rebuild(home) == 2


def test_a_home_half_made_is_of_use(tmp_path: Path) -> None:
    """Killed while MLflow makes its tables, the first start leaves no database that a second one stumbles over."""
    home = find_home(str(tmp_path / "study"))
    process = subprocess.Popen([sys.executable, "-c", MAKE, str(home.path)], cwd=crash.ROOT)
    crash.wait_until(home.artifacts.exists, process)
    time.sleep(1.5)  # it takes about four seconds
    process.kill()
    process.wait()
    assert runs.experiment_id(home)
