"""Text for a terminal: notices beside a command's result, and which characters can only be read.

All other characters could move the cursor, hide text or reverse its direction.
"""

import json
import sys

# what tables are drawn with -> what replaces it where the output's encoding lacks it
PLAIN_EQUIVALENTS = {"─": "-", "…": "..."}


def say(line: str) -> None:
    """Print a line to standard error, above a progress bar if there is one."""
    from tqdm import tqdm  # slow to import, and answering a question needs no notice

    tqdm.write(printable(line), file=sys.stderr)


def printable(text: str, kept: str = "") -> str:
    """Text on one line, with line ends, control and format characters and undecodable bytes escaped.

    Characters in `kept` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )


def printable_json(document: str) -> str:
    """The same JSON values, in printable characters and line ends that every encoding has."""
    return "\n".join(_escape_json_line(line) for line in document.split("\n"))


def _escape_json_line(line: str) -> str:
    if line.isprintable() and PLAIN_EQUIVALENTS.keys().isdisjoint(line):
        return line
    return "".join(
        character if character.isprintable() and character not in PLAIN_EQUIVALENTS else json.dumps(character)[1:-1]
        for character in line
    )
