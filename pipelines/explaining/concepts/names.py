"""What concepts are called: a key by their direction, a description from the data, a name if a user gave one."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import queries
from pipelines.explaining.concepts.concept_set import ConceptSet
from pipelines.explaining.concepts.words import describe
from pipelines.explaining.job import ConceptJob
from tracking.home import Home
from tracking.reading import connect
from xai import ice
from xai.cut import cut_model

SHOWN = 8  # instances with the highest scores, and as many with the lowest
SERVES = 1.5  # times the mean prevalence make a class one that the concept serves


@dataclass(frozen=True)
class Examples:
    """Instances that show a concept most, or least; T instances."""

    rows: np.ndarray  # [T] places among the held-out instances
    maps: Tensor  # [T, H, W] where the concept is, brought to the images' size


@dataclass(frozen=True)
class NamedConcept:
    """One concept's names and examples."""

    key: str
    label: str | None
    description: str
    highest: Examples
    lowest: Examples


def name_concepts(job: ConceptJob, home: Home, found: ConceptSet, instances: np.ndarray) -> list[NamedConcept]:
    """Names and examples of every concept, in their order."""
    labels = known_labels(home, job.layer.name, found.directions)
    named = []
    for concept, direction in enumerate(found.directions):
        order = found.scores[:, concept].argsort(descending=True, stable=True).numpy()
        highest, lowest = (_examples(job, found, instances, rows, concept) for rows in (order[:SHOWN], order[-SHOWN:]))
        text = describe(
            _served(job.source.data.classes, found.tcav.prevalence[concept]),
            job.images(instances[highest.rows]).cpu(), highest.maps,
            [f"#{instances[row]}" for row in highest.rows[:3]],
        )  # fmt: skip
        named.append(NamedConcept(ice.concept_key(direction), labels.get(concept), text, highest, lowest))
    return named


def known_labels(home: Home, layer: str, directions: Tensor) -> dict[int, str]:
    """Names that users gave to the same directions in earlier runs, by concept."""
    with connect(home) as connection:
        same_layer = {"layer": layer, "channels": directions.shape[1]}
        known = queries.execute(connection, "concept_names", same_layer).fetchall()
    if not known:
        return {}
    old = torch.tensor([vector for _, vector in known], dtype=directions.dtype)
    return {new: known[row][0] for row, new, _ in ice.match_directions(old, directions)}


def _examples(job: ConceptJob, found: ConceptSet, instances: np.ndarray, rows: np.ndarray, concept: int) -> Examples:
    images = job.images(instances[rows])
    features = ice.extract_features(job.source.model, cut_model(job.source.model, job.layer), images)
    maps = ice.concept_maps(features, found.directions)[:, concept, None]  # [T, 1, h, w]
    large = nn.functional.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
    return Examples(rows, large.squeeze(1).cpu())


def _served(classes: tuple[str, ...], prevalence: Tensor) -> list[tuple[str, float]]:
    """At most two classes that show the concept clearly more often than the mean class; NaN is no image to show it."""
    top, mean = prevalence.nan_to_num(-1).argsort(descending=True)[:2].tolist(), prevalence.nanmean()
    return [(classes[k], prevalence[k].item()) for k in top if prevalence[k] > SERVES * mean]
