"""Concepts fitted on training images, their number chosen on validation images, every figure made on held-out ones."""

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

FIT = 2000  # training images the concepts are fitted on
ROWS = 65_536  # places of them at the most
CHOOSE = 500  # validation images by which their number is chosen
COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
TARGET = 0.9  # share of images that must keep their top class


@dataclass(frozen=True)
class ConceptSet:
    """Concepts of one epoch and what they do to N held-out images; k concepts, K classes."""

    directions: Tensor  # [k, c]
    thresholds: Tensor  # [k]
    scores: Tensor  # [N, k]
    tcav: Tcav
    fidelity: dict[str, ice.Fidelity]  # by reducer
    choice: CountChoice | None  # None where the user set the number

    @property
    def present(self) -> Tensor:
        return self.scores >= self.thresholds


def find(job: ConceptJob, instances: np.ndarray) -> ConceptSet:
    """Fit on training images, choose their number on validation images, and look at held-out ones."""
    model, parts = job.source.model, cut_model(job.source.model, job.layer)
    check_cut(model, parts, job.source.background[:JUDGED_IMAGES])
    random = torch.Generator().manual_seed(job.settings.seed)
    drawn = torch.randperm(len(job.source.data.splits["train"].labels), generator=random)[:FIT].numpy()
    fitted = ice.extract_features(model, parts, job.images(drawn, "train"))
    rows = ice.flatten_positions(fitted)
    rows = rows[torch.randperm(len(rows), generator=random)[:ROWS]]
    count, choice = job.settings.concepts, None
    if count is None:
        choice = _choose(job, parts, rows)
        count = choice.count
    factors = factorize(rows, count, job.settings.seed)
    limits = ice.otsu_thresholds(ice.concept_maps(fitted, factors.directions).mean((2, 3)))
    return _look(job, parts, rows, factors.directions, limits, choice, instances)


def _choose(job: ConceptJob, parts: Cut, rows: Tensor) -> CountChoice:
    """The number of concepts by their stability and by what the model keeps on validation images."""
    model, split = job.source.model, job.source.data.splits["val"]
    features = ice.extract_features(model, parts, job.images(np.arange(min(CHOOSE, len(split.labels))), "val"))
    logits = ice.head_logits(model, parts, features)
    counts = [count for count in COUNTS if count <= min(rows.shape)]
    with tqdm(total=len(counts), desc="number of concepts", leave=False, disable=None) as bar:

        def agreement(factors: Factors) -> float:
            bar.update()
            kept = project(ice.flatten_positions(features), factors.directions) @ factors.directions
            reconstruction = ice.head_logits(model, parts, ice.unflatten_positions(kept, features))
            return ice.fidelity(logits, reconstruction).agreement

        return choose_count(rows, counts, agreement, TARGET, job.settings.seed)


def _look(
    job: ConceptJob, parts: Cut, rows: Tensor, directions: Tensor, limits: Tensor, choice: CountChoice | None,
    instances: np.ndarray,
) -> ConceptSet:  # fmt: skip
    """Scores, sensitivities and reconstructions of the held-out images, a batch at a time."""
    seed, labels = job.settings.seed, job.source.data.splits[job.settings.split].labels[instances]
    reducers = [fit(rows, len(directions), seed) for fit in ice.REDUCERS.values()]
    batches = np.array_split(np.arange(len(instances)), -(-len(instances) // job.settings.batch))
    seen = [
        _look_at(job, parts, directions, reducers, instances[batch], labels[batch])
        for batch in tqdm(batches, "ice, held-out images", leave=False, disable=None, unit="batch")
    ]
    scores, gradients, carried, logits, *others = (torch.cat(part) for part in zip(*seen, strict=True))
    classes = len(job.source.data.classes)
    tested = score_concepts(gradients, carried, scores >= limits, labels, classes, directions, rows, seed)
    kept = {name: ice.fidelity(logits, other) for name, other in zip(ice.REDUCERS, others, strict=True)}
    return ConceptSet(directions, limits, scores, tested, kept, choice)


def _look_at(
    job: ConceptJob,
    parts: Cut,
    directions: Tensor,
    reducers: list[ice.Reconstruct],
    instances: np.ndarray,
    labels: Tensor,
) -> tuple[Tensor, ...]:
    """Of n images: scores [n, k], gradients [n, c], parts carried [n, k], logits [n, K], and each reducer's [n, K]."""
    model, features = job.source.model, ice.extract_features(job.source.model, parts, job.images(instances))
    maps = ice.concept_maps(features, directions)
    sensitivities = ice.concept_sensitivities(model, parts, features, maps, directions, labels.to(features.device))
    logits = ice.head_logits(model, parts, features)
    others = [ice.reconstructed_logits(model, parts, features, reconstruct) for reconstruct in reducers]
    return tuple(part.cpu() for part in (maps.mean((2, 3)), *sensitivities, logits, *others))
