"""Concepts fitted on training images, their number chosen on validation images, all figures from held-out images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pipelines.explaining.job import ConceptJob
from xai import ice
from xai.concept_count import CountChoice, choose_count
from xai.cut import JUDGED_IMAGES, Cut, check_cut, cut_model
from xai.nmf import Factors, factorize, project
from xai.tcav import Tcav, score_concepts

FITTING_IMAGES = 2000  # training images that the concepts are fitted on
MAX_POSITIONS = 65_536  # of their layer outputs
CHOICE_IMAGES = 500  # validation images by which the number of concepts is chosen
COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
TARGET_AGREEMENT = 0.9  # fraction of images that must keep their top class


@dataclass(frozen=True)
class ConceptSet:
    """Concepts of one epoch and what they do to N held-out images; k concepts, c channels."""

    directions: Tensor  # [k, c]
    thresholds: Tensor  # [k], of scores
    scores: Tensor  # [N, k]
    tcav: Tcav
    fidelity: dict[str, ice.Fidelity]  # by reducer
    choice: CountChoice | None  # None where the user set the number

    @property
    def present(self) -> Tensor:
        """Whether a concept is present in an image, [N, k]."""
        return self.scores >= self.thresholds


def find_concepts(job: ConceptJob, instances: np.ndarray) -> ConceptSet:
    """Fit concepts on training images, choose their number on validation images, and score held-out `instances`."""
    model = job.source.model
    seed = job.settings.seed
    parts = cut_model(model, job.layer)
    check_cut(model, parts, job.source.background[:JUDGED_IMAGES])

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(job.source.data.splits["train"].labels), generator=generator)
    fitting_features = ice.extract_features(model, parts, job.images(order[:FITTING_IMAGES].numpy(), "train"))
    rows = ice.flatten_positions(fitting_features)
    rows = rows[torch.randperm(len(rows), generator=generator)[:MAX_POSITIONS]]

    if job.settings.concepts is None:
        choice = _choose_count(job, parts, rows)
        count = choice.count
    else:
        choice = None
        count = job.settings.concepts
    directions = factorize(rows, count, seed).directions
    thresholds = ice.otsu_thresholds(ice.concept_maps(fitting_features, directions).mean((2, 3)))
    return _score_held_out(job, parts, rows, directions, thresholds, choice, instances)


def _choose_count(job: ConceptJob, parts: Cut, rows: Tensor) -> CountChoice:
    """The number of concepts, by their stability and by the predictions that they keep on validation images."""
    model = job.source.model
    image_count = min(CHOICE_IMAGES, len(job.source.data.splits["val"].labels))
    features = ice.extract_features(model, parts, job.images(np.arange(image_count), "val"))
    logits = ice.head_logits(model, parts, features)
    counts = [count for count in COUNTS if count <= min(rows.shape)]
    with tqdm(total=len(counts), desc="number of concepts", leave=False, disable=None) as progress:

        def agreement(factors: Factors) -> float:
            progress.update()
            reconstructed_rows = project(ice.flatten_positions(features), factors.directions) @ factors.directions
            reconstructed_features = ice.unflatten_positions(reconstructed_rows, features)
            return ice.fidelity(logits, ice.head_logits(model, parts, reconstructed_features)).agreement

        return choose_count(rows, counts, agreement, TARGET_AGREEMENT, job.settings.seed)


def _score_held_out(
    job: ConceptJob, parts: Cut, rows: Tensor, directions: Tensor, thresholds: Tensor, choice: CountChoice | None,
    instances: np.ndarray,
) -> ConceptSet:  # fmt: skip
    """Scores, sensitivities and reconstructions of the held-out images, batch by batch."""
    model = job.source.model
    seed = job.settings.seed
    labels = job.source.data.splits[job.settings.split].labels[instances]
    reducers = [fit(rows, len(directions), seed) for fit in ice.REDUCERS.values()]
    batch_count = -(-len(instances) // job.settings.batch)
    batches = np.array_split(np.arange(len(instances)), batch_count)
    results = []
    for batch in tqdm(batches, "ice, held-out images", leave=False, disable=None, unit="batch"):
        features = ice.extract_features(model, parts, job.images(instances[batch]))
        maps = ice.concept_maps(features, directions)
        gradients, contributions = ice.concept_sensitivities(
            model, parts, features, maps, directions, labels[batch].to(features.device)
        )
        reconstructed = [ice.reconstructed_logits(model, parts, features, reducer) for reducer in reducers]
        logits = ice.head_logits(model, parts, features)
        result = (maps.mean((2, 3)), gradients, contributions, logits, *reconstructed)
        results.append([tensor.cpu() for tensor in result])

    # scores [N, k], gradients [N, c], contributions [N, k], all logits [N, K]
    scores, gradients, contributions, logits, *reconstructed = (
        torch.cat(parts) for parts in zip(*results, strict=True)
    )
    class_count = len(job.source.data.classes)
    present = scores >= thresholds
    tcav = score_concepts(gradients, contributions, present, labels, class_count, directions, rows, seed)
    fidelity = {
        name: ice.fidelity(logits, logits_kept) for name, logits_kept in zip(ice.REDUCERS, reconstructed, strict=True)
    }
    return ConceptSet(directions, thresholds, scores, tcav, fidelity, choice)
