"""Question (b): each class's own concept, and whether well known classes differ in their concepts."""

import numpy as np
from scipy.stats import rankdata, spearmanr

from pipelines.common.figures import short
from pipelines.reporting.concepts import GREY
from pipelines.reporting.criteria import CLASSES_FOR_CORRELATION, CLEAR_CORRELATION, VERDICTS, holm
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.found_concepts import is_own, is_stable
from pipelines.reporting.html import Cell, Html, html, table
from pipelines.reporting.words import NONE, percent, plural, value

CLASSES = 12  # rows of the table at the most
PERMUTATIONS = 9999  # of the classes, for p-values
DESCRIBED = "; see #"  # in every description made from the data


def class_concepts(found: Answer) -> tuple[list[Said], Html]:
    """Sentences and a table; rows of class_concepts."""
    sentences = [
        *said(own_sentence([row for row in found.rows if is_stable(row)]), found),
        *said(basic_sentence(found.rows), found, answer=True),
    ]
    return sentences, _table(found)


def own_sentence(rows: list[dict]) -> str | None:
    """Which classes show a concept more often than the others, beyond chance; rows of class_concepts."""
    known = [row for row in rows if row["selectivity"] is not None]
    own = sorted(filter(is_own, known), key=lambda row: -row["selectivity"])
    if not own:
        return "No class is shown to have a concept more often than the other classes do." if known else None
    first = own[0]
    classes = f"{len(own)} of {plural(len(known), 'class shows', 'classes show')}"
    return (
        f"{classes} a concept more often than the others do, beyond chance, {'namely' if len(own) == 1 else 'such as'} "
        f"{short(first['class_name'], 28)} ({concept_name(first)}: in {percent(first['prevalence'], first['n'])} of "
        f"its {plural(first['n'], 'image')}, {100 * first['selectivity']:.0f} points more than in the other classes)."
    )


def concept_name(row: dict) -> str:
    """A class's own concept by number, and by name if a user gave it one; none if others show it as often."""
    if row["own_concept_id"] is None or row["selectivity"] is None or row["selectivity"] <= 0:
        return "none"
    name = row["own_concept_name"] or ""
    return f"concept {row['own_concept_id']}" + (f", {short(name, 40)}" if name and DESCRIBED not in name else "")


def basic_sentence(rows: list[dict]) -> str | None:
    """Whether classes the model knows well have more, or more exclusive, concepts; by rank correlation over classes."""
    known = [row for row in rows if None not in (row["recall"], row["concepts_per_image"], row["selectivity"])]
    n = len(known)
    if n < CLASSES_FOR_CORRELATION:
        return f"{plural(n, 'class is', 'classes are')} too few to relate their accuracy to their concepts."
    if len({row["recall"] for row in known}) == 1:
        return "All classes are right equally often, so whether well known ones have other concepts cannot be told."
    words = {
        "concepts_per_image": ("have more concepts an image", "have fewer concepts an image"),
        "selectivity": ("have a more exclusive concept", "have a less exclusive concept"),
    }
    found = {key: relation(known, key) for key in words}
    tested = holm({key: chance for key, (_, chance) in found.items()})
    clear = [
        more if rho > 0 else less
        for key, (more, less) in words.items()
        if abs(rho := found[key][0] or 0) >= CLEAR_CORRELATION and tested[key] <= VERDICTS["class_concepts"].level
    ]
    numbers = " and ".join(value(rho) for rho, _ in found.values())
    if not clear:
        return (
            "Between a class's accuracy and the number of its concepts an image, or how exclusive its own one is, "
            f"no relation is shown (rank correlations {numbers}, n = {n} classes)."
        )
    return (
        f"Classes with higher accuracy {' and '.join(clear)} (rank correlations {numbers} of accuracy with concepts an "
        f"image and exclusiveness, n = {n} classes; a relation, not a cause)."
    )


def relation(rows: list[dict], key: str) -> tuple[float | None, float]:
    """Rank correlation with accuracy over the classes, and its p-value: how often shuffled classes reach it."""
    accuracies, values = (rankdata([row[name] for row in rows]) for name in ("recall", key))
    if len(set(values)) == 1:
        return None, 1.0
    centred = values - values.mean()
    shuffled = np.random.default_rng(0).permuted(np.tile(accuracies, (PERMUTATIONS, 1)), axis=1)
    reached = np.abs(shuffled @ centred) >= abs(accuracies @ centred) - 1e-9
    return float(spearmanr(accuracies, values).statistic), float((1 + reached.sum()) / (1 + PERMUTATIONS))


def _table(found: Answer) -> Html:
    """The classes, those the model knows least first."""
    rows = sorted(found.rows, key=lambda row: (row["recall"] is None, row["recall"]))
    lines = [
        (
            short(row["class_name"], 28), row["n"], percent(row["recall"]), value(row["concepts_per_image"], 1),
            Cell(concept_name(row), kind="" if is_stable(row) else "unstable"),
            *(_own(row) if concept_name(row) != "none" else (NONE,) * 4),
        )
        for row in rows[:CLASSES]
    ]  # fmt: skip
    shown = f" Shown are the {CLASSES} with the lowest accuracy of {len(rows)}." if len(rows) > CLASSES else ""
    heads = (
        "class", "images", "accuracy", "concepts an image", "most its own", "there in", "points more than elsewhere",
        "classes that share it", "logits it carries",
    )  # fmt: skip
    grey = "" if all(map(is_stable, rows)) else GREY
    caption = html("For each class the concept that its images show more often than other images by most; ✓ beyond "
                   "chance (in at most {} of studies without any such concept).{}{}{}",
                   percent(VERDICTS["own_concepts"].level), shown, grey, found.mark)  # fmt: skip
    return table(caption, heads, lines)


def _own(row: dict) -> tuple[str, ...]:
    """How often a class shows its own concept, how much more than others, who shares it, and what it carries."""
    more = f"{100 * row['selectivity']:.0f}{' ✓' if is_own(row) else ''}"
    return percent(row["prevalence"], row["n"]), more, str(row["shared_by"]), value(row["contribution"])
