"""Locks of files: one writer or many readers, through links, and gone with their process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import ROOT
from tracking import locks
from tracking.errors import InputError
from tracking.file_locks import lock_file
from tracking.home import Home, find_home

HOLDS = """
import sys, time
from tracking import locks
from tracking.home import find_home
home = find_home(sys.argv[1])
locks.hold(home, "written")
with locks.reading_checkpoints(home, "read"):
    print("held", flush=True)
    time.sleep(600)"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = find_home(str(tmp_path / "study"))
    home.artifacts.mkdir(parents=True)
    return home


def test_a_killed_process_holds_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WRITER_WAIT", 0.05)
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            assert locks.runs_written_by_others(home) == ["written"]
            assert not locks.is_abandoned(home, "written")
            for name, taking in (("being written", locks.held), ("checkpoints of run read are", locks.pruning)):
                run_id = "written" if taking is locks.held else "read"
                with pytest.raises(locks.HeldError, match=f"{name}.* by process {process.pid} on"):
                    taking(home, run_id).__enter__()
            with locks.reading_checkpoints(home, "read"):
                pass
        finally:
            process.kill()  # not by a signal that Python could answer
    assert locks.is_abandoned(home, "written")
    with locks.held(home, "written"), locks.pruning(home, "read"):
        assert not locks.is_abandoned(home, "written")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform forks no process")
def test_a_process_forked_meanwhile_keeps_nothing_locked(home: Home) -> None:
    """As data loaders fork theirs, which may live longer than what this process does with the index in a thread."""
    locks.hold(home, "run")
    with locks.writing_index(home, wait=0), locks.reading_checkpoints(home, "run"):
        if (child := os.fork()) == 0:
            signal.pause()
    locks.release(home, "run")
    try:
        assert locks.is_abandoned(home, "run")
        with locks.writing_index(home, wait=0), locks.pruning(home, "run"), locks.held(home, "run"):
            assert not locks.is_abandoned(home, "run")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_those_who_only_look_are_not_in_each_others_way(home: Home) -> None:
    locks.hold(home, "run")
    locks.release(home, "run")
    with (home.artifacts / "run" / "lock").open() as file:
        assert lock_file(file.fileno(), shared=True)
        assert locks.is_abandoned(home, "run")


def test_a_lock_holds_through_symbolic_links(home: Home, tmp_path: Path) -> None:
    """As where a home's files lie on another disk, or the home has a second path."""
    folder = home.artifacts / "run"
    folder.mkdir()
    (tmp_path / "elsewhere").touch()
    (folder / "lock").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "second").symlink_to(home.path)
    with locks.held(home, "run"):
        second = find_home(str(tmp_path / "second"))
        assert not locks.is_abandoned(second, "run")
        assert locks.runs_written_by_others(second) == ["run"]
        with (tmp_path / "elsewhere").open() as file:
            assert not lock_file(file.fileno())


def test_a_platform_without_shared_locks_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(InputError, match=rf"\({sys.platform}\) has no shared file locks"):
        locks.reading_checkpoints(home, "run").__enter__()
    with locks.held(home, "run"):
        assert os.path.exists(home.artifacts / "run" / "lock")
