"""Columns of the tables concepts, concept_scores and tcav_scores."""

import math

import numpy as np

from pipelines.explaining.concepts.concept_set import ConceptSet
from pipelines.explaining.concepts.names import NamedConcept
from xai.tcav import Tcav


def concept_columns(
    run_id: str, source_run_id: str, epoch: int, layer: str, concepts: ConceptSet, named: list[NamedConcept]
) -> dict:
    count = len(named)
    return {
        "run_id": [run_id] * count,
        "source_run_id": [source_run_id] * count,
        "epoch": np.full(count, epoch, np.int32),
        "layer": [layer] * count,
        "concept_id": np.arange(count, dtype=np.int32),
        "concept_key": [concept.key for concept in named],
        "vector": concepts.directions.numpy(),
        "threshold": concepts.thresholds.numpy(),
        "stability": np.array([None if math.isnan(value) else value for value in concepts.stability.tolist()], object),
        "label": np.array([concept.label for concept in named], dtype=object),
        "description": [concept.description for concept in named],
    }


def score_columns(run_id: str, epoch: int, split: str, instances: np.ndarray, concepts: ConceptSet) -> dict:
    instance_count, concept_count = concepts.scores.shape
    row_count = instance_count * concept_count
    return {
        "run_id": [run_id] * row_count,
        "epoch": np.full(row_count, epoch, np.int32),
        "split": [split] * row_count,
        "instance_id": np.repeat(instances.astype(np.int32), concept_count),
        "concept_id": np.tile(np.arange(concept_count, dtype=np.int32), instance_count),
        "score": concepts.scores.flatten().numpy(),
        "present": concepts.present.flatten().numpy(),
    }


def tcav_columns(run_id: str, epoch: int, tcav: Tcav) -> dict:
    """One row per concept and class with images, as nothing is known of the others."""
    concept_ids, class_ids = tcav.has_images.expand_as(tcav.prevalence).nonzero(as_tuple=True)  # [rows] each
    columns = {
        "run_id": [run_id] * len(concept_ids),
        "epoch": np.full(len(concept_ids), epoch, np.int32),
        "concept_id": concept_ids.numpy().astype(np.int32),
        "class_id": class_ids.numpy().astype(np.int32),
    }
    for measure in ("prevalence", "tcav_sign", "tcav_magnitude", "contribution", "alignment"):
        columns[measure] = getattr(tcav, measure)[concept_ids, class_ids].numpy()
    columns["p_value"] = tcav.p_values[concept_ids, class_ids].numpy()
    columns["significant"] = tcav.significant[concept_ids, class_ids].numpy()
    return columns
