"""Standard output and standard error, whatever the terminal, pipe or file behind them takes."""

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.common.terminal import PLAIN_EQUIVALENTS, printable

ERRORS = "study"  # name of `_replaced` among Python's error handlers


def prepare_streams() -> None:
    """Make every text writable: what an encoding lacks is replaced or escaped, and a closed stream takes everything."""
    codecs.register_error(ERRORS, _replaced)
    if sys.stdout is None or sys.stderr is None:
        _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none
            stream.reconfigure(errors=ERRORS)


@contextmanager
def written() -> Iterator[None]:
    """What is printed inside has arrived afterwards, else an OSError says why not, as of a full disk."""
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            with open(os.devnull, "w") as nowhere:  # else Python tries again on exit, and complains
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            raise


def shown(result: str) -> str:
    """A result as a terminal may show it; programs get it unchanged, as they may use it as a path."""
    return "\n".join(map(printable, result.split("\n"))) if sys.stdout.isatty() else result


def _open_closed() -> None:
    """Streams that lead nowhere; the next files opened would get their descriptors, and errors end up in the files."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """A character that cannot be encoded: a plainer one, or JSON's escape, so that JSON stays JSON.

    A lone surrogate stands for a byte of a file name that is not UTF-8: it is that byte again, so a path stays a path.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return character.encode("ascii", "surrogateescape"), error.start + 1
    return PLAIN_EQUIVALENTS.get(character) or json.dumps(character)[1:-1], error.start + 1
