"""What concepts are called: a key from their direction, a description from the data, a label if a user gave one."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import queries
from pipelines.explaining.concepts.concept_set import ConceptSet
from pipelines.explaining.concepts.words import describe
from pipelines.explaining.job import ConceptJob
from tracking.home import Home
from tracking.reading import connect
from xai import ice
from xai.cut import cut_model
from xai.method import enlarge_maps

EXAMPLE_COUNT = 8  # instances with the highest scores, and as many with the lowest
SERVED_RATIO = 1.5  # a concept serves a class in which it is this many times as prevalent as on average


@dataclass(frozen=True)
class Examples:
    """The T instances with a concept's highest, or lowest, scores."""

    rows: np.ndarray  # [T] positions among the held-out instances
    maps: Tensor  # [T, H, W] the concept's activation, resized to the images' size


@dataclass(frozen=True)
class NamedConcept:
    """One concept's names and examples."""

    key: str
    label: str | None
    description: str
    highest: Examples
    lowest: Examples


def name_concepts(job: ConceptJob, home: Home, concepts: ConceptSet, instances: np.ndarray) -> list[NamedConcept]:
    """Names and examples of every concept, in their order."""
    labels = adopted_labels(home, job.layer.name, concepts.directions)
    classes = job.source.data.classes
    named = []
    for concept_id, direction in enumerate(concepts.directions):
        order = concepts.scores[:, concept_id].argsort(descending=True, stable=True).numpy()
        highest = _examples(job, concepts, instances, order[:EXAMPLE_COUNT], concept_id)
        lowest = _examples(job, concepts, instances, order[-EXAMPLE_COUNT:], concept_id)

        prevalence = concepts.tcav.prevalence[concept_id]  # [K], NaN for a class without images
        top_classes = prevalence.nan_to_num(-1).argsort(descending=True)[:2].tolist()
        threshold = SERVED_RATIO * prevalence.nanmean()
        served = [
            (classes[class_id], prevalence[class_id].item())
            for class_id in top_classes
            if prevalence[class_id] > threshold
        ]
        images = job.images(instances[highest.rows]).cpu()
        instance_names = [f"#{instances[row]}" for row in highest.rows[:3]]
        description = describe(served, images, highest.maps, instance_names)
        key = ice.concept_key(direction)
        named.append(NamedConcept(key, labels.get(concept_id), description, highest, lowest))
    return named


def adopted_labels(home: Home, layer: str, directions: Tensor) -> dict[int, str]:
    """Labels that users gave to the same directions in earlier runs, by concept_id."""
    with connect(home) as connection:
        same_layer = {"layer": layer, "channels": directions.shape[1]}
        labelled = queries.execute(connection, "concept_names", same_layer).fetchall()
    if not labelled:
        return {}
    labelled_directions = torch.tensor([vector for _, vector in labelled], dtype=directions.dtype)
    matches = ice.match_directions(labelled_directions, directions)
    return {concept_id: labelled[row][0] for row, concept_id, _ in matches}


def _examples(
    job: ConceptJob, concepts: ConceptSet, instances: np.ndarray, rows: np.ndarray, concept_id: int
) -> Examples:
    images = job.images(instances[rows])
    features = ice.extract_features(job.source.model, cut_model(job.source.model, job.layer), images)
    maps = ice.concept_maps(features, concepts.directions.to(features.device))[:, concept_id]  # [T, h, w]
    height, width = images.shape[2:]
    return Examples(rows, enlarge_maps(maps, (height, width), job.source.model.normalise.seen).cpu())
