"""Committing an epoch: the only way in which checkpoints and predictions enter a run, of any training loop."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TypeVar

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
from tracking import committing, display, models, runs
from tracking.commits import EpochCommit, committed_file, committed_units
from tracking.files import read_table, write_table
from tracking.index import ingest
from tracking.staging import Folder, staging_folder

Result = TypeVar("Result")
CONFUSION_IMAGE = "confusion_test"  # the key of an epoch's picture in MLflow
LONGEST_END = 10  # seconds that a stopped program waits for the commit under way
SaveFiles = Callable[[Path], dict[str, Path]]  # into a folder; path in the run: file
RenderPicture = Callable[[], np.ndarray]  # [H, W, 3], uint8


@dataclass(frozen=True)
class StagedEpoch:
    """An epoch on its way into a run: its files are written, and nothing of it changes any more."""

    run: runs.Run
    epoch: int
    is_new: bool  # whether the run has not committed it yet
    folder: Folder  # of `files`; removed once they are in the run
    files: dict[str, Path]  # path in the run: file
    metrics: dict[str, float]  # shown in MLflow too
    details: dict[str, float]  # not shown in MLflow
    data: Dataset
    render_confusions: RenderPicture  # of the test images


def stage_epoch(
    run: runs.Run,
    epoch: int,
    model: nn.Module,
    predictions: Sequence[Predictions],
    metrics: dict[str, float],
    data: Dataset,
    save_more: SaveFiles | None = None,
    details: dict[str, float] | None = None,
) -> StagedEpoch:
    """Write the model's weights and its predictions, those of test among them, and what `save_more` writes.

    Test's confusions are drawn here, not in the background: drawing changes Matplotlib's settings for a moment, and a
    training loop may draw, too. The model may be trained on afterwards. `metrics` are shown in MLflow too, `details`
    are not.
    """
    settings = read_recorded_settings(run.home, run.record, TrackedSettings)
    kept = parse_probabilities(settings.probabilities)
    parts = [part.to_columns(run.run_id, epoch, kept) for part in predictions]
    test = next(part for part in predictions if part.split == "test")
    confusions = count_pairs(test.label.numpy(), test.logits.argmax(1).numpy(), len(data.classes))
    render_confusions = _draw_confusions(epoch, confusions, data)
    unit = f"epoch_{epoch:04d}"
    is_new = unit not in committed_units(run.home, run.run_id)
    with ExitStack() as stack:
        folder = staging_folder(run.home)
        path = stack.enter_context(folder)
        files = {
            f"checkpoints/{unit}.safetensors": save_model(model, path / f"{unit}.safetensors"),
            f"predictions/{unit}.parquet": write_table(path / f"{unit}.parquet", *parts),
        }
        if save_more:
            files |= save_more(path)
        stack.pop_all()
    return StagedEpoch(run, epoch, is_new, folder, files, metrics, details or {}, data, render_confusions)


def commit_staged(staged: StagedEpoch) -> EpochCommit:
    """Commit an epoch, and let MLflow and the index show it."""
    commit = commit_files(staged)
    show_commit(staged, commit)
    return commit


def commit_files(staged: StagedEpoch) -> EpochCommit:
    """Put an epoch's files into the run; from then on every question knows it."""
    run, epoch = staged.run, staged.epoch
    with staged.folder:
        files = committing.log_unit_files(run, staged.files)
    time_ms = time.time_ns() // 1_000_000
    commit = EpochCommit(run.run_id, f"epoch_{epoch:04d}", epoch, time_ms, files, staged.metrics, staged.details)
    committing.log_commit(run, commit)
    return commit


def show_commit(staged: StagedEpoch, commit: EpochCommit) -> None:
    """Log a committed epoch's picture, model and metrics to MLflow, and add its rows to the index."""
    display.log_image(staged.run, staged.render_confusions(), CONFUSION_IMAGE, staged.epoch)
    models.log_epoch_model(staged.run, commit, interface=describe_interface(staged.data), is_new=staged.is_new)
    ingest(staged.run.home, [staged.run.run_id])


def _draw_confusions(epoch: int, counts: np.ndarray, data: Dataset) -> RenderPicture:
    """Draw the confusions [K, K], of many classes those that are confused most."""
    title = f"test, epoch {epoch}: {counts.trace() / counts.sum():.1%} correct"
    shown = choose_confused(counts)
    if len(shown) < len(counts):
        title += f"; of {len(counts):,} classes, the {len(shown)} of the pairs confused most"
    names = [data.classes[one] for one in shown]
    figure = draw(draw_confusion, LOGGED, counts[np.ix_(shown, shown)], counts.sum(axis=1)[shown], names)
    return partial(render_figure, figure, title)


def commit_in_background(staged_epochs: Iterator[StagedEpoch]) -> Iterator[EpochCommit]:
    """Commit epochs in a thread, one after the other, each while the next one is made.

    Raises what went wrong in the thread once the next one is made. After an error, and when the program is stopped, the
    epoch under way is still waited for, but not for long: what has not been committed then will not be, as the run may
    be resumed at once.
    """
    under_way: Future[EpochCommit] | None = None
    try:
        for staged in staged_epochs:
            if under_way:
                yield under_way.result()
            under_way, committing = start_in_background(partial(commit_staged, staged)), staged
        if under_way:
            yield under_way.result()
    except BaseException:
        if under_way:
            wait([under_way], LONGEST_END)
            for left in (committing, staged):
                left.folder.cleanup()  # so that a thread which still waits for a lost server cannot commit it
        raise


def start_in_background(work: Callable[[], Result]) -> Future[Result]:
    """What `work` will return, or raise, once it has been done in a thread."""
    future: Future[Result] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # a daemon, unlike the threads of an executor: a lost server must not keep a stopped program from ending
    Thread(target=do, name="commit", daemon=True).start()
    return future


def complete_epochs(run: runs.Run, committed: Sequence[EpochCommit], data: Dataset) -> None:
    """Log to MLflow what a crash right after a commit left out: an epoch's model and metrics, and the last picture."""
    for commit in committed:
        models.log_epoch_model(run, commit, describe_interface(data), is_new=False)
    last = committed[-1] if committed else None
    if last and (CONFUSION_IMAGE, last.epoch) not in display.list_images(run.home, run.run_id):
        path = committed_file(run.home, last, f"predictions/{last.unit}.parquet")
        columns = read_table(path, ["split", "label", "predicted"])
        of_test = np.array(columns["split"]) == "test"
        labels, predicted = (np.array(columns[name])[of_test].astype(int) for name in ("label", "predicted"))
        render = _draw_confusions(last.epoch, count_pairs(labels, predicted, len(data.classes)), data)
        display.log_image(run, render(), CONFUSION_IMAGE, last.epoch)


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
    display.log_picture(run, render_figure(curves, run.record.name), "figures/learning_curves.png")


def resume_file(epoch: int) -> str:
    """Where an epoch's training state lies: two files alternate, so that the last survives a crash of the next."""
    return f"resume/{'odd' if epoch % 2 else 'even'}.safetensors"
