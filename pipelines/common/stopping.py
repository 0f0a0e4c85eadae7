"""Ctrl-C, a polite kill, a closed terminal: the first ends a command in order, the next at once."""

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is missing on Windows
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
CODE = 130  # exit code of a stopped command
_asked: list[int] = []  # signals that came


def listen() -> None:
    """From now on the first signal raises KeyboardInterrupt, so that a run is marked, and the next ends the process."""
    sys.unraisablehook = _end_where_nothing_can_be_raised
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves a closed terminal
            signal.signal(number, _stop)


def finish() -> None:
    """The command is done: from now on the first signal ends the process, which only tidies up."""
    _asked.append(0)
    # CPython remembers an interrupt that left code made from text, such as a dataclass's, even if it was caught since,
    # and `python -m` then ends by the signal instead of by the exit code. Running such code again makes it forget.
    exec("pass")


def was_asked() -> bool:
    """Whether a signal came; a library may have turned its KeyboardInterrupt into another error."""
    return bool(_asked)


def _stop(number: int, frame: FrameType | None) -> None:
    if _asked:
        _end()
    _asked.append(number)
    raise KeyboardInterrupt


def _end() -> NoReturn:
    try:
        os.write(2, b"study: stopped\n")
    finally:
        os._exit(CODE)


def _end_where_nothing_can_be_raised(fault: Any) -> None:
    """As amid the collection of garbage, where Python would show a traceback and go on."""
    if issubclass(fault.exc_type, KeyboardInterrupt):
        _end()
    sys.__unraisablehook__(fault)
