"""Who is writing a run, reading its checkpoints, writing the index or taking a name at this moment.

Each locks a file for as long as it lives; the system takes the lock back however the process ends. So two never write
one run, and a run called RUNNING that nobody holds was killed.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tracking.errors import InputError
from tracking.files import lock_file
from tracking.home import Home, make_home

WAIT = 0.5  # seconds; who only looks holds a lock for an instant
START = 60.0  # seconds that another process may take between choosing a run's name and writing its record
PRUNING = 10.0  # seconds that deleting a run's checkpoints may take
_held: dict[Path, TextIO] = {}


class HeldError(InputError):
    """Another process, or another part of this one, holds the lock."""


def hold(home: Home, run_id: str, name: str = "lock") -> None:
    """Be the only writer of a run until `release` or the end of this process.

    Raises InputError if another writer, of this or another process, holds it.
    """
    place = _place(home, run_id, name)
    advice = "wait for its end, or stop it first"
    _held[place] = _take(place, f"run {run_id[:8]} is being written by", advice, WAIT)


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


@contextmanager
def taking_a_name(home: Home) -> Iterator[None]:
    """Nobody else starts a run of the home meanwhile. Raises InputError if somebody does for very long."""
    with _take(home.path / "names.lock", "a run is being started by", "wait for it, or stop it first", START):
        yield


@contextmanager
def reading_checkpoints(home: Home, run_id: str) -> Iterator[None]:
    """Nobody prunes the run meanwhile. Raises InputError if somebody is pruning it, or the home is read-only."""
    make_home(home)
    what = f"run {run_id[:8]} is being pruned by"
    with _take(_place(home, run_id, "checkpoints.lock"), what, "wait for its end", PRUNING, shared=True):
        yield


@contextmanager
def pruning(home: Home, run_id: str) -> Iterator[None]:
    """Nobody reads the run's checkpoints meanwhile. Raises HeldError if somebody does."""
    what = f"the checkpoints of run {run_id[:8]} are being read by"
    with _take(_place(home, run_id, "checkpoints.lock"), what, "wait for its end, then prune", WAIT):
        yield


@contextmanager
def writing_index(home: Home, wait: float) -> Iterator[None]:
    """Nobody else writes the home's index meanwhile. Raises HeldError if somebody still does after `wait` seconds."""
    what, advice = f"{home.database} is being written by", "wait for its end, then rebuild again"
    with _take(home.path / "study.duckdb.lock", what, advice, wait):
        yield


def abandoned(home: Home, run_id: str) -> bool:
    """Whether the run was written from this home and nobody writes it now."""
    return _is_free(_place(home, run_id, "lock"), default=False)


def written_elsewhere(home: Home) -> list[str]:
    """IDs of the runs that another process is writing."""
    places = [place for place in home.artifacts.glob("*/lock") if place not in _held]
    return [place.parent.name for place in places if not _is_free(place, default=True)]


def known(home: Home, run_id: str) -> bool:
    """Whether the run was ever written from this home."""
    return _place(home, run_id, "lock").exists()


def _place(home: Home, run_id: str, name: str) -> Path:
    return home.run_folder(run_id).parent / name  # not among the files that MLflow lists


def _take(place: Path, what: str, advice: str, wait: float, *, shared: bool = False) -> TextIO:
    """The file, opened and locked until it is closed, with its holder written in it.

    Raises HeldError, which says by whom it is held, after `wait` seconds.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    file = place.open("a+")
    try:
        deadline = time.monotonic() + wait
        while not lock_file(file, shared=shared):
            if time.monotonic() > deadline:
                file.seek(0)
                raise HeldError(f"{what} {file.read().strip() or 'another process'}; {advice}")
            time.sleep(0.01)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _is_free(place: Path, *, default: bool) -> bool:
    """Whether nobody holds the lock; `default` where that cannot be known."""
    try:
        with place.open() as file:
            return lock_file(file, shared=True)
    except FileNotFoundError:  # written from another home, or by a version without locks
        return default
    except InputError:
        return default
