"""Free SQL. It runs in a process of its own, which ends at its limits of time and memory whatever the query does.

That process is new, not forked: DuckDB's threads would not survive a fork, and Windows has none. It ends with this one.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING, cast

from tracking.errors import InputError, RunError

if TYPE_CHECKING:  # the process does without
    from pipelines.common.settings import SqlSettings
    from tracking.home import Home

START = "import sys; sys.path[:] = sys.argv[1:]; from pipelines.asking.sql_process import main; main()"
OWN_FOLDER = str(Path(__file__).parents[2])
ANSWERED, NO_MEMORY = 0, 77  # exit codes of the process
OUT_OF_MEMORY = (NO_MEMORY, -6, -9)  # C++ aborts where an allocation must not fail; Linux kills where memory is out
PIECE_SIZE = 1 << 16  # characters of an answer at a time


def sql(settings: SqlSettings, home: Home) -> Iterator[str]:
    """The answer to any SQL that only reads, in pieces of text. Raises InputError at a limit or on a wrong query."""
    # in a session of its own, so that Ctrl-C reaches this process alone, which then ends that one
    request = {"home": str(home.path), "query": settings.query, "memory": settings.memory, "form": settings.format}
    command = [
        sys.executable,
        "-P",
        "-c",
        START,
        OWN_FOLDER,
        *sys.path,
    ]  # ours first, as users may have such names
    with Popen(command, stdin=PIPE, stdout=PIPE, start_new_session=True) as process:
        try:
            requests, replies = cast("tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout))  # which PIPE opens
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            _await_reply(process, replies, settings)  # it has opened the tables
            with _time_limit(settings, process):
                _await_reply(process, replies, settings)  # it has the answer
            answer = io.TextIOWrapper(replies, encoding="utf-8", newline="\n")
            yield from iter(lambda: answer.read(PIECE_SIZE), "")
            if process.wait() != ANSWERED:
                raise RunError("the answer was cut short, as its process was stopped; ask again")
        finally:
            process.kill()


def _await_reply(process: Popen[bytes], replies: IO[bytes], settings: SqlSettings) -> None:
    """Wait for the process's next step; raises InputError or RunError with what it says instead, or why it ended."""
    if line := replies.readline():
        reply = json.loads(line)
        if "wrong" in reply:
            raise InputError(reply["wrong"])
        if "failed" in reply:
            raise RunError(reply["failed"])
        return
    code = process.wait()
    if code in OUT_OF_MEMORY:
        raise InputError(f"stopped at {settings.memory} GB; narrow it, or allow more: --memory")
    raise RunError(f"DuckDB did not survive the query (its process ended with code {code}); simplify it")


@contextmanager
def _time_limit(settings: SqlSettings, process: Popen[bytes]) -> Iterator[None]:
    """Kill the process if what is inside takes longer than --seconds."""
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(settings.seconds, stop)
    timer.start()
    try:
        yield
    except (InputError, RunError):
        if expired.is_set():
            raise InputError(f"stopped after {settings.seconds} s; narrow it, or allow more: --seconds") from None
        raise
    finally:
        timer.cancel()
