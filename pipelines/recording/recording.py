"""A run that a training loop of the user's own reports to."""

import atexit
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.common.splits import TRAIN_SEEN
from pipelines.common.terminal import say
from pipelines.common.user_code import describe_error
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.epoch_commit import (
    LONGEST_END,
    commit_files,
    log_learning_curves,
    resume_file,
    show_commit,
    stage_epoch,
    start_in_background,
)
from pipelines.lifecycle.run_inputs import checkpoint_file
from pipelines.lifecycle.verification import allowed_difference
from pipelines.models.networks import Classifier
from pipelines.models.predictions import Predictions, evaluate, measure, prepare_images
from pipelines.models.randomness import keeping_generators
from pipelines.recording.loop_state import save_loop_state
from pipelines.recording.processes import Channel
from pipelines.recording.seen import SeenBatches, WithIds, as_ids, check_shape
from tracking import commits, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError, RunError, from_outside
from tracking.index import ingest

EVALUATED = ("val", "test")
MEASURED = [f"{split}_{what}" for split in (*EVALUATED, TRAIN_SEEN) for what in ("accuracy", "loss")]
open_recordings: dict[str, "Recording"] = {}  # of this process, by run ID
CHECKED_IMAGES = 16  # of predictions that the loop brings: the model is asked again on this many


class Recorder:
    """What a loop tells of itself in every process of a training; only `Recording` writes."""

    def __init__(self, run_id: str, labels: Tensor, class_count: int, next_epoch: int, channel: Channel | None) -> None:
        self.run_id = run_id
        self.next_epoch = next_epoch  # the number under which the next call of `epoch` commits
        self._channel = channel
        self._seen = SeenBatches(labels, class_count)

    def epochs(self, count: int) -> range:
        """The epochs up to `count` that are still to be trained: in a resumed run those after the last committed."""
        return range(self.next_epoch, count + 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(run {self.run_id[:8]}, next epoch {self.next_epoch})"

    def with_ids(self, data_set: Any) -> WithIds:
        """The data set with its positions: items (image, label, id), for `seen`."""
        return WithIds(data_set)

    def seen(self, ids: Any, logits: Tensor, labels: Any = None) -> None:
        """Take a training batch as it goes by: IDs [B], logits [B, K], and labels [B] to check the IDs against."""
        if self._channel and not self._seen:
            self._channel.announce()
        self._seen.add(ids, logits, labels)

    def epoch(
        self,
        metrics: Mapping[str, Any] | None = None,
        predictions: Mapping[str, Any] | None = None,
        number: int | None = None,
    ) -> None:
        """End an epoch: in rank 0 as `Recording.epoch`; elsewhere hand what this process has seen to it."""
        self._set_number(number)
        if self._channel:
            self._channel.hand_in(self.next_epoch, *self._seen.join())
        self._seen.clear()
        self.next_epoch += 1

    def _set_number(self, number: int | None) -> None:
        """Raise InputError on a number that is no later epoch."""
        if number is None:
            return
        if isinstance(number, bool) or not isinstance(number, int) or number < self.next_epoch:
            raise InputError(f"number is {number!r}; the next epoch is {self.next_epoch}, so give that or a later one")
        self.next_epoch = number

    def finish(self) -> str:
        """End the run, which only rank 0 does; returns its ID."""
        return self.run_id

    def give_up(self, error: BaseException) -> None:
        """End the run because of an error of the loop, which only rank 0 does."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run, and mark it FAILED if an exception left the block."""
        if error is None:
            self.finish()
        else:
            self.give_up(error)


class Recording(Recorder):
    """The run itself. `finish` ends it, as the end of a `with` block does; an exception there marks it FAILED."""

    def __init__(
        self,
        run: runs.Run,
        model: Classifier,
        data: Dataset,
        state: Mapping[str, Any],
        committed: list[EpochCommit],
        channel: Channel | None,
    ) -> None:
        next_epoch = committed[-1].epoch + 1 if committed else 1
        super().__init__(run.run_id, data.splits["train"].labels, len(data.classes), next_epoch, channel)
        self.run = run
        self.data = data
        self._model = model
        self._state = state
        self._committed = committed
        self._showing: Future[None] | None = None  # the last of them, in MLflow and in the index
        self._is_open = True
        open_recordings[self.run_id] = self
        self._process = os.getpid()
        self._collected_epoch = 0
        self._trained_since = time.perf_counter()

    def go_on_after(self, trained_epochs: float) -> None:
        """Continue with a loop that has trained this many epochs, by its own checkpoint.

        Epochs that are committed already are not committed twice, and one that the loop's checkpoint alone has, is now.
        """
        last_epoch = self._committed[-1].epoch if self._committed else 0
        self.next_epoch = int(trained_epochs) + 1
        if trained_epochs == last_epoch + 1:
            self.commit(last_epoch + 1, [], {}, {})
        elif self.next_epoch <= last_epoch:
            say(
                f"the loop continues after {trained_epochs:.4g} epochs, and {last_epoch} are committed: those between "
                "are trained again, and recorded once"
            )

    def epoch(
        self,
        metrics: Mapping[str, Any] | None = None,
        predictions: Mapping[str, Any] | None = None,
        number: int | None = None,
    ) -> None:
        """Commit the model as it is now: its weights, and its predictions of val and test.

        Every question knows the epoch when this returns; MLflow shows it soon after, while the loop goes on.

        `metrics` are the loop's own numbers. `predictions` are those that the loop has already made of a split, in
        evaluation mode and in float32: logits [N, K] in the order of the data set, or a pair of IDs [N] and logits;
        they save a pass. `number` is the epoch's, where others are not recorded, as 2, 4, 6. Raises InputError on what
        is no number and on predictions of another model, RunError on logits that are not finite and on a disk or server
        that fails.
        """
        if not self._is_open:
            raise InputError(
                f"run {self.run_id[:8]} has ended; continue it with record(..., resume={self.run_id[:8]!r})"
            )
        self._set_number(number)
        seconds = time.perf_counter() - self._trained_since
        own_metrics = _read_metrics(metrics or {})
        if self._channel and self._collected_epoch != self.next_epoch:
            for ids, logits in self._channel.collect(self.next_epoch, is_seeing=bool(self._seen)):
                self._seen.extend(ids, logits)
            self._collected_epoch = self.next_epoch  # of a call that is refused below, too
        if self._committed and self.next_epoch <= self._committed[-1].epoch:
            self._pass_over(self.next_epoch)
        else:
            seen = self._seen.to_predictions()
            timed = own_metrics | {"train_seconds": seconds}
            self.commit(self.next_epoch, [seen] if seen else [], {} if predictions is None else predictions, timed)
        self._seen.clear()
        self.next_epoch += 1

    def _pass_over(self, epoch: int) -> None:
        """Say whether the model is that of an epoch that is committed already."""
        commit = next((each for each in commits.stored_epochs(self.run.home, self.run_id) if each.epoch == epoch), None)
        is_same = commit is None or not list_different_weights(self._model, checkpoint_file(self.run.home, commit))
        again = f"epoch {epoch:>3}  trained again; the one that is committed stays"
        say(again if is_same else f"{again}, although its weights are others")
        self._trained_since = time.perf_counter()

    def commit(
        self, epoch: int, seen: list[Predictions], given: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        """Evaluate the model and commit an epoch, which leaves the model and all random numbers as they were."""
        started_at = time.perf_counter()
        with undisturbed(self._model), self._outside_errors():
            evaluated = self._evaluate(given)
            evaluation_seconds = time.perf_counter() - started_at
            predictions = [*seen, *evaluated]
            _check_finite(epoch, predictions)
            values = measure(predictions) | dict(metrics)
            values["seconds"] = values.get("train_seconds", 0.0) + evaluation_seconds
            self._wait_until_shown()
            save_too = partial(self._save_state, epoch)
            staged = stage_epoch(self.run, epoch, self._model, predictions, values, self.data, save_too)
            commit = commit_files(staged)
            self._committed.append(commit)
            self._showing = start_in_background(partial(show_commit, staged, commit))
        total = time.perf_counter() - started_at
        self._say_epoch(commit, evaluation_seconds, total)
        self._trained_since = time.perf_counter()

    def finish(self) -> str:
        """End the run as FINISHED; returns its ID."""
        if self._is_open:
            with self._outside_errors():
                self._wait_until_shown()
                log_learning_curves(self.run, self._committed)
                runs.finish_run(self.run)
                self._close()
                ingest(self.run.home, [self.run_id], wait=5)
        return self.run_id

    def give_up(self, error: BaseException) -> None:
        """End the run because of an error of the loop; what it committed is kept."""
        if not self._is_open:
            return
        self.abandon("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        say(f"recording stopped by {describe_error(error)}; {self._advice()}")

    @property
    def is_of_another_process(self) -> bool:
        """Whether this is the copy that a forked process has."""
        return self._process != os.getpid()

    def abandon(self, status: str) -> None:
        """End the run as it is, FAILED or KILLED."""
        if self._showing:
            wait([self._showing], LONGEST_END)
        runs.give_up(self.run, status)
        self._close()

    def _wait_until_shown(self) -> None:
        """Wait until MLflow and the index show the last epoch. Raises what went wrong there."""
        showing, self._showing = self._showing, None
        if showing:
            showing.result()

    def _close(self) -> None:
        self._is_open = False
        open_recordings.pop(self.run_id, None)

    def _advice(self) -> str:
        return f"what run {self.run_id[:8]} committed is kept; continue it with record(..., resume={self.run_id[:8]!r})"

    @contextmanager
    def stopping_on_errors(self) -> Iterator[None]:
        """An error inside ends the run."""
        try:
            with self._outside_errors():
                yield
        except BaseException as error:
            self.give_up(error)
            raise

    @contextmanager
    def _outside_errors(self) -> Iterator[None]:
        """A disk, database or server that fails becomes a RunError, in one line."""
        try:
            yield
        except (InputError, RunError):
            raise
        except Exception as error:
            reason = from_outside(error)
            if reason is None:
                raise
            raise RunError(f"{reason}; {self._advice()}") from error

    def _evaluate(self, given: Mapping[str, Any]) -> list[Predictions]:
        """Predictions of val and test: those that are given, checked, else those of a pass."""
        if not isinstance(given, Mapping):
            raise InputError(f"predictions are of {type(given).__name__}; give logits by split: {{'test': logits}}")
        splits = {name: self.data.splits[name] for name in EVALUATED if name in self.data.splits}
        unknown = [name for name in given if name not in splits]
        if unknown:
            raise InputError(f"predictions of {unknown[0]!r}; they can be of {', '.join(splits)}")
        parts = []
        device = find_device(self._model)
        for name, split in splits.items():
            if name in given:
                parts.append(self._take_given(name, given[name]))
            else:
                parts.append(evaluate(self._model, split, name, device))
        return parts

    def _take_given(self, name: str, given: Any) -> Predictions:
        split = self.data.splits[name]
        count = len(split.labels)
        is_pair = isinstance(given, tuple | list) and len(given) == 2
        ids, logits = given if is_pair else (torch.arange(count), given)
        known_ids = as_ids(ids, count, name)
        check_shape(logits, (count, len(self.data.classes)), f"predictions of {name}")
        if not torch.equal(known_ids.sort().values, torch.arange(count)):
            raise InputError(f"predictions of {name} do not have each of its {count} images once")
        ordered = logits.detach().float().cpu()[known_ids.argsort()]

        checked = torch.linspace(0, count - 1, min(CHECKED_IMAGES, count)).long()
        device = find_device(self._model)
        with torch.no_grad():
            own = self._model.eval()(prepare_images(split.images[checked], device)).float().cpu()
        difference = (own - ordered[checked]).abs().max().item()
        if difference > allowed_difference(own, device.type):
            raise InputError(
                f"the predictions of {name} are not the model's: on {len(checked)} images logits differ by up to "
                f"{difference:.2g}; make them in evaluation mode (model.eval()), in float32 without autocast, of the "
                "pictures that record was given, in their order, or leave them out"
            )
        return Predictions(name, torch.arange(count), split.labels, ordered)

    def _save_state(self, epoch: int, folder: Path) -> dict[str, Path]:
        path = resume_file(epoch)
        return {path: save_loop_state(self._state, folder / Path(path).name)}

    def _say_epoch(self, commit: EpochCommit, evaluation_seconds: float, total: float) -> None:
        metrics = commit.metrics
        accuracies = "  ".join(
            f"{name} {metrics[f'{name}_accuracy']:.2%}" for name in EVALUATED if f"{name}_accuracy" in metrics
        )
        rest = total - evaluation_seconds
        share = rest / (metrics.get("train_seconds", 0.0) + total)
        say(
            f"epoch {commit.epoch:>3}  {accuracies}  evaluated in {evaluation_seconds:.1f} s, recorded in {rest:.2f} s "
            f"({share:.1%} of the epoch)"
        )


@atexit.register
def end_open_recordings() -> None:
    """End the runs that a program left open: as FINISHED, or, if an error ended it, as FAILED."""
    error = getattr(sys, "last_value", None)  # Python keeps the one that ended a program
    for recording in list(open_recordings.values()):
        if recording.is_of_another_process:
            continue
        if error is not None:
            recording.give_up(error)
            continue
        try:
            recording.finish()
        except RunError as failure:
            say(str(failure))


def list_different_weights(model: nn.Module, checkpoint: Path) -> list[str]:
    """Names of the model's parameters that are not those of a checkpoint, bit by bit."""
    recorded = load_file(checkpoint)
    return [
        name
        for name, weight in model.named_parameters()
        if name not in recorded or not torch.equal(weight.detach().cpu(), recorded[name])
    ]


def find_device(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    weights = next(model.parameters(), None)
    return torch.device("cpu") if weights is None else weights.device


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, the model may be evaluated, without the loop's autocast: modes and random numbers are as before then."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with keeping_generators(), torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def name_metric(name: str) -> str:
    """A name that a metric can have here and in MLflow, from one of a framework, such as val/acc."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name) or "_"


def _read_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The loop's own numbers; those that are not finite are named and left out. Raises InputError on anything else."""
    if not isinstance(metrics, Mapping):
        raise InputError(f"metrics are of {type(metrics).__name__}; give numbers by name: {{'lr': 0.1}}")
    values = {}
    for key, value in metrics.items():
        if not isinstance(key, str) or name_metric(key) != key:
            raise InputError(f"a metric is called {key!r}; its name takes letters, digits, -, _ and .")
        try:
            number = float(value.detach() if isinstance(value, Tensor) else value)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"metric {key} is of {type(value).__name__}; give a number") from None
        if key in MEASURED:
            raise InputError(f"metric {key} is measured here; give yours another name")
        if math.isfinite(number):
            values[key] = number
        else:
            say(f"metric {key} is {number}; left out")
    return values


def _check_finite(epoch: int, predictions: list[Predictions]) -> None:
    """Raise RunError on logits that are not finite."""
    for part in predictions:
        if not part.logits.isfinite().all():
            raise RunError(
                f"the logits of {part.split} in epoch {epoch} are not finite, so the training diverged; nothing of "
                "this epoch is recorded"
            )
