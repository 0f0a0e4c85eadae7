"""Passwords of a MLflow server or database appear nowhere: on no line, in no file, in no command line."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest

from pipelines import cli
from pipelines.common.console import redacting
from pipelines.common.settings import ReportSettings
from pipelines.reporting.report import report
from pipelines.training.train import replace, train
from support.homes import TINY
from support.places import ROOT
from support.servers import free_port, kill, serve, wait_until_it_answers
from tracking.errors import InputError, RunError, from_outside, redacted
from tracking.home import Home, find_home

PASSWORD = "s3cr3t @nd/l0ng"
QUOTED = quote(PASSWORD, safe="")
PARTS = (PASSWORD, QUOTED, "s3cr3t", "l0ng")
ADDRESSES = (
    f"http://anna:{QUOTED}@127.0.0.1:9",
    f"http://anna:{QUOTED}@127.0.0.1:port",
    f"http://anna:{PASSWORD}@127.0.0.1:9",
    f"postgresql://anna:{QUOTED}@127.0.0.1:9/runs",
    f"mysql+pymysql://127.0.0.1:9/runs?user=anna&password={QUOTED}",
    f"carrier-pigeon://anna:{QUOTED}@loft",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://anna:pw@host:5000/api", "at http://***@host:5000/api"),
        ("'postgresql://anna:p@w@host/db'", "'postgresql://***@host/db'"),
        ("https://token@host", "https://***@host"),
        ("host/db?user=anna&sslpassword=pw&x=1", "host/db?user=anna&sslpassword=***&x=1"),
        ("file:///home/anna@work/study", "file:///home/anna@work/study"),
        ("anna@example.org: 3 of 4", "anna@example.org: 3 of 4"),
    ],
)
def test_addresses_lose_their_accounts_alone(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert str(InputError(text)) == str(RunError(text)) == shown


def test_secrets_of_the_environment_are_known_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:{QUOTED}@host")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok3n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k3y/0f+aws")
    text = f"{PASSWORD} {QUOTED} anna:{PASSWORD} YW5uYTpzM2NyM3QgQG5kL2wwbmc= tok3n k3y/0f+aws anna host"
    assert redacted(text) == "*** *** *** *** *** *** anna host"


def test_whatever_writes_to_standard_error(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t")
    with redacting():
        logging.getLogger("somewhere.else").warning("tried %s", "s3cr3t")
        warnings.showwarning("s3cr3t is short", UserWarning, "file", 1)
        print("a", "s3cr3t", file=sys.stderr)
    said = capsys.readouterr().err
    assert "a ***\n" in said
    assert "s3cr3t" not in said
    assert from_outside(OSError("http://anna:pw@host refuses")) == "http://***@host refuses"


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", ["rebuild", "ui"])
def test_no_error_shows_a_password(home: Home, monkeypatch, capsys, address: str, command: str) -> None:
    home.artifacts.mkdir()
    for name, value in (("URI", address), ("PASSWORD", PASSWORD), ("TOKEN", QUOTED)):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code = cli.main([command, "--home", str(home.path)])
    shown = "".join(capsys.readouterr())
    assert code == 2
    assert [part for part in PARTS if part in shown] == []
    assert "Traceback" not in shown


def test_an_unknown_fault_shows_where_it_lies_without_a_password(monkeypatch, capsys) -> None:
    def fails(*_) -> None:
        raise ZeroDivisionError("http://anna:pw@host")

    monkeypatch.setattr(cli, "_dispatch", fails)
    monkeypatch.setattr(cli.stopping, "listen", lambda: None)  # signals are the tests' own
    monkeypatch.setattr(cli.stopping, "finish", lambda: None)
    assert cli.main() == 1
    shown = capsys.readouterr().err
    assert "in fails" in shown
    assert "http://***@host" in shown


def test_a_password_is_written_nowhere(tmp_path: Path, empty_tracker: Path, monkeypatch, capsys) -> None:
    port, home = free_port(), find_home(str(tmp_path / "study"))
    (tmp_path / "server.db").write_bytes(empty_tracker.read_bytes())
    process = serve(tmp_path, port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:{QUOTED}@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok3n-0f-anna")
    try:
        run_id = train(replace(TINY, epochs=1), home)
        report(ReportSettings(run=run_id), home)
    finally:
        kill(process)
    held = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(held) > 20
    secrets = [part.encode() for part in (*PARTS, "tok3n-0f-anna")]
    assert [file for file in held if any(part in file.read_bytes() for part in secrets)] == []
    assert [part for part in PARTS if part in "".join(capsys.readouterr())] == []


def test_no_command_line_holds_a_password(home: Home, monkeypatch) -> None:
    """`study ui` on a database whose address has one; every user of the machine can list command lines."""
    port = free_port()
    home.artifacts.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home.mlflow_db}?password={QUOTED}")
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--home", str(home.path), "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health", process)
        own = ["ps", "-ww", "-o", "args", "-s", str(process.pid)]  # with every process that it started
        listed = subprocess.run(own, capture_output=True, text=True, check=True).stdout
    finally:
        process.terminate()
        process.wait(20)
    assert str(port) in listed
    assert [part for part in PARTS if part in listed] == []
