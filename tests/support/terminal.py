"""What a terminal shows in the end of what was written to it."""

import re

STYLE = re.compile(r"\x1b\[[0-9;]*m")


def render(written: str, width: int) -> list[str]:
    """The lines that a terminal of a width shows: it obeys \\r, \\n and erasing to the end, and wraps long lines."""
    lines, column = [""], 0
    for piece in re.findall(r"\x1b\[K|[^\x1b]", STYLE.sub("", written)):
        if piece == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif piece == "\r":
            column = 0
        elif piece == "\n":
            lines.append("")
            column = 0
        else:
            if column == width:
                lines.append("")
                column = 0
            lines[-1] = lines[-1][:column].ljust(column) + piece + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
