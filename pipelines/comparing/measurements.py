"""The faithfulness of one method's maps, committed part by part."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipelines.comparing.comparison import Comparison, Unit
from pipelines.explaining.maps.rows import AttributionBatch
from tracking import commits, runs
from tracking.files import write_table
from tracking.index import ingest
from xai import Attribution
from xai.faithfulness.measures import measure
from xai.faithfulness.randomization import cascade_stages, randomization_similarity
from xai.faithfulness.similarity import map_similarity
from xai.pointing import point_inside
from xai.references import REFERENCES

BATCH = 50  # instances between two steps of the progress bar
TRUTH = ("glyph", "decoy")  # the boxes of a planted image, in order


def measure_unit(comparison: Comparison, run: runs.Run, unit: Unit) -> None:
    """Measure and commit, if that is not done yet."""
    if unit.name in commits.commits_by_unit(run.home, run.run_id):
        return
    model = comparison.load(comparison.chosen.epoch)
    images, targets = comparison.instances(unit.instances)
    maps = comparison.maps(unit, images, targets)
    values = (_again if unit.randomized else _as_they_are)(comparison, unit, model, images, targets, maps)
    tables = {"attribution_scores": _scores(comparison, run, unit, values)}
    if unit.method in REFERENCES and not unit.randomized:  # so that every question about maps covers them
        found = comparison.explain(unit, model, images, targets)
        tables["attributions"] = _reference(comparison, unit, targets, found).columns(run.run_id, run.record.source)
    with runs.staging_folder(run.home) as folder:
        files = {
            f"{table}/{unit.name}.parquet": write_table(folder / table / f"{unit.name}.parquet", columns)
            for table, columns in tables.items()
        }
        runs.commit(run, unit.name, files, {}, comparison.chosen.epoch)
    ingest(run.home, [run.run_id])


def _as_they_are(
    comparison: Comparison, unit: Unit, model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor
) -> dict[str, Tensor]:
    """Every measure of the maps, [N] each."""
    parts: list[dict[str, Tensor]] = []
    with tqdm(total=len(images), desc=f"{unit.method}, faithfulness", leave=False, disable=None, unit="image") as bar:
        for rows in torch.arange(len(images)).split(BATCH):
            inputs = comparison.method_inputs(unit.instances[rows.numpy()])
            parts.append(measure(model, images[rows], targets[rows], maps[rows], inputs))
            bar.update(len(rows))
    values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return values | _pointing(comparison, unit, maps)


def _pointing(comparison: Comparison, unit: Unit, maps: Tensor) -> dict[str, Tensor]:
    """Whether each map's maximum lies on what decides, where the data says what does."""
    truth = comparison.source.data.splits[comparison.chosen.split].truth
    if truth is None:
        return {}
    boxes = truth[unit.instances].to(maps.device)  # [N, 2, 4]
    return {f"points_at_{name}": point_inside(maps, boxes[:, place]).float() for place, name in enumerate(TRUTH)}


def _again(
    comparison: Comparison, unit: Unit, model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor
) -> dict[str, Tensor]:
    """How alike the maps are to those of randomized weights and of the untrained network, [N] each."""
    parts = cascade_stages(model, images)
    parts = (*parts[:-1], replace(parts[-1], name="everything"))
    with tqdm(total=len(parts) + 1, desc=f"{unit.method}, other weights", leave=False, disable=None) as bar:

        def explain(other: nn.Module) -> Tensor:
            bar.update()
            return comparison.explain(unit, other, images, targets).maps

        values = randomization_similarity(model, comparison.fresh(), parts, explain, maps)
        if comparison.chosen.epoch == 0:
            return values
        untrained = explain(comparison.load(0))
    magnitudes, signed = map_similarity(maps, untrained)
    return values | {"epoch_0": magnitudes, "epoch_0_signed": signed}


def _scores(comparison: Comparison, run: runs.Run, unit: Unit, values: dict[str, Tensor]) -> dict[str, Sequence]:
    """Columns of table `attribution_scores`; what is not defined has no row."""
    pairs = [
        (instance, metric, value)
        for metric, column in values.items()
        for instance, value in zip(unit.instances.tolist(), column.tolist(), strict=True)
        if value == value
    ]
    instances, metrics, found = zip(*pairs, strict=True)
    count = len(pairs)
    return {
        "run_id": [run.run_id] * count,
        "source_run_id": [run.record.source] * count,
        "epoch": [comparison.chosen.epoch] * count,
        "method": [unit.method] * count,
        "split": [comparison.chosen.split] * count,
        "instance_id": instances,
        "metric": metrics,
        "value": found,
    }


def _reference(comparison: Comparison, unit: Unit, targets: Tensor, found: Attribution) -> AttributionBatch:
    chosen = comparison.chosen
    return AttributionBatch(
        unit.method, chosen.epoch, chosen.split, unit.instances, chosen.target, targets.cpu(),
        torch.empty(len(targets), 0), found.cpu(),
    )  # fmt: skip
