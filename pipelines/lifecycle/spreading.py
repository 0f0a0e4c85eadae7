"""Work on a training run's checkpoints in shards, which this process computes, or workers that open the run themselves.

A shard's result is the same to the last bit wherever it is computed, with the same number of threads.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol

import torch

from pipelines.common import workers
from pipelines.common.settings import TrackedSettings
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_settings
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import Classifier
from pipelines.models.user_errors import describe_model_error, watch_model
from tracking.catalogue import RunRecord, resolve
from tracking.commits import EpochCommit
from tracking.errors import InputError, RunError
from tracking.home import Home, find_home
from xai.method import NotApplicable, limit_pass_size

_TURN = Lock()  # a worker with several threads computes one shard after the other, as they share a model


@dataclass(frozen=True)
class LoadedRun:
    """A training run whose checkpoints are computed with: its data, and its model on a device of this machine."""

    home: Home
    record: RunRecord
    data: Dataset
    model: Classifier
    device: torch.device
    epochs: dict[int, EpochCommit]
    memory: float  # GB that one pass may take
    fitting: int  # images per pass that fit into it

    def load(self, epoch: int) -> Classifier:
        """The model with an epoch's weights."""
        load_model(self.model, checkpoint_file(self.home, self.epochs[epoch]))
        return self.model


class Work(Protocol):
    """What a step computes with, once it is open."""

    @property
    def source(self) -> LoadedRun: ...


@dataclass(frozen=True)
class Opening:
    """How a worker opens what it computes with, from the record of a run; equal openings are opened once."""

    home: Home
    run_id: str
    open: Callable[..., AbstractContextManager[Work]]  # a function of a module, of the record, the home and arguments
    arguments: tuple[Any, ...]  # hashable


@dataclass(frozen=True)
class Shard:
    """What is computed at once: a function of what is open, whose model has an epoch's weights, and of arguments."""

    key: str  # what identifies it among all that workers compute
    epoch: int
    function: Callable[..., Any]  # of a module; the weights are the same when it ends
    arguments: tuple[Any, ...]


def begin(opening: Opening, shards: Iterable[Shard]) -> None:
    """Let the workers, if there are any, start on shards, whose results are then asked for in this order."""
    pool = workers.current()
    if pool is None:
        return
    threads = workers.share_of_cores(torch.get_num_threads())
    pool.begin({shard.key: (_compute_in_worker, (opening, threads, shard)) for shard in shards})


def compute(work: Work, shard: Shard, advice: str) -> Any:
    """The result of a shard: from the workers, if there are any, else computed here, with the weights that are loaded.

    Raises RunError, with advice, if there is no worker left.
    """
    pool = workers.current()
    if pool is None:
        return shard.function(work, *shard.arguments)
    return pool.take(shard.key, advice)


def _compute_in_worker(opening: Opening, threads: int, shard: Shard) -> Any:
    """The result of a shard. Raises NotApplicable if a method is not, RunError if this worker cannot do the work."""
    workers.be_quiet()
    with _TURN:
        try:
            work = _open(opening)
            source = work.source
            torch.set_num_threads(threads)
            trained = read_recorded_settings(source.home, source.record, TrackedSettings)
            watch_model(trained.model, map(type, source.model.network.modules()))
            with limit_pass_size(source.fitting):
                _verify(opening, shard.epoch)
                source.load(shard.epoch)
                return shard.function(work, *shard.arguments)
        except NotApplicable:
            raise
        except InputError as error:
            raise RunError(f"a worker cannot continue: {error}") from None
        except Exception as error:
            if reason := describe_model_error(error):
                raise RunError(reason) from None
            raise


@lru_cache(maxsize=1)
def _open(opening: Opening) -> Work:
    """What is computed with. The command keeps its checkpoints."""
    home = find_home(str(opening.home.path))
    record = resolve(home, opening.run_id, workers.WORKED_ON)
    with opening.open(record, home, *opening.arguments) as work:
        return work


@lru_cache(maxsize=1024)
def _verify(opening: Opening, epoch: int) -> None:
    """Raise InputError if an epoch's model is in this worker another one than was tracked, as with other code."""
    source = _open(opening).source
    verify_checkpoints(source.home, source.record, source.model, source.data, source.device, [source.epochs[epoch]])
