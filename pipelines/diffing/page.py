"""The page as one file: written in a template, with style, pictures and figures inside, and no script."""

from collections import Counter
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment

from pipelines.common.policy import policy_of
from pipelines.common.splits import stored_split
from pipelines.diffing import criteria
from pipelines.diffing.facts import Facts
from pipelines.diffing.images import KINDS
from pipelines.diffing.pair import Pair
from pipelines.drawing.style import WIDE_PAGE, name_method
from pipelines.pages.environment import STYLE, make_environment
from pipelines.pages.html import Html
from pipelines.pages.marks import colour_bar
from pipelines.pages.words import MINUS, NONE, SPACE, images_of, value

TEMPLATES = Path(__file__).with_name("templates")


def render(facts: Facts, made: datetime) -> str:
    """The whole document, `made` at a time in UTC."""
    style = STYLE + (TEMPLATES / "diff.css").read_text(encoding="utf-8")
    pair = facts.pair
    return make_templates().get_template("diff.html").render(
        **{name: getattr(facts, name) for name in facts.__dataclass_fields__},
        here=pair.here, other=pair.other, split=pair.split, images=images_of(pair.split),
        used=pair.evidence.used, style=Html(style), policy=policy_of(styles=(style,)), made=f"{made:%Y-%m-%d %H:%M}",
    )  # fmt: skip


@cache  # compiling them takes as long as filling them in
def make_templates() -> Environment:
    """The page's template, with what its sentences need."""
    environment = make_environment(TEMPLATES)
    environment.filters |= {
        "points": points, "p": write_p, "interval": name_interval, "method": call_method, "count_images": count_images,
        "count_groups": lambda groups: Counter({name: len(rows) for name, rows in groups}),
    }  # fmt: skip
    environment.globals |= {
        "criteria": criteria, "KINDS": KINDS, "points_between": points_between, "explain_commands": explain_commands,
        "colour_bar": colour_bar, "stored_split": stored_split,
    }  # fmt: skip
    return environment


def points(change: float | None, signed: bool = True) -> str:
    """A difference of fractions in percentage points, with its sign."""
    if change is None:
        return NONE
    text = f"{abs(100 * change):.1f}"
    sign = ("+" if change > 0 else MINUS) if signed and float(text) else ""
    return f"{sign}{text}"


def points_between(low: float | None, high: float | None) -> str:
    """An interval of a difference, in points."""
    return NONE if low is None or high is None else f"{value(100 * low, 1)} to {value(100 * high, 1)}"


def write_p(p_value: float | None) -> str:
    """A p-value with its sign: p = 0.031, p < 0.0001."""
    if p_value is None:
        return NONE
    if p_value < 0.0001:
        return f"p{SPACE}<{SPACE}0.0001"
    return f"p{SPACE}={SPACE}{p_value:.2g}" if p_value < 0.1 else f"p{SPACE}={SPACE}{p_value:.2f}"


def name_interval(part: str) -> str:
    """What the intervals of a part of the page are called, such as 98.5 % interval: those that its verdict rests on."""
    return f"{100 * (1 - criteria.VERDICTS[part].asked_level):g}{SPACE}% interval"


def count_images(n: float) -> str:
    """A number of images, which may be a mean."""
    return f"{n:,.0f}" if n == round(n) else f"{n:,.1f}"


def explain_commands(pair: Pair, methods: str, *selections: str) -> list[str]:
    """Commands that explain both models, each with its selection of images, by these methods."""
    commands = []
    for side, selection in zip(pair.sides, selections, strict=True):
        epochs = "" if side.is_last else f" --epochs {side.epoch}"
        commands += [
            f"study explain {record.run_id} --method {methods}{epochs} --split {pair.split} {selection}".rstrip()
            for record in side.records
        ]
    return commands


def call_method(method: str) -> str:
    return name_method(method, WIDE_PAGE)
