"""Concepts fitted on training images, and their number and all figures from images that are held out from that."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.common import progress
from pipelines.explaining.job import ConceptJob
from xai import ice
from xai.concept_count import STABLE, CountChoice, choose_count, measure_stability
from xai.cut import JUDGED_IMAGES, Cut, check_cut, cut_model
from xai.nmf import factorize
from xai.tcav import Tcav, score_concepts

FITTING_IMAGES = 2000  # training images that the concepts are fitted on
MAX_POSITIONS = 65_536  # of their layer outputs
HELD_OUT_IMAGES = 1000  # of the explained split: half choose the number of concepts, the other half judge them
COUNTS = (*range(2, 11), 12, 15, 20, 25, 30, 40)
TARGET_AGREEMENT = 0.9  # fraction of images that must keep their top class


@dataclass(frozen=True)
class ConceptSet:
    """Concepts of one epoch and what they do to N held-out images; k concepts, c channels."""

    directions: Tensor  # [k, c]
    stability: Tensor  # [k], how similar each is when found in other images, at most 1; NaN for too few images
    thresholds: Tensor  # [k], of scores
    scores: Tensor  # [N, k]
    tcav: Tcav
    fidelity: dict[str, ice.Fidelity]  # by reducer
    choice: CountChoice | None  # None where the user set the number
    answers_kept: float  # fraction of the judging images that keep their top class; NaN if there are none
    judging_images: int  # that neither the fit nor the choice of the number saw

    @property
    def present(self) -> Tensor:
        """Whether a concept is present in an image, [N, k]."""
        return self.scores >= self.thresholds

    @property
    def stable(self) -> Tensor:
        """Whether a concept comes back from other images, [k]; false where that is unknown."""
        return self.stability >= STABLE


def find_concepts(job: ConceptJob, instances: np.ndarray) -> ConceptSet:
    """Fit concepts on training images, choose their number on images of the explained split, score `instances`."""
    model = job.source.model
    seed = job.settings.seed
    parts = cut_model(model, job.layer)
    check_cut(model, parts, job.source.background[:JUDGED_IMAGES])

    generator = torch.Generator().manual_seed(seed)
    fitting_images, choosing_images, judging_images = _draw_images(job, generator)
    fitting_features = ice.extract_features(model, parts, job.images(fitting_images, "train"))
    rows = ice.flatten_positions(fitting_features)
    sampled = torch.randperm(len(rows), generator=generator)[:MAX_POSITIONS]
    rows = rows[sampled]
    weights = ice.position_weights(model, parts, fitting_features)
    weighted_rows = rows * weights.flatten()[sampled, None]

    if job.settings.concepts is None:
        choice, directions = _choose_count(job, parts, weighted_rows, choosing_images)
    else:
        choice = None
        directions = factorize(weighted_rows, job.settings.concepts, seed).directions
    answers_kept = math.nan
    if len(judging_images):
        features = ice.extract_features(model, parts, job.images(judging_images))
        logits = ice.head_logits(model, parts, features)
        answers_kept = _keep_answers(job, parts, features, logits, directions)
    weighted_features = fitting_features * weights[:, None]
    stability = measure_stability(weighted_features.flatten(2).mT, directions, seed)
    thresholds = ice.otsu_thresholds(ice.concept_maps(fitting_features, directions).mean((2, 3)))
    scores, tcav, fidelity = _score_held_out(job, parts, rows, directions, thresholds, instances)
    directions, stability, thresholds = directions.cpu(), stability.cpu(), thresholds.cpu()
    return ConceptSet(
        directions, stability, thresholds, scores, tcav, fidelity, choice, answers_kept, len(judging_images)
    )


def _draw_images(job: ConceptJob, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images to fit concepts on, of the training set, and to choose their number and judge them on, of the split."""
    splits = job.source.data.splits
    order = torch.randperm(len(splits["train"].labels), generator=generator)
    fitting = order[:FITTING_IMAGES]
    if job.settings.split == "train":
        fitting = fitting[: -(-len(order) // 2)]
        held_out = order[len(fitting) :]
    else:
        held_out = torch.randperm(len(splits[job.settings.split].labels), generator=generator)
    choosing, judging = held_out[:HELD_OUT_IMAGES].tensor_split(2)
    return fitting.numpy(), choosing.numpy(), judging.numpy()


def _choose_count(
    job: ConceptJob, parts: Cut, weighted_rows: Tensor, choosing_images: np.ndarray
) -> tuple[CountChoice, Tensor]:
    """The number of concepts, by the predictions that they keep on the choosing images, and their directions."""
    features = ice.extract_features(job.source.model, parts, job.images(choosing_images))
    logits = ice.head_logits(job.source.model, parts, features)
    directions: dict[int, Tensor] = {}
    with progress.work("choosing the number of concepts", None, "fits") as fits:

        def keep_answers(count: int) -> float:
            fits.advance()
            directions[count] = factorize(weighted_rows, count, job.settings.seed).directions
            return _keep_answers(job, parts, features, logits, directions[count])

        counts = list_counts(len(job.source.data.classes), min(weighted_rows.shape))
        choice = choose_count(counts, keep_answers, required_agreement(len(choosing_images)))
    return choice, directions[choice.count]


def list_counts(classes: int, most: int) -> list[int]:
    """The counts to choose from, at most `most`: one per class or more, as far as COUNTS and `most` go.

    With fewer, a model may still tell its classes apart, one of them by the absence of all others; but then concepts
    are mixtures of what decides single classes, and TCAV finds few of them.
    """
    possible = [count for count in COUNTS if count <= most]
    return [count for count in possible if count >= classes] or possible[-1:]


def required_agreement(images: int) -> float:
    """Agreement on this many images from which on a count is chosen: the target and a standard error of it.

    A count that only just meets the target on them would miss it on every other image set in half of all cases.
    """
    return min(1, TARGET_AGREEMENT + math.sqrt(TARGET_AGREEMENT * (1 - TARGET_AGREEMENT) / max(images, 1)))


def _keep_answers(job: ConceptJob, parts: Cut, features: Tensor, logits: Tensor, directions: Tensor) -> float:
    """Fraction of images with these features whose top class stays when the head sees the concepts alone."""
    kept = ice.reconstructed_logits(job.source.model, parts, features, ice.keep_concepts(directions))
    return ice.fidelity(logits, kept).agreement


def _score_held_out(
    job: ConceptJob, parts: Cut, rows: Tensor, directions: Tensor, thresholds: Tensor, instances: np.ndarray
) -> tuple[Tensor, Tcav, dict[str, ice.Fidelity]]:
    """Scores [N, k], sensitivities and reconstructions of the held-out images, batch by batch."""
    model = job.source.model
    seed = job.settings.seed
    labels = job.source.data.splits[job.settings.split].labels[instances]
    others = {name: fit(rows, len(directions), seed) for name, fit in ice.OTHER_REDUCERS.items()}
    reducers = {"nmf": ice.keep_concepts(directions)} | others
    batch_count = -(-len(instances) // job.settings.batch)
    batches = np.array_split(np.arange(len(instances)), batch_count)
    results = []
    for batch in progress.track(batches, "held-out images", "batches"):
        features = ice.extract_features(model, parts, job.images(instances[batch]))
        maps = ice.concept_maps(features, directions)
        gradients, contributions = ice.concept_sensitivities(
            model, parts, features, maps, directions, labels[batch].to(features.device)
        )
        reconstructed = [ice.reconstructed_logits(model, parts, features, reducer) for reducer in reducers.values()]
        logits = ice.head_logits(model, parts, features)
        result = (maps.mean((2, 3)), gradients, contributions, logits, *reconstructed)
        results.append([tensor.cpu() for tensor in result])

    # scores [N, k], gradients [N, c], contributions [N, k], all logits [N, K]
    scores, gradients, contributions, logits, *reconstructed = (
        torch.cat(parts) for parts in zip(*results, strict=True)
    )
    class_count = len(job.source.data.classes)
    present = scores >= thresholds.cpu()
    tcav = score_concepts(gradients, contributions, present, labels, class_count, directions.cpu(), rows.cpu(), seed)
    fidelity = {
        name: ice.fidelity(logits, logits_kept) for name, logits_kept in zip(reducers, reconstructed, strict=True)
    }
    return scores, tcav, fidelity
