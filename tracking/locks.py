"""Who is writing a run at this moment.

A writer locks a file beside the run's files for as long as it lives; the system takes the lock back however the process
ends. So two never write one run, and a run called RUNNING that nobody holds was killed.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tracking.errors import InputError
from tracking.home import Home

WAIT = 0.5  # seconds; who only looks holds a lock for an instant
_held: dict[Path, TextIO] = {}


def hold(home: Home, run_id: str, name: str = "lock") -> None:
    """Be the only writer of a run until `release` or the end of this process.

    Raises InputError if another writer, of this or another process, holds it.
    """
    place = _place(home, run_id, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    file = place.open("a+")
    deadline = time.monotonic() + WAIT
    while not _locked(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise InputError(f"run {run_id[:8]} is being written by {holder}; wait for its end, or stop it first")
        time.sleep(0.01)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[place] = file


def release(home: Home, run_id: str, name: str = "lock") -> None:
    if file := _held.pop(_place(home, run_id, name), None):
        file.close()


@contextmanager
def held(home: Home, run_id: str, name: str = "lock") -> Iterator[None]:
    """Hold it for as long as the block lasts."""
    hold(home, run_id, name)
    try:
        yield
    finally:
        release(home, run_id, name)


def abandoned(home: Home, run_id: str) -> bool:
    """Whether the run was written from this home and nobody writes it now."""
    try:
        with _place(home, run_id, "lock").open() as file:
            return _locked(file, fcntl.LOCK_SH)
    except FileNotFoundError:  # written from another home, or by a version without locks
        return False


def known(home: Home, run_id: str) -> bool:
    """Whether the run was ever written from this home."""
    return _place(home, run_id, "lock").exists()


def _place(home: Home, run_id: str, name: str) -> Path:
    return home.run_folder(run_id).parent / name  # not among the files that MLflow lists


def _locked(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
