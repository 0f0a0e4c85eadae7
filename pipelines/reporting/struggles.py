"""Question (c): where does the model struggle, and why?"""

from collections.abc import Sequence

from pipelines.common.figures import short
from pipelines.reporting import figures
from pipelines.reporting.accuracy import few_sentence, images_of, named
from pipelines.reporting.attention import explained_epoch
from pipelines.reporting.criteria import (
    CONCEPT_STANDS_FOR_CLASS,
    IMAGES_FOR_CLASS,
    MISTAKES_FOR_PAIRS,
    SMALLEST_CONTRIBUTION,
)
from pipelines.reporting.dynamics import dynamics
from pipelines.reporting.evidence import Answer, Said, answers, said
from pipelines.reporting.found_concepts import find_concepts
from pipelines.reporting.html import NOTHING, Html, html, joined, table
from pipelines.reporting.regions import contrast_sentence
from pipelines.reporting.subject import Section, Subject
from pipelines.reporting.suspects import suspects
from pipelines.reporting.words import NONE, capital, number, of, percent, plural, value

TITLE = "Where does the model struggle, and why?"
PAIRS = 10  # confused pairs shown


def struggles(subject: Subject) -> Section:
    """The section on hard classes, learning over the epochs, and doubtful labels."""
    hard, pairs = subject.ask("hard_classes", split=subject.split), subject.ask("confused_pairs", split=subject.split)
    over_time, evidence = dynamics(subject)
    doubtful, images = suspects(subject)
    head = [
        *said(errors_sentence(hard.rows, subject.classes), hard, key=True),
        *said(weak_sentence(hard.rows), hard, key=True),
        *said(pair_sentence(pairs.rows), pairs, key=True),
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


def weak_sentence(rows: list[dict]) -> str | None:
    """Classes that lie below the whole model's accuracy with their whole interval."""
    n = sum(row["n"] for row in rows)
    whole = sum(row["accuracy"] * row["n"] for row in rows) / n
    weak = [row for row in rows if row["high"] < whole]
    if whole == 1 or len(rows) < 2:
        return None
    if not weak:
        small = any(row["n"] < IMAGES_FOR_CLASS for row in rows)
        few = f", and those of classes with under {IMAGES_FOR_CLASS} images say little" if small else ""
        return f"No class is shown to be harder than the mean of {percent(whole, n)}: all intervals reach it{few}."
    parts = [
        f"{named(row)} ({percent(row['accuracy'], row['n'])}, top mistake: {short(row['confused_with_name'], 28)})"
        for row in weak[:4]
    ]
    more = f" and {plural(len(weak) - 4, 'other')}" if len(weak) > 4 else ""
    return f"Harder than the mean of {percent(whole, n)}, interval and all: {', '.join(parts)}{more}."


def pair_sentence(rows: list[dict]) -> str | None:
    """The pair of classes mixed up most; rows of confused_pairs, most first."""
    if not rows:
        return None
    first = rows[0]
    wrong = mistakes(first)
    if wrong < MISTAKES_FOR_PAIRS:
        return f"{plural(wrong, 'mistake is', 'mistakes are')} too few to speak of pairs of classes."
    a, b = short(first["name_a"], 28), short(first["name_b"], 28)
    most = "Most" if len(rows) == 1 or rows[1]["n"] < first["n"] else "Among the most"
    return f"{most} mixed up are {a} and {b}, with {of(first['n'], wrong, 'mistakes')}: {lean(first, a, b)}."


def mistakes(row: dict) -> int:
    """All wrong predictions; a row of confused_pairs."""
    return round(row["n"] / row["share"])


def lean(row: dict, a: str, b: str) -> str:
    """How often a pair is mixed up either way; one is called more frequent beyond two standard deviations of chance."""
    ways = sorted(((row["a_as_b"], f"{a} as {b}"), (row["b_as_a"], f"{b} as {a}")), reverse=True)
    (often, one), (seldom, other) = ways
    clear = often - seldom > 2 * row["n"] ** 0.5
    return f"{one} {'more often ' if clear else ''}({often}) {'than' if clear else 'and'} {other} ({seldom})"


def _shared(subject: Subject, pairs: list[dict]) -> list[Said]:
    """What the concepts say of the pair mixed up most."""
    if not pairs or mistakes(pairs[0]) < MISTAKES_FOR_PAIRS or (found := find_concepts(subject)) is None:
        return []
    return said(shared_sentence(pairs[0], found.stable_rows), found.by_class, answer=True)


def shared_sentence(pair: dict, rows: list[dict]) -> str | None:
    """Whether a concept stands for both classes of a pair, and few others, and raises both; of concepts_by_class."""
    shown: dict[int, dict[int, float]] = {}
    adds: dict[tuple[int, int], float] = {}
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
        if raises and least >= CONCEPT_STANDS_FOR_CLASS and max(others, default=0) < least / 2:
            shares = f"{percent(by_class[ends[0]])} and {percent(by_class[ends[1]])} of their images show it"
            logits = f"it adds {value(adds[concept, ends[0]])} and {value(adds[concept, ends[1]])} to their logits"
            return (
                f"The classes {a} and {b} share concept {concept} ({shares}; {logits}), which cannot tell them apart."
            )
    return f"No stable concept that raises both is in half of the images of {a} and {b} and seldom elsewhere."


def _hard(found: Answer, images: str) -> Html:
    """What each class is taken for; classes without a mistake are left out."""
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
    shown = f", the 12 hardest of {len(wrong)} with mistakes" if len(wrong) > 12 else ""
    heads = (
        "class",
        "right",
        "mistakes",
        "most often taken for",
        "of its mistakes",
        "confidence in the label",
        "learned and lost",
    )
    caption = html(
        "Classes with mistakes, hardest first{}, {}. The last column: share of images that turned from right to wrong "
        "at least once after epoch 1{}", shown, images, found.mark,
    )  # fmt: skip
    return html("<h3>Hard classes</h3>{}", table(caption, heads, rows))


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
        "<h3>Confused pairs</h3>{}", table(html("Classes taken for each other{}{}", shown, found.mark), heads, rows)
    )


def _looking(subject: Subject) -> list[Said]:
    """Whether wrong predictions look elsewhere than right ones."""
    if (epoch := explained_epoch(subject)) is None:
        return []
    found = subject.ask("attribution_regions", epoch=epoch, split=subject.split)
    return said(contrast_sentence(found.rows), found, answer=True)
