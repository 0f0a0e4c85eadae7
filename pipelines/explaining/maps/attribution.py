"""Attribution maps of an epoch's instances, committed in parts, so that memory is bounded and little is lost."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

import queries
from pipelines.common import progress, workers
from pipelines.common.figures import render_figure
from pipelines.common.metrics import MEANINGS as COMPARED
from pipelines.common.terminal import say
from pipelines.explaining.job import Job, open_recorded_job, target_class
from pipelines.explaining.maps import heatmaps
from pipelines.explaining.maps.rows import AttributionBatch, target_kind
from pipelines.lifecycle import spreading
from pipelines.lifecycle.child_run import advise_to_resume
from pipelines.lifecycle.spreading import Opening, Shard
from tracking import commits, committing, display, models, runs
from tracking.errors import InputError
from tracking.index import ingest
from tracking.reading import connect
from xai import METHODS, Attribution, NotApplicable
from xai.gradient import GPU_LOGIT_TOLERANCE, check_deterministic, nearly_equal
from xai.method import compute_passes_in

PART_SIZE = 1000  # instances per commit
PROBE_IMAGES = 4  # images on which the model is checked to be deterministic
SUMMARY_METRICS = ("mean_score", "mean_abs_delta", "n_wide_gaps", "n_zero", "share_against")
MEANINGS = {name: queries.header("explained").returns[name] for name in SUMMARY_METRICS} | COMPARED
NOTE = (
    "Full maps: `attributions/`; heatmaps beside their images: `heatmaps/`; the same instances under the same image "
    "key in every explainer run: `heatmap/...`."
)


def probe(job: Job) -> None:
    """Try the method on one instance. Raises InputError if it is not applicable to the model."""
    epoch, instances = next(iter(job.source.instances.items()))
    job.load(epoch)
    try:
        check_deterministic(job.source.model, job.source.background[:PROBE_IMAGES])
        explain_batch(job, epoch, instances[:1])
    except NotApplicable as error:
        raise InputError(f"{job.method}: {error}") from None


def begin(job: Job, run: runs.Run) -> None:
    """Let the workers, if there are any, start on all batches of a run that are not committed yet."""
    finished = commits.commits_by_unit(run.home, run.run_id)
    shards: list[Shard] = []
    for epoch in job.source.epochs:
        for part, _, part_shards in list_parts(job, run, epoch):
            if part not in finished:
                shards += part_shards
    # as if all epochs were finished: a worker verifies the weights of those that it needs
    opening = Opening(run.home, run.run_id, open_recorded_job, (job.settings.data, tuple(job.source.epochs)))
    spreading.begin(opening, shards)


def explain_epoch(job: Job, run: runs.Run, epoch: int) -> None:
    """Explain the parts of an epoch that are not committed yet, then commit the epoch."""
    unit = f"{job.method}_epoch_{epoch:04d}"
    finished = commits.epoch_commits(run.home, run.run_id)
    if unit in finished:
        # again, as a crash may have come between the commit and this
        models.log_explained(run, finished[unit])
        return

    if workers.current() is None:
        job.load(epoch)
    with progress.work(f"epoch {epoch}", len(job.source.instances[epoch]), "images") as images:
        for number, (part, instances, shards) in enumerate(list_parts(job, run, epoch)):
            if part in finished:
                images.advance(len(instances))
                continue
            batches: list[list[AttributionBatch]] = []
            for shard in shards:
                batches.append(spreading.compute(job, shard, advise_to_resume(run)))
                images.advance(len(batches[-1][0].instances))
            _commit_part(job, run, part, batches, draw_pages=number == 0)
    _commit_epoch(job, run, epoch, unit)


def list_parts(job: Job, run: runs.Run, epoch: int) -> Iterator[tuple[str, np.ndarray, list[Shard]]]:
    """The parts in which an epoch is committed: unit, instances [N], and their batches; the same in any process."""
    instances = job.source.instances[epoch]
    part_count = -(-len(instances) // PART_SIZE)  # rounded up
    for number, part_instances in enumerate(np.array_split(instances, part_count)):
        part = f"{job.method}_epoch_{epoch:04d}_part_{number:03d}"
        batch_count = -(-len(part_instances) // job.settings.batch)
        shards = []
        for place, batch in enumerate(np.array_split(part_instances, batch_count)):
            key = f"{run.run_id}-{part}-{place:03d}"  # one run has one method and settings
            shards.append(Shard(key, epoch, explain_batch, (epoch, batch)))
        yield part, part_instances, shards


def explain_batch(job: Job, epoch: int, instances: np.ndarray) -> list[AttributionBatch]:
    """Maps of instances [N], one batch of them per kind of target.

    Raises NotApplicable if the method explains other logits than the model predicts.
    """
    images = job.images(instances)
    labels = job.source.data.splits[job.settings.split].labels[instances]
    sampled = job.find_sampled(instances)
    with torch.inference_mode():
        logits = job.source.model.eval()(images).cpu()

    batches: list[AttributionBatch] = []
    for kind in job.settings.target:
        class_id = target_class(kind, job.source.data.classes)
        if class_id is not None:
            targets = torch.full_like(labels, class_id)
        elif kind == "label":
            targets = labels
        else:
            targets = logits.argmax(1)

        if not batches:
            attribution = _attribute(job, images, instances, logits, targets)
        else:
            # a map of the same class is the same map
            attribution = batches[0].attribution
            differs = targets != batches[0].targets
            if differs.any():
                differing_images = images[differs.to(images.device)]
                differing_instances = instances[differs.numpy()]
                recomputed = _attribute(job, differing_images, differing_instances, logits[differs], targets[differs])
                attribution = attribution.replace_rows(differs, recomputed)
        split = job.settings.split
        batches.append(
            AttributionBatch(job.method, epoch, split, instances, sampled, kind, targets, logits, attribution)
        )
    return batches


def _attribute(job: Job, images: Tensor, instances: np.ndarray, logits: Tensor, targets: Tensor) -> Attribution:
    """The method's attribution on the CPU. Raises NotApplicable unless its scores are the model's logits [N, K]."""
    attribute = METHODS[job.method].attribute
    with compute_passes_in(job.pass_type):
        attribution = attribute(job.source.model, images, targets.to(images.device), job.method_inputs(instances)).cpu()
    predicted_scores = logits.gather(1, targets[:, None]).squeeze(1)
    if not nearly_equal(attribution.scores, predicted_scores, GPU_LOGIT_TOLERANCE):
        # a model cut in two at a layer may skip what its own forward does
        where = f" when it is cut at layer {job.settings.layer!r}; name another" if job.layer else ""
        raise NotApplicable(f"the model computes other logits than it predicts with{where}")
    return attribution


def _commit_part(
    job: Job, run: runs.Run, part: str, batches: list[list[AttributionBatch]], *, draw_pages: bool
) -> None:
    """Commit the rows of table `attributions` and log the heatmaps of a part's batches."""
    by_kind = [AttributionBatch.concatenate(batches_of_kind) for batches_of_kind in zip(*batches, strict=True)]
    _log_heatmaps(job, run, by_kind, draw_pages=draw_pages)
    columns_by_kind = [batch.columns(run.run_id, job.source.record.run_id) for batch in by_kind]
    table: dict[str, list | np.ndarray] = {}
    for name, first in columns_by_kind[0].items():
        values = [columns[name] for columns in columns_by_kind]
        table[name] = np.concatenate(values) if isinstance(first, np.ndarray) else list(chain.from_iterable(values))
    committing.commit_tables(run, part, {"attributions": table}, by_kind[0].epoch)
    ingest(run.home, [run.run_id])


def _log_heatmaps(job: Job, run: runs.Run, by_kind: list[AttributionBatch], *, draw_pages: bool) -> None:
    """Pages of heatmaps, and the curated instances under one image key across methods and epochs."""
    first = by_kind[0]
    data = job.source.data
    explained = heatmaps.ExplainedImages.of(data.splits[first.split], data.classes, by_kind, METHODS[job.method].signed)
    title = f"{job.method}, epoch {first.epoch}"
    if draw_pages:
        for number, figure in enumerate(heatmaps.pages(explained, f"{title}, {job.source.record.name}"), start=1):
            display.log_picture(run, render_figure(figure), f"heatmaps/epoch_{first.epoch:04d}_page_{number:02d}.png")
    for row in np.flatnonzero(np.isin(first.instances, job.source.pictured)).tolist():
        key = heatmaps.picture_key(data.splits[first.split], first.split, first.instances[row], data.classes)
        for number, target in enumerate(job.settings.target):
            folder = "heatmap" if number == 0 else f"heatmap_{_target_name(job, target)}"
            picture = heatmaps.tile(explained.images[row], explained.maps[row, number], explained.signed)
            display.log_image(run, picture, f"{folder}/{key}", first.epoch)


def _target_name(job: Job, target: str) -> str:
    """A target as part of an image's key, in which MLflow accepts few characters."""
    class_id = target_class(target, job.source.data.classes)
    return target if class_id is None else f"class_{class_id}"


def _commit_epoch(job: Job, run: runs.Run, epoch: int, unit: str) -> None:
    """Log the epoch's summary, the row of the question `explained`, as metrics of the run."""
    with connect(run.home, run_ids=[run.run_id]) as connection:
        answer = queries.run(connection, "explained", {"run_id": job.source.record.run_id})
    key = (run.run_id, epoch, target_kind(job.settings.target[0]))
    [summary] = [row for row in answer.dicts if (row["explainer_run_id"], row["epoch"], row["target_kind"]) == key]
    metrics = {name: float(summary[name]) for name in SUMMARY_METRICS if summary[name] is not None}
    # n is the same at every epoch, and tag study.n has it, so that no chart of MLflow need show it
    commit = committing.commit(run, unit, {}, metrics, epoch, {"n": float(summary["n"])})
    models.log_explained(run, commit)
    ingest(run.home, [run.run_id])

    prefix = f"{job.method}, epoch {epoch}:"
    if summary["n_wide_gaps"]:
        say(
            f"{prefix} {summary['n_wide_gaps']} of {summary['n']} maps miss the rise of the score by over 1 % "
            "(column delta)"
        )
    if summary["n_zero"]:
        say(f"{prefix} {summary['n_zero']} of {summary['n']} maps are zero everywhere")
