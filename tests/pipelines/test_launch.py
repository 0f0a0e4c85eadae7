"""The command finds its own packages, whatever a user has in the current folder or on PYTHONPATH."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines.launch import PACKAGES
from support.places import ROOT
from tracking.home import Home

START = "import sys; sys.path.append({site!r}); from xai_study_launch import main; sys.exit(main())"


@pytest.fixture(params=["editable", "wheel"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder as pip leaves it."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(ROOT / "pipelines" / "launch.py", site / "xai_study_launch.py")
    if request.param == "wheel":
        for package in PACKAGES:
            (site / package).symlink_to(ROOT / package)
    else:
        known = site / "xai_study-0.1.0.dist-info"
        known.mkdir()
        (known / "METADATA").write_text("Metadata-Version: 2.1\nName: xai-study\nVersion: 0.1.0\n")
        (known / "direct_url.json").write_text(json.dumps({"url": ROOT.as_uri(), "dir_info": {"editable": True}}))
    return site


def test_packages_of_the_same_names_do_not_matter(site: Path, tmp_path: Path, study: Home) -> None:
    mine = tmp_path / "mine"
    for package in PACKAGES:
        (mine / package).mkdir(parents=True)
        (mine / package / "__init__.py").write_text("raise SystemExit('not ours')")
    for command in (("ask", "accuracy_by_epoch"), ("sql", "select count(*) from runs")):
        done = subprocess.run(
            [sys.executable, "-c", START.format(site=str(site)), *command, "--home", str(study.path)],
            cwd=mine, env=os.environ | {"PYTHONPATH": str(mine)}, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") > 2


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_during_the_imports_ends_the_command_with_a_line(tmp_path: Path, name: str) -> None:
    shutil.copy(ROOT / "pipelines" / "launch.py", tmp_path / "xai_study_launch.py")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "launch.py").touch()
    (tmp_path / "pipelines" / "cli.py").write_text(f"import signal; signal.raise_signal(signal.{name})")
    start = START.replace("append(", "insert(0, ").format(site=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", start], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "study: stopped\n")


def test_little_is_imported_before_a_signal_is_expected(site: Path) -> None:
    """What takes long to import comes after the launcher listens; Python itself imports some of it at its start."""
    slow = {"importlib.metadata", "urllib.request", "typing", "json", "email", "ssl"}
    code = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(site)!r}); import xai_study_launch; " \
           "print(*set(sys.modules) - before)"  # fmt: skip
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert "xai_study_launch" in done.stdout.split()
    assert not slow & set(done.stdout.split())


def test_the_launcher_is_installed_under_a_name_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"study": "xai_study_launch:main"}
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert tuple(wheel["packages"]) == PACKAGES
    assert wheel["force-include"] == {"pipelines/launch.py": "xai_study_launch.py"}
