"""Which characters a reader only sees. All others could move the cursor, hide text or turn its direction."""

import json

PLAINER = {"─": "-", "…": "..."}  # what our tables are drawn with, and what stands for it where an encoding lacks it


def printable(text: str, kept: str = "") -> str:
    """Text as one line that a terminal only shows: line ends, control and format characters and broken bytes escaped.

    Characters in `kept` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def printable_json(document: str) -> str:
    """A JSON document that says the same in printable characters and line ends, and in every encoding."""
    return "\n".join(
        line
        if line.isprintable() and PLAINER.keys().isdisjoint(line)
        else "".join(c if c.isprintable() and c not in PLAINER else json.dumps(c)[1:-1] for c in line)
        for line in document.split("\n")
    )
