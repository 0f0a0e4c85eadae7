"""Templates of pages: they escape every value, and speak of numbers and names in the same words."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.common.figures import capital, short
from pipelines.common.wording import plural
from pipelines.pages import marks, words
from pipelines.pages.html import Html, html, joined, safe
from pipelines.pages.reviews import describe_review

TEMPLATES = Path(__file__).with_name("templates")
STYLE = (TEMPLATES / "page.css").read_text(encoding="utf-8")  # of every page


def make_environment(folder: Path) -> Environment:
    """The templates of a folder beside those that all pages share, and what their sentences need."""
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]), autoescape=True, undefined=StrictUndefined, finalize=safe,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "percent": words.percent, "number": words.number, "value": words.value, "name": _name, "called": call_class,
        "names": words.listed, "command": command, "capital": capital, "review": describe_review,
    }  # fmt: skip
    environment.globals |= {
        "between": words.between, "value_between": words.value_between, "interval_of": words.interval_of,
        "plural": plural, "of": words.of, "NONE": words.NONE, "bar": marks.bar, "map_legend": marks.map_legend,
    }  # fmt: skip
    return environment


def _name(text: str, most: int = words.NAME) -> str:
    return short(text, most)


def call_class(text: str) -> str:
    """A class's name within a sentence; one that is a number or a letter is called class 3, class A."""
    name = _name(text, 16)
    return f"class {name}" if len(name) == 1 or name.isdigit() else name


def command(text: str) -> Html:
    """A command to paste; a flag and its value are not broken over lines."""
    pieces = re.split(r"(--[\w-]+ ?[^\s-]{0,24}(?=\s|$))", text)
    return html("<code>{}</code>", joined(html("<span>{}</span>", piece) if number % 2 else piece for number, piece in
                                          enumerate(pieces)))  # fmt: skip
