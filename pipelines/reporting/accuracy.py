"""How often the model is right: on the whole, over the epochs and by class."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from pipelines.common.figures import short
from pipelines.common.wording import plural
from pipelines.pages.evidence import Answer
from pipelines.pages.words import NAME, between, images_of, listed, number, percent, series
from pipelines.reporting.criteria import IMAGES_FOR_CLASS, UNEVEN_CLASSES, VERDICTS
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.subject import Subject

CHANGED = """
    select
        count(*) filter (best.predicted = label and last.predicted <> label) as lost,
        count(*) filter (best.predicted <> label and last.predicted = label) as gained
    from labelled_predictions('{run_id}', '{split}') as best
    join labelled_predictions('{run_id}', '{split}') as last using (instance_id, label)
    where
        best.epoch = {best}
        and last.epoch = {last}"""


@dataclass(frozen=True)
class BestEpoch:
    """The epoch with the highest accuracy, beside the last one."""

    epoch: int
    accuracy: float
    n: int
    lost: int  # images right there alone
    gained: int  # images right at the last epoch alone
    did_harm: bool  # whether training on made it worse, beyond chance


@dataclass(frozen=True)
class Accuracy:
    """What is known of accuracy on the split reported on."""

    by_epoch: Answer  # of accuracy_by_epoch
    last: dict  # its row of the split's last epoch
    others: list[dict]  # its rows of other splits at that epoch
    best: BestEpoch | None  # None unless an earlier epoch is higher
    changed: Answer
    hard: Answer  # of hard_classes
    exact: Answer  # of class_metrics_by_epoch
    differences: Answer  # of class_differences
    class_count: int  # classes that are right or predicted at the last epoch
    precision: dict[int, float | None]  # by class
    classes: str  # verdict on the classes, see judge_classes
    harder: list[dict]  # rows of hard_classes
    easier: list[dict]
    uneven: str | None
    few: str | None
    never: list[str]  # classes that are never predicted
    constant: str | None  # the class that every image is predicted as, if one is


def gather_accuracy(subject: Subject) -> Accuracy:
    """Accuracy by epoch, split and class."""
    by_epoch = subject.ask("accuracy_by_epoch")
    last = {row["split"]: row for row in by_epoch.rows if row["accuracy"] is not None and row["epoch"] == subject.epoch}
    own = [row for row in by_epoch.rows if row["split"] == subject.split and row["accuracy"] is not None]
    best = max(own, key=lambda row: row["accuracy"])  # the first of several
    changed = subject.evidence.sql(
        CHANGED.format(run_id=subject.run.run_id, split=subject.split, best=best["epoch"], last=subject.epoch),
        "Which images are right at one of two epochs alone?",
    )
    hard, differences = subject.ask("hard_classes", split=subject.split), ask_differences(subject)
    exact = subject.ask("class_metrics_by_epoch", split=subject.split)
    at_last = exact.where(epoch=subject.epoch)
    harder, easier = list_different(hard.rows, differences.rows)
    return Accuracy(
        by_epoch, last[subject.split], [row for split, row in last.items() if split != subject.split],
        compare_best(own, **changed.rows[0]), changed, hard, exact, differences, len(at_last),
        precision={row["class_id"]: row["precision"] for row in at_last},
        # where a shortcut decides, recall alone would mislead
        classes="misled" if list_misleading(subject) else judge_classes(hard.rows, differences.rows),
        harder=harder, easier=easier, uneven=uneven_sentence(hard.rows, images_of(subject.split)),
        few=few_sentence(hard.rows, subject.classes),
        never=[row["class_name"] for row in at_last if not row["n_predicted"]],
        constant=find_constant(at_last),
    )  # fmt: skip


def find_constant(rows: list[dict]) -> str | None:
    """The one class that a model of several always predicts; rows of class_metrics_by_epoch of an epoch."""
    predicted = [row["class_name"] for row in rows if row["n_predicted"]]
    return predicted[0] if len(predicted) == 1 < len(rows) else None


def ask_differences(subject: Subject) -> Answer:
    """The answer of class_differences at the report's level."""
    return subject.ask("class_differences", split=subject.split, level=VERDICTS["class_accuracy"].level)


def compare_best(rows: list[dict], lost: int, gained: int) -> BestEpoch | None:
    """The best epoch, if it is higher than the last; rows of accuracy_by_epoch of a split, epochs ascending."""
    last, best = rows[-1], max(rows, key=lambda row: row["accuracy"])
    if best["accuracy"] == last["accuracy"]:
        return None
    chance = binomtest(lost, lost + gained).pvalue * (len(rows) - 1)  # times the number of epochs it was chosen from
    did_harm = chance <= VERDICTS["epochs"].level / 2
    return BestEpoch(best["epoch"], best["accuracy"], best["n"], lost, gained, did_harm)


def judge_classes(rows: list[dict], differences: list[dict]) -> str:
    """What is shown of the classes; rows of hard_classes and class_differences, hardest first.

    few: too few images; perfect: no mistake; blind: the model tells no classes apart; differ; alike: none is shown to
    differ.
    """
    if len(rows) < 2 or max(row["n"] for row in rows) < IMAGES_FOR_CLASS:
        return "few"
    if all(row["accuracy"] == 1 for row in rows):
        return "perfect"
    if not differences[0]["tells_apart"]:
        return "blind"
    return "differ" if any(row["verdict"] for row in differences) else "alike"


def list_different(rows: list[dict], differences: list[dict]) -> tuple[list[dict], list[dict]]:
    """Classes that are harder, and that are easier, than the others beyond chance, the clearest first."""
    verdicts = {row["class_id"]: row["verdict"] for row in differences if row["tells_apart"]}
    harder = [row for row in rows if verdicts.get(row["class_id"]) == "harder"]
    easier = [row for row in reversed(rows) if verdicts.get(row["class_id"]) == "easier"]
    return harder, easier


def uneven_sentence(rows: list[dict], images: str) -> str | None:
    """What accuracy hides where classes are of uneven size; rows of hard_classes; also printed by `study run`."""
    largest, smallest = max(rows, key=lambda row: row["n"]), min(rows, key=lambda row: row["n"])
    if largest["n"] < UNEVEN_CLASSES * smallest["n"]:
        return None
    n = sum(row["n"] for row in rows)
    share, mean = largest["n"] / n, sum(row["accuracy"] for row in rows) / len(rows)
    balanced = f"balanced accuracy, the mean over {plural(len(rows), 'class', 'classes')}, is {percent(mean, n)}"
    if share > 0.5:
        return f"Accuracy is dominated by class {named(largest)} ({percent(share, n)} of the {images}); {balanced}."
    sizes = f"from {number(largest['n'])} ({named(largest)}) down to {number(smallest['n'])} ({named(smallest)})"
    return f"Classes differ in their number of {images}, {sizes}; {balanced}."


def few_sentence(rows: list[dict], classes: Sequence[str], most: int = 4) -> str | None:
    """Classes that have too few images to say how hard they are; rows of hard_classes, and all classes of the run."""
    few = sorted((row for row in rows if row["n"] < IMAGES_FOR_CLASS), key=lambda row: row["n"])
    absent = [name for name in classes if name not in {row["class_name"] for row in rows}]
    if len(few) + len(absent) > most:
        counts = [f"{plural(len(few), 'class', 'classes')} with under {IMAGES_FOR_CLASS} images"] * bool(few)
        counts += [f"{plural(len(absent), 'class', 'classes')} without any ({listed(absent, most)})"] * bool(absent)
        return f"Too few images to say how hard they are: {series(counts)}."
    parts = [f"{short(name, NAME)} (no images)" for name in absent]
    parts += [
        f"{named(row)} ({round(row['accuracy'] * row['n'])} of {row['n']} right, 95 % interval "
        f"{between(row['low'], row['high'], row['n'])})"
        for row in few
    ]
    return f"Too few images to say how hard they are: {series(parts)}." if parts else None


def named(row: dict) -> str:
    return short(row["class_name"], NAME)
