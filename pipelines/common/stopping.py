"""Ctrl-C, kill, a closed terminal: the first such signal ends a command in order, the next ends it at once."""

import gc
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from pipelines.common import ranks
from pipelines.common.terminal import status_line

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is missing on Windows
SIGNALS = tuple(getattr(signal, name) for name in SIGNAL_NAMES if hasattr(signal, name))
CODE = 130  # exit code of a stopped command
_received_signals: list[int] = []


def listen() -> None:
    """From now on the first signal raises KeyboardInterrupt, so that a run is marked, and the next ends the process."""
    sys.unraisablehook = _end_where_nothing_can_be_raised
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores a closed terminal
            signal.signal(number, _stop)


def finish() -> None:
    """The command is done: from now on the first signal ends the process, which only tidies up."""
    _received_signals.append(0)  # as if the first had come already
    # CPython remembers an interrupt that left code compiled from text, such as a dataclass's, even if it was caught
    # later, and `python -m` then ends by the signal instead of by the exit code. Running such code again clears it.
    exec("pass")
    gc.freeze()  # else the interpreter, before it ends, looks for garbage in torch and MLflow for a second or two


def ignore() -> None:
    """Signals change nothing any more, as when torchrun stops all of its processes once one of them has ended."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # unlike a handler, this holds until the interpreter is gone


def was_asked() -> bool:
    """Whether a signal came; a library may have turned its KeyboardInterrupt into another error."""
    return bool(_received_signals)


def _stop(number: int, frame: FrameType | None) -> None:
    if _received_signals:
        if ranks.was_launched():  # torchrun passes on what a terminal has sent to all, and has patience for 30 s
            return
        _end()
    _received_signals.append(number)
    raise KeyboardInterrupt


def _end() -> NoReturn:
    try:
        if not ranks.is_follower():
            os.write(2, b"\nstudy: stopped\n" if status_line.is_shown else b"study: stopped\n")
    finally:
        os._exit(CODE)


def _end_where_nothing_can_be_raised(unraisable: Any) -> None:
    """For an interrupt in, say, garbage collection, where Python would print a traceback and carry on."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _end()
    sys.__unraisablehook__(unraisable)
