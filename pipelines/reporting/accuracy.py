"""Section 1 goes on: how often the model is right, on the whole, by class, and how well it knows that."""

from collections.abc import Sequence

from scipy.stats import binomtest

from pipelines.common.figures import short
from pipelines.reporting import figures
from pipelines.reporting.criteria import IMAGES_FOR_CLASS, UNEVEN_CLASSES, VERDICTS
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.html import Html, figure, html, table
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import between, capital, listed, number, percent, plural, series, sized

CLASSES = 12  # rows of a table by class at the most
AUGMENTED = " Training images are seen augmented and with dropout, during the epoch."
CHANGED = """
    select
        count(*) filter (best.predicted = label and last.predicted <> label) as lost,
        count(*) filter (best.predicted <> label and last.predicted = label) as gained
    from labelled_predictions('{run_id}', '{split}') as best
    join labelled_predictions('{run_id}', '{split}') as last using (instance_id, label)
    where
        best.epoch = {best}
        and last.epoch = {last}"""
SPLITS = {"train_seen": "training images as seen in training", "val": "validation images", "test": "test images"}


def accuracy(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and evidence on accuracy."""
    found = subject.ask("accuracy_by_epoch")
    last = {row["split"]: row for row in found.rows if row["accuracy"] is not None and row["epoch"] == subject.epoch}
    hard = subject.ask("hard_classes", split=subject.split)
    own = [row for row in found.rows if row["split"] == subject.split and row["accuracy"] is not None]
    best = max(own, key=lambda row: row["accuracy"])  # the first of several
    changed = subject.evidence.sql(
        CHANGED.format(run_id=subject.run.run_id, split=subject.split, best=best["epoch"], last=subject.epoch),
        "Which images are right at one of two epochs alone?",
    )
    sentences = [
        *said(accuracy_sentence(last[subject.split], subject.epoch, subject.split), found, key=True),
        *said(uneven_sentence(hard.rows, images_of(subject.split)), hard, key=True),
        *said(other_splits_sentence(last, subject.split), found),
        *said(best_epoch_sentence(own, **changed.rows[0]), found, changed),
    ]
    curve = figure(figures.curves(found.rows), html("Accuracy after each epoch; bands are 95 % intervals "
                   "(Wilson).{}{}", AUGMENTED if "train_seen" in last else "", found.mark))  # fmt: skip
    return sentences, curve


def accuracy_sentence(row: dict, epoch: int, split: str) -> str:
    n, right = row["n"], row["accuracy"]
    images = f"{number(n)} {images_of(split)}"
    known = f"95 % interval {between(row['low'], row['high'], n)}"
    if right == 1:
        return f"After epoch {epoch} the model is right on all {images} ({known})."
    return f"After epoch {epoch} the model is right on {percent(right, n)} of {images} ({known})."


def uneven_sentence(rows: list[dict], images: str) -> str | None:
    """What accuracy hides where classes are of uneven size; rows of hard_classes."""
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


def images_of(split: str) -> str:
    return SPLITS.get(split, f"images of {split}")


def other_splits_sentence(last: dict[str, dict], split: str) -> str | None:
    """Accuracy on the other splits at the same epoch."""
    parts = [
        f"{percent(row['accuracy'], row['n'])} of {number(row['n'])} {images_of(name)}"
        f" ({between(row['low'], row['high'], row['n'])})"
        for name, row in last.items()
        if name != split
    ]
    return f"It is right on {series(parts)}." if parts else None


def best_epoch_sentence(rows: list[dict], lost: int, gained: int) -> str | None:
    """Whether an earlier epoch was better than the last; rows of one split, epochs ascending.

    From the best epoch to the last, `lost` images went from right to wrong and `gained` from wrong to right. As the
    best is chosen of several, its p-value is multiplied by their number.
    """
    last, best = rows[-1], max(rows, key=lambda row: row["accuracy"])
    if len(rows) < 2:
        return None
    if best["accuracy"] == last["accuracy"]:
        return "No earlier epoch has a higher accuracy."
    there = f"epoch {best['epoch']} reached {percent(best['accuracy'], best['n'])}"
    since = f"since then {plural(lost, 'image was', 'images were')} lost and {number(gained)} gained"
    if binomtest(lost, lost + gained).pvalue * (len(rows) - 1) <= VERDICTS["epochs"].level / 2:
        return f"{capital(there)}; {since}, which is beyond chance: training on did harm."
    return f"{capital(there)}; {since}: no difference is shown."


def classes(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and a table of the classes, hardest first."""
    hard, apart = subject.ask("hard_classes", split=subject.split), ask_differences(subject)
    exact = subject.ask("class_metrics_by_epoch", split=subject.split)
    precision = {row["class_id"]: row for row in exact.where(epoch=subject.epoch)}
    spread = None if list_misleading(subject) else spread_sentence(hard.rows, apart.rows)  # recall alone would mislead
    sentences = [
        *said(spread, hard, apart, key=True),
        *said(few_sentence(hard.rows, subject.classes), hard, key=True),
        *said(never_sentence(list(precision.values())), exact, key=True),
    ]
    rows = [
        (
            short(row["class_name"], 28), number(row["n"]),
            figures.bar(row["accuracy"], row["low"], row["high"]),
            percent(row["accuracy"], row["n"]), between(row["low"], row["high"], row["n"]),
            _precision(precision.get(row["class_id"])),
        )
        for row in hard.rows[:CLASSES]
    ]  # fmt: skip
    shown = f", the {CLASSES} with the lowest of {len(hard.rows)}" if len(hard.rows) > CLASSES else ""
    caption = html("Accuracy by class{}, {} with the 95 % interval as a line{}; precision is the share of images "
                   "predicted so that are so{}", shown, images_of(subject.split), hard.mark, exact.mark)  # fmt: skip
    heads = ("class", "images", "accuracy", "", "95 % interval", "precision")
    return sentences, table(caption, heads, rows)


def _precision(row: dict | None) -> str:
    if row is None or not row["n_predicted"]:
        return "never predicted"
    return percent(row["precision"], row["n_predicted"])


def ask_differences(subject: Subject) -> Answer:
    """The answer of class_differences at the report's level."""
    return subject.ask("class_differences", split=subject.split, level=VERDICTS["class_accuracy"].level)


def spread_sentence(rows: list[dict], differences: list[dict]) -> str | None:
    """Whether classes differ beyond chance; rows of hard_classes and class_differences, hardest first."""
    if len(rows) < 2 or max(row["n"] for row in rows) < IMAGES_FOR_CLASS:
        return None
    if all(row["accuracy"] == 1 for row in rows):
        enough = f" of at least {IMAGES_FOR_CLASS} images" if any(row["n"] < IMAGES_FOR_CLASS for row in rows) else ""
        return f"No class{enough} has a single mistake."
    if not differences[0]["tells_apart"]:
        return (
            "The model is not shown to tell classes apart: its predictions agree with the labels no more often than "
            "with shuffled ones."
        )
    verdicts = {row["class_id"]: row["verdict"] for row in differences}
    harder = [row for row in rows if verdicts[row["class_id"]] == "harder"][:1]
    easier = [row for row in rows if verdicts[row["class_id"]] == "easier"][-1:]
    if not harder and not easier:
        return (
            f"No difference between classes is shown (class {named(rows[0])} is lowest, at "
            f"{percent(rows[0]['accuracy'], rows[0]['n'])}, {sized(rows[0]['n'])})."
        )
    parts = [f"class {_placed(row)} is {word}" for word, own in (("harder", harder), ("easier", easier)) for row in own]
    return f"Classes differ beyond chance: {series(parts)} than the others."


def _placed(row: dict) -> str:
    n = row["n"]
    return f"{named(row)} ({percent(row['accuracy'], n)}, 95 % interval {between(row['low'], row['high'], n)})"


def few_sentence(rows: list[dict], classes: Sequence[str], most: int = 4) -> str | None:
    """Classes that have too few images to say how hard they are; rows of hard_classes, and all classes of the run."""
    few = sorted((row for row in rows if row["n"] < IMAGES_FOR_CLASS), key=lambda row: row["n"])
    absent = [name for name in classes if name not in {row["class_name"] for row in rows}]
    parts = [f"{short(name, 28)} (no images)" for name in absent]
    parts += [
        f"{named(row)} ({round(row['accuracy'] * row['n'])} of {row['n']} right, 95 % interval "
        f"{between(row['low'], row['high'], row['n'])})"
        for row in few
    ]
    if not parts:
        return None
    shown = parts if len(parts) <= most else [*parts[:most], plural(len(parts) - most, "other class", "other classes")]
    return f"Too few images to say how hard they are: {series(shown)}."


def never_sentence(rows: list[dict]) -> str | None:
    """Classes that the model never answers; rows of class_metrics_by_epoch of one epoch."""
    never = [row["class_name"] for row in rows if not row["n_predicted"]]
    if not never:
        return None
    return (
        f"{len(never)} of {len(rows)} classes {'is' if len(never) == 1 else 'are'} never predicted: {listed(never, 4)}."
    )


def named(row: dict) -> str:
    return short(row["class_name"], 28)
