"""Standard output and standard error, limited to what the terminal, pipe or file behind them can take."""

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.common.terminal import PLAIN_EQUIVALENTS, printable

ERROR_HANDLER = "study"  # name of `_replace_unencodable` among those of Python's codecs


def prepare_streams() -> None:
    """Make every text writable: what an encoding lacks is replaced or escaped; output to a closed stream is dropped."""
    codecs.register_error(ERROR_HANDLER, _replace_unencodable)
    if sys.stdout is None or sys.stderr is None:
        _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none
            stream.reconfigure(errors=ERROR_HANDLER)


@contextmanager
def written() -> Iterator[None]:
    """What is printed inside the block has arrived after it; otherwise raises OSError, such as of a full disk.

    The block ends quietly where a reader, such as head, has seen enough.
    """
    try:
        try:
            yield
        finally:
            try:
                sys.stdout.flush()
            except OSError:
                with open(os.devnull, "w") as null_device:  # otherwise Python tries again on exit, and complains
                    os.dup2(null_device.fileno(), sys.stdout.fileno())
                raise
    except BrokenPipeError:
        pass


def shown(result: str) -> str:
    """A result as a terminal may show it; programs get it unchanged, as they may use it as a path."""
    if not sys.stdout.isatty():
        return result
    return "\n".join(printable(line) for line in result.split("\n"))


def _open_closed_streams() -> None:
    """Open closed streams on the null device, or the next files opened get their descriptors, and errors land there."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:  # the lowest free one: of standard input, output or error
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _replace_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace a character that cannot be encoded by a plainer one, or by JSON's escape, so that JSON stays JSON.

    A lone surrogate stands for a byte of a file name that is not UTF-8: it becomes that byte, so that a path stays one.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return character.encode("ascii", "surrogateescape"), error.start + 1
    replacement = PLAIN_EQUIVALENTS.get(character) or json.dumps(character)[1:-1]
    return replacement, error.start + 1
