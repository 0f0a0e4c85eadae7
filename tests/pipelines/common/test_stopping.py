"""Ctrl-C, polite kills and kill -9 of real processes: one line and 130, no traceback, and nothing left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.common.settings import FlowSettings, ReportSettings
from pipelines.instanceflow.flow import flow
from pipelines.reporting.report import report
from support.places import ROOT
from tracking import committing, mlflow_client, runs, staging
from tracking.catalogue import read_records
from tracking.home import Home, find_home
from tracking.index import ingest

TRAIN = ("train", "--size", "8", "--epochs", "500", "--threads", "1")
ENDLESS = "select count(*) from range(1000000000) a, range(1000000000) b where a.range + b.range = 1"
INTERRUPTED = """
import sys
from pipelines import cli
cli._dispatch = lambda _: exec("raise KeyboardInterrupt")
sys.exit(cli.main())"""
HURRIED = """
import signal, sys
from pipelines import cli
cli._dispatch = lambda _: signal.raise_signal(signal.{name})
sys.exit(cli.main())"""


@pytest.fixture
def begun() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts commands as processes, none of which outlives the test."""
    processes = []

    def begin(home: Home, *command: str) -> subprocess.Popen:
        arguments = [sys.executable, "-m", "pipelines.cli", *command, "--home", str(home.path)]
        process = subprocess.Popen(arguments, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()


def ended(process: subprocess.Popen) -> tuple[int, list[str]]:
    """Exit code and the lines of standard error, which hold no traceback."""
    lines = process.communicate(timeout=180)[1].splitlines()
    assert not [line for line in lines if "Traceback" in line or "Exception ignored" in line], lines
    return process.returncode, lines


def wait_for(place: Path, pattern: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not next(place.glob(pattern), None):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_with_a_line(name: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", HURRIED.format(name=name)], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert ended(process) == (130, ["study: stopped"])


def test_an_interrupt_during_code_made_from_text_ends_with_the_exit_code(tmp_path: Path) -> None:
    """As while a dataclass is made; `python -m` would end by the signal."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    command = [sys.executable, "-m", "interrupted"]
    paths = os.pathsep.join((str(ROOT), str(tmp_path)))
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "study: stopped\n")


@pytest.mark.parametrize("pause", [1.0, 2.0])
def test_ctrl_c_during_the_imports(begun, home: Home, pause: float) -> None:
    process = begun(home, *TRAIN)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    code, lines = ended(process)
    assert (code, lines[-1]) == (130, "study: stopped")


def test_ctrl_c_once_and_twice_during_a_training(begun, home: Home) -> None:
    for number, signals in enumerate([(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)], start=1):
        process = begun(home, *TRAIN)
        while len(list(home.artifacts.glob("*/artifacts/commits/epoch_0000.json"))) < number:
            assert process.poll() is None
            time.sleep(0.05)
        for sent in signals:
            process.send_signal(sent)
        code, lines = ended(process)
        assert (code, lines[-1]) == (130, "study: stopped")
        assert [record.status for record in read_records(home)] == ["KILLED"] * number


def test_ctrl_c_during_a_query(begun, study: Home) -> None:
    process = begun(study, "sql", ENDLESS)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, ["study: stopped"])


@contextmanager
def silent_server() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://anna:s3cr3t@127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_server_is_told_of_and_given_up(begun, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.artifacts.mkdir()
    with silent_server() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        process = begun(home, "rebuild")
        code, lines = ended(process)
    shown = address.replace("anna:s3cr3t", "***")
    assert code == 2
    waiting = f"waiting for MLflow at {shown}, which does not answer; tries left:"
    waits = [f"{waiting} 2, 5 seconds at most", f"{waiting} 1, 4 seconds at most"]  # with a pause of 2 or 3
    assert lines[:2] == waits
    assert re.fullmatch(
        rf"study: MLflow at {re.escape(shown)} does not answer: timed out, since [\d:]{{8}}; .*", lines[2]
    )
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("name", "make"),
    [("flow_val.html", lambda home: flow(FlowSettings(split="val"), home)),
     ("report.html", lambda home: report(ReportSettings(), home))],
)  # fmt: skip
def test_a_page_needs_no_server(name: str, make, copy: Home, trained, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    place = copy.run_folder(trained.run_id) / name
    began = time.monotonic()
    with silent_server() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow_client.connect.cache_clear()
        runs.experiment_id.cache_clear()
        try:
            assert make(copy) == str(place)
        finally:
            mlflow_client.connect.cache_clear()
            runs.experiment_id.cache_clear()
    assert place.stat().st_size > 10_000
    assert time.monotonic() - began < 20
    [said] = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert "is in the study home, not on the server" in said
    assert said.endswith("make the page again once it answers")
    assert "s3cr3t" not in said


def left(home: Home) -> list[Path]:
    """Folders of files on their way, here and in the system's temporary folder, of this test's processes."""
    return [*(home.path / staging.FOLDER).glob("*"), *Path(tempfile.gettempdir()).glob(f"{staging.PREFIX}*")]


STAGES = """
import os, sys, time
from pathlib import Path
from tracking import staging
from tracking.home import find_home
with staging.staging_folder(find_home(sys.argv[1])) as folder, staging.scratch_folder() as other:
    (folder / "weights.safetensors").write_bytes(bytes(1000))
    print(folder, other, flush=True)
    time.sleep(600)"""


def test_what_a_kill_leaves_is_swept_and_what_lives_is_kept(home: Home, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command = [sys.executable, "-c", STAGES, str(home.path)]
    killed, living = (subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) for _ in range(2))
    try:
        folders = [process.stdout.readline().split() for process in (killed, living)]
        killed.kill()
        killed.wait()
        foreign = home.path / staging.FOLDER / f"{staging.PREFIX}elsewhere.1.abc"
        foreign.mkdir()
        with staging.staging_folder(home) as own:
            staging.sweep(home)
            assert sorted(left(home)) == sorted(map(Path, [*folders[1], own, foreign]))
    finally:
        for process in (killed, living):
            process.kill()
            process.wait()
    staging.sweep(home)
    assert left(home) == [foreign]


def test_a_kill_during_a_commit_leaves_nothing_behind_the_next_write(begun, home: Home) -> None:
    process = begun(home, *TRAIN)
    try:
        wait_for(home.path / staging.FOLDER, "*/epoch_0001.safetensors", process)
    finally:
        process.kill()
        process.communicate()
    script = "import sys; from tracking import home, mlflow_client; mlflow_client.connect(home.find_home(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(home.path)], cwd=ROOT, check=True)
    assert not list((home.path / staging.FOLDER).iterdir())
    assert not [file for file in home.path.rglob("*") if file.name.endswith(".part") or ".uploading" in file.name]


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_every_file_has_the_mode_that_the_umask_says(tmp_path: Path, empty_tracker: Path, umask: int) -> None:
    """Whatever mode a temporary file had, so that a group shares a home where its members' umask is 002."""
    before = os.umask(umask)
    try:
        home = find_home(str(tmp_path / "study"))
        home.path.mkdir()
        if umask != 0o002:  # else made again, which takes seconds
            home.mlflow_db.write_bytes(empty_tracker.read_bytes())
        run = runs.start_run(home, runs.new_record("train", "shared", {}), {}, "")
        runs.log_record(run)
        with runs.staging_folder(home) as folder:
            (folder / "weights.safetensors").touch(mode=0o600)
            committing.commit(
                run, "start", {"checkpoints/weights.safetensors": folder / "weights.safetensors"}, {}, None
            )
        runs.finish_run(run)
        ingest(home)
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in home.path.rglob("*")}
    assert {home.mlflow_db, home.database, home.run_folder(run.run_id) / "commits" / "start.json"} < set(found)
    wrong = [(path, oct(mode)) for path, mode in found.items() if mode != (0o777 if path.is_dir() else 0o666) & ~umask]
    assert wrong == []
