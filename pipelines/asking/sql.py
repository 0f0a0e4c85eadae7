"""Free SQL. It runs in a separate process, which ends at its limits of time and memory even if the query does not stop.

That process is spawned, not forked: DuckDB's threads would not survive a fork, and Windows has none. It ends with this
one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING, cast

from pipelines.common.terminal import Screen, find_screen
from tracking.errors import InputError, RunError

if TYPE_CHECKING:  # not needed by the process, which imports this module too
    import pyarrow

    from pipelines.common.settings import SqlSettings
    from tracking.home import Home

BOOTSTRAP = "import sys; sys.path[:] = sys.argv[1:]; from pipelines.asking.sql_process import main; main()"
OWN_FOLDER = str(Path(__file__).parents[2])
ARROW = "arrow"  # format of an answer between the two processes, beside those of `--format`
# exit codes of the process
ANSWERED = 0
NO_MEMORY = 77
OUT_OF_MEMORY_CODES = (NO_MEMORY, -6, -9)  # C++ aborts if an allocation must not fail; Linux kills when memory runs out


def sql(settings: SqlSettings, home: Home) -> Iterator[str]:
    """The answer to any read-only SQL, in pieces of text. Raises InputError at a limit or on a wrong query."""
    for piece in _answer(settings, home, settings.format, find_screen()):
        yield piece.decode()


def sql_to_table(settings: SqlSettings, home: Home) -> pyarrow.Table:
    """The same answer as an Arrow table."""
    from pyarrow import ipc

    return ipc.open_stream(b"".join(_answer(settings, home, ARROW, None))).read_all()


def _answer(settings: SqlSettings, home: Home, answer_format: str, screen: Screen | None) -> Iterator[bytes]:
    """The answer's pieces. The time limit counts how long they are waited for, not how long they are read."""
    request = {
        "home": str(home.path),
        "query": settings.query,
        "memory": settings.memory,
        "format": answer_format,
        "screen": asdict(screen) if screen else None,
    }
    # our folder first, as users' packages may have the same names
    command = [sys.executable, "-P", "-c", BOOTSTRAP, OWN_FOLDER, *sys.path]
    # in its own session, so that Ctrl-C reaches this process alone, which then ends that one
    with Popen(command, stdin=PIPE, stdout=PIPE, start_new_session=True) as process:
        try:
            requests = cast("IO[bytes]", process.stdin)
            replies = cast("IO[bytes]", process.stdout)
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            _await_reply(process, replies, settings)  # the tables are open
            seconds = float(settings.seconds)
            while True:
                began = time.monotonic()
                with _time_limit(settings, seconds, process):
                    piece = _await_reply(process, replies, settings)
                seconds -= time.monotonic() - began
                if piece is None:
                    return
                yield piece
        finally:
            process.kill()


def _await_reply(process: Popen[bytes], replies: IO[bytes], settings: SqlSettings) -> bytes | None:
    """The next piece, or None where the process says that it has come to an end of what it does.

    Raises InputError or RunError with the error that the process sends, or if it has died.
    """
    if line := replies.readline():
        reply = json.loads(line)
        if "input_error" in reply:
            raise InputError(reply["input_error"])
        if "run_error" in reply:
            raise RunError(reply["run_error"])
        if "size" not in reply:
            return None
        piece = replies.read(reply["size"])
        if len(piece) == reply["size"]:
            return piece
    code = process.wait()
    if code in OUT_OF_MEMORY_CODES:
        raise InputError(f"stopped at {settings.memory} GB; narrow it, or allow more: --memory")
    raise RunError(f"DuckDB did not survive the query (its process ended with code {code}); simplify it")


@contextmanager
def _time_limit(settings: SqlSettings, seconds: float, process: Popen[bytes]) -> Iterator[None]:
    """Kill the process if the block takes longer than what is left of --seconds."""
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    except (InputError, RunError):
        if expired.is_set():
            raise InputError(f"stopped after {settings.seconds} s; narrow it, or allow more: --seconds") from None
        raise
    finally:
        timer.cancel()
