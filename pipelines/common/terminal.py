"""Text for a terminal: notices beside a command's result, and text in printable characters only.

Other characters could move the cursor, hide text or reverse its direction.
"""

import json
import sys

# characters that tables are drawn with, and what replaces them where the output's encoding lacks them
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
    escaped = ""
    for character in text:
        is_safe = character.isprintable() or character in kept
        escaped += character if is_safe else ascii(character)[1:-1]
    return escaped


def printable_json(document: str) -> str:
    """The same JSON values, in printable characters and line ends that every encoding has."""
    lines = []
    for line in document.split("\n"):
        if line.isprintable() and PLAIN_EQUIVALENTS.keys().isdisjoint(line):
            lines.append(line)
            continue
        escaped = ""
        for character in line:
            is_safe = character.isprintable() and character not in PLAIN_EQUIVALENTS
            escaped += character if is_safe else json.dumps(character)[1:-1]
        lines.append(escaped)
    return "\n".join(lines)
