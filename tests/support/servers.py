"""Servers and browsers under way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

# what a request meets whose server has just been killed: no listener, or a connection kept alive that breaks
LOST = "(Connection refused|Connection reset by peer|Broken pipe|Remote end closed connection without response)"
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True)
class Forked:
    """A process that another one forked, which does not wait for it."""

    pid: int

    def poll(self) -> int | None:
        """None while it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 1
        return None

    def wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(address: str, server: subprocess.Popen | Forked) -> None:
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


@dataclass(frozen=True)
class Served:
    """`study ui` under way."""

    process: subprocess.Popen
    printed: str
    errors: Path  # what it says on standard error


@cache
def start_forking() -> subprocess.Popen:
    """The process that forks MLflow servers, until this one ends."""
    program = Path(__file__).with_name("mlflow_server.py")
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, str(program)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | QUIET,
    )  # fmt: skip


def serve(
    folder: Path,
    port: int,
    *options: str,
    database: str | None = None,
    files: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Forked:
    """A MLflow server, once it answers; its database and files are in `folder` unless others are given."""
    flags = ["--port", str(port), "--workers", "1", *options]
    flags += ["--backend-store-uri", database or f"sqlite:///{folder}/server.db"]
    flags += ["--artifacts-destination", files or str(folder)]
    environment = os.environ | QUIET | dict(variables or {})
    forking = start_forking()
    print(json.dumps({"flags": flags, "environment": environment}), file=forking.stdin, flush=True)
    process = Forked(int(forking.stdout.readline()))
    wait_until_it_answers(f"http://127.0.0.1:{port}/health", process)
    return process


def kill(process: subprocess.Popen | Forked) -> None:
    """A server and its workers, without a word."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


def open_page(browser, address: str, path: str) -> None:
    experiment = address.split("/runs?")[0]
    browser.get("about:blank")  # a change behind # alone would not load the page again
    browser.get(f"{experiment}{path}{'&' if '?' in path else '?'}workflowType=machine_learning")
