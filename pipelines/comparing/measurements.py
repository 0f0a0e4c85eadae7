"""The faithfulness of one method's maps, measured and committed part by part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common import workers
from pipelines.common.progress import work
from pipelines.comparing.comparison import Comparison, Part
from pipelines.explaining.maps.rows import AttributionBatch
from pipelines.lifecycle import spreading
from pipelines.lifecycle.child_run import advise_to_resume
from pipelines.lifecycle.spreading import Shard
from tracking import commits, committing, runs
from tracking.index import ingest
from xai.faithfulness.measures import measure
from xai.faithfulness.randomization import cascade_stages, randomization_similarity
from xai.faithfulness.similarity import map_similarity
from xai.pointing import covers_all_parts, fraction_inside, point_inside
from xai.references import REFERENCES

BATCH = 50  # instances that are measured at once


@dataclass(frozen=True)
class Measured:
    """What was measured of one method on some instances."""

    values: dict[str, Tensor]  # [N] each, by metric
    made: AttributionBatch | None  # maps that no explainer run made: those of references


def list_shards(comparison: Comparison, run: runs.Run, part: Part) -> list[Shard]:
    """The batches in which a part is measured, the same in any process."""
    shards = []
    for number, start in enumerate(range(0, len(part.instances), BATCH)):
        batch = replace(part, instances=part.instances[start : start + BATCH])
        key = f"{run.run_id}-{part.name}-{number:03d}"
        shards.append(Shard(key, comparison.selection.epoch, measure_batch, (batch,)))
    return shards


def measure_part(comparison: Comparison, run: runs.Run, part: Part) -> None:
    """Measures a part and commits it, unless that is already done."""
    if part.name in commits.commits_by_unit(run.home, run.run_id):
        return
    if workers.current() is None:
        comparison.load_epoch(comparison.selection.epoch)
    kind = "other weights" if part.randomized else "faithfulness"
    batches: list[Measured] = []
    with work(f"{part.method}, {kind}", len(part.instances), "images") as progress:
        for shard in list_shards(comparison, run, part):
            [batch] = shard.arguments
            with progress.part(len(batch.instances)):
                batches.append(spreading.compute(comparison, shard, advise_to_resume(run)))
    values = {metric: torch.cat([batch.values[metric] for batch in batches]) for metric in batches[0].values}
    tables = {"attribution_scores": _score_columns(comparison, run, part, values)}
    if made := [batch.made for batch in batches if batch.made]:
        tables["attributions"] = AttributionBatch.concatenate(made).columns(run.run_id, run.record.source)
    committing.commit_tables(run, part.name, tables, comparison.selection.epoch)
    ingest(run.home, [run.run_id])


def measure_batch(comparison: Comparison, part: Part) -> Measured:
    """Measures a part that is no larger than a batch, with the weights of the epoch compared."""
    selection = comparison.selection
    model = comparison.source.model
    images, targets = comparison.load_instances(part.instances)
    maps = comparison.read_maps(part, images, targets)
    if part.randomized:
        values = _measure_randomization(comparison, part, model, images, targets, maps)
        return Measured(_on_cpu(values), None)
    inputs = comparison.method_inputs(part.instances)
    values = measure(model, images, targets, maps, inputs) | _measure_pointing(comparison, part, maps)
    if part.method not in REFERENCES:
        return Measured(_on_cpu(values), None)
    made = AttributionBatch(  # so that every question about maps covers them
        method=part.method,
        epoch=selection.epoch,
        split=selection.split,
        instances=part.instances,
        sampled=np.isin(part.instances, comparison.sampled),
        kind=selection.target,
        targets=targets.cpu(),
        logits=torch.empty(len(targets), 0),
        attribution=comparison.explain(part, model, images, targets).cpu(),
    )
    return Measured(_on_cpu(values), made)


def _on_cpu(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {metric: metric_values.cpu() for metric, metric_values in values.items()}


def _measure_pointing(comparison: Comparison, part: Part, maps: Tensor) -> dict[str, Tensor]:
    """Whether each map points at the deciding pixels, where the dataset knows them, and covers every part of them."""
    truth = comparison.source.data.splits[comparison.selection.split].truth
    if truth is None:
        return {}
    boxes = truth[part.instances].to(maps.device)  # [N, B, 4]
    glyphs, decoy = boxes[:, :-1], boxes[:, -1]
    points_at_glyph = torch.stack([point_inside(maps, glyph) for glyph in glyphs.unbind(1)]).any(0)
    values = {"points_at_glyph": points_at_glyph.float(), "points_at_decoy": point_inside(maps, decoy).float()}
    if glyphs.shape[1] == 1:
        return values
    shares = fraction_inside(maps, glyphs)  # [N, P]
    for number, share in enumerate(shares.unbind(1), start=1):
        values[f"share_part_{number}"] = share
    values["covers_all_parts"] = torch.where(shares.isnan().any(1), torch.nan, covers_all_parts(shares).float())
    return values


def _measure_randomization(
    comparison: Comparison, part: Part, model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor
) -> dict[str, Tensor]:
    """Similarity of the maps to those of randomized weights and of the untrained network, [N] each."""
    assert comparison.random_model is not None
    *stages, last_stage = cascade_stages(model, images)
    stages.append(replace(last_stage, name="everything"))
    with work(f"{part.method}, other weights", len(stages) + 1, "stages") as progress:

        def explain(randomized_model: nn.Module) -> Tensor:
            progress.advance()
            return comparison.explain(part, randomized_model, images, targets).maps

        values = randomization_similarity(model, comparison.random_model, tuple(stages), explain, maps)
        if comparison.selection.epoch == 0 or 0 not in comparison.source.epochs:  # then none is untrained
            return values
        untrained_maps = explain(comparison.load_epoch(0))
        comparison.load_epoch(comparison.selection.epoch)
    magnitude, signed = map_similarity(maps, untrained_maps)
    return values | {"epoch_0": magnitude, "epoch_0_signed": signed}


def _score_columns(comparison: Comparison, run: runs.Run, part: Part, values: dict[str, Tensor]) -> dict[str, Sequence]:
    """Columns of table `attribution_scores`; undefined values have no row."""
    instances: list[int] = []
    metrics: list[str] = []
    scores: list[float] = []
    for metric, metric_values in values.items():
        for instance, value in zip(part.instances.tolist(), metric_values.tolist(), strict=True):
            if not math.isnan(value):
                instances.append(instance)
                metrics.append(metric)
                scores.append(value)
    count = len(scores)
    return {
        "run_id": [run.run_id] * count,
        "source_run_id": [run.record.source] * count,
        "epoch": [comparison.selection.epoch] * count,
        "method": [part.method] * count,
        "split": [comparison.selection.split] * count,
        "instance_id": instances,
        "metric": metrics,
        "value": scores,
    }
