"""Question (b): when concepts came about, if several epochs were looked at."""

from pipelines.reporting.concepts import GREY, titled
from pipelines.reporting.criteria import SAME_CONCEPT
from pipelines.reporting.evidence import Said, said
from pipelines.reporting.found_concepts import is_stable
from pipelines.reporting.html import Cell, Html, html, table
from pipelines.reporting.missing import missing
from pipelines.reporting.numbered import shade
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import NONE, percent, plural, value

EPOCHS, CONCEPTS = 12, 20  # columns and rows of the table at the most


def concept_history(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and a table; a note where there is a single epoch."""
    found = subject.ask("concepts_by_epoch")
    epochs = sorted({row["epoch"] for row in found.rows})
    if len(epochs) < 2:
        return [], missing("Concepts of a single epoch do not tell when they were learned.",
                           subject.explain("ice", more=f" --epochs all{subject.some}"))  # fmt: skip
    known = {(row["concept_id"], row["epoch"]): row for row in found.rows}
    names = {row["concept_id"]: row["concept_name"] or "" for row in found.rows}
    unstable = {row["concept_id"] for row in found.rows if not is_stable(row)}
    shown = epochs[-EPOCHS:]
    lines = [
        [titled(concept, name, concept in unstable), *(_cell(known.get((concept, epoch))) for epoch in shown)]
        for concept, name in sorted(names.items())[:CONCEPTS]
    ]
    caption = html("By epoch: how alike each concept is to its nearest there (cosine), and in how many of all images "
                   "that one is.{}{}", GREY if unstable else "", found.mark)  # fmt: skip
    history = html("<h3>When concepts appear</h3>{}", table(caption, ("concept", *shown), lines, "matrix"))
    stable = [row for row in found.rows if row["concept_id"] not in unstable]
    return (said(appearance_sentence(stable), found, answer=True) if stable else []), history


def _cell(row: dict | None) -> Cell:
    if row is None or row["cosine"] is None:
        return Cell(NONE)
    text = html("{}<br><small>{}</small>", value(row["cosine"]), percent(row["prevalence"], 100))
    return Cell(text, kind=shade(row["cosine"]))


def appearance_sentence(rows: list[dict]) -> str:
    """Since when the concepts are there, without a break to the last epoch; rows of concepts_by_epoch."""
    since: dict[int, int] = {}
    broken: set[int] = set()
    for row in sorted(rows, key=lambda row: -row["epoch"]):
        if row["cosine"] is not None and row["cosine"] >= SAME_CONCEPT and row["concept_id"] not in broken:
            since[row["concept_id"]] = row["epoch"]
        else:
            broken.add(row["concept_id"])
    first, last = min(row["epoch"] for row in rows), max(row["epoch"] for row in rows)
    early, late = (sum(epoch == one for epoch in since.values()) for one in (first, last))
    return (
        f"Of {plural(len(since), 'concept')} of epoch {last}, {early or 'none'} {'was' if early < 2 else 'were'} there "
        f"since epoch {first} without a break (cosine {SAME_CONCEPT:g} or more) and {late or 'none'} only at the last "
        "epoch looked at."
    )
