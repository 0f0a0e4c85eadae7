"""Data of the figures on predictions: accuracy, calibration, confusion, and flows from epoch to epoch."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pipelines.drawing import predictions
from pipelines.drawing.flows import Link, is_to_scale
from pipelines.drawing.style import SPLIT_NAMES, SPLITS
from pipelines.pages.words import number
from pipelines.reporting.accuracy import gather_accuracy as gather_accuracies
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.figure_request import Content, Request, span
from pipelines.reporting.history import choose_drawn
from pipelines.reporting.mistakes import MATRIX, PairFlow, gather_mistakes, list_mixed
from tracking.errors import InputError

WILSON = "95 % Wilson intervals"
FLOW_COLOURS = "Heights are numbers of images. Blue: those then predicted correctly; orange, hatched: misclassified."
NARROW_FLOW, WIDE_FLOW = 6, 11  # epochs of a flow, at most


def gather_accuracy(request: Request) -> Content:
    wanted = request.settings.split
    rows = [
        row
        for row in request.subject.ask("accuracy_by_epoch").rows
        if row["accuracy"] is not None and wanted in (None, row["split"])
    ]
    rows = request.limit_epochs(rows, "epoch")
    sizes = {row["split"]: row["n"] for row in rows}
    listed = "; ".join(f"{SPLIT_NAMES.get(split, split)}: n = {number(n)}" for split, n in sizes.items())
    caption = f"Accuracy after each epoch, with {WILSON} ({listed})."
    return Content((rows,), caption, span(rows, "epoch"), has_all_splits=wanted is None)


def gather_learning_curves(request: Request) -> Content:
    rows = request.subject.ask("metrics_by_epoch").rows
    wanted = request.settings.split
    keys = [f"{split}_{metric}" for split in SPLITS for metric in ("accuracy", "loss") if wanted in (None, split)]
    rows = [row for row in rows if row["epoch"] is not None and row["key"] in keys]
    if not any(row["key"].endswith("_loss") for row in rows):
        raise request.missing("logged loss")
    rows = request.limit_epochs(rows, "epoch")
    caption = "Accuracy and cross-entropy after each epoch."
    return Content((rows,), caption, span(rows, "epoch"), has_all_splits=wanted is None)


def gather_class_accuracy(request: Request) -> Content:
    epoch = request.choose_epoch()
    rows = request.subject.ask("hard_classes", split=request.split, epoch=epoch).rows
    most = request.style.most_rows
    which = f" of the {most} hardest of {number(len(rows))} classes" if len(rows) > most else " by class"
    caption = f"Accuracy{which}, hardest first, with {WILSON}; in brackets the images of each class."
    return Content((rows,), caption, epoch, sum(row["n"] for row in rows))


def gather_class_history(request: Request) -> Content:
    rows = [row for row in request.subject.ask("class_metrics_by_epoch", split=request.split).rows if row["support"]]
    rows = request.limit_epochs(rows, "epoch")
    last = max(row["epoch"] for row in rows)
    hardest = sorted((row["recall"], row["class_id"]) for row in rows if row["epoch"] == last)
    shown = [class_id for _, class_id in hardest[: predictions.CLASS_PANELS]]
    which = f"the {len(shown)} hardest of {number(len(hardest))} classes" if len(shown) < len(hardest) else "each class"
    sizes = [row["support"] for row in rows if row["epoch"] == last]
    few, many = min(sizes), max(sizes)
    each = number(many) if few == many else f"{number(few)} to {number(many)}"
    everything = [row | {"place": shown.index(row["class_id"])} for row in rows if row["class_id"] in shown]
    everything.sort(key=lambda row: (row["place"], row["epoch"]))
    whole = {
        epoch: sum(row["recall"] * row["support"] for row in own) / sum(row["support"] for row in own)
        for epoch in sorted({row["epoch"] for row in rows})
        for own in [[row for row in rows if row["epoch"] == epoch]]
    }
    caption = (
        f"Accuracy of {which} after each epoch, the hardest at the end first, with {WILSON} (recall: images of the "
        f"class that are predicted as it; {each} images per class); dashed: all classes together."
    )
    return Content((everything, whole), caption, span(rows, "epoch"), sum(sizes))


def gather_calibration(request: Request) -> Content:
    epoch, level = request.choose_epoch(), VERDICTS["confidence_bins"].level
    found = request.subject.ask("calibration", split=request.split, epoch=epoch, level=level)
    rows = [row for row in found.rows if row["confidence"] is not None]
    if not rows:
        raise request.missing("probabilities")
    caption = (
        f"Accuracy by confidence in {len(rows)} bins, with {WILSON}; dashed: confidence equals accuracy; open marks: "
        f"off beyond chance (exact binomial tests, Holm, level {level}). Expected calibration "
        f"error {rows[0]['ece']:.3f} ({rows[0]['ece_by_chance']:.3f} where confidence is right). "
        "Below: images of each bin."
    )
    return Content((rows,), caption, epoch, sum(row["n"] for row in rows))


def gather_confusion(request: Request) -> Content:
    epoch = request.choose_epoch()
    rows = request.subject.ask("confusion_by_epoch", split=request.split, epoch=epoch).rows
    names = request.subject.classes
    counts, totals = count_confusion(rows, range(len(names)))
    caption = (
        "Images by true class (rows) and predicted class (columns). Blue: correct, orange: mistakes; the darker, the "
        f"larger the fraction of the true class (mistakes from 0 to {100 / predictions.MISTAKE_DEPTH:.0f} % or more, "
        "correct ones from 0 to 100 %, and lighter)."
    )
    return Content((counts, totals, names), caption, epoch, int(totals.sum()))


def count_confusion(rows: Sequence[dict], shown: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Images by true and predicted class of those shown, [K, K], and all images of each [K]; of confusion_by_epoch."""
    place = {class_id: row for row, class_id in enumerate(shown)}
    counts, totals = np.zeros((len(place), len(place)), int), np.zeros(len(place), int)
    for row in rows:
        if row["label"] in place:
            totals[place[row["label"]]] += row["n"]
            if row["predicted"] in place:
                counts[place[row["label"]], place[row["predicted"]]] = row["n"]
    return counts, totals


def gather_outcomes(request: Request) -> Content:
    rows = request.subject.ask("transition_outcomes", split=request.split).rows
    if not rows:
        raise request.missing(f"second epoch of predictions of split {request.split}")
    rows = request.limit_epochs(rows, "epoch", "next_epoch")
    drawn = choose_drawn(rows)
    left_out = ""
    if len(drawn) < len(rows):
        first = rows[0]
        left_out = (
            f" Epoch {first['next_epoch']}, with {number(first['fixed'])} fixed and {number(first['broken'])} broken, "
            "is left out."
        )
    return Content(
        (drawn,),
        f"Images that each epoch fixed (up) and broke (down).{left_out}",
        span(drawn, "next_epoch"),
        rows[-1]["n"],
    )


def gather_flow(request: Request) -> Content:
    subject, classes = request.subject, request.subject.classes
    logged_epochs = sorted({row["epoch"] for row in subject.ask("transition_outcomes", split=request.split).rows})
    if not logged_epochs:
        raise request.missing(f"second epoch of predictions of split {request.split}")
    logged_epochs.append(subject.epoch)
    first, last = request.choose_range(logged_epochs)
    epochs = [epoch for epoch in logged_epochs if first <= epoch <= last]
    if len(epochs) < 2:
        raise InputError(
            f"--epochs is {request.settings.epochs}, and only epochs {logged_epochs[0]} to {logged_epochs[-1]} are "
            "logged"
        )
    most = NARROW_FLOW if request.style.is_narrow else WIDE_FLOW
    shown = choose_evenly(epochs, most)
    confused_pairs = subject.ask("confused_pairs", split=request.split).rows
    class_ids = list_mixed(confused_pairs, len(classes)) or list(range(MATRIX))
    chosen = ",".join(map(str, class_ids)) if len(class_ids) < len(classes) else None
    links = []
    for epoch, next_epoch in pairwise(shown):
        stride = epochs.index(next_epoch) - epochs.index(epoch)
        found = subject.ask(
            "flow_links", split=request.split, from_epoch=epoch, to_epoch=next_epoch, stride=stride, classes=chosen
        )
        links += [_read_link(row, class_ids, len(classes)) for row in found.rows]
    names = [classes[one] for one in class_ids] + ["other"] * (chosen is not None)
    only = f" of the {len(class_ids)} classes confused most" if chosen else ""
    caption = (
        f"Flow of the images{only} between predicted classes (InstanceFlow) at {len(shown)} of {len(epochs)} epochs, "
        f"{_describe_columns(shown)}: each bar is the images predicted as a class, each band those that go from one "
        f"class to another or stay. {FLOW_COLOURS}"
    )
    count = round(sum(link.n for link in links if link.epoch == shown[0]))
    return Content((merge_links(links), names), caption, shown, count)


def choose_evenly(epochs: Sequence[int], most: int) -> list[int]:
    """At most `most` epochs, the first and the last among them, evenly spaced where that is possible."""
    steps = len(epochs) - 1
    if len(epochs) <= most:
        return list(epochs)
    even = next((step for step in range(2, steps) if steps % step == 0 and steps // step < most), steps)
    if steps // even + 1 > most // 2:
        return list(epochs[::even])
    return [epochs[round(i * steps / (most - 1))] for i in range(most)]


def _describe_columns(epochs: Sequence[int]) -> str:
    return "drawn to scale" if is_to_scale(epochs) else "evenly spaced, regardless of the epochs between them"


def _read_link(row: dict, shown: Sequence[int], other: int) -> Link:
    """A row of flow_links; the class Other comes after those shown."""
    place = {class_id: number for number, class_id in enumerate([*shown, other])}
    is_correct = None if row["label"] is None else row["label"] == row["target"]
    return Link(row["epoch"], row["next_epoch"], place[row["source"]], place[row["target"]], is_correct, row["n"])


def merge_links(links: Iterable[Link]) -> list[Link]:
    """Links with the same ends and outcome as one."""
    sums: dict[Link, float] = {}
    for link in links:
        key = replace(link, n=0)
        sums[key] = sums.get(key, 0) + link.n
    return [replace(link, n=n) for link, n in sums.items()]


def gather_pair_flow(request: Request) -> Content:
    subject = request.subject
    mistakes = gather_mistakes(subject, gather_accuracies(subject), None)
    if mistakes.pair is None:
        raise request.missing(f"pair of classes that stands out among its mistakes on split {request.split}")
    if mistakes.flow is None:
        raise request.missing(f"second epoch of predictions of split {request.split}")
    a, b = mistakes.pair.a, mistakes.pair.b
    caption = (
        f"Images of {a} and {b}, the classes confused most, by predicted class at {len(mistakes.flow.epochs)} epochs, "
        f"{_describe_columns(mistakes.flow.epochs)}; other: any other class. {FLOW_COLOURS}"
    )
    links, names = read_pair_flow(mistakes.pair.ids, mistakes.flow, subject.classes)
    count = round(sum(link.n for link in links if link.epoch == mistakes.flow.epochs[0]))
    return Content((links, names), caption, mistakes.flow.epochs, count)


def read_pair_flow(ends: tuple[int, int], flow: PairFlow, classes: Sequence[str]) -> tuple[list[Link], list[str]]:
    """The flow of a pair's images between its two classes, with all others between them, and the rows' names."""
    places = (ends[0], -1, ends[1])
    links = [
        Link(
            row["epoch"], row["next_epoch"], places.index(row["place"]), places.index(row["next_place"]),
            row["label"] == row["next_place"], row["n"],
        )
        for row in flow.links
    ]  # fmt: skip
    return merge_links(links), [classes[ends[0]], "other", classes[ends[1]]]
