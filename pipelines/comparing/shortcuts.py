"""Does a patch at one place decide a class? Tried on the model, class by class, and logged as table patch_trials.

Patches come from training images, where a shortcut would have been learned, and go into validation images, where the
other classes lack it as they do in training; in a test set they may not. Where there are too few, images of the split
compared are taken. A class's place is chosen on other images than it is tried on, so that the exact tests of
`study ask shortcuts` hold.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from tqdm import tqdm

from pipelines.comparing.comparison import Comparison
from pipelines.explaining.job import TrainedRun
from pipelines.models.predictions import prepare_images
from tracking import commits, runs
from tracking.files import write_table
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

    source: TrainedRun
    split: str  # whose images patches are pasted into
    rows: np.ndarray  # [N] a sample of it
    predicted: np.ndarray  # [N]
    donors: dict[int, np.ndarray]  # by class, training images that are predicted correctly
    held_out: dict[int, np.ndarray]  # by class, validation images that are predicted correctly

    def make_gain(self, rows: np.ndarray, donors: np.ndarray) -> Callable[[Window], float]:
        """A function of a window: the mean rise of the donors' classes, as it is pasted into images."""
        classes = self.source.data.splits["train"].labels[donors].to(self.source.device)
        return make_gain(self.source.model, self._prepare(self.split, rows), self._prepare("train", donors), classes)

    def predict_pasted(self, split: str, rows: np.ndarray, donors: np.ndarray, places: Sequence[Window]) -> list[int]:
        """The class predicted of images of a split with patches of training images."""
        images, donor_images = self._prepare(split, rows), self._prepare("train", donors)
        return predict_pasted(self.source.model, images, donor_images, places).tolist()

    def choose_donors(self, predicted: np.ndarray, random: np.random.Generator, besides: int | None) -> np.ndarray:
        """A training image of a random class for each image: not the class predicted if possible, nor `besides`."""
        classes = [class_id for class_id in self.donors if class_id != besides]
        chosen = []
        for class_id in predicted.tolist():
            donor_class = random.choice([rival for rival in classes if rival != class_id] or classes)
            chosen.append(random.choice(self.donors[donor_class]))
        return np.array(chosen)

    def _prepare(self, split: str, rows: np.ndarray) -> torch.Tensor:
        return prepare_images(self.source.data.splits[split].images[rows], self.source.device)


def try_patches(comparison: Comparison, run: runs.Run) -> None:
    """Tries each class's most effective patch and commits what followed, unless that is already done."""
    if not comparison.settings.shortcut_count or UNIT in commits.commits_by_unit(run.home, run.run_id):
        return
    random = np.random.default_rng(comparison.settings.seed)
    material = _collect_material(comparison, random)
    if len(material.donors) < 2 or len(material.rows) == 0:
        return
    # where an object always lies at one place, every class gains there: that is no shortcut of one class
    sample = slice(2 * SCAN_COUNT)
    mixed_donors = material.choose_donors(material.predicted[sample], random, besides=None)
    any_gain = cache(material.make_gain(material.rows[sample], mixed_donors))
    counts = np.bincount(material.source.data.splits["train"].labels.numpy())
    most_frequent = sorted(material.donors, key=lambda class_id: (-counts[class_id], class_id))[:MAX_CLASSES]
    columns: dict[str, list] = defaultdict(list)
    for class_id in tqdm(sorted(most_frequent), desc="shortcuts", leave=False, disable=None, unit="class"):
        for trial in _try_class(material, class_id, any_gain, comparison.settings.shortcut_count, random):
            for column, values in trial.items():
                columns[column] += values

    count = len(columns["class_id"])
    columns["run_id"] = [run.run_id] * count
    columns["source_run_id"] = [run.record.source] * count
    columns["epoch"] = [comparison.selection.epoch] * count
    with runs.staging_folder(run.home) as folder:
        path = f"patch_trials/{UNIT}.parquet"
        files = {path: write_table(folder / path, columns)} if count else {}
        runs.commit(run, UNIT, files, {}, comparison.selection.epoch)
    ingest(run.home, [run.run_id])


def _collect_material(comparison: Comparison, random: np.random.Generator) -> Material:
    model = comparison.load_epoch(comparison.selection.epoch)
    splits = comparison.source.data.splits
    count = comparison.settings.shortcut_count

    def predict(split: str, rows: np.ndarray) -> np.ndarray:
        images = prepare_images(splits[split].images[rows], comparison.source.device)
        return all_scores(model, images).argmax(1).cpu().numpy()

    def sample_correct(split: str, per_class: int) -> dict[int, np.ndarray]:
        labels = splits[split].labels.numpy()
        correct = {}
        for label in np.unique(labels).tolist():
            rows = random.permutation(np.flatnonzero(labels == label))[:per_class]
            correct[label] = rows[predict(split, rows) == label]
        return {label: rows for label, rows in correct.items() if len(rows)}

    enough = len(splits["val"].labels) >= 2 * (SCAN_COUNT + count)
    split = "val" if enough else comparison.selection.split
    rows = random.permutation(len(splits[split].labels))[: POOL_FACTOR * count]
    return Material(
        source=comparison.source,
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
    place = find_place(lambda place: own_gain(place) - any_gain(place))

    def alter(
        trial: str, split: str, rows: np.ndarray, before: np.ndarray, donors: np.ndarray, places: list[Window]
    ) -> dict[str, list]:
        return {
            "class_id": [class_id] * len(rows),
            "trial": [trial] * len(rows),
            "split": [split] * len(rows),
            "instance_id": rows.tolist(),
            "donor_id": donors.tolist(),
            "donor_class": material.source.data.splits["train"].labels[donors].tolist(),
            "patch_top": [place.top for place in places],
            "patch_left": [place.left for place in places],
            "patch_side": [place.side for place in places],
            "predicted_before": before.tolist(),
            "predicted_after": material.predict_pasted(split, rows, donors, places),
        }

    def elsewhere(size: int) -> list[Window]:
        apart = [window for window in windows(place.side) if not window.overlaps(place)]
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
