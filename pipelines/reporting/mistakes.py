"""Question (c): where and why is the model wrong? Classes, pairs of classes, and one pair's way through the epochs."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from pipelines.pages.evidence import Answer
from pipelines.reporting.accuracy import Accuracy
from pipelines.reporting.criteria import CONCEPT_STANDS_FOR_CLASS, MISTAKES_FOR_PAIRS, SMALLEST_CONTRIBUTION, VERDICTS
from pipelines.reporting.found_concepts import is_own
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.patterns import Patterns
from pipelines.reporting.subject import Subject

MATRIX = 12  # classes of a confusion matrix, at most
LARGEST = 12  # mistakes of a confusion matrix that show their number
COLUMNS = 4  # epochs of the flow of a pair, at most
FLOW = """
    with shown as (
        select
            epoch,
            instance_id,
            label,
            if(predicted in ({a}, {b}), predicted, -1) as place
        from labelled_predictions('{run_id}', '{split}')
        where
            label in ({a}, {b})
            and epoch in ({epochs})
    ), steps as (
        select
            *,
            lead(epoch) over path as next_epoch,
            lead(place) over path as next_place
        from shown
        window path as (partition by instance_id order by epoch)
    )
    select
        epoch,
        next_epoch,
        place,
        next_place,
        label,
        count(*) as n
    from steps
    where next_epoch is not null
    group by all
    order by all"""

TAKEN_FOR = """
    select
        made.predicted as class_id,
        names.name as class_name,
        count(*) as n,
        count(distinct made.label) as n_labels,
        sum(count(*)) over ()::integer as wrong
    from labelled_predictions('{run_id}', '{split}') as made
    left join class_names('{run_id}') as names on names.class_id = made.predicted
    where
        made.epoch = {epoch}
        and made.predicted <> made.label
    group by all
    order by n desc, made.predicted"""
MOST = 0.5  # of all mistakes, for the class that receives them to be named


@dataclass(frozen=True)
class Pair:
    """The two classes that are mixed up most; a is the one with the larger fraction misclassified as the other."""

    row: dict  # of confused_pairs
    a: str
    b: str
    a_as_b: int
    b_as_a: int
    n_a: int  # images of each class
    n_b: int
    is_first: bool  # whether it is mixed up more often than any other pair, beyond chance
    leans: bool  # whether a is misclassified as b more often than b as a, beyond chance

    @property
    def ids(self) -> tuple[int, int]:
        return self.row["class_a"], self.row["class_b"]


@dataclass(frozen=True)
class SharedConcept:
    """A concept that stands for both classes of a pair, and few others."""

    concept: int
    shares: tuple[float, float]  # of the classes' images
    logits: tuple[float, float]  # that it adds to both


@dataclass(frozen=True)
class PairFlow:
    """Where the images of a pair's classes are predicted, from epoch to epoch."""

    source: Answer
    epochs: list[int]
    links: list[dict]  # epoch, next_epoch, place, next_place, label, n; a place is a class of the pair, or -1


@dataclass(frozen=True)
class Mistakes:
    """What is wrong at the last epoch."""

    n: int  # images
    wrong: int
    pairs: Answer  # of confused_pairs
    taken_for: Answer  # mistakes by the class predicted
    sink: dict | None  # its row of the class that receives most mistakes
    into_sink: list[tuple[str, int, int]]  # classes misclassified as it, how many of their images, ID; most first
    is_sink_misled: bool  # whether a patch can decide that class
    matrix: Answer  # of confusion_by_epoch
    classes: list[int]  # of the matrix drawn, in their order
    pair: Pair | None
    shared: SharedConcept | None
    looked: bool  # whether a shared concept could be looked for
    misled: bool  # whether a shortcut is why the pair is mixed up
    flow: PairFlow | None

    @property
    def has_blank(self) -> bool:
        """Whether the confusion matrix leaves out numbers of mistakes."""
        last = max((row["epoch"] for row in self.matrix.rows), default=0)
        shown = [row for row in self.matrix.where(epoch=last) if {row["label"], row["predicted"]} <= {*self.classes}]
        return sum(row["label"] != row["predicted"] and row["n"] > 0 for row in shown) > LARGEST


def gather_mistakes(subject: Subject, accuracy: Accuracy, patterns: Patterns | None) -> Mistakes:
    """Mistakes of the split at the last epoch."""
    pairs = subject.ask("confused_pairs", split=subject.split)
    matrix = subject.ask("confusion_by_epoch", split=subject.split)
    n = sum(row["n"] for row in accuracy.hard.rows)
    wrong = n - sum(round(row["accuracy"] * row["n"]) for row in accuracy.hard.rows)
    pair = judge_pair(pairs.rows, accuracy.differences.rows)
    taken_for = subject.evidence.sql(
        TAKEN_FOR.format(
            run_id=subject.run.run_id, split=subject.split.replace("'", "''"), epoch=subject.epoch
        ),
        "As which class are images misclassified?",
    )  # fmt: skip
    is_counted = wrong >= MISTAKES_FOR_PAIRS and accuracy.classes != "blind"
    sink = find_sink(taken_for.rows) if is_counted else None
    misleading = list_misleading(subject)
    misled = bool(pair and misleading & {pair.a, pair.b})
    rows = patterns.found.stable_rows if patterns else []
    looked = bool(pair and not misled and shown_by_class(rows).keys() and covers(rows, pair.ids))
    into_sink = list_into(sink["class_id"], matrix.where(epoch=subject.epoch), subject.classes) if sink else []
    return Mistakes(
        n, wrong, pairs, taken_for, sink, into_sink, bool(sink and sink["class_name"] in misleading), matrix,
        list_mixed(pairs.rows, len(subject.classes)), pair,
        find_shared(pair.ids, rows) if pair and looked else None, looked, misled,
        _follow(subject, pair, accuracy) if pair else None,
    )  # fmt: skip


def count_mistakes(row: dict) -> int:
    """All wrong predictions; a row of confused_pairs."""
    return round(row["n"] / row["share"])


def find_sink(rows: list[dict]) -> dict | None:
    """The class that half of the mistakes or more end in; rows of mistakes by the class predicted, most first.

    None if its mistakes are of a single class, which the pair tells already.
    """
    first = rows[0] if rows else None
    return first if first and first["n"] >= MOST * first["wrong"] and first["n_labels"] > 1 else None


def list_into(class_id: int, rows: list[dict], names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Classes misclassified as one, how many of their images are, and their IDs, most first; of confusion_by_epoch."""
    wrong = [row for row in rows if row["predicted"] == class_id != row["label"] and row["n"]]
    return [(names[row["label"]], row["n"], row["label"]) for row in sorted(wrong, key=lambda row: -row["n"])]


def judge_pair(rows: list[dict], classes: list[dict]) -> Pair | None:
    """The pair mixed up most; rows of confused_pairs, most first, and of class_differences. None for few mistakes.

    It is called the first only if it is beyond chance against the second, which guards its being chosen (Gutmann and
    Maymin 1987). None as well if the model tells no classes apart.
    """
    if not rows or not classes[0]["tells_apart"] or count_mistakes(rows[0]) < MISTAKES_FOR_PAIRS:
        return None
    row, level = rows[0], VERDICTS["mixed_up_pairs"].level / 2
    second = rows[1]["n"] if len(rows) > 1 else 0
    is_first = bool(binomtest(row["n"], row["n"] + second).pvalue <= level)
    images = {one["class_id"]: one["n"] for one in classes}
    n_a, n_b = (images.get(row[key], 0) for key in ("class_a", "class_b"))
    leans = bool(binomtest(row["a_as_b"], row["n"], n_a / (n_a + n_b)).pvalue <= level)
    ways = [
        (row["a_as_b"], n_a, row["name_a"], row["b_as_a"], n_b, row["name_b"]),
        (row["b_as_a"], n_b, row["name_b"], row["a_as_b"], n_a, row["name_a"]),
    ]
    a_as_b, of_a, a, b_as_a, of_b, b = max(ways, key=lambda way: way[0] / max(way[1], 1))
    return Pair(row, a, b, a_as_b, b_as_a, of_a, of_b, is_first, leans)


def list_mixed(rows: list[dict], count: int) -> list[int]:
    """The classes that a confusion matrix shows: all, or those of the pairs mixed up most; rows of confused_pairs."""
    if count <= MATRIX:
        return list(range(count))
    shown: list[int] = []
    for row in rows:
        new = [one for one in (row["class_a"], row["class_b"]) if one not in shown]
        if len(shown) + len(new) <= MATRIX:
            shown += new
    return sorted(shown)


def shown_by_class(rows: list[dict]) -> dict[int, dict[int, float]]:
    """Prevalence by concept and class; rows of concepts_by_class."""
    shown: dict[int, dict[int, float]] = {}
    for row in rows:
        shown.setdefault(row["concept_id"], {})[row["class_id"]] = row["prevalence"]
    return shown


def covers(rows: list[dict], ends: tuple[int, int]) -> bool:
    """Whether images of both classes were scored; rows of concepts_by_class."""
    return set(ends) <= {row["class_id"] for row in rows}


def find_shared(ends: tuple[int, int], rows: list[dict]) -> SharedConcept | None:
    """A concept that stands for both classes beyond chance, and few others, and raises both; of concepts_by_class."""
    adds = {(row["concept_id"], row["class_id"]): row["contribution"] for row in rows}
    own = {(row["concept_id"], row["class_id"]) for row in rows if is_own(row)}
    for concept, by_class in shown_by_class(rows).items():
        least = min(by_class[end] for end in ends)
        others = [share for number, share in by_class.items() if number not in ends]
        raises = all(adds[concept, end] >= SMALLEST_CONTRIBUTION and (concept, end) in own for end in ends)
        if raises and least >= CONCEPT_STANDS_FOR_CLASS and max(others, default=0) < least / 2:
            first, second = ends
            return SharedConcept(
                concept, (by_class[first], by_class[second]), (adds[concept, first], adds[concept, second])
            )
    return None


def _follow(subject: Subject, pair: Pair, accuracy: Accuracy) -> PairFlow | None:
    """The flow over at most four epochs, the first and the last among them; None for a single epoch."""
    logged_epochs = sorted(row["epoch"] for row in accuracy.by_epoch.where(split=subject.split))
    if len(logged_epochs) < 2:
        return None
    epochs = logged_epochs
    if len(epochs) > COLUMNS:
        last = len(epochs) - 1
        epochs = [logged_epochs[round(i * last / (COLUMNS - 1))] for i in range(COLUMNS)]
    a, b = pair.ids
    statement = FLOW.format(
        run_id=subject.run.run_id, split=subject.split.replace("'", "''"), a=a, b=b, epochs=", ".join(map(str, epochs))
    )
    answer = subject.evidence.sql(statement, "Where are the images of the two classes predicted, from epoch to epoch?")
    return PairFlow(answer, epochs, answer.rows)
