"""Does a patch at one place decide a class? Tried on the model, class by class, and logged as table patch_trials.

Patches come from training images, where a shortcut would have been learned, and go into validation images, where the
other classes lack it as they do in training; in a test set they may not. Where there are too few, images of the split
compared are taken. A class's place is chosen on other images than it is tried on, so that the exact tests of
`study ask shortcuts` hold.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import cache

import numpy as np

from pipelines.common import workers
from pipelines.common.progress import track
from pipelines.comparing.carriers import find_carriers
from pipelines.comparing.comparison import Comparison
from pipelines.comparing.patch_material import SCAN_COUNT, Material, collect_material
from pipelines.lifecycle import spreading
from pipelines.lifecycle.child_run import advise_to_resume
from pipelines.lifecycle.spreading import Shard
from tracking import commits, committing, runs
from tracking.index import ingest
from xai.shortcuts import Window, find_place, windows

UNIT = "shortcuts"
MAX_CLASSES = 50  # of more, those with most training images are tried


def patch_shard(comparison: Comparison, run: runs.Run) -> Shard:
    """All trials at once, as one generator draws for every class."""
    return Shard(f"{run.run_id}-{UNIT}", comparison.selection.epoch, find_patches, ())


def try_patches(comparison: Comparison, run: runs.Run) -> None:
    """Tries each class's most effective patch and commits what followed, unless that is already done."""
    epoch = comparison.selection.epoch
    if not comparison.settings.shortcut_count or UNIT in commits.commits_by_unit(run.home, run.run_id):
        return
    if workers.current() is None:
        comparison.load_epoch(epoch)
    tables = spreading.compute(comparison, patch_shard(comparison, run), advise_to_resume(run))
    for columns in tables.values():
        size = len(columns["class_id"])
        columns |= {"run_id": [run.run_id] * size, "source_run_id": [run.record.source] * size, "epoch": [epoch] * size}
    committing.commit_tables(
        run, UNIT, {name: columns for name, columns in tables.items() if columns["class_id"]}, epoch
    )
    ingest(run.home, [run.run_id])


def find_patches(comparison: Comparison) -> dict[str, dict[str, list]]:
    """Columns of tables patch_trials and patch_carriers, without the run's, of the weights that are loaded."""
    settings, source = comparison.settings, comparison.source
    split, count = comparison.selection.split, settings.shortcut_count
    images = {name: part.images for name, part in source.data.splits.items()}
    labels = {name: part.labels for name, part in source.data.splits.items()}
    random = np.random.default_rng(settings.seed)
    material = collect_material(source.model, source.device, images, labels, split, count, random)
    trials = make_trials(material, count, random)
    return {"patch_trials": trials, "patch_carriers": find_carriers(material, trials, split, random)}


def make_trials(material: Material, count: int, random: np.random.Generator) -> dict[str, list]:
    """Columns of table patch_trials, without the run's.

    `count` images per class are tried; with fewer than two classes that are predicted correctly, none.
    """
    columns: dict[str, list] = defaultdict(list)
    if len(material.donors) < 2 or len(material.rows) == 0:
        return columns
    # where an object always lies at one place, every class gains there: that is not a shortcut of one class
    sample = slice(2 * SCAN_COUNT)
    mixed_donors = material.choose_donors(material.predicted[sample], random, besides=None)
    any_gain = cache(material.make_gain(material.rows[sample], mixed_donors))
    counts = np.bincount(material.labels["train"].numpy())
    most_frequent = sorted(material.donors, key=lambda class_id: (-counts[class_id], class_id))[:MAX_CLASSES]
    for class_id in track(sorted(most_frequent), "shortcuts", "classes"):
        for trial in _try_class(material, class_id, any_gain, count, random):
            for column, values in trial.items():
                columns[column] += values
    return columns


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
