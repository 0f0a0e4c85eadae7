"""Words to the user beside a command's result."""

import sys

from tqdm import tqdm

from pipelines.common.printable import printable


def say(line: str) -> None:
    """A line on standard error, above a progress bar if there is one."""
    tqdm.write(printable(line), file=sys.stderr)
