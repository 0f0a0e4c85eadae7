"""Classes that a patch at one place decides, by what the comparison and the splits show."""

from pipelines.pages.evidence import Answer
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.subject import Subject

LEVEL = VERDICTS["shortcuts"].level / 2  # of each of the two questions


def ask_shortcuts(subject: Subject) -> Answer:
    """The answer of shortcuts at the report's level."""
    return subject.ask("shortcuts", split=subject.split, level=LEVEL)


def ask_gap(subject: Subject) -> Answer:
    """The answer of split_gap at the report's level."""
    return subject.ask("split_gap", split=subject.split, level=LEVEL)


def ask_clusters(subject: Subject) -> Answer:
    """The answer of attribution_clusters, with all images of every cluster."""
    return subject.ask("attribution_clusters", split=subject.split, limit=subject.n)


def list_misleading(subject: Subject) -> set[str]:
    """Names of the classes with a shortcut that is found, not only suspected: their predictions mean the patch."""
    return {row["class_name"] for row in ask_shortcuts(subject).where(verdict="found")}


def list_clusters_inside(subject: Subject, patch: dict) -> list[dict]:
    """Rows of attribution_clusters of the class whose place lies in its patch, a row of shortcuts; most maps first.

    They name the images whose maps point at the patch: instance_ids, with their accuracy and most frequent label.
    """
    clusters = ask_clusters(subject).where(class_id=patch["class_id"])
    rows, columns = (range(patch[start], patch[start] + patch["patch_side"]) for start in ("patch_top", "patch_left"))
    inside = [row for row in clusters if row["cell_row"] in rows and row["cell_column"] in columns]
    return sorted(inside, key=lambda row: (-row["fraction"], row["method"]))
