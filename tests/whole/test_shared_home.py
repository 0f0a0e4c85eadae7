"""Colleagues with accounts of their own read a home, or write to it as members of its group."""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.homes import TINY
from support.places import ROOT
from tracking.catalogue import RunRecord, read_records
from tracking.home import Home, find_home
from tracking.index import ingest

ANNA, BEN, GROUP = 12345, 12346, 23456
COUNT = "select (select count(*) from attributions), (select count(*) from runs)"
PATH = os.pathsep.join([str(ROOT), *filter(None, sys.path)])


def started(python: str, user: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Python, run by a user of the group with umask 002, whose home directory is `folder`."""
    outside = {"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": PATH, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, *arguments], user=user, group=user, extra_groups=[GROUP], umask=0o002, env=outside, cwd=folder,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others may enter, unlike pytest's own, with the users' home directories."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        for user in (ANNA, BEN):
            (Path(name) / str(user)).mkdir()
            os.chown(Path(name) / str(user), user, user)
        yield Path(name)


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that others may start; root's own often lies in root's home directory."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can be other users")
    for place in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            if started(place, ANNA, Path("/"), "-c", "import pipelines.cli, duckdb, numpy").returncode == 0:
                return place
        except OSError:
            continue
    pytest.skip("no other user may start a Python of this version, or read this checkout and the installed packages")


def done(python: str, user: int, folder: Path, *command: str) -> str:
    """What a command prints that ends well, without a traceback or a warning of what it could not write."""
    ended = started(python, user, folder / str(user), "-m", "pipelines.cli", *command, "--home", str(folder / "study"))
    assert ended.returncode == 0, ended.stderr
    assert "not up to date" not in ended.stderr
    return ended.stdout


def opened(study: Home, folder: Path, rights: str) -> Home:
    """The shared study, copied, with these rights for all."""
    home = find_home(str(folder / "study"))
    shutil.copytree(study.path, home.path)
    subprocess.run(["chgrp", "-R", str(GROUP), str(home.path)], check=True)
    subprocess.run(["chmod", "-R", rights, str(home.path)], check=True)
    return home


def state(home: Home) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.path.rglob("*")}


@pytest.mark.parametrize("index", ["current", "behind", "missing"])
def test_a_home_of_someone_else_answers(study: Home, trained: RunRecord, python: str, folder: Path, index: str) -> None:
    home = opened(study, folder, "u=rwX,go=rX")
    if index != "current":
        home.database.unlink()
    if index == "behind":
        assert ingest(home, [trained.run_id])
    before = state(home)
    rows = list(csv.reader(done(python, ANNA, folder, "sql", COUNT, "--format", "csv").splitlines()))
    assert rows[1:] == [[str(3 * 20), "2"]]
    if index == "behind":
        assert "saliency" in done(python, ANNA, folder, "ask", "explained")
        exported = folder / str(ANNA) / "flow.json"
        assert done(python, ANNA, folder, "flow", "latest", "--export", str(exported)).strip() == str(exported)
        assert exported.stat().st_uid == ANNA
    assert state(home) == before


def test_members_of_a_group_go_on_with_each_others_runs(study: Home, python: str, folder: Path) -> None:
    home = opened(study, folder, "ug=rwX,o=")
    subprocess.run(["find", str(home.path), "-type", "d", "-exec", "chmod", "g+s", "{}", "+"], check=True)
    subprocess.run(["chown", "-R", str(BEN), str(home.path)], check=True)
    flags = ("--size", str(TINY.size), "--epochs", "1", "--batch", "128", "--threads", "1")
    run_id = done(python, ANNA, folder, "train", *flags).strip()
    made = done(python, BEN, folder, "explain", run_id, "--method", "saliency", "--count", "2").strip()
    listed = done(python, ANNA, folder, "ask", "runs")
    assert run_id in listed
    assert made in listed
    assert {record.status for record in read_records(home)} == {"FINISHED"}
    strange = [path for path in home.path.rglob("*") if path.stat().st_gid != GROUP or not path.stat().st_mode & 0o020]
    assert strange == []
