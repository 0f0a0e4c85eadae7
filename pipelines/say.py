"""Words to the user beside a command's result."""

import sys

from tqdm import tqdm


def say(line: str) -> None:
    """A line on standard error, above a progress bar if there is one."""
    tqdm.write(printable(line), file=sys.stderr)


def printable(text: str) -> str:
    """Text as one line that a terminal only shows: line ends, control characters and broken bytes appear escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
