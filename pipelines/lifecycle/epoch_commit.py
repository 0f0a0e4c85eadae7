"""Committing an epoch: the only way in which checkpoints and predictions enter a run, of any training loop."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from pipelines.common.figures import render_figure
from pipelines.common.settings import TrackedSettings, parse_probabilities
from pipelines.data.datasets import Dataset
from pipelines.drawing.predictions import choose_confused, count_pairs, draw_confusion, draw_learning_curves
from pipelines.drawing.style import LOGGED, draw
from pipelines.lifecycle.logged_model import describe_interface
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.models.checkpoints import save_model
from pipelines.models.predictions import Predictions
from tracking import models, runs
from tracking.commits import EpochCommit, committed_units
from tracking.files import write_table
from tracking.index import ingest

SaveFiles = Callable[[Path], dict[str, Path]]  # into a folder; path in the run: file


def commit_epoch(
    run: runs.Run,
    epoch: int,
    model: nn.Module,
    predictions: Sequence[Predictions],
    metrics: dict[str, float],
    data: Dataset,
    save_more: SaveFiles | None = None,
    details: dict[str, float] | None = None,
) -> EpochCommit:
    """Commit the model's weights and its predictions, those of test among them, and what `save_more` writes.

    `metrics` are shown in MLflow too, `details` are not.
    """
    # the picture comes before the commit, so that no interruption leaves the epoch without it
    test = next(part for part in predictions if part.split == "test")
    title = f"test, epoch {epoch}: {test.accuracy:.1%} correct"
    counts = count_pairs(test.label.numpy(), test.logits.argmax(1).numpy(), len(data.classes))
    shown = choose_confused(counts)
    if len(shown) < len(counts):
        title += f"; of {len(counts):,} classes, the {len(shown)} of the pairs confused most"
    names = [data.classes[one] for one in shown]
    matrix = draw(draw_confusion, LOGGED, counts[np.ix_(shown, shown)], counts.sum(axis=1)[shown], names)
    runs.log_image(run, render_figure(matrix, title), "confusion_test", epoch)

    settings = read_recorded_settings(run.home, run.record, TrackedSettings)
    kept = parse_probabilities(settings.probabilities)
    parts = [part.to_columns(run.run_id, epoch, kept) for part in predictions]
    unit = f"epoch_{epoch:04d}"
    with runs.staging_folder(run.home) as folder:
        files = {
            f"checkpoints/{unit}.safetensors": save_model(model, folder / f"{unit}.safetensors"),
            f"predictions/{unit}.parquet": write_table(folder / f"{unit}.parquet", *parts),
        }
        if save_more:
            files |= save_more(folder)
        is_new = unit not in committed_units(run.home, run.run_id)
        log_model = partial(models.log_epoch_model, interface=describe_interface(data), is_new=is_new)
        commit = runs.commit(run, unit, files, metrics, epoch, details, log_model)
    ingest(run.home, [run.run_id])
    return commit


def complete_models(run: runs.Run, committed: Sequence[EpochCommit], data: Dataset) -> None:
    """Log the models of committed epochs: a crash may have come between a commit and its model."""
    for commit in committed:
        models.log_epoch_model(run, commit, describe_interface(data), is_new=False)


def log_learning_curves(run: runs.Run, committed: Sequence[EpochCommit]) -> None:
    """The metrics of all epochs as the picture figures/learning_curves.png."""
    rows = [
        {"epoch": commit.epoch, "key": key, "value": value}
        for commit in committed
        for key, value in commit.metrics.items()
    ]
    if not rows:  # a loop ended before its first epoch
        return
    curves = draw(draw_learning_curves, LOGGED, rows)
    runs.log_picture(run, render_figure(curves, run.record.name), "figures/learning_curves.png")


def resume_file(epoch: int) -> str:
    """Where an epoch's training state lies: two files alternate, so that the last survives a crash of the next."""
    return f"resume/{'odd' if epoch % 2 else 'even'}.safetensors"
