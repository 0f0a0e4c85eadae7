"""The page as one file: written in templates, with style, pictures and figures inside, and no script."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.common.figures import capital, short
from pipelines.common.metrics import name_metric
from pipelines.common.policy import policy_of
from pipelines.common.wording import plural
from pipelines.reporting import criteria, faithfulness, figures, parts, patterns, words
from pipelines.reporting.accuracy import images_of
from pipelines.reporting.checks import REASONS
from pipelines.reporting.facts import Facts
from pipelines.reporting.found_concepts import is_own
from pipelines.reporting.html import Html, html, joined, safe
from pipelines.reporting.labels import count_labels
from pipelines.reporting.shortcuts import SHARES, place_of
from pipelines.reporting.techniques import TECHNIQUES, called, link_papers
from xai import METHODS

TEMPLATES = Path(__file__).with_name("templates")


def render(facts: Facts, made: datetime, *, is_copy: bool = False) -> str:
    """The whole document, `made` at a time in UTC; a copy has no link to the flow page beside it."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    return make_environment().get_template("report.html").render(
        **{name: getattr(facts, name) for name in facts.__dataclass_fields__},
        flow_link=None if is_copy else facts.flow_page,
        run=facts.subject.run, split=facts.subject.split, images=images_of(facts.subject.split),
        used=facts.subject.evidence.used, style=Html(style), policy=policy_of(styles=(style,)),
        made=f"{made:%Y-%m-%d %H:%M}",
    )  # fmt: skip


def make_environment() -> Environment:
    """Templates that escape every value, and what their sentences need to speak of numbers and names."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=safe,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "percent": words.percent, "number": words.number, "value": words.value, "name": _name, "called": call_class,
        "names": words.listed,
        "method": called, "methods": list_methods, "command": command, "capital": capital, "heat": heat,
        "metric": name_metric, "papers": link_papers,
    }  # fmt: skip
    environment.globals |= {
        "between": words.between, "value_between": words.value_between, "interval_of": words.interval_of,
        "list_classes": list_classes, "share_right": share_right, "is_own": is_own, "plural": plural,
        "of": words.of, "count_labels": count_labels,
        "NONE": words.NONE, "figure": figures, "criteria": criteria, "METHODS": METHODS, "TECHNIQUES": TECHNIQUES,
        "place_of": place_of, "SHARES": SHARES, "concept_name": patterns.concept_name, "EVEN": parts.EVEN,
        "is_beyond_chance": patterns.is_beyond_chance, "COLUMNS": faithfulness.COLUMNS, "RANKING": faithfulness.RANKING,
        "is_stable": patterns.is_stable, "REASONS": REASONS, "REFERENCES": faithfulness.REFERENCES,
        "EVERYTHING": faithfulness.EVERYTHING,
    }  # fmt: skip
    return environment


def _name(text: str, most: int = words.NAME) -> str:
    return short(text, most)


def call_class(text: str) -> str:
    """A class's name within a sentence; one that is a number or a letter is called class 3, class A."""
    name = _name(text, 16)
    return f"class {name}" if len(name) == 1 or name.isdigit() else name


def list_classes(rows: Sequence[dict]) -> str:
    """The first three of these classes, each with its accuracy; rows of hard_classes."""
    named = [f"{call_class(row['class_name'])} ({words.percent(row['accuracy'], row['n'])})" for row in rows[:3]]
    if len(rows) > 3:
        named.append(f"{len(rows) - 3} more")
    return words.series(named) if named else ""


def share_right(rows: Sequence[dict]) -> float:
    """The fraction of these images that are classified correctly."""
    return sum(row["label"] == row["predicted"] for row in rows) / len(rows)


def list_methods(methods: Sequence[str]) -> str:
    """All of these methods by name."""
    return words.listed([called(method) for method in methods], len(METHODS))


def command(text: str) -> Html:
    """A command to paste; a flag and its value are not broken over lines."""
    pieces = re.split(r"(--[\w-]+ ?[^\s-]{0,24}(?=\s|$))", text)
    return html("<code>{}</code>", joined(html("<span>{}</span>", piece) if number % 2 else piece for number, piece in
                                          enumerate(pieces)))  # fmt: skip


def heat(amount: float | None) -> str:
    """Class of a table cell: the stronger, the bluer; orange below zero."""
    if amount is None:
        return ""
    return f"{'above' if amount >= 0 else 'below'}-{round(10 * min(abs(amount), 1))}"
