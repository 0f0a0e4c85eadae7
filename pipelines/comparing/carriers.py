"""Which images carry the patch that decides a class? Tried on the model, image by image, as table patch_carriers.

An image carries the patch if its pixels there do what those of the class's training images do: pasted into other
images, they make the model see the class. Nothing is assumed of how the patch looks, so tags and textures are judged
alike. Beside it, each image is predicted with the patch covered by pixels of other classes' images.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from pipelines.common.progress import track
from pipelines.comparing.patch_material import Material
from xai.gradient import all_scores
from xai.shortcuts import Window, follow_patches, paste

LEAST_EXCESS = 0.3  # by which a class's patch is followed more often than each control, as `study ask shortcuts` wants
RECIPIENT_COUNT = 8  # images that each image's patch is pasted into: those that follow the class's patches most
CANDIDATE_COUNT = 48  # images among which these are chosen
DONOR_COUNT = 8  # training images of the class, and of others, by which they are chosen
COVER_COUNT = 5  # images of other classes by which the patch is covered, each in turn
MOST_IMAGES = 1000  # of the class or predicted as it, and as many of the others
CHUNK = 32  # images at a time


def find_carriers(
    material: Material, trials: Mapping[str, list], compared: str, random: np.random.Generator
) -> dict[str, list]:
    """Columns of table patch_carriers, without the run's, for the classes whose patch is followed in the trials."""
    columns: dict[str, list] = defaultdict(list)
    labels = material.labels[compared].numpy()
    predicted = np.concatenate([
        all_scores(material.model, material.prepare(compared, rows)).argmax(1).cpu().numpy()
        for rows in np.array_split(np.arange(len(labels)), -(-len(labels) // CHUNK))
    ])  # fmt: skip
    for class_id, place in track(list(_list_decided(trials)), "carriers", "classes"):
        is_concerned = (labels == class_id) | (predicted == class_id)
        sampled = [random.permutation(np.flatnonzero(part))[:MOST_IMAGES] for part in (is_concerned, ~is_concerned)]
        rows = np.sort(np.concatenate(sampled))

        donors = random.permutation(material.donors[class_id])[:DONOR_COUNT]
        classes = np.full(COVER_COUNT + DONOR_COUNT, class_id)
        other_donors = material.choose_donors(classes, random, besides=class_id)
        other_patches = material.prepare("train", other_donors)
        candidates = material.prepare(material.split, material.rows[material.predicted != class_id][:CANDIDATE_COUNT])
        own_follow, others_follow = (
            follow_patches(material.model, patches, candidates, place, class_id).double().mean(0)
            for patches in (material.prepare("train", donors), other_patches[COVER_COUNT:])
        )
        recipients = candidates[(others_follow - own_follow).argsort(stable=True)[:RECIPIENT_COUNT]]
        for chunk in np.array_split(rows, -(-len(rows) // CHUNK)):
            shown = material.prepare(compared, chunk)
            follows = follow_patches(material.model, shown, recipients, place, class_id)
            covered = [
                all_scores(material.model, paste(shown, cover.expand_as(shown), [place] * len(shown))).softmax(1)
                for cover in other_patches[:COVER_COUNT]
            ]
            columns["instance_id"] += chunk.tolist()
            columns["n_following"] += follows.sum(1).tolist()
            columns["predicted_covered"] += torch.stack(covered).mean(0).argmax(1).tolist()
        columns["class_id"] += [class_id] * len(rows)
        columns["n_pasted"] += [len(recipients)] * len(rows)
    columns["split"] = [compared] * len(columns["class_id"])
    return columns


def _list_decided(trials: Mapping[str, list]) -> Iterator[tuple[int, Window]]:
    """The classes whose patch other images follow more often than its controls, each with the place."""
    names, classes = np.array(trials["trial"]), np.array(trials["class_id"])
    is_class = np.array(trials["predicted_after"]) == classes
    for class_id in np.unique(classes).tolist():
        pasted, *controls = (
            is_class[(classes == class_id) & (names == trial)].mean()
            for trial in ("pasted", "pasted_elsewhere", "pasted_from_others")
        )
        if pasted - max(controls) >= LEAST_EXCESS:
            first = np.flatnonzero((classes == class_id) & (names == "pasted"))[0]
            yield class_id, Window(*(trials[f"patch_{side}"][first] for side in ("top", "left", "side")))
