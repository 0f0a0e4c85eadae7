"""Who is writing a run, reading its checkpoints, writing the index or choosing a run's name at this moment.

Each of them locks a file, and the kernel releases the lock however the process ends. So a run never has two writers,
and a run that says RUNNING but is not locked was killed.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tracking.errors import InputError
from tracking.file_locks import lock_file, unlock_file
from tracking.home import Home, make_home

# how long to wait for a lock, in seconds
WRITER_WAIT = 0.5  # a process that only probes a lock holds it for an instant
NAMING_WAIT = 60.0  # for another process between choosing a run's name and writing its record
PRUNING_WAIT = 10.0  # for a run's checkpoints to be deleted
POLL_INTERVAL = 0.01
_held: dict[Path, TextIO] = {}


class HeldError(InputError):
    """Another process, or another part of this one, holds the lock."""


def hold(home: Home, run_id: str, name: str = "lock") -> None:
    """Become the only writer of a run until `release` or the end of this process.

    Raises HeldError if another writer, in this process or another, holds the lock.
    """
    path = _lock_path(home, run_id, name)
    _held[path] = _acquire(
        path, f"run {run_id[:8]} is being written by", "wait for it to finish, or stop it first", WRITER_WAIT
    )


def release(home: Home, run_id: str, name: str = "lock") -> None:
    if file := _held.pop(_lock_path(home, run_id, name), None):
        _let_go(file)


@contextmanager
def held(home: Home, run_id: str, name: str = "lock") -> Iterator[None]:
    """`hold` a run for as long as the block lasts."""
    hold(home, run_id, name)
    try:
        yield
    finally:
        release(home, run_id, name)


@contextmanager
def taking_a_name(home: Home) -> Iterator[None]:
    """Nobody else starts a run of the home during the block. Raises HeldError if another process takes too long."""
    path = home.path / "names.lock"
    with _holding(path, "a run is being started by", "wait for it, or stop it first", NAMING_WAIT):
        yield


@contextmanager
def reading_checkpoints(home: Home, run_id: str) -> Iterator[None]:
    """Nobody prunes the run during the block; others may read it too.

    Raises HeldError if another process is pruning it, and InputError if the home is read-only.
    """
    make_home(home)
    path = _lock_path(home, run_id, "checkpoints.lock")
    what = f"run {run_id[:8]} is being pruned by"
    with _holding(path, what, "wait for it to finish", PRUNING_WAIT, shared=True):
        yield


@contextmanager
def pruning(home: Home, run_id: str) -> Iterator[None]:
    """No other process reads the run's checkpoints during the block. Raises HeldError if one already does."""
    path = _lock_path(home, run_id, "checkpoints.lock")
    what = f"the checkpoints of run {run_id[:8]} are being read by"
    with _holding(path, what, "wait for it to finish, then prune", WRITER_WAIT):
        yield


@contextmanager
def writing_index(home: Home, wait: float) -> Iterator[None]:
    """No other process writes the home's index during the block. Raises HeldError if one still does after `wait` s."""
    path = home.path / "study.duckdb.lock"
    with _holding(path, f"{home.database} is being written by", "wait for it to finish, then rebuild again", wait):
        yield


def is_abandoned(home: Home, run_id: str) -> bool:
    """Whether the run was written from this home and no process writes it now."""
    return _is_free(_lock_path(home, run_id, "lock"), default=False)


def runs_written_by_others(home: Home) -> list[str]:
    """IDs of the runs that another process is writing."""
    paths = [path for path in home.artifacts.glob("*/lock") if path not in _held]
    return [path.parent.name for path in paths if not _is_free(path, default=True)]


def was_written_here(home: Home, run_id: str) -> bool:
    """Whether the run was ever written from this home."""
    return _lock_path(home, run_id, "lock").exists()


def _lock_path(home: Home, run_id: str, name: str) -> Path:
    return home.run_folder(run_id).parent / name  # not among the files that MLflow lists


@contextmanager
def _holding(path: Path, what: str, advice: str, wait: float, *, shared: bool = False) -> Iterator[None]:
    file = _acquire(path, what, advice, wait, shared=shared)
    try:
        yield
    finally:
        _let_go(file)


def _let_go(file: TextIO) -> None:
    # closing alone would leave it locked as long as a process lives that was forked meanwhile, such as a data loader's
    unlock_file(file.fileno())
    file.close()


def _acquire(path: Path, what: str, advice: str, wait: float, *, shared: bool = False) -> TextIO:
    """The lock file, open and locked until `_let_go`; its text names this process as the holder.

    Raises HeldError, which says by whom it is held, after `wait` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        deadline = time.monotonic() + wait
        while not lock_file(file.fileno(), shared=shared):
            if time.monotonic() > deadline:
                raise HeldError(f"{what} {_read_holder(file)}; {advice}")
            time.sleep(POLL_INTERVAL)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _read_holder(file: TextIO) -> str:
    try:
        file.seek(0)
        return file.read().strip() or "another process"
    except PermissionError:  # on Windows, no process can read what another has locked
        return "another process"


def _is_free(path: Path, *, default: bool) -> bool:
    """Whether no process holds the lock; `default` where that cannot be known."""
    try:
        with path.open() as file:
            return lock_file(file.fileno(), shared=True)  # shared, so that two probes do not block each other
    except FileNotFoundError:  # written from another home, or by a version without locks
        return default
    except InputError:  # no locks, or no shared ones
        return default
