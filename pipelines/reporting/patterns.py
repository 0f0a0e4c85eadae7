"""Question (b): which patterns has the model learned? Concepts, the classes that show them, and when they appeared."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.stats import rankdata, spearmanr

from pipelines.common.figures import short
from pipelines.pages.evidence import Answer
from pipelines.pages.pictures import Picture, data_uri
from pipelines.reporting.criteria import (
    ANSWERS_KEPT,
    CLASSES_FOR_CORRELATION,
    CLEAR_CORRELATION,
    CONCEPT_IN_CLASS,
    MOST_ANSWERS,
    SAME_CONCEPT,
    SMALLEST_CONTRIBUTION,
    VERDICTS,
    holm,
)
from pipelines.reporting.found_concepts import FoundConcepts, find_concepts, is_own, is_stable
from pipelines.reporting.subject import Subject

PERMUTATIONS = 9999  # of the classes, for p-values
DESCRIBED = "; see #"  # in every description made from the data
SHOWN = 6  # concepts on the page
CARDS = 12  # concepts with a picture in the evidence
CLASSES, CONCEPTS, EPOCHS = 12, 20, 12  # rows and columns of tables, at most
SHADES = 128  # colours of a picture: photographs stay recognisable, and small
# on a logged card, in parts of its width and height: the first image with its map, the step to the next, and the images
FIRST, STEP, TOP, BOTTOM = 0.01, 0.123, 0.16, 0.283
WHOLE = (0.092, 0.54)  # the rows of the card that hold its images


@dataclass(frozen=True)
class Concept:
    """One concept as the page shows it."""

    concept_id: int
    name: str
    is_stable: bool
    classes: list[dict]  # rows of concepts_by_class, the class that shows it most first
    adds_most: dict | None  # the row whose logit it raises most, if it raises any
    examples: list[dict]  # rows of concept_examples
    strip: Picture  # the images that show it most, each with its map
    card: Picture  # those that show it least as well


@dataclass(frozen=True)
class OwnConcepts:
    """Whether classes have concepts of their own; rows of class_concepts."""

    known: int  # classes that could be told
    own: list[dict]  # classes that show a stable concept more than others do, most so first
    relation: "Relation | None"


@dataclass(frozen=True)
class Relation:
    """Rank correlation of the classes' accuracy with how many concepts they have and how exclusive theirs is."""

    n: int  # classes
    per_image: float | None
    exclusive: float | None
    clear: list[str]  # those beyond chance: per_image, exclusive


@dataclass(frozen=True)
class History:
    """Since when the concepts are there; rows of concepts_by_epoch."""

    source: Answer
    epochs: list[int]
    cells: dict[tuple[int, int], dict]  # by concept and epoch
    names: dict[int, str]
    count: int  # stable concepts
    early: int  # of them there since the first epoch without a break
    late: int  # of them there only at the last


@dataclass(frozen=True)
class Patterns:
    """What the newest run of ice found."""

    found: FoundConcepts
    concepts: list[Concept]  # stable ones first
    status: str  # answered, partly or not
    kept: dict | None  # fraction of answers kept, given the concepts alone, with n and interval
    single: list[int]  # stable concepts of one class, beyond chance, that no other class shows half as often
    without: list[str]  # classes that show no stable concept more often than others do, beyond chance
    everywhere: int  # stable concepts that half of every class's images show
    tested: bool  # whether effects on classes were tested
    effects: list[dict]  # rows beyond chance, strongest first, where the class shows the concept
    effects_elsewhere: int  # beyond chance where it does not
    pairs: int  # of concept and class, tested
    own: OwnConcepts
    history: History | None

    @property
    def stable(self) -> int:
        return len(self.found.names) - len(self.found.unstable)

    def own_rows(self) -> list[dict]:
        """Rows of class_concepts, the class that the model knows least first."""
        return sorted(self.found.own.rows, key=lambda row: (row["recall"] is None, row["recall"]))

    def cells(self, concept: int, classes: list[int]) -> list[dict]:
        """A concept's rows of concepts_by_class, in the order of the classes."""
        rows = {row["class_id"]: row for row in self.found.by_class.where(concept_id=concept)}
        return [rows[one] for one in classes]

    def class_names(self, classes: list[int]) -> list[str]:
        return [short(self.found.classes[one], 18) for one in classes]

    def shown_classes(self) -> list[int]:
        """At most twelve classes, those with the highest prevalence of any concept, in their order."""
        highest: dict[int, float] = {}
        for row in self.found.by_class.rows:
            highest[row["class_id"]] = max(row["prevalence"], highest.get(row["class_id"], 0))
        return sorted(sorted(highest, key=lambda one: (-highest[one], one))[:CLASSES])


def gather_patterns(subject: Subject) -> Patterns | None:
    """None if no concepts have been looked for."""
    found = find_concepts(subject)
    if found is None:
        return None
    rows, kept = found.stable_rows, found.kept.first()
    single, everywhere = list_single(rows)
    with_own = list_own(found.own.rows)
    effects = sorted((row for row in rows if is_beyond_chance(row)), key=lambda row: -abs(row["contribution"]))
    in_class = [row for row in effects if row["prevalence"] >= CONCEPT_IN_CLASS]
    order = sorted(found.names, key=lambda concept: (concept in found.unstable, concept not in single, concept))
    classes_with_own = {row["class_id"] for row in with_own}
    return Patterns(
        found, [_describe(found, concept) for concept in order[:CARDS]],
        judge_answer(kept, len(found.names) - len(found.unstable)), kept, single,
        [row["class_name"] for row in found.own.rows if row["n"] and row["class_id"] not in classes_with_own],
        everywhere, any(row["p_value"] is not None for row in rows), in_class, len(effects) - len(in_class), len(rows),
        OwnConcepts(
            sum(row["selectivity"] is not None for row in found.own.rows), with_own,
            relate_to_accuracy(found.own.rows),
        ),
        _gather_history(subject),
    )  # fmt: skip


def judge_answer(kept: dict | None, stable: int) -> str:
    """`answered` if stable concepts carry the model, `partly` if most of its answers, else `not`."""
    if not stable or kept is None or kept["answers_kept"] < MOST_ANSWERS:
        return "not"
    return "answered" if kept["answers_kept"] >= ANSWERS_KEPT else "partly"


def list_single(rows: list[dict]) -> tuple[list[int], int]:
    """Concepts seen almost only in one class, beyond chance, and how many are in all; rows of concepts_by_class."""
    prevalence: dict[int, list[float]] = {}
    for row in rows:
        prevalence.setdefault(row["concept_id"], []).append(row["prevalence"])
    own = {row["concept_id"] for row in rows if is_own(row)}
    single = sorted(
        concept for concept in own if sum(share >= max(prevalence[concept]) / 2 for share in prevalence[concept]) == 1
    )
    return single, sum(min(shares) >= 0.5 for shares in prevalence.values())


def is_beyond_chance(row: dict) -> bool:
    """Whether the concept's effect on the class's logit holds at the report's level; a row of concepts_by_class."""
    return row["p_value"] is not None and row["p_value"] < VERDICTS["concepts"].level


def list_own(rows: list[dict]) -> list[dict]:
    """Classes that show a stable concept more often than the others do, beyond chance, the clearest first.

    Rows of class_concepts.
    """
    own = [row for row in rows if is_stable(row) and row["selectivity"] is not None and is_own(row)]
    return sorted(own, key=lambda row: -row["selectivity"])


def concept_name(row: dict) -> str:
    """A class's own concept by number, and by name if a user gave it one; none if others show it as often."""
    if row["own_concept_id"] is None or row["selectivity"] is None or row["selectivity"] <= 0:
        return "none"
    name = row["own_concept_name"] or ""
    return f"concept {row['own_concept_id']}" + (f", {short(name, 40)}" if name and DESCRIBED not in name else "")


def relate_to_accuracy(rows: list[dict]) -> Relation | None:
    """Whether well known classes have more, or more exclusive, concepts; None for too few classes or equal accuracy."""
    measured = [row for row in rows if None not in (row["recall"], row["concepts_per_image"], row["selectivity"])]
    if len(measured) < CLASSES_FOR_CORRELATION or len({row["recall"] for row in measured}) == 1:
        return None
    keys = {"per_image": "concepts_per_image", "exclusive": "selectivity"}
    correlations = {name: correlate(measured, key) for name, key in keys.items()}
    tested = holm({name: chance for name, (_, chance) in correlations.items()})
    clear = [
        name
        for name, (rho, _) in correlations.items()
        if abs(rho or 0) >= CLEAR_CORRELATION and tested[name] <= VERDICTS["class_concepts"].level
    ]
    return Relation(len(measured), correlations["per_image"][0], correlations["exclusive"][0], clear)


def correlate(rows: list[dict], key: str) -> tuple[float | None, float]:
    """Rank correlation with accuracy over the classes, and its p-value: how often shuffled classes reach it."""
    accuracies, values = (rankdata([row[name] for row in rows]) for name in ("recall", key))
    if len(set(values)) == 1:
        return None, 1.0
    centred = values - values.mean()
    shuffled = np.random.default_rng(0).permuted(np.tile(accuracies, (PERMUTATIONS, 1)), axis=1)
    reached = np.abs(shuffled @ centred) >= abs(accuracies @ centred) - 1e-9
    return float(spearmanr(accuracies, values).statistic), float((1 + reached.sum()) / (1 + PERMUTATIONS))


def count_ages(rows: list[dict]) -> tuple[int, int, int]:
    """Concepts in all, since the first epoch without a break, and only at the last; rows of concepts_by_epoch."""
    since: dict[int, int] = {}
    broken: set[int] = set()
    for row in sorted(rows, key=lambda row: -row["epoch"]):
        if row["cosine"] is not None and row["cosine"] >= SAME_CONCEPT and row["concept_id"] not in broken:
            since[row["concept_id"]] = row["epoch"]
        else:
            broken.add(row["concept_id"])
    first, last = min(row["epoch"] for row in rows), max(row["epoch"] for row in rows)
    return len(since), *(sum(epoch == one for epoch in since.values()) for one in (first, last))


def _gather_history(subject: Subject) -> History | None:
    """None if a single epoch was looked at, or no concept is stable."""
    answer = subject.ask("concepts_by_epoch")
    epochs = sorted({row["epoch"] for row in answer.rows})
    stable = [row for row in answer.rows if is_stable(row)]
    if len(epochs) < 2 or not stable:
        return None
    cells = {(row["concept_id"], row["epoch"]): row for row in answer.rows}
    names = {row["concept_id"]: row["concept_name"] or "" for row in answer.rows}
    return History(answer, epochs[-EPOCHS:], cells, dict(sorted(names.items())[:CONCEPTS]), *count_ages(stable))


def _describe(found: FoundConcepts, concept: int) -> Concept:
    classes = sorted(found.by_class.where(concept_id=concept), key=lambda row: -row["prevalence"])
    carries = max(classes, key=lambda row: row["contribution"])
    name = found.names[concept]
    return Concept(
        concept, name.split(DESCRIBED)[0], concept not in found.unstable, classes,
        carries if carries["contribution"] >= SMALLEST_CONTRIBUTION else None,
        found.examples.where(concept_id=concept), _cut(found, concept, 2), _cut(found, concept, None),
    )  # fmt: skip


def _cut(found: FoundConcepts, concept: int, images: int | None) -> Picture:
    """The first images of a concept's logged card, each with its map; all of them for None."""
    part = cut_card(found, concept, images)
    if part is None:
        return Picture(note="its picture is not among the explainer run's files")
    shaded = part.quantize(SHADES, method=Image.Quantize.MEDIANCUT)
    return Picture(data_uri(shaded), f"Images that show concept {concept} most, each with its map")


def cut_card(found: FoundConcepts, concept: int, images: int | None) -> Image.Image | None:
    """The first images of a concept's logged card, each with its map; None if there is no card."""
    file = found.card(concept)
    if not file.is_file():
        return None
    with Image.open(file, formats=("PNG",)) as card:
        width, height = card.size
        left, right, top, bottom = 0.0, 1.0, *WHOLE
        if images is not None:
            left, right, top, bottom = FIRST, FIRST + STEP * images, TOP, BOTTOM
        box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
        return card.convert("RGB").crop(box)
