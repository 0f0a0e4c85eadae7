"""Does a patch at one place decide a class? Tried on the model, class by class, and logged as table patch_trials.

Patches come from training images, where a shortcut would have been learned, and go into validation images, where the
other classes lack it as they do in training; in a test set they may not. Where there are too few, images of the split
compared are taken. A class's place is chosen on other images than it is tried on, so that the exact tests of
`study ask shortcuts` hold.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common.progress import track
from pipelines.comparing.comparison import Comparison
from pipelines.models.predictions import prepare_images
from tracking import commits, runs
from tracking.index import ingest
from xai.gradient import all_scores
from xai.shortcuts import Window, find_place, make_gain, predict_pasted, windows

UNIT = "shortcuts"
SCAN_COUNT = 16  # images on which a class's place is chosen
DONOR_COUNT = 64  # training images of a class, of which those predicted correctly give patches
POOL_FACTOR = 8  # images that are predicted, per image that a class needs
MAX_CLASSES = 50  # of more, those with most training images are tried


@dataclass(frozen=True)
class Material:
    """The images that are altered, and the model, with the weights of the epoch compared."""

    model: nn.Module
    device: torch.device
    images: Mapping[str, Tensor]  # by split, uint8
    labels: Mapping[str, Tensor]
    split: str  # whose images patches are pasted into
    rows: np.ndarray  # [N] a sample of it
    predicted: np.ndarray  # [N]
    donors: dict[int, np.ndarray]  # by class, training images that are predicted correctly
    held_out: dict[int, np.ndarray]  # by class, validation images that are predicted correctly

    def make_gain(self, rows: np.ndarray, donors: np.ndarray) -> Callable[[Window], float]:
        """A function of a window: the mean rise of the donors' classes, as it is pasted into images."""
        classes = self.labels["train"][donors].to(self.device)
        return make_gain(self.model, self._prepare(self.split, rows), self._prepare("train", donors), classes)

    def predict_pasted(self, split: str, rows: np.ndarray, donors: np.ndarray, places: Sequence[Window]) -> list[int]:
        """The class predicted of images of a split with patches of training images."""
        images, donor_images = self._prepare(split, rows), self._prepare("train", donors)
        return predict_pasted(self.model, images, donor_images, places).tolist()

    def choose_donors(self, predicted: np.ndarray, random: np.random.Generator, besides: int | None) -> np.ndarray:
        """A training image of a random class for each image: not the class predicted if possible, nor `besides`."""
        classes = [class_id for class_id in self.donors if class_id != besides]
        chosen = []
        for class_id in predicted.tolist():
            donor_class = random.choice([rival for rival in classes if rival != class_id] or classes)
            chosen.append(random.choice(self.donors[donor_class]))
        return np.array(chosen)

    def _prepare(self, split: str, rows: np.ndarray) -> torch.Tensor:
        return prepare_images(self.images[split][rows], self.device)


def try_patches(comparison: Comparison, run: runs.Run) -> None:
    """Tries each class's most effective patch and commits what followed, unless that is already done."""
    settings, epoch = comparison.settings, comparison.selection.epoch
    if not settings.shortcut_count or UNIT in commits.commits_by_unit(run.home, run.run_id):
        return
    model, source = comparison.load_epoch(epoch), comparison.source
    split, count = comparison.selection.split, settings.shortcut_count
    images = {name: part.images for name, part in source.data.splits.items()}
    labels = {name: part.labels for name, part in source.data.splits.items()}
    columns = make_trials(model, source.device, images, labels, split, count, settings.seed)
    size = len(columns["class_id"])
    columns |= {"run_id": [run.run_id] * size, "source_run_id": [run.record.source] * size, "epoch": [epoch] * size}
    runs.commit_tables(run, UNIT, {"patch_trials": columns} if size else {}, epoch)
    ingest(run.home, [run.run_id])


def make_trials(
    model: nn.Module,
    device: torch.device,
    images: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    compared: str,
    count: int,
    seed: int,
) -> dict[str, list]:
    """Columns of table patch_trials, without the run's, from the splits' images [N, C, H, W], uint8, and labels [N].

    `count` images per class are tried; with fewer than two classes that are predicted correctly, none.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, list] = defaultdict(list)
    material = _collect_material(model, device, images, labels, compared, count, random)
    if len(material.donors) < 2 or len(material.rows) == 0:
        return columns
    # where an object always lies at one place, every class gains there: that is no shortcut of one class
    sample = slice(2 * SCAN_COUNT)
    mixed_donors = material.choose_donors(material.predicted[sample], random, besides=None)
    any_gain = cache(material.make_gain(material.rows[sample], mixed_donors))
    counts = np.bincount(labels["train"].numpy())
    most_frequent = sorted(material.donors, key=lambda class_id: (-counts[class_id], class_id))[:MAX_CLASSES]
    for class_id in track(sorted(most_frequent), "shortcuts", "classes"):
        for trial in _try_class(material, class_id, any_gain, count, random):
            for column, values in trial.items():
                columns[column] += values
    return columns


def _collect_material(
    model: nn.Module,
    device: torch.device,
    images: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    compared: str,
    count: int,
    random: np.random.Generator,
) -> Material:
    def predict(split: str, rows: np.ndarray) -> np.ndarray:
        return all_scores(model, prepare_images(images[split][rows], device)).argmax(1).cpu().numpy()

    def sample_correct(split: str, per_class: int) -> dict[int, np.ndarray]:
        known = labels[split].numpy()
        correct = {}
        for label in np.unique(known).tolist():
            rows = random.permutation(np.flatnonzero(known == label))[:per_class]
            correct[label] = rows[predict(split, rows) == label]
        return {label: rows for label, rows in correct.items() if len(rows)}

    split = "val" if len(labels["val"]) >= 2 * (SCAN_COUNT + count) else compared
    rows = random.permutation(len(labels[split]))[: POOL_FACTOR * count]
    return Material(
        model=model,
        device=device,
        images=images,
        labels=labels,
        split=split,
        rows=rows,
        predicted=predict(split, rows),
        donors=sample_correct("train", DONOR_COUNT),
        held_out=sample_correct("val", count),
    )


def _try_class(
    material: Material,
    class_id: int,
    any_gain: Callable[[Window], float],
    count: int,
    random: np.random.Generator,
) -> list[dict[str, list]]:
    """Columns of table patch_trials, by trial: the patch pasted into other images, and covered in the class's own."""
    others = np.flatnonzero(material.predicted != class_id)[: SCAN_COUNT + count]
    scanned, tried = others[:SCAN_COUNT], others[SCAN_COUNT:]
    if len(tried) == 0:
        return []
    donors = np.resize(material.donors[class_id], len(others))
    own_gain = material.make_gain(material.rows[scanned], donors[:SCAN_COUNT])
    place = find_place(own_gain, any_gain)

    def alter(
        trial: str, split: str, rows: np.ndarray, before: np.ndarray, donors: np.ndarray, places: list[Window]
    ) -> dict[str, list]:
        return {
            "class_id": [class_id] * len(rows),
            "trial": [trial] * len(rows),
            "split": [split] * len(rows),
            "instance_id": rows.tolist(),
            "donor_id": donors.tolist(),
            "donor_class": material.labels["train"][donors].tolist(),
            "patch_top": [place.top for place in places],
            "patch_left": [place.left for place in places],
            "patch_side": [place.side for place in places],
            "predicted_before": before.tolist(),
            "predicted_after": material.predict_pasted(split, rows, donors, places),
        }

    def elsewhere(size: int) -> list[Window]:
        overlap = {window: window.count_shared_cells(place) for window in windows(place.side)}
        least = min(overlap.values())
        apart = [window for window in overlap if overlap[window] == least]
        return [apart[random.integers(len(apart))] for _ in range(size)]

    rows, before, own_donors = material.rows[tried], material.predicted[tried], donors[SCAN_COUNT:]
    here = [place] * len(rows)
    trials = [
        alter("pasted", material.split, rows, before, own_donors, here),
        alter("pasted_elsewhere", material.split, rows, before, own_donors, elsewhere(len(rows))),
        alter(
            "pasted_from_others",
            material.split,
            rows,
            before,
            material.choose_donors(before, random, besides=class_id),
            here,
        ),
    ]
    own = material.held_out.get(class_id)
    if own is not None:
        same = np.full(len(own), class_id)
        covering = material.choose_donors(same, random, besides=class_id)
        trials.append(alter("covered", "val", own, same, covering, [place] * len(own)))
        trials.append(alter("covered_elsewhere", "val", own, same, covering, elsewhere(len(own))))
    return trials
