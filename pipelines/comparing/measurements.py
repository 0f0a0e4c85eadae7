"""The faithfulness of one method's maps, measured and committed part by part."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common.progress import work
from pipelines.comparing.comparison import Comparison, Part
from pipelines.explaining.maps.rows import AttributionBatch
from tracking import commits, runs
from tracking.index import ingest
from xai.faithfulness.measures import measure
from xai.faithfulness.randomization import cascade_stages, randomization_similarity
from xai.faithfulness.similarity import map_similarity
from xai.pointing import covers_all_parts, fraction_inside, point_inside
from xai.references import REFERENCES

BATCH = 50  # instances between two steps of the progress bar


def measure_part(comparison: Comparison, run: runs.Run, part: Part) -> None:
    """Measures a part and commits it, unless that is already done."""
    if part.name in commits.commits_by_unit(run.home, run.run_id):
        return
    selection = comparison.selection
    model = comparison.load_epoch(selection.epoch)
    images, targets = comparison.load_instances(part.instances)
    maps = comparison.read_maps(part, images, targets)
    if part.randomized:
        values = _measure_randomization(comparison, part, model, images, targets, maps)
    else:
        values = _measure_faithfulness(comparison, part, model, images, targets, maps)
    tables = {"attribution_scores": _score_columns(comparison, run, part, values)}
    if part.method in REFERENCES and not part.randomized:  # so that every question about maps covers them
        batch = AttributionBatch(
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
        tables["attributions"] = batch.columns(run.run_id, run.record.source)
    runs.commit_tables(run, part.name, tables, selection.epoch)
    ingest(run.home, [run.run_id])


def _measure_faithfulness(
    comparison: Comparison, part: Part, model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor
) -> dict[str, Tensor]:
    """Every measure of the maps as they are, [N] each."""
    batches: list[dict[str, Tensor]] = []
    with work(f"{part.method}, faithfulness", len(images), "images") as progress:
        for rows in torch.arange(len(images)).split(BATCH):
            inputs = comparison.method_inputs(part.instances[rows.numpy()])
            batches.append(measure(model, images[rows], targets[rows], maps[rows], inputs))
            progress.advance(len(rows))
    values = {metric: torch.cat([batch[metric] for batch in batches]) for metric in batches[0]}
    return values | _measure_pointing(comparison, part, maps)


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
