"""Standard error as commands use it: whatever writes to it, no password appears."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tracking.errors import redacted


class _Redacting:
    """A stream without the secrets of what is written to it: our lines, libraries' logs and warnings, tracebacks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redacting() -> Iterator[None]:
    """Let sys.stderr be such a stream for as long as the block lasts."""
    plain = sys.stderr
    sys.stderr = _Redacting(plain)
    try:
        yield
    finally:
        sys.stderr = plain
