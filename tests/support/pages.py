"""Pages as a reader sees them."""

import re
from html import unescape
from pathlib import Path


def flat(text: str) -> str:
    """A text with plain single spaces alone."""
    return " ".join(text.split())


def plain(page: Path) -> str:
    """The text of a page, what is folded too, but for footnotes."""
    text = re.sub(r"<style>.*?</style>|<sup.*?</sup>", "", page.read_text(), flags=re.DOTALL)
    return flat(unescape(re.sub(r"<[^>]*>", " ", text)))
