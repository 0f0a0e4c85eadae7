"""Text that a terminal only shows."""


def printable(text: str) -> str:
    """Text as one line that a terminal only shows: line ends, control characters and broken bytes appear escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
