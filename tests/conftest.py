"""Fixtures: fresh study homes, and one tiny study trained for real that many tests look at."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch

from pipelines import cli
from pipelines.common.settings import ExplainSettings, TrainSettings
from pipelines.explaining.explain import explain
from pipelines.training.train import train
from tracking import mlflow_client, reading
from tracking.catalogue import RunRecord, resolve
from tracking.home import Home, find_home

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("STUDY_TEST_DATA") or ROOT.parent / "shared" / "data")
TINY = TrainSettings(size=8, epochs=3, batch=128, threads=1)
LONGEST = ("planted", "crash", "training", "cli", "server", "stopping", "many", "shared_home")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1600,1000")  # fmt: skip
torch.set_num_threads(1)  # tests run side by side


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process ends with one of them while the others have nothing left."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem.removeprefix("test_"), len(order)))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STUDY_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_tracker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MLflow database with tables and no runs: copying it saves the seconds of making one."""
    home = find_home(str(tmp_path_factory.mktemp("template")))
    mlflow_client.connect(home).search_experiments()
    return home.mlflow_db


def fresh(folder: Path, empty_tracker: Path) -> Home:
    home = find_home(str(folder / "study"))
    home.path.mkdir()
    shutil.copy(empty_tracker, home.mlflow_db)
    return home


def up_to_date(home: Home) -> bool:
    """Whether the index can be read now, and is complete."""
    if index := reading._complete_index(home):
        index.close()
    return index is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(address: str, server: subprocess.Popen) -> None:
    """Return once `address` is served; fail if the server ends or takes two minutes."""
    deadline = time.monotonic() + 120
    while True:
        try:
            urlopen(address, timeout=5).close()
            return
        except (URLError, OSError):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def said(capsys: pytest.CaptureFixture, home: Home, *command: str) -> tuple[int, str]:
    """Exit code and last line of a command."""
    code = cli.main([*command, "--home", str(home.path)])
    return code, capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def home(tmp_path: Path, empty_tracker: Path) -> Home:
    return fresh(tmp_path, empty_tracker)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    """A home with a training run of three epochs on small digits and a saliency run of epochs 0, 1 and 3.

    Shared by many tests, so they only look at it.
    """
    home = fresh(tmp_path_factory.mktemp("shared"), empty_tracker)
    trained = train(TINY, home)
    explain(ExplainSettings(run=trained, epochs="0,1,3", where="instance_id < 20"), home)
    return home


@pytest.fixture(scope="session")
def trained(study: Home) -> RunRecord:
    return resolve(study, "latest")


@pytest.fixture
def copy(study: Home, tmp_path: Path) -> Home:
    """The shared study, copied to another folder."""
    shutil.copytree(study.path, tmp_path / "an other's home")
    return find_home(str(tmp_path / "an other's home"))


@dataclass(frozen=True)
class Served:
    """`study ui` under way."""

    process: subprocess.Popen
    printed: str
    errors: Path  # what it says on standard error


@pytest.fixture(scope="module")
def served(study: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port, errors = free_port(), tmp_path_factory.mktemp("ui") / "errors"
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--home", str(study.path), "--port", str(port)]
    with errors.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        printed = process.stdout.readline().strip()
        wait_until_it_answers(printed.split("#")[0], process)
        yield Served(process, printed, errors)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert process.returncode == 130
    assert "Traceback" not in errors.read_text()


@pytest.fixture
def address(served: Served) -> str:
    """What `study ui` prints, while its server runs."""
    return served.printed


@pytest.fixture(scope="module")
def browser():
    if not (BROWSER and DRIVER):
        pytest.skip("needs chromium and chromedriver on the PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
