"""Explainer jobs by run ID: a run of its own for every method, under the training run it explains."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType

import numpy as np

from pipelines.common.settings import ExplainSettings
from pipelines.common.terminal import say
from pipelines.explaining.concepts import discovery as concepts
from pipelines.explaining.job import Job, TrainedRun, make_job, open_trained_run, target_class
from pipelines.explaining.maps import attribution
from pipelines.lifecycle.child_run import run_guard, start_child
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from tracking import catalogue, commits, runs
from tracking.errors import InputError, RunError
from tracking.home import Home
from xai import CONCEPT_METHODS, METHODS, NotApplicable

# flags that only some methods look at
USED_BY = {
    "samples": tuple(name for name, method in METHODS.items() if method.takes_samples),
    "layer": (*(name for name, method in METHODS.items() if method.looks_at_a_layer), *CONCEPT_METHODS),
    "concepts": CONCEPT_METHODS,
    "target": tuple(METHODS),
}


def explain(settings: ExplainSettings, home: Home, *, leave_out: bool = False) -> list[str]:
    """Explain a training run's predictions; the IDs of the explainer runs, one per method.

    A method that cannot be right for the model raises InputError, or is named and left out.
    """
    known = (*METHODS, *CONCEPT_METHODS)
    if unknown := [name for name in settings.method if name not in known]:
        raise InputError(f"no method {unknown[0]!r}; there are: {', '.join(known)}")
    _check_used(settings)
    with open_trained_run(settings, home) as source:
        _check_targets(settings.target, source.data.classes)
        # before the first run is started, so that nothing is left of what cannot be done
        jobs = [_tried(settings, method, source, leave_out) for method in settings.method]
        return [_go_on(job, _start(job, home)) for job in jobs if job]


def _check_used(settings: ExplainSettings) -> None:
    """Raise InputError on a flag that none of the methods would look at."""
    for name, methods in USED_BY.items():
        if getattr(settings, name) not in (None, ()) and not set(settings.method) & set(methods):
            raise InputError(
                f"--{name} does nothing for {', '.join(settings.method)}; leave it out, or take a method that looks "
                f"at it: {', '.join(methods)}"
            )


def _check_targets(targets: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Raise InputError on a class that is named twice, as by its name and its ID."""
    named = [target for target in targets if target_class(target, classes) is not None]
    ids = [target_class(target, classes) for target in named]
    if repeated := [target for place, target in enumerate(named) if ids[place] in ids[:place]]:
        raise InputError(f"--target {repeated[0]!r} is a class that is named already; give each once")


def resume(record: catalogue.RunRecord, home: Home, data: str | None = None) -> str:
    """Go on behind the last committed part of an explainer run."""
    if record.status == "FINISHED":
        raise InputError(f"run {record.run_id[:8]} is finished; nothing to resume")
    method = read_recorded_settings(home, record, ExplainSettings).method[0]
    units = {f"{method}_epoch_{epoch:04d}": epoch for epoch in _recorded_instances(home, record) or ()}
    finished = {epoch for unit, epoch in units.items() if unit in commits.commits_by_unit(home, record.run_id)}
    _check_kept(record, home, method, set(units.values()) - finished)
    with _recorded(record, home, data, finished) as job:
        return _go_on(job, runs.reopen_run(home, record))


def rerun(record: catalogue.RunRecord, home: Home, data: str | None) -> str:
    """Explain again from a run's own record: the same instances with the same settings."""
    with _recorded(record, home, data) as job:
        return _go_on(job, _start(job, home))


def _check_kept(record: catalogue.RunRecord, home: Home, method: str, needed: set[int]) -> None:
    """Raise InputError if checkpoints of epochs that are still to be explained were pruned since the run stopped."""
    source = record.source
    if gone := sorted(needed & commits.pruned_epochs(home, source)):
        kept = ",".join(str(commit.epoch) for commit in commits.stored_epochs(home, source))
        raise InputError(
            f"run {record.run_id[:8]} cannot be resumed: it still needs the checkpoints of epochs "
            f"{', '.join(map(str, gone))}, which were pruned; explain those that are kept: "
            f"study explain {source[:8]} --method {method} --epochs {kept}"
        )


def _recorded_instances(home: Home, record: catalogue.RunRecord) -> dict[int, np.ndarray] | None:
    """Instances by epoch that a run was started with; None in a run of a version that did not record them."""
    chosen = read_recorded_config(home, record).get("inputs", {}).get("instances")
    return {epoch: np.array(part["ids"]) for part in chosen for epoch in part["epochs"]} if chosen else None


@contextmanager
def _recorded(
    record: catalogue.RunRecord, home: Home, data: str | None, finished: Collection[int] = ()
) -> Iterator[Job]:
    """The job of a run, for the instances it was started with, whatever its settings would choose today."""
    settings = read_recorded_settings(home, record, ExplainSettings)
    settings = replace(settings, run=record.source, data=data or settings.data)
    with open_trained_run(settings, home, _recorded_instances(home, record), finished) as source:
        yield make_job(settings, settings.method[0], source)


def _tried(settings: ExplainSettings, method: str, source: TrainedRun, leave_out: bool) -> Job | None:
    """The job of a method, tried on one instance; None if it is left out."""
    try:
        job = make_job(settings, method, source)
        steps(job).probe(job)
        return job
    except InputError as error:
        if not leave_out:
            raise
        say(f"{method} is left out: {str(error).removeprefix(f'{method}: ')}")
        return None


def steps(job: Job) -> ModuleType:
    """The module that does a job's epochs."""
    return concepts if job.method in CONCEPT_METHODS else attribution


def _start(job: Job, home: Home) -> runs.Run:
    source, settings = job.source.record, job.settings
    tags = {"study.method": job.method, "study.epochs": settings.epochs[:500], "study.split": settings.split}
    inputs = {"instances": _by_epochs(job.source.instances)}
    return start_child(home, "explain", f"{job.method}-{source.name}", settings, source, tags, _note(job), inputs)


def _by_epochs(instances: dict[int, np.ndarray]) -> list[dict[str, list[int]]]:
    """Instances with the epochs at which they are explained; epochs with the same ones together."""
    parts: dict[tuple[int, ...], list[int]] = {}
    for epoch, ids in instances.items():
        parts.setdefault(tuple(ids.tolist()), []).append(epoch)
    return [{"epochs": epochs, "ids": list(ids)} for ids, epochs in parts.items()]


def _note(job: Job) -> str:
    source, settings = job.source.record, job.settings
    return (
        f"**{job.method}** of `{source.name}` (run `{source.run_id}`), epochs {settings.epochs}, split "
        f"{settings.split}, target: {', '.join(settings.target)}. {steps(job).NOTE}"
    )


def _go_on(job: Job, run: runs.Run) -> str:
    """Do what is not committed yet. Raises RunError at an epoch whose weights the method cannot be right for."""
    with run_guard(run):
        for epoch in job.source.epochs:
            try:
                steps(job).explain_epoch(job, run, epoch)
            except NotApplicable as error:
                raise RunError(f"{job.method}, epoch {epoch}: {error}; what came before is kept") from None
    return run.run_id
