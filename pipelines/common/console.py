"""Standard error as commands use it: passwords never appear in it, and progress stays at the bottom."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pipelines.common.terminal import status_line
from tracking.errors import redacted


class _RedactingStream:
    """A stream that drops secrets from what is written to it: our lines, libraries' logs and warnings, tracebacks.

    It also makes space for that, above the line of progress.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        status_line.erase()
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redacting() -> Iterator[None]:
    """Redact secrets from sys.stderr inside the block."""
    original_stream = sys.stderr
    sys.stderr = _RedactingStream(original_stream)
    try:
        yield
    finally:
        sys.stderr = original_stream
