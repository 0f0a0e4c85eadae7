"""Question (c): where does the model struggle, and why?"""

from collections.abc import Sequence

from scipy.stats import binomtest

from pipelines.common.figures import short
from pipelines.reporting import figures
from pipelines.reporting.accuracy import ask_differences, few_sentence, images_of, named
from pipelines.reporting.attention import explained_epoch
from pipelines.reporting.criteria import (
    CONCEPT_STANDS_FOR_CLASS,
    IMAGES_FOR_CLASS,
    MISTAKES_FOR_PAIRS,
    SMALLEST_CONTRIBUTION,
    VERDICTS,
)
from pipelines.reporting.dynamics import dynamics
from pipelines.reporting.evidence import Answer, Said, answers, said
from pipelines.reporting.found_concepts import find_concepts, is_own
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.html import NOTHING, Html, html, joined, table
from pipelines.reporting.regions import ask_regions, contrast_sentence
from pipelines.reporting.subject import Section, Subject
from pipelines.reporting.suspects import suspects
from pipelines.reporting.words import NONE, capital, number, of, percent, plural, value

TITLE = "Where does the model struggle, and why?"
PAIRS = 10  # confused pairs shown


def struggles(subject: Subject) -> Section:
    """The section on hard classes, learning over the epochs, and doubtful labels."""
    hard, pairs = subject.ask("hard_classes", split=subject.split), subject.ask("confused_pairs", split=subject.split)
    apart = ask_differences(subject)
    weak = None if list_misleading(subject) else weak_sentence(hard.rows, apart.rows)  # recall alone would mislead
    over_time, evidence = dynamics(subject)
    doubtful, images = suspects(subject)
    head = [
        *said(errors_sentence(hard.rows, subject.classes), hard, key=True),
        *said(weak, hard, apart, key=True),
        *said(pair_sentence(pairs.rows, apart.rows), pairs, key=True),
        *_shared(subject, pairs.rows), *answers(over_time), *_looking(subject), *answers(doubtful),
    ]  # fmt: skip
    body = joined([_hard(hard, images_of(subject.split)), _pairs(pairs), evidence, images])
    return Section("struggles", TITLE, head, body, "Where it struggles.")


def errors_sentence(rows: list[dict], classes: Sequence[str]) -> str:
    """How many images are wrong; rows of hard_classes, and all classes of the run."""
    n = sum(row["n"] for row in rows)
    wrong = n - sum(round(row["accuracy"] * row["n"]) for row in rows)
    if not wrong:
        right = f"at the last epoch all {number(n)} images are right"
        few = few_sentence(rows, classes)
        return f"{capital(right)}. {few}" if few else f"No mistake is seen: {right}."
    return f"At the last epoch {of(wrong, n)} are wrong."


def weak_sentence(rows: list[dict], differences: list[dict]) -> str | None:
    """Classes that are harder than the others beyond chance; rows of hard_classes and class_differences."""
    n = sum(row["n"] for row in rows)
    whole = sum(row["accuracy"] * row["n"] for row in rows) / n
    if not differences[0]["tells_apart"]:
        return None
    verdicts = {row["class_id"]: row["verdict"] for row in differences}
    weak = [row for row in rows if verdicts[row["class_id"]] == "harder"]
    if whole == 1 or len(rows) < 2:
        return None
    if not weak:
        small = any(row["n"] < IMAGES_FOR_CLASS for row in rows)
        few = f"; those with under {IMAGES_FOR_CLASS} images say little" if small else ""
        return f"No class is shown to be harder than the mean of {percent(whole, n)}{few}."
    parts = [
        f"{named(row)} ({percent(row['accuracy'], row['n'])}, top mistake: {short(row['confused_with_name'], 28)})"
        for row in weak[:4]
    ]
    more = f" and {plural(len(weak) - 4, 'other')}" if len(weak) > 4 else ""
    return f"Harder than the mean of {percent(whole, n)}, beyond chance: {', '.join(parts)}{more}."


def pair_sentence(rows: list[dict], classes: list[dict]) -> str | None:
    """The pair of classes mixed up most; rows of confused_pairs, most first, and of class_differences.

    It is called the most only if it is beyond chance against the second, which guards its being chosen (Gutmann and
    Maymin 1987).
    """
    if not rows or not classes[0]["tells_apart"]:
        return None
    first = rows[0]
    wrong = mistakes(first)
    if wrong < MISTAKES_FOR_PAIRS:
        return f"{plural(wrong, 'mistake is', 'mistakes are')} too few to speak of pairs of classes."
    a, b = short(first["name_a"], 28), short(first["name_b"], 28)
    second = rows[1]["n"] if len(rows) > 1 else 0
    clear = binomtest(first["n"], first["n"] + second).pvalue <= VERDICTS["mixed_up_pairs"].level / 2
    most = "Most mixed up" if clear else "Among the pairs mixed up most, which are not told apart,"
    images = {row["class_id"]: row["n"] for row in classes}
    return f"{most} are {a} and {b}, with {of(first['n'], wrong, 'mistakes')}: {lean(first, a, b, images)}."


def mistakes(row: dict) -> int:
    """All wrong predictions; a row of confused_pairs."""
    return round(row["n"] / row["share"])


def lean(row: dict, a: str, b: str, images: dict[int, int]) -> str:
    """How often a pair is mixed up either way, and whether one comes more often, for the images of the two classes."""
    n_a, n_b = images.get(row["class_a"], 0), images.get(row["class_b"], 0)
    ways = [(row["a_as_b"], n_a, f"{a} as {b}"), (row["b_as_a"], n_b, f"{b} as {a}")]
    ways.sort(key=lambda way: way[0] / max(way[1], 1), reverse=True)
    chance = binomtest(row["a_as_b"], row["n"], n_a / (n_a + n_b)).pvalue
    clear = chance <= VERDICTS["mixed_up_pairs"].level / 2
    (one, one_count), (other, other_count) = (
        (text, f"{count}" if n_a == n_b else f"{count} of {number(n)}") for count, n, text in ways
    )
    return f"{one} {'more often ' if clear else ''}({one_count}) {'than' if clear else 'and'} {other} ({other_count})"


def _shared(subject: Subject, pairs: list[dict]) -> list[Said]:
    """What the concepts say of the pair mixed up most."""
    if not pairs or mistakes(pairs[0]) < MISTAKES_FOR_PAIRS or (found := find_concepts(subject)) is None:
        return []
    if list_misleading(subject) & {pairs[0]["name_a"], pairs[0]["name_b"]}:  # the shortcut is the cause
        return []
    return said(shared_sentence(pairs[0], found.stable_rows), found.by_class, answer=True)


def shared_sentence(pair: dict, rows: list[dict]) -> str | None:
    """Whether a concept stands for both classes of a pair, and few others, and raises both; of concepts_by_class."""
    shown: dict[int, dict[int, float]] = {}
    adds: dict[tuple[int, int], float] = {}
    own = {(row["concept_id"], row["class_id"]) for row in rows if is_own(row)}
    for row in rows:
        shown.setdefault(row["concept_id"], {})[row["class_id"]] = row["prevalence"]
        adds[row["concept_id"], row["class_id"]] = row["contribution"]
    ends = pair["class_a"], pair["class_b"]
    if not shown or not all(end in next(iter(shown.values())) for end in ends):
        return None
    a, b = short(pair["name_a"], 28), short(pair["name_b"], 28)
    for concept, by_class in shown.items():
        least = min(by_class[end] for end in ends)
        others = [share for number, share in by_class.items() if number not in ends]
        raises = all(adds[concept, end] >= SMALLEST_CONTRIBUTION for end in ends)
        if (
            raises
            and own >= {(concept, end) for end in ends}
            and least >= CONCEPT_STANDS_FOR_CLASS
            and max(others, default=0) < least / 2
        ):
            shares = f"{percent(by_class[ends[0]])} and {percent(by_class[ends[1]])} of their images show it"
            logits = f"it adds {value(adds[concept, ends[0]])} and {value(adds[concept, ends[1]])} to their logits"
            return (
                f"The classes {a} and {b} share concept {concept}, which they show more often than others do, beyond "
                f"chance ({shares}; {logits})."
            )
    return f"No stable concept is shown to stand for {a} and {b} and to raise both."


def _hard(found: Answer, images: str) -> Html:
    """What each class is misclassified as; classes without a mistake are left out."""
    wrong = [row for row in found.rows if row["confused_with"] is not None]
    if not wrong:
        return NOTHING
    rows = [
        (
            named(row), percent(row["accuracy"], row["n"]), number(row["n"] - round(row["accuracy"] * row["n"])),
            short(row["confused_with_name"], 28), percent(row["confused_share"], row["n"]),
            percent(row["mean_confidence"], row["n"]) if row["mean_confidence"] is not None else NONE,
            percent(row["forgetting_rate"], row["n"]) if row["forgetting_rate"] is not None else NONE,
        )
        for row in wrong[:12]
    ]  # fmt: skip
    shown = f", 12 of {len(wrong)} with mistakes" if len(wrong) > 12 else ""
    heads = (
        "class",
        "right",
        "mistakes",
        "most often misclassified as",
        "of its mistakes",
        "confidence in the label",
        "learned and lost",
    )
    caption = html(
        "Classes with mistakes, lowest accuracy first{}, {}. The last column: share of images that turned from right "
        "to wrong at least once after epoch 1{}", shown, images, found.mark,
    )  # fmt: skip
    return html("<h3>Mistakes by class</h3>{}", table(caption, heads, rows))


def _pairs(found: Answer) -> Html:
    if not found.rows:
        return NOTHING
    rows = [
        (
            f"{short(row['name_a'], 28)} and {short(row['name_b'], 28)}", number(row["n"]),
            figures.bar(row["share"]), percent(row["share"]), number(row["a_as_b"]), number(row["b_as_a"]),
        )
        for row in found.rows[:PAIRS]
    ]  # fmt: skip
    shown = f", the first {PAIRS}" if len(found.rows) > PAIRS else ""
    heads = ("pair", "images", "share of all mistakes", "", "first as second", "second as first")
    return html(
        "<h3>Confused pairs</h3>{}", table(html("Classes confused with each other{}{}", shown, found.mark), heads, rows)
    )


def _looking(subject: Subject) -> list[Said]:
    """Whether wrong predictions look elsewhere than right ones."""
    if (epoch := explained_epoch(subject)) is None:
        return []
    _, found = ask_regions(subject, epoch)
    return said(contrast_sentence(found.rows), found, answer=True)
