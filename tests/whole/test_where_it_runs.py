"""Machines without file locks or a name for the user, launchers of several processes, runs started together."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli
from support.commands import at_once, said
from support.homes import fresh, start
from support.places import ROOT
from tracking import environment, locks, mlflow_client, runs
from tracking.catalogue import RunRecord, read_records
from tracking.errors import InputError
from tracking.home import LAUNCHED, Home, check_alone, find_home

LOG = {
    "labels": ["cat", "dog"],
    "instances": [{"id": "a", "actual": 0}],
    "epochs": [{"id": "0", "classifications": [0]}],
}


@pytest.fixture
def log(tmp_path: Path) -> str:
    file = tmp_path / "log.json"
    file.write_text(json.dumps(LOG))
    return str(file)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named_before_anything_is_made(
    tmp_path: Path, log: str, study: Home, capsys, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    for home in (find_home(str(tmp_path / "new" / "study")), study):
        before = sorted(home.path.rglob("*"))
        for command in (("import-flow", log), ("train", "--size", "8"), ("resume", "latest"), ("explain", "latest")):
            code, line = said(capsys, home, *command)
            assert code == 2
            if home == study or command[0] in ("import-flow", "train"):
                assert f"has no file locks ({os.strerror(number)})" in line
                assert "--home" in line
        assert sorted(home.path.rglob("*")) == before
    assert cli.main(["ask", "accuracy_by_epoch", "--home", str(study.path)]) == 0


def test_asking_needs_no_locks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a run's writer lives is not known then, so the run is what it says it is."""
    run = start(home)
    locks.release(home, run.run_id)
    assert [record.status for record in read_records(home)] == ["KILLED"]

    def refuse(*_) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert [record.status for record in read_records(home)] == ["RUNNING"]


STARTING = ["run", "train", "resume", "rerun", "explain", "compare", "report", "import-flow"]


@pytest.mark.parametrize(("size", "rank"), LAUNCHED.items())
def test_several_processes_of_one_launcher_are_refused(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, size: str, rank: str
) -> None:
    home = find_home(str(tmp_path / "study"))
    monkeypatch.setenv(size, "2")
    check_alone()  # a size alone may be left over from a job's script
    for number in ("0", "1"):
        monkeypatch.setenv(rank, number)
        for command in STARTING:
            needed = {"rerun": ["x"], "resume": ["x"], "import-flow": ["x"]}.get(command, [])
            code, line = said(capsys, home, command, *needed)
            assert code == 2
            assert f"one of 2 processes ({size})" in line
            assert "start the command once" in line
    with pytest.raises(InputError, match="one of 2 processes"):
        mlflow_client.connect(home)
    assert not home.path.exists()
    monkeypatch.setenv(size, "1")
    check_alone()


def test_a_user_without_a_name_is_a_number(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    run = start(home)
    assert run.client.get_run(run.run_id).data.tags["mlflow.user"] == f"uid {os.getuid()}"


def test_a_user_without_a_home_directory_can_write() -> None:
    """As in a container with a number for a user: MLflow asks for the home directory when it is imported."""
    code = """
import pwd
def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = unknown
from tracking import runs
print(runs.user_name())"""
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    nobody = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=nobody, capture_output=True, text=True)
    assert done.stdout.strip() == f"uid {os.getuid()}", done.stderr


def test_a_checkout_of_another_user_has_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that mounts it: Git refuses a repository whose owner is somebody else."""
    git = shutil.which("git")
    if not git:
        pytest.skip("needs git")
    monkeypatch.setattr(environment, "SOURCE", tmp_path)
    for words in (("init", "-q"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty")):
        subprocess.run([git, *words], cwd=tmp_path, check=True)
    commit = environment.git_commit()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refused = subprocess.run([git, "status"], cwd=tmp_path, capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    assert environment.git_commit() == commit
    assert len(commit) == 40


def test_runs_started_together_have_names_of_their_own(tmp_path: Path, empty_tracker: Path, log: str) -> None:
    """In threads of one process and in another process."""
    home = fresh(tmp_path, empty_tracker)
    command = [sys.executable, "-m", "pipelines.cli", "import-flow", log, "--home", str(home.path)]
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    codes = at_once([lambda: named(home)] * 4)
    assert all(isinstance(code, RunRecord) for code in codes), codes
    assert other.wait(120) == 0
    names = [record.name for record in read_records(home)]
    assert len(names) == len(set(names)) == 5


def named(home: Home) -> RunRecord:
    with runs.taking_name(home, None, "import-log") as name:
        run = runs.start_run(home, runs.new_record("import", name, {}), {}, "")
        runs.log_record(run)
    return run.record


def test_of_two_that_want_one_name_one_gets_it(home: Home) -> None:
    def wanting() -> str:
        with runs.taking_name(home, "mine", "") as name:
            runs.log_record(runs.start_run(home, runs.new_record("train", name, {}), {}, ""))
        return name

    done = at_once([wanting] * 3)
    assert sorted(map(str, done))[0] == "mine"
    assert sum(isinstance(one, InputError) for one in done) == 2
    assert [record.name for record in read_records(home)] == ["mine"]


UNIX_ONLY = {
    "signal": ("SIGHUP", "SIGKILL"),
    "os": ("getuid", "geteuid", "sysconf", "sched_getaffinity"),
}
ELSEWHERE = f"""
import importlib, os, pkgutil, signal, sys
import duckdb, mlflow, numpy  # libraries choose by os.name, which stays
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
for module, names in {UNIX_ONLY}.items():
    for name in names:
        delattr(sys.modules[module], name)
import pipelines.cli, pipelines.launch, pipelines.asking.sql_process, tracking
for module in pkgutil.iter_modules(tracking.__path__):
    importlib.import_module(f"tracking.{{module.name}}")
sys.exit(pipelines.cli.main(sys.argv[1:]))"""


@pytest.mark.parametrize("index", ["there", "missing"])
def test_a_question_needs_nothing_that_only_unix_has(study: Home, tmp_path: Path, index: str) -> None:
    home = find_home(str(tmp_path / "study"))
    shutil.copytree(study.path, home.path)
    if index == "missing":
        home.database.unlink()
    command = [sys.executable, "-c", ELSEWHERE, "ask", "runs", "--format", "csv", "--home", str(home.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + len(read_records(study))
    assert "Traceback" not in done.stderr
