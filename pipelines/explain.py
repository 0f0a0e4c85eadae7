"""Explainer jobs: checkpoints and data by run ID in, maps, scores and heatmaps back to a run of their own."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipelines import hardware, heatmaps
from pipelines.attributions import Explained
from pipelines.checkpoints import load_model
from pipelines.datasets import Dataset
from pipelines.figures import pixels
from pipelines.model import build_model
from pipelines.predictions import to_model
from pipelines.recorded import checkpoint, load_data, recorded_settings, say
from pipelines.selection import choose_epochs, choose_instances
from pipelines.settings import ExplainSettings
from tracking import catalogue, commits, models, runs
from tracking.commits import Commit
from tracking.environment import environment
from tracking.errors import InputError
from tracking.files import write_json, write_table
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect
from xai import METHODS

CURATED = 8  # instances that get an image key of their own in MLflow, with a slider over epochs


@dataclass(frozen=True)
class Job:
    """What one explainer run works on."""

    settings: ExplainSettings
    method: str
    source: catalogue.RunRecord
    data: Dataset
    model: nn.Module
    device: torch.device
    epochs: dict[int, Commit]
    instances: dict[int, np.ndarray]  # by epoch


def explain(settings: ExplainSettings, home: Home) -> list[str]:
    """Explain a training run's predictions; the IDs of the explainer runs, one per method."""
    if unknown := [name for name in settings.method if name not in METHODS]:
        raise InputError(f"no method {unknown[0]!r}; there are: {', '.join(METHODS)}")
    source = catalogue.resolve(home, settings.run, ("train",))
    done = {commit.epoch: commit for commit in commits.epochs(home, source.run_id)}
    epochs = choose_epochs(settings.epochs, list(done.values()))
    trained = recorded_settings(home, source)
    trained = replace(trained, data=settings.data or trained.data)
    chosen = _instances(settings, home, source, epochs)
    data = load_data(trained, home, source.data_digest)
    _target_class(settings.target, data.classes)
    model = build_model(trained.model, data, trained.seed)
    device = hardware.use(replace(trained, device=trained.device if torch.cuda.is_available() else "cpu"))
    used = {epoch: done[epoch] for epoch in chosen}
    jobs = [Job(settings, method, source, data, model.to(device), device, used, chosen) for method in settings.method]
    return [_run_job(job, home) for job in jobs]


def _instances(
    settings: ExplainSettings, home: Home, source: catalogue.RunRecord, epochs: list[int]
) -> dict[int, np.ndarray]:
    """Instances by epoch; epochs at which none fits are left out and named."""
    with connect(home) as connection:
        sql = "select count(*) from instances where run_id = ? and split = ?"
        (count,) = connection.execute(sql, [source.run_id, settings.split]).fetchone()
        chosen = {e: choose_instances(settings, connection, source.run_id, e, count) for e in epochs}
    found = {epoch: instances for epoch, instances in chosen.items() if len(instances)}
    if not found:
        raise InputError(f"--where {settings.where!r} fits no instance of {settings.split} at epochs {epochs}")
    if empty := [epoch for epoch in epochs if epoch not in found]:
        say(f"no instance fits --where at epoch {', '.join(map(str, empty))}; left out")
    return found


def _target_class(target: str, classes: tuple[str, ...]) -> int | None:
    """class_id of a target given as class name or ID; None for predicted and label."""
    if target in ("predicted", "label"):
        return None
    if target in classes:
        return classes.index(target)
    if target.isascii() and target.isdigit() and int(target) < len(classes):
        return int(target)
    names = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    raise InputError(f"--target is {target!r}; it takes predicted, label, or a class: {names}")


def _run_job(job: Job, home: Home) -> str:
    record = runs.new_record(
        "explain", catalogue.free_name(home, None, f"{job.method}-{job.source.name}"),
        job.settings.params() | {"method": job.method, "run": job.source.run_id},
        source_run_id=job.source.run_id, dataset=job.data.name, data_digest=job.data.digest, seed=job.source.seed,
    )  # fmt: skip
    epochs = ", ".join(map(str, job.epochs))
    tags = {"study.method": job.method, "study.epochs": epochs[:500], "study.split": job.settings.split}
    run = runs.start_run(home, record, tags, _note(job, epochs))
    runs.log_record(run)
    say(f"{job.method}: run {run.run_id} ({record.name})")
    try:
        with runs.staging() as folder:
            config = {"command": "explain", "settings": record.params, "source_run_id": job.source.run_id}
            files = {
                "config.json": write_json(folder / "config.json", config),
                "environment.json": write_json(folder / "environment.json", environment()),
            }
            runs.commit(run, "start", files, {}, None)
        for epoch in job.epochs:
            _explain_epoch(job, run, epoch)
    except BaseException as error:
        runs.finish_run(run, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    runs.finish_run(run)
    ingest(home, [run.run_id], wait=5)
    return run.run_id


def _note(job: Job, epochs: str) -> str:
    return (
        f"**{job.method}** maps of `{job.source.name}` (run `{job.source.run_id}`), epochs {epochs}, split "
        f"{job.settings.split}, target: {job.settings.target}. Full maps: `attributions/`; heatmaps beside their "
        "images: `heatmaps/`; the same instances under the same image key in every explainer run: `heatmap/...`."
    )


def _explain_epoch(job: Job, run: runs.Run, epoch: int) -> None:
    began = time.perf_counter()
    load_model(job.model, checkpoint(run.home, job.epochs[epoch]))
    found = _maps(job, epoch)
    unit = f"{job.method}_epoch_{epoch:04d}"
    metrics = {
        "instances": len(found.instances),
        "mean_score": found.scores.mean().item(),
        "mean_map": found.maps.mean().item(),
        "seconds": time.perf_counter() - began,
    }
    _log_pictures(job, run, epoch, found)
    with runs.staging() as folder:
        columns = found.columns(run.run_id, job.source.run_id, job.settings.target)
        table = write_table(folder / f"{unit}.parquet", columns)
        commit = runs.commit(run, unit, {f"attributions/{unit}.parquet": table}, metrics, epoch)
    models.log_explained(run, epoch, {f"{job.method}_{key}": v for key, v in metrics.items()}, commit.time_ms)
    ingest(run.home, [run.run_id])


def _maps(job: Job, epoch: int) -> Explained:
    """Maps of an epoch's instances, a batch at a time, so that memory does not grow with their number."""
    split, instances = job.data.splits[job.settings.split], job.instances[epoch]
    parts = []
    batches = np.array_split(instances, -(-len(instances) // job.settings.batch))
    for rows in tqdm(batches, f"{job.method}, epoch {epoch}", leave=False, disable=None, unit="batch"):
        images = to_model(split.images[rows], job.device)
        with torch.inference_mode():
            logits = job.model.eval()(images).cpu()
        targets = _targets(job, logits, split.labels[rows])
        maps = METHODS[job.method](job.model, images, targets.to(job.device)).cpu()
        parts.append((targets, logits, maps))
    targets, logits, maps = (torch.cat(part) for part in zip(*parts, strict=True))
    return Explained(job.method, epoch, job.settings.split, instances, targets, logits, maps)


def _targets(job: Job, logits: Tensor, labels: Tensor) -> Tensor:
    """class_id [N] whose score is explained."""
    fixed = _target_class(job.settings.target, job.data.classes)
    if fixed is not None:
        return torch.full_like(labels, fixed)
    return labels if job.settings.target == "label" else logits.argmax(1)


def _log_pictures(job: Job, run: runs.Run, epoch: int, found: Explained) -> None:
    """Pages of heatmaps, and the curated instances under one image key across methods and epochs."""
    split = job.data.splits[job.settings.split]
    shown = heatmaps.Shown.of(split, found.instances, found.logits, found.targets, found.maps, job.data.classes)
    for number, figure in enumerate(heatmaps.pages(shown, f"{job.method}, epoch {epoch}, {job.source.name}")):
        runs.log_figure(run, figure, f"heatmaps/epoch_{epoch:04d}_page_{number + 1:02d}.png")
    for row in np.flatnonzero(np.isin(found.instances, _curated(job))):
        figure = heatmaps.single(shown, row, f"{job.method}, epoch {epoch}")
        runs.log_image(run, pixels(figure), f"heatmap/{job.settings.split}_{found.instances[row]:05d}", epoch)


def _curated(job: Job) -> np.ndarray:
    """The instances explained at the most epochs, the lowest IDs among equals."""
    instances, counts = np.unique(np.concatenate(list(job.instances.values())), return_counts=True)
    return instances[np.argsort(-counts, kind="stable")[:CURATED]]
