"""Commands, in this process and as one of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from threading import Thread

import pytest

from pipelines import cli
from pipelines.cli import main
from support.places import ROOT
from tracking.home import Home

needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals here")


def said(capsys: pytest.CaptureFixture, home: Home, *command: str) -> tuple[int, str]:
    """Exit code and last line of a command."""
    code = cli.main([*command, "--home", str(home.path)])
    return code, capsys.readouterr().err.strip().splitlines()[-1]


def study_command(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # --help
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def as_process(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess:
    """A command as a process of its own, with bytes for its output."""
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, env=os.environ | environment, timeout=60)


def on_terminal(*arguments: str, width: int = 80, **environment: str) -> tuple[int, str]:
    """Exit code of a command on a terminal of a width, and what that shows, with escape sequences."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=kept | {"TERM": "xterm"} | environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # nothing has it open any more
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(timeout=60), shown.decode().replace("\r\n", "\n")


def at_once(tasks: list[Callable[[], object]]) -> list[object]:
    """What tasks return that run side by side in threads; an error in place of a value."""
    results: list[object] = [None] * len(tasks)

    def work(place: int) -> None:
        try:
            results[place] = tasks[place]()
        except Exception as error:
            results[place] = error

    threads = [Thread(target=work, args=(place,)) for place in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
