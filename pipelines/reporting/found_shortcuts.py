"""Classes that a patch at one place decides, as far as the comparison and the splits show."""

from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.evidence import Answer
from pipelines.reporting.subject import Subject

LEVEL = VERDICTS["shortcuts"].level / 2  # of each of the two questions


def ask_shortcuts(subject: Subject) -> Answer:
    """The answer of shortcuts at the report's level."""
    return subject.ask("shortcuts", split=subject.split, level=LEVEL)


def ask_gap(subject: Subject) -> Answer:
    """The answer of split_gap at the report's level."""
    return subject.ask("split_gap", split=subject.split, level=LEVEL)


def list_misleading(subject: Subject) -> set[str]:
    """Names of the classes with a shortcut that is found, not only suspected: their predictions mean the patch."""
    return {row["class_name"] for row in ask_shortcuts(subject).where(verdict="found")}
