"""Every figure by its name: what it shows, what draws it, and what it needs. The report and `study figure` share it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.common.settings import FigureSettings
from pipelines.drawing import flows, methods, predictions
from pipelines.drawing.flows import Link
from pipelines.drawing.style import SPLIT_NAMES, Style
from pipelines.reporting.accuracy import gather_accuracy as gather_accuracies
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.history import choose_drawn
from pipelines.reporting.mistakes import MATRIX, PairFlow, gather_mistakes, list_mixed
from pipelines.reporting.subject import Subject, ask_faithfulness, newest_comparison
from pipelines.reporting.words import number
from tracking.catalogue import SHORT_ID
from tracking.errors import InputError
from xai import METHODS
from xai.references import REFERENCES

WILSON = "95 % Wilson intervals"
NARROW_FLOW, WIDE_FLOW = 5, 9  # epochs of a flow, at most
STUDENT = "95 % intervals of the mean"


class MissingData(InputError):
    """A run lacks what a figure shows; `what` names it, the message has the command that makes it too."""

    def __init__(self, run_id: str, what: str, command: str) -> None:
        super().__init__(f"run {run_id[:SHORT_ID]} has no {what}; to make it: {command}")
        self.what = what


@dataclass(frozen=True)
class Content:
    """What a figure is drawn from, and what its caption says of it."""

    values: tuple
    caption: str
    epoch: int | None = None  # None for a figure over several epochs
    n: int | None = None  # images; None where the caption says it
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What is asked for: a run, and what of it is shown."""

    subject: Subject
    settings: FigureSettings
    style: Style

    @property
    def split(self) -> str:
        return self.subject.split

    @property
    def run_id(self) -> str:
        return self.subject.run.run_id

    def missing(self, what: str, command: str) -> MissingData:
        return MissingData(self.run_id, what, command)

    def choose_epoch(self) -> int:
        """The epoch asked for, else the last one. Raises InputError if the split has no predictions there."""
        wanted = self.settings.epoch
        if wanted is None:
            return self.subject.epoch
        self._check_epoch(wanted, [row["epoch"] for row in self._predicted()])
        return wanted

    def limit_epochs(self, rows: Sequence[dict], *columns: str) -> list[dict]:
        """Rows of which all these columns lie in the range of epochs asked for. Raises InputError if none does."""
        first, last = self.choose_range([row[column] for row in rows for column in columns])
        kept = [row for row in rows if all(first <= row[column] <= last for column in columns)]
        if not kept:
            raise InputError(f"--epochs is {self.settings.epochs}, and nothing of this figure lies in that range")
        return kept

    def choose_range(self, epochs: Sequence[int]) -> tuple[int, int]:
        """First and last of these epochs, or those asked for."""
        text = self.settings.epochs
        if text is None:
            return min(epochs), max(epochs)
        given = re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})", text.strip())
        if not given or int(given[1]) >= int(given[2]):
            raise InputError(f"--epochs is {text!r}; it takes a range such as 2-10")
        return int(given[1]), int(given[2])

    def choose_methods(self, there: Sequence[str]) -> list[str]:
        """The methods asked for, else all there are. Raises InputError on one without maps."""
        for method in self.settings.method:
            if method not in METHODS:
                raise InputError(f"no method {method!r}; there are: {', '.join(METHODS)}")
            if method not in there:
                known = ", ".join(one for one in METHODS if one in there)
                raise InputError(f"this figure has no maps of {method}; it has those of: {known}")
        return list(self.settings.method) or [method for method in METHODS if method in there]

    def limit_methods(self, rows: Sequence[dict], *columns: str) -> list[dict]:
        """Rows of the methods asked for, and of references."""
        chosen = self.choose_methods([row[column] for row in rows for column in columns])
        kept = {*chosen, *REFERENCES}
        return [row for row in rows if all(row[column] in kept for column in columns)]

    def complete(self, content: Content) -> str:
        """The whole caption: what is shown, and of which run, epoch, split and how many images."""
        run = self.subject.run
        facts = [f"Run {run.name} ({run.run_id[:SHORT_ID]})", f"data set {run.dataset}"]
        facts.append(f"split {self.split}")
        facts += [f"epoch {content.epoch}"] if content.epoch is not None else []
        facts += [f"n = {number(content.n)}"] if content.n is not None else []
        facts += [f"code {run.git_commit}"] if run.git_commit else []
        return f"{content.caption} {', '.join(facts)}."

    def _predicted(self) -> list[dict]:
        return self.subject.ask("accuracy_by_epoch").where(split=self.split)

    def _check_epoch(self, wanted: int, there: Sequence[int]) -> None:
        if wanted not in there:
            known = ", ".join(map(str, sorted(set(there)))) or "none"
            raise InputError(f"--epoch is {wanted}, and this figure has only epochs {known}")


@dataclass(frozen=True)
class FigureKind:
    """A figure: `gather` raises InputError if the run lacks what it shows."""

    summary: str
    draw: Callable[..., Figure]
    gather: Callable[[Request], Content]
    takes: tuple[str, ...] = ()  # settings, besides the split, that choose what it shows


def gather_accuracy(request: Request) -> Content:
    rows = [row for row in request.subject.ask("accuracy_by_epoch").rows if row["accuracy"] is not None]
    rows = request.limit_epochs(rows, "epoch")
    sizes = {row["split"]: row["n"] for row in rows}
    listed = "; ".join(f"{SPLIT_NAMES.get(split, split)}: n = {number(n)}" for split, n in sizes.items())
    return Content((rows,), f"Accuracy after each epoch, with {WILSON} ({listed}).")


def gather_learning_curves(request: Request) -> Content:
    rows = request.subject.ask("metrics_by_epoch").rows
    rows = [row for row in rows if row["epoch"] is not None and row["key"].endswith(("_accuracy", "_loss"))]
    if not rows:
        raise request.missing("logged accuracy and loss", "study train (an imported log has neither)")
    return Content((request.limit_epochs(rows, "epoch"),), "Accuracy and cross-entropy after each epoch.")


def gather_class_accuracy(request: Request) -> Content:
    epoch = request.choose_epoch()
    rows = request.subject.ask("hard_classes", split=request.split, epoch=epoch).rows
    most = request.style.most_rows
    which = f" of the {most} hardest of {number(len(rows))} classes" if len(rows) > most else " by class"
    caption = f"Accuracy{which}, hardest first, with {WILSON}; in brackets the images of each class."
    return Content((rows,), caption, epoch, sum(row["n"] for row in rows))


def gather_calibration(request: Request) -> Content:
    epoch, level = request.choose_epoch(), VERDICTS["confidence_bins"].level
    found = request.subject.ask("calibration", split=request.split, epoch=epoch, level=level)
    rows = [row for row in found.rows if row["confidence"] is not None]
    if not rows:
        raise request.missing("probabilities", "study train (an imported log has none)")
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
        f"larger the fraction of the true class (mistakes {predictions.MISTAKE_DEPTH} times as dark)."
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
        raise request.missing("second epoch of predictions", "study train --epochs 2 or more")
    rows = request.limit_epochs(rows, "epoch", "next_epoch")
    drawn = choose_drawn(rows)
    left_out = ""
    if len(drawn) < len(rows):
        first = rows[0]
        left_out = (
            f" Epoch {first['next_epoch']}, with {number(first['fixed'])} fixed and {number(first['broken'])} broken, "
            "is left out."
        )
    return Content((drawn,), f"Images that each epoch fixed (up) and broke (down).{left_out}", n=rows[-1]["n"])


def gather_flow(request: Request) -> Content:
    subject, classes = request.subject, request.subject.classes
    there = sorted({row["epoch"] for row in subject.ask("transition_outcomes", split=request.split).rows})
    if not there:
        raise request.missing("second epoch of predictions", "study train --epochs 2 or more")
    there.append(subject.epoch)
    first, last = request.choose_range(there)
    epochs = [epoch for epoch in there if first <= epoch <= last]
    if len(epochs) < 2:
        raise InputError(f"--epochs is {request.settings.epochs}, and only epochs {there[0]} to {there[-1]} are logged")
    most = NARROW_FLOW if request.style.is_narrow else WIDE_FLOW
    shown = epochs if len(epochs) <= most else [epochs[round(i * (len(epochs) - 1) / (most - 1))] for i in range(most)]
    which = list_mixed(subject.ask("confused_pairs", split=request.split).rows, len(classes))
    which = which or list(range(MATRIX))
    chosen = ",".join(map(str, which)) if len(which) < len(classes) else None
    links = []
    for epoch, next_epoch in pairwise(shown):
        stride = epochs.index(next_epoch) - epochs.index(epoch)
        found = subject.ask(
            "flow_links", split=request.split, from_epoch=epoch, to_epoch=next_epoch, stride=stride, classes=chosen
        )
        links += [_read_link(row, which, len(classes)) for row in found.rows]
    names = [classes[one] for one in which] + ["other"] * (chosen is not None)
    only = f" of the {len(which)} classes confused most" if chosen else ""
    caption = (
        f"Flow of the images{only} between predicted classes (InstanceFlow): each column is an epoch, each bar the "
        "images predicted as a class, each band those that go from one class to another or stay."
    )
    return Content((merge_links(links), names), caption, n=sum(link.n for link in links if link.epoch == shown[0]))


def _read_link(row: dict, shown: Sequence[int], other: int) -> Link:
    """A row of flow_links; the class Other comes behind those shown."""
    place = {class_id: number for number, class_id in enumerate([*shown, other])}
    is_correct = None if row["label"] is None else row["label"] == row["target"]
    return Link(row["epoch"], row["next_epoch"], place[row["source"]], place[row["target"]], is_correct, row["n"])


def merge_links(links: Iterable[Link]) -> list[Link]:
    """Links with the same ends and outcome as one."""
    sums: dict[Link, int] = {}
    for link in links:
        key = replace(link, n=0)
        sums[key] = sums.get(key, 0) + link.n
    return [replace(link, n=n) for link, n in sums.items()]


def gather_pair_flow(request: Request) -> Content:
    subject = request.subject
    mistakes = gather_mistakes(subject, gather_accuracies(subject), None)
    if mistakes.pair is None:
        raise InputError(
            f"run {request.run_id[:SHORT_ID]} has too few mistakes on split {request.split} to name a pair of classes"
        )
    if mistakes.flow is None:
        raise request.missing("second epoch of predictions", "study train --epochs 2 or more")
    a, b = mistakes.pair.a, mistakes.pair.b
    caption = (
        f"Images of {a} and {b}, the classes confused most, by predicted class over the epochs; other: any other class."
    )
    links, names = read_pair_flow(mistakes.pair.ids, mistakes.flow, subject.classes)
    return Content((links, names), caption, n=sum(link.n for link in links if link.epoch == mistakes.flow.epochs[0]))


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


def gather_faithfulness(request: Request) -> Content:
    rows = _read_comparison(request)
    counts = [row["n"] for row in rows if row["metric"] in methods.PANELS]
    if not counts:
        raise request.missing("metric of this figure in the comparison", f"study compare {request.run_id}")
    fewest = f"{number(min(counts))} to " if min(counts) < max(counts) else ""
    caption = (
        f"Faithfulness of explanation methods: means with {STUDENT} on {fewest}{number(max(counts))} images; dashed: "
        "random maps. Filled: better than random maps (paired sign flips, step-down max-T, family-wise "
        f"level {VERDICTS['beats_random'].level})."
    )
    return Content((rows,), caption, rows[0]["epoch"])


def gather_road(request: Request) -> Content:
    rows = _read_comparison(request)
    comparison = newest_comparison(request.subject)
    if comparison is None or not any(row["metric"].startswith("road_morf_") for row in rows):
        raise request.missing("ROAD metrics in the comparison", f"study compare {request.run_id}")
    predicted = comparison.params.get("target", "predicted") == "predicted"
    caption = (
        "ROAD: images whose top class stays the one explained, as pixels are imputed in the order of each method's "
        "maps. Most relevant first: lower is better; least relevant first: higher is better."
    )
    return Content(
        (rows,), caption, rows[0]["epoch"], max(row["n"] for row in rows), options={"starts_at_one": predicted}
    )


def _read_comparison(request: Request) -> list[dict]:
    """Rows of faithfulness_by_method of the newest comparison of the split."""
    comparison = newest_comparison(request.subject)
    if comparison is None:
        command = f"study compare {request.run_id} --split {request.split}"
        if not request.subject.ask("explained").where(split=request.split):
            command = f"{request.subject.explain(*METHODS, more=request.subject.some)} && {command}"
        raise request.missing(f"comparison of methods on split {request.split}", command)
    return request.limit_methods(ask_faithfulness(request.subject, comparison).rows, "method")


def gather_agreement(request: Request) -> Content:
    found = request.subject.ask("attribution_agreement", epoch=request.settings.epoch, split=request.split)
    rows = [row for row in found.rows if row["subset"] == "all"]
    if not rows:
        command = request.subject.explain(*METHODS, more=request.subject.some)
        raise request.missing(f"maps of two methods on the same images of split {request.split}", command)
    rows = request.limit_methods(rows, "method_a", "method_b")
    if not rows:
        raise InputError("agreement is between two methods or more; give --method two")
    caption = (
        "Agreement of explanation methods: mean rank correlation of the maps' absolute values, and mean overlap "
        "(intersection over union) of their strongest tenths; two random maps overlap by 0.05."
    )
    return Content((rows,), caption, rows[0]["epoch"], min(row["n"] for row in rows))


def gather_drift(request: Request) -> Content:
    rows = _read_drift(request)
    caption = (
        "Rank correlation of each epoch's maps (8x8, absolute values) with those of the last epoch explained, with "
        f"{STUDENT}."
    )
    return Content((rows,), caption, n=max(row["n"] for row in rows))


def gather_settling(request: Request) -> Content:
    rows = _read_drift(request)
    caption = "Images whose prediction, and whose map by each method, stays as it is from that epoch on."
    return Content((rows,), caption, n=max(row["n"] for row in rows))


def _read_drift(request: Request) -> list[dict]:
    rows = [
        row
        for row in request.subject.ask("explanation_drift", split=request.split).rows
        if row["method"] in METHODS and row["to_last"] is not None
    ]
    if len({row["epoch"] for row in rows}) < 2:
        more = f" --epochs all{request.subject.some}"
        raise request.missing(
            f"maps of several epochs of split {request.split}", request.subject.explain("grad_cam", more=more)
        )
    return request.limit_methods(request.limit_epochs(rows, "epoch"), "method")


FIGURES = {
    "accuracy": FigureKind(
        "accuracy after each epoch, by split, with intervals", predictions.draw_accuracy, gather_accuracy, ("epochs",)
    ),
    "learning-curves": FigureKind(
        "accuracy and loss after each epoch", predictions.draw_learning_curves, gather_learning_curves, ("epochs",)
    ),
    "class-accuracy": FigureKind(
        "accuracy by class, with intervals", predictions.draw_class_accuracy, gather_class_accuracy, ("epoch",)
    ),
    "calibration": FigureKind(
        "accuracy against confidence: the reliability diagram", predictions.draw_calibration, gather_calibration,
        ("epoch",),
    ),
    "confusion": FigureKind(
        "confusion matrix: true against predicted class", predictions.draw_confusion, gather_confusion, ("epoch",)
    ),
    "fixed-and-broken": FigureKind(
        "images that each epoch fixed and broke", predictions.draw_outcomes, gather_outcomes, ("epochs",)
    ),
    "flow": FigureKind("images from class to class, epoch by epoch", flows.draw_flow, gather_flow, ("epochs",)),
    "pair-flow": FigureKind(
        "the two classes confused most: their images over the epochs", flows.draw_flow, gather_pair_flow
    ),
    "faithfulness": FigureKind(
        "faithfulness of the methods, with intervals, beside random maps", methods.draw_faithfulness,
        gather_faithfulness, ("method",),
    ),
    "road": FigureKind(
        "ROAD curves: classes kept as pixels are imputed", methods.draw_road, gather_road, ("method",)
    ),
    "agreement": FigureKind(
        "agreement of the methods, pair by pair", methods.draw_agreement, gather_agreement, ("epoch", "method")
    ),
    "drift": FigureKind(
        "similarity of each epoch's maps to the last ones", methods.draw_drift, gather_drift, ("epochs", "method")
    ),
    "settling": FigureKind(
        "images whose prediction and map are settled, by epoch", methods.draw_settling, gather_settling,
        ("epochs", "method"),
    ),
}  # fmt: skip
