"""Words to the user beside a command's result."""

import sys

from tqdm import tqdm


def say(line: str) -> None:
    """A line on standard error, above a progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)
