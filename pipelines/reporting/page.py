"""The report as one file: written in templates, with style, pictures and figures inside, and no script."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment

from pipelines.common.metrics import name_metric
from pipelines.common.policy import policy_of
from pipelines.pages import words
from pipelines.pages.environment import STYLE, call_class, make_environment
from pipelines.pages.html import Html
from pipelines.reporting import criteria, faithfulness, figures, parts, patterns
from pipelines.reporting.checks import REASONS
from pipelines.reporting.facts import Facts
from pipelines.reporting.found_concepts import is_own
from pipelines.reporting.labels import count_labels
from pipelines.reporting.shortcuts import SHARES, place_of
from pipelines.reporting.techniques import TECHNIQUES, called, link_papers
from xai import METHODS

TEMPLATES = Path(__file__).with_name("templates")


def render(facts: Facts, made: datetime, *, is_copy: bool = False) -> str:
    """The whole document, `made` at a time in UTC; a copy has no link to the flow page beside it."""
    return make_templates().get_template("report.html").render(
        **{name: getattr(facts, name) for name in facts.__dataclass_fields__},
        flow_link=None if is_copy else facts.flow_page,
        run=facts.subject.run, split=facts.subject.split, images=words.images_of(facts.subject.split),
        used=facts.subject.evidence.used, style=Html(STYLE), policy=policy_of(styles=(STYLE,)),
        made=f"{made:%Y-%m-%d %H:%M}",
    )  # fmt: skip


@cache  # compiling them takes as long as filling them in
def make_templates() -> Environment:
    """The report's templates, with what their sentences need."""
    environment = make_environment(TEMPLATES)
    environment.filters |= {
        "method": called, "methods": list_methods, "heat": heat, "metric": name_metric, "papers": link_papers,
    }  # fmt: skip
    environment.globals |= {
        "list_classes": list_classes, "share_right": share_right, "is_own": is_own, "count_labels": count_labels,
        "figure": figures, "criteria": criteria, "METHODS": METHODS, "TECHNIQUES": TECHNIQUES,
        "place_of": place_of, "SHARES": SHARES, "concept_name": patterns.concept_name, "EVEN": parts.EVEN,
        "is_beyond_chance": patterns.is_beyond_chance, "COLUMNS": faithfulness.COLUMNS, "RANKING": faithfulness.RANKING,
        "is_stable": patterns.is_stable, "REASONS": REASONS, "REFERENCES": faithfulness.REFERENCES,
        "EVERYTHING": faithfulness.EVERYTHING,
    }  # fmt: skip
    return environment


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


def heat(amount: float | None) -> str:
    """Class of a table cell: the stronger, the bluer; orange below zero."""
    if amount is None:
        return ""
    return f"{'above' if amount >= 0 else 'below'}-{round(10 * min(abs(amount), 1))}"
