"""Fixtures: fresh study homes, and one tiny study trained for real that many tests look at.

Tests compare bits, so they run on the processor on machines with a GPU too; whole/test_gpu.py has it to itself.
"""

import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest
import torch
from filelock import FileLock
from mlflow.store.db import utils as database_utils
from sklearn import datasets
from sqlalchemy import Engine, event

from pipelines.common.settings import ExplainSettings, TrainSettings
from pipelines.explaining.explain import explain
from pipelines.training.train import train
from support.homes import FIRST, OTHER, TINY, copied, fresh
from support.places import BROWSER, DRIVER, FLAGS, ROOT
from support.servers import Served, free_port, wait_until_it_answers
from tracking import mlflow_client
from tracking.catalogue import RunRecord, resolve
from tracking.home import Home, find_home
from tracking.index import ingest

LONGEST = (
    "planted", "crash", "training", "cli", "server", "stopping", "many", "shared_home", "examples", "benchmarks",
    "explain", "flow", "compare", "fine_tuning", "workers", "seeds", "trust", "improving", "queries",
)  # fmt: skip
IN_MEMORY = Path("/dev/shm")
connect = duckdb.connect
# else MLflow imports all its migrations for each home that a test makes
database_utils._get_latest_schema_revision = cache(database_utils._get_latest_schema_revision)
datasets.load_digits = cache(datasets.load_digits)  # a text file, which nearly every command would parse again


def connect_with_one_thread(
    *place: str | Path, config: dict[str, object] | None = None, **options: object
) -> duckdb.DuckDBPyConnection:
    """DuckDB, without a second thread, which costs more on small tables than it saves."""
    return connect(*place, config={"threads": 1} | (config or {}), **options)


duckdb.connect = connect_with_one_thread


@event.listens_for(Engine, "connect")
def wait_for_no_disk(connection: object, _record: object) -> None:
    """MLflow's database would wait for the disk at every commit, and a test's need not outlive a power failure."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = off")


# homes of tests, and of commands that they start, lie in memory if there is enough: no commit waits for a disk there
if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > 8 << 30:
    tempfile.tempdir = os.environ["TMPDIR"] = str(IN_MEMORY)
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # whatever GPU there is, is known as support.places.GPU
# threads of commands that tests start would else wait busily, on processors that other tests need
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
for sent in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(sent) is signal.SIG_IGN:  # by nohup or a background job; the commands under test must heed them
        signal.signal(sent, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process ends with one of them while the others have nothing left."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem.removeprefix("test_"), len(order)))


def pytest_collection_finish() -> None:
    """What was imported lives to the end, and looking for garbage in it takes half a second each time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run side by side, and what an earlier one ran may have left more threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STUDY_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`make_once(name, make)`: the folder that `make` filled in whichever test process needed it first.

    All processes share it, so they only read or copy it.
    """
    folders = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folders = folders.parent  # each process has a folder of its own in it

    def make_or_find(name: str, make: Callable[[Path], object]) -> Path:
        folder, is_whole = folders / f"once_{name}", folders / f"once_{name}_is_whole"
        with FileLock(folders / f"once_{name}.lock"):
            if not is_whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                is_whole.touch()
        return folder

    return make_or_find


@pytest.fixture(scope="session")
def empty_tracker(make_once: Callable) -> Path:
    """A MLflow database with tables and no runs, beside an index of none: copying both is faster than making them."""

    def make(folder: Path) -> None:
        home = find_home(str(folder))
        mlflow_client.connect(home).search_experiments()
        ingest(home)

    return find_home(str(make_once("tracker", make))).mlflow_db


@pytest.fixture
def home(tmp_path: Path, empty_tracker: Path) -> Home:
    return fresh(tmp_path, empty_tracker)


@pytest.fixture(scope="session")
def trained_home(make_once: Callable, empty_tracker: Path) -> Callable[[Path, TrainSettings], Home]:
    """`trained_home(folder, settings)`: a home in the folder with a run of these settings, trained once for all."""

    def copy_trained(folder: Path, settings: TrainSettings) -> Home:
        name = f"training_{sha256(repr(settings).encode()).hexdigest()[:12]}"
        return copied(make_once(name, lambda place: train(settings, fresh(place, empty_tracker))), folder)

    return copy_trained


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, make_once: Callable, trained_home: Callable) -> Home:
    """A home with a training run of three epochs on small digits and a saliency run of epochs 0, 1 and 3.

    Shared by many tests, so they only look at it.
    """

    def make(folder: Path) -> None:
        home = trained_home(folder, TINY)
        run_id = resolve(home, "latest").run_id
        explain(ExplainSettings(run=run_id, epochs="0,1,3", where="instance_id < 20"), home)

    return copied(make_once("study", make), tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def trained(study: Home) -> RunRecord:
    return resolve(study, "latest")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, make_once: Callable, trained_home: Callable) -> Home:
    """A home with two trainings of other seeds and lengths, and maps of both. Tests make pages in it, but no runs."""

    def make(folder: Path) -> None:
        home = trained_home(folder, TINY)
        for name in (FIRST, train(OTHER, home)):
            explain(ExplainSettings(run=name, where="instance_id in (3, 7)"), home)

    return copied(make_once("pair", make), tmp_path_factory.mktemp("pair"))


@pytest.fixture
def copy(study: Home, tmp_path: Path) -> Home:
    """The shared study, copied to another folder."""
    shutil.copytree(study.path, tmp_path / "an other's home")
    return find_home(str(tmp_path / "an other's home"))


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
