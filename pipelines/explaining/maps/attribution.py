"""Maps of an epoch's instances, committed part by part, so that memory stays bounded and a stop loses little."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import queries
from pipelines.common.figures import pixels
from pipelines.common.terminal import say
from pipelines.explaining.job import Job, target_class
from pipelines.explaining.maps import heatmaps
from pipelines.explaining.maps.rows import AttributionBatch, target_kind
from tracking import commits, models, runs
from tracking.errors import InputError
from tracking.files import write_table
from tracking.index import ingest
from tracking.reading import connect
from xai import METHODS, Attribution, NotApplicable
from xai.gradient import GPU_LOGIT_TOLERANCE, check_deterministic, nearly_equal

PART = 1000  # instances a commit
STEADY = 4  # images on which the model's steadiness is tried
SUMMARY = ("n", "mean_score", "mean_abs_delta", "n_wide_gaps", "n_zero", "share_against")
NOTE = (
    "Full maps: `attributions/`; heatmaps beside their images: `heatmaps/`; the same instances under the same image "
    "key in every explainer run: `heatmap/...`."
)


def probe(job: Job) -> None:
    """Try the method on one instance. Raises InputError where it cannot be right for the model."""
    epoch, instances = next(iter(job.source.instances.items()))
    job.load(epoch)
    try:
        check_deterministic(job.source.model, job.source.background[:STEADY])
        _explain_batch(job, epoch, instances[:1])
    except NotApplicable as error:
        raise InputError(f"{job.method}: {error}") from None


def explain_epoch(job: Job, run: runs.Run, epoch: int) -> None:
    """What of an epoch is not committed yet."""
    unit, instances = f"{job.method}_epoch_{epoch:04d}", job.source.instances[epoch]
    done = commits.epoch_commits(run.home, run.run_id)
    if unit in done:
        models.log_explained_as(run, done[unit], job.method)  # a crash may have come before it
        return
    job.load(epoch)
    with tqdm(
        total=len(instances), desc=f"{job.method}, epoch {epoch}", leave=False, disable=None, unit="image"
    ) as bar:
        for number, rows in enumerate(np.array_split(instances, -(-len(instances) // PART))):
            if (part := f"{unit}_part_{number:03d}") not in done:
                _commit_part(job, run, part, list(_explain_part(job, epoch, rows, bar)), pages=number == 0)
            else:
                bar.update(len(rows))
    _finish_epoch(job, run, epoch, unit)


def _explain_part(job: Job, epoch: int, rows: np.ndarray, bar: tqdm) -> Iterator[list[AttributionBatch]]:
    for batch in np.array_split(rows, -(-len(rows) // job.settings.batch)):
        yield _explain_batch(job, epoch, batch)
        bar.update(len(batch))


def _explain_batch(job: Job, epoch: int, rows: np.ndarray) -> list[AttributionBatch]:
    """Maps of one batch, for every kind of target."""
    images, labels = job.images(rows), job.source.data.splits[job.settings.split].labels[rows]
    with torch.inference_mode():
        logits = job.source.model.eval()(images).cpu()
    found: list[AttributionBatch] = []
    for kind in job.settings.target:
        targets = _targets(job, kind, logits, labels)
        attribution = _attribution(job, images, rows, logits, targets, found[0] if found else None)
        found.append(AttributionBatch(job.method, epoch, job.settings.split, rows, kind, targets, logits, attribution))
    return found


def _targets(job: Job, kind: str, logits: Tensor, labels: Tensor) -> Tensor:
    """class_id [N] whose score is explained."""
    fixed = target_class(kind, job.source.data.classes)
    if fixed is not None:
        return torch.full_like(labels, fixed)
    return labels if kind == "label" else logits.argmax(1)


def _attribution(
    job: Job, images: Tensor, rows: np.ndarray, logits: Tensor, targets: Tensor, known: AttributionBatch | None
) -> Attribution:
    """The method's maps; those of `known` where it explains the same class."""
    new = torch.ones(len(rows), dtype=torch.bool) if known is None else targets != known.targets
    if known is not None and not new.any():
        return known.attribution
    explain, device = METHODS[job.method].attribute, job.source.device
    found = explain(
        job.source.model, images[new.to(device)], targets[new].to(device), job.method_inputs(rows[new.numpy()])
    )
    _check_scores(job, found, logits[new].gather(1, targets[new, None]).squeeze(1))
    return found.cpu() if known is None else known.attribution.replace_rows(new, found.cpu())


def _check_scores(job: Job, found: Attribution, scores: Tensor) -> None:
    """Raise NotApplicable unless a method explains what the model predicts, [N] logits: a model cut in two may not."""
    if not nearly_equal(found.scores.cpu(), scores, GPU_LOGIT_TOLERANCE):
        where = f" when it is cut at layer {job.settings.layer!r}; name another" if job.layer else ""
        raise NotApplicable(f"the model computes other logits than it predicts with{where}")


def _commit_part(job: Job, run: runs.Run, part: str, batches: list[list[AttributionBatch]], *, pages: bool) -> None:
    by_kind = [AttributionBatch.concatenate(of_kind) for of_kind in zip(*batches, strict=True)]
    _log_pictures(job, run, by_kind, pages=pages)
    columns = [found.columns(run.run_id, job.source.record.run_id) for found in by_kind]
    with runs.staging(run.home) as folder:
        table = {name: _one_after_the_other([some[name] for some in columns]) for name in columns[0]}
        file = write_table(folder / f"{part}.parquet", table)
        runs.commit(run, part, {f"attributions/{part}.parquet": file}, {}, by_kind[0].epoch)
    ingest(run.home, [run.run_id])


def _one_after_the_other(parts: list) -> list | np.ndarray:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [value for part in parts for value in part]


def _log_pictures(job: Job, run: runs.Run, by_kind: list[AttributionBatch], *, pages: bool) -> None:
    """Pages of heatmaps, and the curated instances under one image key across methods and epochs."""
    first, source = by_kind[0], job.source
    shown = heatmaps.Shown.of(source.data.splits[first.split], source.data.classes, by_kind, METHODS[job.method].signed)
    title = f"{job.method}, epoch {first.epoch}"
    for number, figure in enumerate(heatmaps.pages(shown, f"{title}, {source.record.name}") if pages else []):
        runs.log_picture(run, pixels(figure), f"heatmaps/epoch_{first.epoch:04d}_page_{number + 1:02d}.png")
    for row in np.flatnonzero(np.isin(first.instances, job.curated())).tolist():
        key = f"heatmap/{first.split.replace(':', '_')}_{first.instances[row]:05d}"  # MLflow takes no colon in a key
        runs.log_image(run, pixels(heatmaps.single(shown, row, title)), key, first.epoch)


def _finish_epoch(job: Job, run: runs.Run, epoch: int, unit: str) -> None:
    """The epoch's summary, as metrics of the run and of the epoch's model."""
    row = _summary(job, run, epoch)
    metrics = {key: float(value) for key, value in row.items() if key in SUMMARY and value is not None}
    commit = runs.commit(run, unit, {}, metrics, epoch)
    models.log_explained_as(run, commit, job.method)
    ingest(run.home, [run.run_id])
    if wide := row["n_wide_gaps"]:
        say(f"{job.method}, epoch {epoch}: {wide} of {row['n']} maps miss the score's rise by over 1 % (column delta)")
    if zero := row["n_zero"]:
        say(f"{job.method}, epoch {epoch}: {zero} of {row['n']} maps are zero everywhere")


def _summary(job: Job, run: runs.Run, epoch: int) -> dict:
    """The epoch's row of the question `explained`, for the first kind of target."""
    with connect(run.home) as connection:
        answer = queries.run(connection, "explained", {"run_id": job.source.record.run_id})
    wanted = (run.run_id, epoch, target_kind(job.settings.target[0]))
    [row] = [row for row in answer.dicts if (row["explainer_run_id"], row["epoch"], row["target_kind"]) == wanted]
    return row
