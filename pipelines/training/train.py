"""Training that remembers: every epoch's checkpoint and every instance's prediction, epoch 0 included."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from pipelines.common import figures
from pipelines.common.settings import ResolvedTraining, TrainSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.child_run import run_guard
from pipelines.lifecycle.run_inputs import describe_data, load_data, read_recorded_settings
from pipelines.lifecycle.start import commit_start
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.checkpoints import load_state, save_model, save_state
from pipelines.models.networks import Classifier, build_model
from pipelines.models.predictions import EVALUATION_BATCH, Predictions, evaluate
from pipelines.models.user_code import digest_code
from pipelines.training.epoch import train_epoch
from pipelines.training.recipe import Recipe, make_recipe, resolve_settings
from tracking import catalogue, commits, models, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError, RunError
from tracking.files import write_table
from tracking.home import Home
from tracking.index import ingest
from xai.method import limit_pass_size


@dataclass(frozen=True)
class Training:
    """A training run under way: all that its epochs need."""

    settings: ResolvedTraining
    data: Dataset
    model: Classifier  # with the weights of the moment
    recipe: Recipe
    run: runs.Run


def train(settings: TrainSettings, home: Home, original: catalogue.RunRecord | None = None) -> str:
    """Train from the beginning, on the data of run `original` if it is given; returns the run ID.

    Raises RunError if the training diverges, InputError if that data has another digest now.
    """
    runs.check_start(home, settings.name)
    data = load_data(settings, home, original)
    resolved = resolve_settings(settings, data)
    hardware.prepare_device(resolved)  # before anything is computed: the first weights depend on the threads too
    model = build_model(settings.model, data, settings.seed)
    recipe = make_recipe(resolved, data, model)
    default = f"{settings.dataset}-{settings.model.rpartition(':')[2]}-{settings.seed}"
    with runs.taking_name(home, settings.name, default) as name:
        used = replace(recipe.settings, name=name)
        record = runs.new_record(
            "train", name, used.params(), dataset=data.name, data_digest=data.digest, seed=used.seed
        )
        run = runs.start_run(home, record, {}, _note(used, data, model))
        runs.log_record(run)
    training = Training(used, data, model, recipe, run)
    known = {"data": describe_data(data), "model_code": digest_code(used.model, model)}
    commit_start(run, "train", used, _instances(run.run_id, data), data.classes, known)
    return _go_on(training, [])


def rerun(record: catalogue.RunRecord, home: Home, data: str | None) -> str:
    """Train again from a run's own record, on the data it was made with."""
    known = read_recorded_settings(home, record, ResolvedTraining)
    return train(replace(known, name=None, data=data or known.data), home, record)


def resume(record: catalogue.RunRecord, home: Home, data: str | None = None) -> str:
    """Go on behind the last committed epoch; the result is bit for bit that of an uninterrupted training."""
    done = commits.read_epochs(home, record.run_id)
    known = read_recorded_settings(home, record, ResolvedTraining)
    if len(done) == known.epochs + 1 and record.status == "FINISHED":
        raise InputError(f"run {record.run_id[:8]} is finished with all {known.epochs} epochs; nothing to resume")
    images = load_data(replace(known, data=data or known.data), home, record)
    model = build_model(known.model, images, known.seed)
    recipe = make_recipe(known, images, model)
    if done:
        with limit_pass_size(known.evaluation_batch or EVALUATION_BATCH):
            verify_checkpoints(home, record, recipe.mean, images, recipe.device, done[-1:])
        load_state(model, recipe.optimizers, commits.committed_file(home, done[-1], _state(done[-1].epoch)))
    return _go_on(Training(known, images, model, recipe, runs.reopen_run(home, record)), done)


def _note(settings: TrainSettings, data: Dataset, model: nn.Module) -> str:
    weights = sum(parameter.numel() for parameter in model.parameters())
    counts = ", ".join(f"{len(split.labels):,} {name}" for name, split in data.splits.items())
    return (
        f"**{settings.model}** ({weights:,} weights) trained on **{data.name}** ({len(data.classes)} classes, "
        f"{counts} images), seed {settings.seed}. Every epoch's weights: `checkpoints/`; every instance's "
        "prediction: `predictions/`. Epoch 0 is the untrained network."
    )


def _instances(run_id: str, data: Dataset) -> dict[str, Sequence]:
    """Columns of table `instances`."""
    labels = [(name, i, int(label)) for name, split in data.splits.items() for i, label in enumerate(split.labels)]
    splits, ids, classes = zip(*labels, strict=True)
    sources = [source for split in data.splits.values() for source in split.sources]
    return {"run_id": [run_id] * len(ids), "split": splits, "instance_id": ids, "label": classes, "source": sources}


def _go_on(training: Training, done: list[EpochCommit]) -> str:
    run, settings = training.run, training.settings
    with run_guard(run):
        say(f"  {settings.epochs} epochs on {settings.device}, {settings.precision}, {settings.threads} threads")
        for commit in done:  # a crash may have come between a commit and its model
            models.log_epoch_model(run, commit)
        for epoch in range(len(done), settings.epochs + 1):
            done.append(_one_epoch(training, epoch))
        curves = figures.learning_curves(done, run.record.name)
        runs.log_picture(run, figures.pixels(curves), "figures/learning_curves.png")
    return run.run_id


def _one_epoch(training: Training, epoch: int) -> EpochCommit:
    """Train (but for epoch 0), evaluate, and commit one epoch."""
    predictions, metrics = _compute_epoch(training, epoch)
    commit = _commit_epoch(training, epoch, predictions, metrics)
    _report(commit, training.settings.epochs)
    return commit


def _compute_epoch(training: Training, epoch: int) -> tuple[list[Predictions], dict[str, float]]:
    """Predictions as seen in training, on val and on test, in this order, and the epoch's metrics."""
    began = time.perf_counter()
    predictions, metrics = [], {}
    if epoch:
        predictions.append(train_epoch(training.model, training.recipe, epoch))
        metrics["train_seconds"] = time.perf_counter() - began
    mean, device, splits = training.recipe.mean, training.recipe.device, training.data.splits
    for name in ("val", "test"):
        predictions.append(evaluate(mean, splits[name], name, device, training.settings.evaluation_batch))
    for part in predictions:
        if not part.logits.isfinite().all():
            raise RunError(f"training diverged in epoch {epoch} (logits are not finite); try a lower --lr")
        metrics |= {f"{part.split}_accuracy": part.accuracy, f"{part.split}_loss": part.loss}
    return predictions, metrics | {"seconds": time.perf_counter() - began}


def _commit_epoch(
    training: Training, epoch: int, predictions: list[Predictions], metrics: dict[str, float]
) -> EpochCommit:
    run, unit = training.run, f"epoch_{epoch:04d}"
    parts = [part.columns(run.run_id, epoch) for part in predictions]
    _log_confusion(training, epoch, predictions[-1])  # before the commit, so that no stop leaves the epoch without it
    with runs.staging(run.home) as folder:
        files = {
            f"checkpoints/{unit}.safetensors": save_model(training.recipe.mean, folder / f"{unit}.safetensors"),
            f"predictions/{unit}.parquet": write_table(folder / f"{unit}.parquet", _joined(parts)),
            _state(epoch): save_state(training.model, training.recipe.optimizers, folder / Path(_state(epoch)).name),
        }
        commit = runs.commit(run, unit, files, metrics, epoch)
    models.log_epoch_model(run, commit)
    ingest(run.home, [run.run_id])
    return commit


def _log_confusion(training: Training, epoch: int, test: Predictions) -> None:
    title = f"test, epoch {epoch}: {test.accuracy:.1%} right"
    matrix = figures.confusion_matrix(test.label, test.logits.argmax(1), training.data.classes, title)
    runs.log_image(training.run, figures.pixels(matrix), "confusion_test", epoch)


def _joined(parts: list[dict]) -> dict:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _state(epoch: int) -> str:
    """Two places in turn, so that the last committed epoch's state outlives a crash while the next is written."""
    return f"resume/{'odd' if epoch % 2 else 'even'}.safetensors"


def _report(commit: EpochCommit, epochs: int) -> None:
    metrics = commit.metrics
    say(f"epoch {commit.epoch:>3}/{epochs}  val {metrics['val_accuracy']:.2%}  test {metrics['test_accuracy']:.2%}  "
        f"test loss {metrics['test_loss']:.3f}  {metrics['seconds']:.1f} s")  # fmt: skip
