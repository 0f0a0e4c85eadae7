"""Which labels the model contradicts, and what fraction of these would be wrong under the estimate's assumption."""

from dataclasses import dataclass, replace
from statistics import fmean

from pipelines.common.splits import stored_split
from pipelines.pages.evidence import Answer, Evidence
from pipelines.pages.reviews import Reviews
from pipelines.pages.words import number
from pipelines.reporting.criteria import MOST_DISPUTED
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.shortcuts import Shortcuts
from pipelines.reporting.subject import Subject

ALL = 1_000_000_000  # rows of an answer
SPLITS = {"train_seen": "training", "train_folds": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Labels:
    """What late epochs say against the labels of a split; for training images, every epoch from 1 on."""

    source: Answer  # of label_suspects
    n: int  # labels judged
    misleading: list[str]  # classes where a shortcut decides, whose labels are not judged
    is_estimated: bool
    suspect: list[dict]  # rows of labels that the estimate speaks against, least supported first
    contradicted: list[dict]  # rows of labels that the model contradicts, these among them, least supported first
    p_wrong: float | None  # mean over the suspect ones, with the ends of its interval
    low: float | None
    high: float | None
    withheld: str | None  # why none is called suspect: weak, as is the model; worse than on val; shortcuts are untested

    @property
    def disputed(self) -> int:
        """How many labels the model contradicts."""
        return len(self.contradicted)

    @property
    def is_worth_a_look(self) -> bool:
        """Whether it contradicts so few that they may be wrong; of many, most are its own mistakes."""
        return 0 < self.disputed <= MOST_DISPUTED * self.n


@dataclass(frozen=True)
class Review:
    """How many images of a split reviewers have judged, and how often a label that the model doubts is wrong."""

    split: str
    source: Answer  # of verdict_summary
    n: int  # images judged
    people: list[dict]  # its rows of persons
    agreement: dict | None  # its row of all images judged by two persons or more
    precision: dict | None  # its row of the suspect labels, else of the least supported ones


def gather_labels(subject: Subject, shortcuts: Shortcuts) -> Labels:
    """Doubtful labels, without those that a shortcut makes doubtful.

    None is called suspect where the model may be misled: it contradicts right labels then, and is sure of it.
    """
    found = subject.ask("label_suspects", split=subject.split, limit=subject.n)
    misleading = list_misleading(subject)
    rows = [row for row in found.rows if misleading.isdisjoint((row["label_name"], row["suggested_name"]))]
    labels = judge_labels(found, rows, sorted(misleading))
    if shortcuts.lower and not shortcuts.found:
        return replace(labels, suspect=[], withheld="worse")
    return labels if shortcuts.tried or subject.imported else replace(labels, suspect=[], withheld="untested")


def gather_training_labels(evidence: Evidence) -> Labels:
    """All labels of the training images; none where their predictions were not tracked."""
    found = evidence.ask("label_suspects", split="train_seen", limit=ALL)
    return judge_labels(found, found.rows, [])


def gather_reviews(subject: Subject, reviews: Reviews) -> list[Review]:
    """The review of the images reported on, and of training images; those without a verdict are left out."""
    found = []
    for split in (subject.split,) if subject.split == "train" else (subject.split, "train_seen"):
        images = {row["instance_id"] for row in reviews.source.where(split=stored_split(split))}
        if images:
            summary = subject.ask("verdict_summary", split=split)
            # the fewest rows that hold all that are judged
            first = max(summary.where(what="first"), key=lambda row: (row["n"], -row["first_rows"]), default=None)
            found.append(
                Review(
                    split, summary, len(images), summary.where(what="person"), summary.first(what="agreement of all"),
                    summary.first(what="suspects") or first,
                )
            )  # fmt: skip
    return found


def judge_labels(source: Answer, rows: list[dict], misleading: list[str]) -> Labels:
    """How many labels are suspect; rows of label_suspects that count.

    None is of a model that contradicts most labels: most of these are its own mistakes, the surest too.
    """
    contradicted = [row for row in rows if row["score"] > 0.5]
    is_estimated = any(row["p_wrong"] is not None for row in rows)
    is_weak = is_estimated and len(contradicted) > len(rows) / 2
    suspect = [row for row in rows if row["kind"] == "suspect" and not is_weak]
    ends = [fmean(row[column] for row in suspect) if suspect else None
            for column in ("p_wrong", "p_wrong_low", "p_wrong_high")]  # fmt: skip
    p_wrong, low, high = ends
    withheld = "weak" if is_weak else None
    return Labels(source, len(rows), misleading, is_estimated, suspect, contradicted, p_wrong, low, high, withheld)


def count_labels(count: int, split: str) -> str:
    """So many labels of a split: 1 test label, 3 test labels, no label of extra:x."""
    many = f"{number(count) if count else 'no'} {{}}label{'s' if count > 1 else ''}"
    return many.format(f"{SPLITS[split]} ") if split in SPLITS else f"{many.format('')} of {split}"
