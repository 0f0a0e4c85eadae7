"""Text for a terminal: notices beside a command's result, width and colours, and text in printable characters only.

Other characters could move the cursor, hide text or reverse its direction.
"""

import json
import os
import re
import sys
import unicodedata
from dataclasses import dataclass
from threading import RLock
from typing import TextIO

# characters that tables are drawn with, and what replaces them where the output's encoding lacks them
PLAIN_EQUIVALENTS = {"─": "-", "…": "...", "━": "#", "╌": "."}
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
CLEAR_TO_END = "\x1b[K"
DEFAULT_WIDTH = 80  # characters, of a terminal that does not say its width
LEAST_WIDTH = 20  # narrower ones are written to as if they were so wide
WORDS = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True)
class Screen:
    """Where a result is read: its width in characters, and whether it shows colours."""

    width: int
    has_colours: bool = False

    def style(self, text: str, *styles: str) -> str:
        """Text in a colour or weight; unchanged on a screen without colours."""
        return styled(text, *styles) if self.has_colours else text


def find_screen() -> Screen | None:
    """The screen behind standard output; None for a pipe or a file, whose text does not depend on any width.

    On a terminal COLUMNS gives the width, if it is set. Elsewhere it counts for nothing, as programs that use readline
    set it for all that they start.
    """
    if not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isascii() and columns.isdigit() else terminal_width(sys.stdout)
    return Screen(max(width, LEAST_WIDTH), has_colours(sys.stdout))


def terminal_width(stream: TextIO) -> int:
    """Characters per line of the terminal behind a stream."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except (OSError, ValueError):  # no terminal, or a stream without a file
        return DEFAULT_WIDTH


def has_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and the user has not refused them (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, *styles: str) -> str:
    """Text between the escape sequences that switch styles on and off."""
    return f"\x1b[{';'.join(STYLES[style] for style in styles)}m{text}\x1b[0m"


def display_width(text: str) -> int:
    """Columns of a terminal that printable text takes: two per wide character, none per combining mark."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Text filled up with spaces to a display width; `right` puts it at the right end."""
    spaces = " " * (width - display_width(text))
    return spaces + text if right else text + spaces


def wrap(text: str, width: int, parts: re.Pattern[str] = WORDS) -> list[str]:
    """Lines of at most `width` columns, broken between parts, and inside one only where it is longer than a line."""
    if display_width(text) <= width:
        return [text]
    lines = [""]
    used = 0
    for part in parts.findall(text):
        part_width = display_width(part.rstrip())
        if used + part_width > width and used:
            lines.append("")
            used = 0
        if part_width <= width:
            lines[-1] += part
            used += display_width(part)
            continue
        for character in part:
            if used + _character_width(character) > width:
                lines.append("")
                used = 0
            lines[-1] += character
            used += _character_width(character)
    return [line.rstrip() for line in lines]


class StatusLine:
    """The last line of a terminal, redrawn in place; everything else on standard error goes above it."""

    def __init__(self) -> None:
        self.is_shown = False
        self._text = ""

    def draw(self, text: str) -> None:
        """Show a line, which must be narrower than the terminal, in place of the one before."""
        if _is_muted:
            return
        with _one_at_a_time:
            self.is_shown = False  # so that writing does not erase it first, which would flicker
            self._text = text
            sys.stderr.write(f"\r{text}{CLEAR_TO_END}")
            sys.stderr.flush()
            self.is_shown = True

    def erase(self) -> str:
        """Make space for other output; returns what was shown."""
        if not self.is_shown:
            return ""
        self.is_shown = False
        sys.stderr.write(f"\r{CLEAR_TO_END}")
        sys.stderr.flush()
        return self._text


status_line = StatusLine()
_one_at_a_time = RLock()  # a commit in the background may warn while the training draws its progress
_is_muted = False


def mute() -> None:
    """From now on this process prints nothing, as another one prints the same."""
    global _is_muted
    _is_muted = True


def say(line: str) -> None:
    """Print a line to standard error, above the line of progress if there is one."""
    if _is_muted:
        return
    with _one_at_a_time:
        shown = status_line.erase()
        print(printable(line), file=sys.stderr, flush=True)
        if shown:
            status_line.draw(shown)


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
    if document.isascii() and document.replace("\n", "").isprintable():  # most are
        return document
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
