"""Columns of the tables concepts, concept_scores and tcav_scores."""

import numpy as np

from pipelines.explaining.concepts.concept_set import ConceptSet
from pipelines.explaining.concepts.names import NamedConcept
from xai.tcav import Tcav


def concepts(
    run_id: str, source_run_id: str, epoch: int, layer: str, found: ConceptSet, named: list[NamedConcept]
) -> dict:
    count = len(named)
    return {
        "run_id": [run_id] * count,
        "source_run_id": [source_run_id] * count,
        "epoch": np.full(count, epoch, np.int32),
        "layer": [layer] * count,
        "concept_id": np.arange(count, dtype=np.int32),
        "concept_key": [one.key for one in named],
        "vector": found.directions.numpy(),
        "threshold": found.thresholds.numpy(),
        "label": np.array([one.label for one in named], dtype=object),
        "description": [one.description for one in named],
    }


def scores(run_id: str, epoch: int, split: str, instances: np.ndarray, found: ConceptSet) -> dict:
    rows, count = found.scores.shape
    return {
        "run_id": [run_id] * (rows * count),
        "epoch": np.full(rows * count, epoch, np.int32),
        "split": [split] * (rows * count),
        "instance_id": np.repeat(instances.astype(np.int32), count),
        "concept_id": np.tile(np.arange(count, dtype=np.int32), rows),
        "score": found.scores.flatten().numpy(),
        "present": found.present.flatten().numpy(),
    }


def tcav_scores(run_id: str, epoch: int, found: Tcav) -> dict:
    """A row per concept and class with images; of others nothing is known."""
    concepts, classes = found.has_images.expand_as(found.prevalence).nonzero(as_tuple=True)  # [cells] each
    measures = ("prevalence", "tcav_sign", "tcav_magnitude", "contribution")
    return {
        "run_id": [run_id] * len(concepts),
        "epoch": np.full(len(concepts), epoch, np.int32),
        "concept_id": concepts.numpy().astype(np.int32),
        "class_id": classes.numpy().astype(np.int32),
        **{name: getattr(found, name)[concepts, classes].numpy() for name in measures},
        "p_value": found.p_values[concepts, classes].numpy(),
        "significant": found.significant[concepts, classes].numpy(),
    }
