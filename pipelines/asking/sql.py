"""Free SQL. It runs in a separate process, which ends at its time and memory limits whatever the query does.

That process is spawned, not forked: DuckDB's threads would not survive a fork, and Windows has none. It ends with this
one.
"""

from __future__ import annotations

import io
import json
import sys
import threading
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
PIECE_SIZE = 1 << 16  # characters read at a time


def sql(settings: SqlSettings, home: Home) -> Iterator[str]:
    """The answer to any read-only SQL, in pieces of text. Raises InputError at a limit or on a wrong query."""
    with _answering(settings, home, settings.format, find_screen()) as replies:
        answer = io.TextIOWrapper(replies, encoding="utf-8", newline="\n")
        while piece := answer.read(PIECE_SIZE):
            yield piece


def sql_to_table(settings: SqlSettings, home: Home) -> pyarrow.Table:
    """The same answer as an Arrow table."""
    from pyarrow import ipc

    with _answering(settings, home, ARROW, None) as replies:
        answer = replies.read()
    return ipc.open_stream(answer).read_all()


@contextmanager
def _answering(settings: SqlSettings, home: Home, answer_format: str, screen: Screen | None) -> Iterator[IO[bytes]]:
    """The answer, to be read to its end in the block. Raises RunError if that end is missing."""
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
            with _time_limit(settings, process):
                _await_reply(process, replies, settings)  # the answer is ready
            yield replies
            if process.wait() != ANSWERED:
                raise RunError("the answer was cut short, as its process was stopped; ask again")
        finally:
            process.kill()


def _await_reply(process: Popen[bytes], replies: IO[bytes], settings: SqlSettings) -> None:
    """Wait for the process's next step. Raises InputError or RunError with the error it sends, or if it has ended."""
    line = replies.readline()
    if line:
        reply = json.loads(line)
        if "input_error" in reply:
            raise InputError(reply["input_error"])
        if "run_error" in reply:
            raise RunError(reply["run_error"])
        return
    code = process.wait()
    if code in OUT_OF_MEMORY_CODES:
        raise InputError(f"stopped at {settings.memory} GB; narrow it, or allow more: --memory")
    raise RunError(f"DuckDB did not survive the query (its process ended with code {code}); simplify it")


@contextmanager
def _time_limit(settings: SqlSettings, process: Popen[bytes]) -> Iterator[None]:
    """Kill the process if the block takes longer than --seconds."""
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
