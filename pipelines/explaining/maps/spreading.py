"""Maps of an explainer run computed by worker processes: each opens the run from its record and explains batches."""

from functools import lru_cache
from threading import Lock

import numpy as np
import torch

from pipelines.common import workers
from pipelines.common.settings import TrackedSettings
from pipelines.explaining.job import Job, open_recorded_job, read_recorded_instances
from pipelines.explaining.maps.attribution import explain_batch, list_parts, shard_key
from pipelines.explaining.maps.rows import AttributionBatch
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models.user_errors import describe_model_error, watch_model
from tracking import catalogue, commits, runs
from tracking.errors import InputError, RunError
from tracking.home import find_home
from xai.method import NotApplicable, limit_pass_size

_TURN = Lock()  # a worker with several threads explains one batch after the other, as they share a model


def begin(job: Job, run: runs.Run) -> None:
    """Let the workers, if there are any, start on all batches of a run that are not committed yet."""
    pool = workers.current()
    if pool is None:
        return
    finished = commits.commits_by_unit(run.home, run.run_id)
    threads = workers.share_of_cores(torch.get_num_threads())
    tasks: dict[str, workers.Task] = {}
    for epoch in job.source.epochs:
        for part, shards in list_parts(job, epoch):
            if part in finished:
                continue
            for number, instances in enumerate(shards):
                arguments = (str(run.home.path), run.run_id, job.settings.data, threads, epoch, instances)
                tasks[shard_key(run, part, number)] = (explain_shard, arguments)
    pool.begin(tasks)


def explain_shard(
    home: str, run_id: str, data: str | None, threads: int, epoch: int, instances: np.ndarray
) -> list[AttributionBatch]:
    """In a worker: maps of instances [N] of an explainer run, as `explain_batch` makes them.

    Raises NotApplicable if the method is not, RunError if this worker cannot do the work.
    """
    workers.be_quiet()
    with _TURN:
        try:
            job = _open_job(home, run_id, data)
            torch.set_num_threads(threads)
            trained = read_recorded_settings(job.source.home, job.source.record, TrackedSettings)
            watch_model(trained.model, map(type, job.source.model.network.modules()))
            with limit_pass_size(job.source.fitting):
                _verify(home, run_id, data, epoch)
                job.load(epoch)
                return explain_batch(job, epoch, instances)
        except NotApplicable:
            raise
        except InputError as error:
            raise RunError(f"a worker cannot go on: {error}") from None
        except Exception as error:
            if reason := describe_model_error(error):
                raise RunError(reason) from None
            raise


@lru_cache(maxsize=1)
def _open_job(home: str, run_id: str, data: str | None) -> Job:
    """The job of a run. The command keeps its checkpoints, and checks which instances there are."""
    study = find_home(home)
    record = catalogue.resolve(study, run_id, ("explain",))
    verified_later = read_recorded_instances(study, record) or ()
    with open_recorded_job(record, study, data, tuple(verified_later)) as job:
        return job


@lru_cache(maxsize=1024)
def _verify(home: str, run_id: str, data: str | None, epoch: int) -> None:
    """Raise InputError if an epoch's model is in this worker another one than was tracked, as with other code."""
    job = _open_job(home, run_id, data)
    source = job.source
    committed = [source.epochs[epoch]]
    verify_checkpoints(source.home, source.record, source.model, source.data, source.device, committed)
