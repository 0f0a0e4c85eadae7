"""Which images a report shows, each with maps where there are some."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.common.figures import short
from pipelines.common.heatmaps import full_colour_magnitude
from pipelines.pages.pictures import Picture, framed, heatmap, paste_patch
from pipelines.reporting.checks import Checks
from pipelines.reporting.examples import ExplainedImages
from pipelines.reporting.labels import SPLITS, Labels
from pipelines.reporting.mistakes import Mistakes
from pipelines.reporting.shortcuts import Shortcuts
from pipelines.reporting.subject import Subject
from pipelines.reporting.techniques import called
from xai import METHODS

SHOWN = """
    select
        made.instance_id,
        made.label,
        made.predicted,
        made.p_predicted,
        instances.source
    from labelled_predictions('{run_id}', '{split}') as made
    left join instances using (run_id, split, instance_id)
    where made.epoch = {epoch}
    order by made.instance_id"""
EACH = 4  # images of the first answer, of a pair, and of each kind in the evidence
METHODS_SHOWN = 3  # of the first answer
LABELS = 6  # doubtful labels that the page leads with
TRAINING_LABELS = 8  # of training images, those that the model contradicted most


@dataclass(frozen=True)
class Shown:
    """An image with what it is, what it was misclassified as, and its maps."""

    instance_id: int
    label: str
    predicted: str
    p_predicted: float | None
    picture: Picture
    maps: list[Picture]  # one a method asked for
    method: str | None = None  # of a single map
    caption: str = ""

    @property
    def is_right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True)
class Gallery:
    """All pictures of a report."""

    why_none: str | None  # why there are no pictures at all
    methods: list[str]  # those of `parts`
    parts: list[Shown]  # right predictions, then wrong ones
    pair: list[Shown]  # images misclassified as the class that receives most mistakes, or within the pair
    checks: dict[int, Shown]  # by instance
    labels: list[Shown]  # suspect ones
    training_labels: list[tuple[dict, Picture]]  # rows of label_suspects, and the training images that they are of
    patches: dict[int, list[Shown]]  # by class that a shortcut decides: a patch, what it does, and who was misled
    every_method: list[Shown]  # in the evidence: right and wrong predictions by all methods
    halves: list[tuple[Shown, list[Picture]]]  # SHAP for and against the predicted class, and the true one

    def has(self, *, signed: bool) -> bool:
        """Whether the first answer's maps have any that is signed, or that is not."""
        return any(METHODS[method].signed is signed for method in self.methods)


def fill_gallery(
    subject: Subject, explained: ExplainedImages | None, order: Sequence[str], mistakes: Mistakes, checks: Checks,
    labels: Labels, training_labels: Labels, shortcuts: Shortcuts,
) -> Gallery:  # fmt: skip
    """Choose and draw; `order` has the methods, those first whose maps are to be shown first."""
    predictions = read_images(subject)
    rows_of_maps: dict[int, dict[str, dict]] = {}
    for row in explained.answer.where(target_kind="predicted") if explained else []:
        rows_of_maps.setdefault(row["instance_id"], {})[row["method"]] = row
    methods = [method for method in order if explained and method in explained.methods]
    ends = mistakes.pair.ids if mistakes.pair else ()

    def show(instance: int, wanted: Sequence[str] | None = None) -> Shown:
        row, by_method = predictions[instance], rows_of_maps.get(instance, {})
        picture = subject.pictures.thumbnail(subject.split, instance, row["source"])
        if wanted is None:
            wanted = [method for method in methods if method in by_method][:1]
        maps = [_draw(subject, explained, instance, by_method.get(method)) for method in wanted] if explained else []
        label, predicted = (subject.classes[row[key]] for key in ("label", "predicted"))
        single = wanted[0] if maps and len(wanted) == 1 else None
        return Shown(instance, label, predicted, row["p_predicted"], picture, maps, single)

    first = methods[:METHODS_SHOWN]
    chosen = choose(rows_of_maps, first, ends)
    sink = mistakes.sink["class_id"] if mistakes.sink else None
    if sink is None:
        pair = choose_pair(predictions.values(), rows_of_maps, ends, {*chosen})
    else:
        pair = choose_into(sink, predictions.values(), rows_of_maps, {*chosen})
    every = [*choose_each(rows_of_maps, True), *choose_each(rows_of_maps, False)]
    shap = [instance for instance in every if "shap" in rows_of_maps[instance]]
    wrong = [instance for instance in shap if not is_right(predictions[instance])]
    return Gallery(
        subject.pictures.why_none, first, [show(one, first) for one in chosen], [show(one) for one in pair],
        {row["instance_id"]: show(row["instance_id"]) for reason in checks.reasons for row in reason.shown},
        [show(row["instance_id"]) for row in labels.suspect[:LABELS]],
        [(row, subject.pictures.thumbnail("train", row["instance_id"]))
         for row in training_labels.contradicted[:TRAINING_LABELS]],
        {row["class_id"]: _show_patch(subject, row, predictions, shortcuts) for row in shortcuts.found},
        [show(one, list(explained.methods)) for one in every] if explained else [],
        [(show(one, []), _halves(explained, one)) for one in wrong or shap] if explained else [],
    )  # fmt: skip


def read_images(subject: Subject) -> dict[int, dict]:
    """How every labelled image of the split is predicted at the last epoch."""
    split = subject.split.replace("'", "''")
    statement = SHOWN.format(run_id=subject.run.run_id, split=split, epoch=subject.epoch)
    found = subject.evidence.sql(statement, "How is each image predicted at the last epoch?")
    return {row["instance_id"]: row for row in found.rows}


def is_right(row: dict) -> bool:
    return bool(row["label"] == row["predicted"])


def choose(rows_of_maps: dict[int, dict[str, dict]], methods: Sequence[str], ends: Sequence[int]) -> list[int]:
    """Two right and two wrong predictions, of the pair's classes if any is explained; else the lowest IDs.

    If fewer than two wrong ones are explained, right ones take their places.
    """

    def nearest(instance: int) -> tuple[int, int, int]:
        row = next(iter(rows_of_maps[instance].values()))
        of_pair = (row["label"] in ends) + (row["predicted"] in ends)
        return -len(rows_of_maps[instance].keys() & set(methods)), -of_pair, instance

    order = sorted(rows_of_maps, key=nearest)
    right, wrong = (
        [one for one in order if is_right(next(iter(rows_of_maps[one].values()))) is ok] for ok in (True, False)
    )
    wrong = wrong[: EACH // 2]
    labels: list[int] = []
    firsts = []
    for instance in right:  # different classes first
        label = next(iter(rows_of_maps[instance].values()))["label"]
        if label not in labels:
            labels.append(label)
            firsts.append(instance)
    right = [*firsts, *(one for one in right if one not in firsts)][: EACH - len(wrong)]
    return [*right, *wrong]


def choose_pair(
    predictions: Iterable[dict], rows_of_maps: dict[int, dict[str, dict]], ends: Sequence[int], shown: set[int]
) -> list[int]:
    """Four images of one class misclassified as the other: explained ones, those not `shown` yet, and surest first."""
    mixed = [row for row in predictions if row["label"] in ends and row["predicted"] in ends and not is_right(row)]
    mixed.sort(key=lambda row: (row["instance_id"] not in rows_of_maps, row["instance_id"] in shown,
                                -(row["p_predicted"] or 0), row["instance_id"]))  # fmt: skip
    return [row["instance_id"] for row in mixed[:EACH]]


def choose_into(
    class_id: int, predictions: Iterable[dict], rows_of_maps: dict[int, dict[str, dict]], shown: set[int]
) -> list[int]:
    """Four images misclassified as a class, of different classes: explained ones, those not `shown`, surest first."""
    order = sorted(
        (row for row in predictions if row["predicted"] == class_id != row["label"]),
        key=lambda row: (row["instance_id"] not in rows_of_maps, row["instance_id"] in shown,
                         -(row["p_predicted"] or 0), row["instance_id"]),
    )  # fmt: skip
    firsts = {row["label"]: row["instance_id"] for row in reversed(order)}.values()
    return [row["instance_id"] for row in sorted(order, key=lambda row: row["instance_id"] not in firsts)][:EACH]


def choose_each(rows_of_maps: dict[int, dict[str, dict]], right: bool) -> list[int]:
    """Up to four images predicted right, or wrong: most methods first, different classes first, then the lowest ID."""
    labels = {
        instance: row["label"]
        for instance, by_method in rows_of_maps.items()
        for row in by_method.values()
        if is_right(row) is right
    }
    most = max((len(rows_of_maps[instance]) for instance in labels), default=0)
    fitting = sorted(instance for instance in labels if len(rows_of_maps[instance]) == most)
    firsts = {labels[instance]: instance for instance in reversed(fitting)}.values()
    order = [*sorted(firsts), *(instance for instance in fitting if instance not in firsts)]
    return sorted(order[:EACH])


def _draw(subject: Subject, explained: ExplainedImages, instance: int, row: dict | None) -> Picture:
    image = subject.pictures.image(subject.split, instance)
    if row is None or image is None:
        return Picture(note="no map" if row is None else "no image")
    return heatmap(
        image, explained.values(row), METHODS[row["method"]].signed, f"{called(row['method'])} of image {instance}"
    )


def _show_patch(subject: Subject, row: dict, predictions: dict[int, dict], shortcuts: Shortcuts) -> list[Shown]:
    """A training image with the patch, another image before and after it is pasted, and two images it misleads.

    A row of shortcuts; of the two, those that are shown to carry the patch come first.
    """
    place = (row["patch_top"], row["patch_left"], row["patch_side"])
    name = subject.classes[row["class_id"]]
    shown: list[Shown] = []

    def add(image: np.ndarray | None, split: str, instance: int, caption: str) -> None:
        if image is not None:
            picture = framed(image, place, f"image {instance} of {split}, with the place of the patch framed")
            shown.append(Shown(instance, name, name, None, picture, [], caption=caption))

    trial = shortcuts.examples[row["class_id"]].rows[0]
    donor = subject.pictures.image("train", trial["donor_id"])
    recipient = subject.pictures.image(trial["split"], trial["instance_id"])
    before, after = (short(subject.classes[trial[f"predicted_{when}"]], 12) for when in ("before", "after"))
    add(donor, "train", trial["donor_id"], f"training #{trial['donor_id']}, {short(name, 12)}")
    add(
        recipient,
        trial["split"],
        trial["instance_id"],
        f"{SPLITS.get(trial['split'], trial['split'])} #{trial['instance_id']}: seen as {before}",
    )
    if donor is not None and recipient is not None:
        pasted = paste_patch(recipient, donor, place)
        add(pasted, trial["split"], trial["instance_id"], f"with the patch: seen as {after}")

    carriers = shortcuts.carriers.get(row["class_id"])
    carrying = {one["instance_id"] for one in carriers.of(carries=True)} if carriers else set()
    misled = [image for image, one in predictions.items() if one["predicted"] == row["class_id"] != one["label"]]
    misled.sort(key=lambda image: (image not in carrying, -(predictions[image]["p_predicted"] or 0), image))
    for instance in misled[:2]:
        label = short(subject.classes[predictions[instance]["label"]], 12)
        image = subject.pictures.image(subject.split, instance)
        add(image, subject.split, instance, f"{subject.split} #{instance}: {label}, seen as {short(name, 12)}")
    return shown


def _halves(explained: ExplainedImages, instance: int) -> list[Picture]:
    """What speaks for and against the predicted class, by SHAP, and the true class if it is another one."""
    rows_by_target = {row["target_kind"]: row for row in explained.of(instance) if row["method"] == "shap"}
    image = explained.subject.pictures.image(explained.subject.split, instance)
    if image is None:
        return []
    wrong = rows_by_target["predicted"]["target"] != rows_by_target["predicted"]["label"] and "label" in rows_by_target
    shown = [rows_by_target["predicted"], *([rows_by_target["label"]] if wrong else [])]
    values = [explained.values(row) for row in shown]
    full = full_colour_magnitude(np.stack(values))  # one for all, so that they can be compared
    return [
        heatmap(image, half, True, f"SHAP {name} class {row['target']} of image {instance}", full)
        for row, whole in zip(shown, values, strict=True)
        for name, half in (("for", whole.clip(min=0)), ("against", whole.clip(max=0)))
    ]
