"""What to look at next: images worth a look, by reason."""

from dataclasses import dataclass, replace

from pipelines.pages.evidence import Answer
from pipelines.reporting.accuracy import ask_differences, judge_classes
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.subject import Subject

SHOWN = 12  # images on the page
# what each reason is called, in their order on the page
REASONS = {
    "suspect_label": "Label contradicted",
    "confident_wrong": "Wrong, and sure of it",
    "never_right": "Never right",
    "forgotten": "Learned and lost",
    "ambiguous": "Ambiguous to the model",
}


@dataclass(frozen=True)
class Reason:
    """Images worth a look for one reason."""

    name: str
    rows: list[dict]  # of instances_to_check, the most striking first
    shown: list[dict]  # those on the page


@dataclass(frozen=True)
class Checks:
    """All images worth a look."""

    source: Answer
    images: int  # different ones
    reasons: list[Reason]
    left_out: int  # entries of the question that a shortcut makes doubtful

    @property
    def ids(self) -> str:
        return ",".join(dict.fromkeys(str(row["instance_id"]) for row in self.source.rows))


def list_checks(subject: Subject) -> Answer:
    """The images worth a look, with reasons; none if the model is not shown to tell classes apart.

    Where a shortcut decides, contradicted labels say nothing.
    """
    found = subject.ask("instances_to_check", split=subject.split)
    if judge_classes(subject.ask("hard_classes", split=subject.split).rows, ask_differences(subject).rows) == "blind":
        return replace(found, rows=[])
    misleading = list_misleading(subject)
    rows = [
        row
        for row in found.rows
        if row["reason"] != "suspect_label" or misleading.isdisjoint((row["label_name"], row["predicted_name"]))
    ]
    return replace(found, rows=rows)


def gather_checks(subject: Subject) -> Checks:
    """Images by reason; the reasons share the places on the page, and each image has one of them."""
    found = list_checks(subject)
    by_reason = {name: found.where(reason=name) for name in REASONS}
    shown: dict[str, list[dict]] = {name: [] for name in REASONS}
    taken: set[int] = set()
    waiting = {name: list(rows) for name, rows in by_reason.items()}
    while len(taken) < SHOWN and any(waiting.values()):
        for name, rows in waiting.items():
            row = next((row for row in rows if row["instance_id"] not in taken), None)
            waiting[name] = rows[rows.index(row) + 1 :] if row else []
            if row and len(taken) < SHOWN:
                taken.add(row["instance_id"])
                shown[name].append(row)
    reasons = [Reason(name, rows, shown[name]) for name, rows in by_reason.items() if rows]
    left_out = len(subject.ask("instances_to_check", split=subject.split).rows) - len(found.rows)
    return Checks(found, len({row["instance_id"] for row in found.rows}), reasons, left_out)
