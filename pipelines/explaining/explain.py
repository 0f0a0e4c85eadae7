"""Explainer jobs by run ID: one run per method, as a child of the training run it explains."""

from dataclasses import replace
from types import ModuleType

import numpy as np

from pipelines.common import progress, workers
from pipelines.common.costs import estimate_explaining
from pipelines.common.settings import ExplainSettings
from pipelines.common.terminal import say
from pipelines.explaining.concepts import discovery as concepts
from pipelines.explaining.job import (
    Job,
    make_job,
    open_recorded_job,
    open_trained_run,
    read_recorded_instances,
    target_class,
)
from pipelines.explaining.maps import attribution
from pipelines.explaining.maps.precision import resolve_precision
from pipelines.lifecycle.child_run import describe_metrics, run_guard, start_child
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.lifecycle.selection import format_epochs
from tracking import catalogue, commits, runs
from tracking.errors import InputError, RunError
from tracking.home import Home
from xai import CONCEPT_METHODS, METHODS, NotApplicable

ALL_METHODS = "all"  # that make maps and are applicable to the model
# flags that only some methods use
METHODS_BY_FLAG = {
    "samples": tuple(name for name, method in METHODS.items() if method.takes_samples),
    "layer": (*(name for name, method in METHODS.items() if method.looks_at_a_layer), *CONCEPT_METHODS),
    "concepts": CONCEPT_METHODS,
    "precision": tuple(name for name, method in METHODS.items() if not method.looks_at_a_layer),
    "target": tuple(METHODS),
}


def explain(settings: ExplainSettings, home: Home, *, leave_out: bool = False) -> list[str]:
    """Explain a training run's predictions; the IDs of the explainer runs, one per method.

    A method that is not applicable to the model raises InputError, or is named and left out, as of `--method all`.
    """
    methods = (*METHODS, *CONCEPT_METHODS)
    if settings.method == (ALL_METHODS,):
        settings, leave_out = replace(settings, method=tuple(METHODS)), True
    if unknown := [name for name in settings.method if name not in methods]:
        raise InputError(
            f"no method {unknown[0]!r}; there are: {', '.join(methods)}, and {ALL_METHODS} alone for all that make maps"
        )
    _check_flags(settings)
    if settings.also is not None and (concept_methods := [name for name in settings.method if name in CONCEPT_METHODS]):
        raise InputError(
            f"--also adds maps of single images, which {concept_methods[0]} does not make; run {concept_methods[0]} "
            "without it"
        )
    with (
        workers.working(settings.workers, settings.scheduler, home, settings.run),
        open_trained_run(settings, home) as source,
    ):
        _check_targets(settings.target, source.data.classes)
        # all are tried before the first run is started, so that a refusal leaves nothing behind
        jobs = []
        for method in settings.method:
            try:
                job = make_job(settings, method, source)
                steps(job).probe(job)
                jobs.append(resolve_precision(job))
            except InputError as error:
                if not leave_out:
                    raise
                say(f"{method} is left out: {str(error).removeprefix(f'{method}: ')}")
        count = sum(len(instances) for instances in source.instances.values())
        costs = [estimate_explaining([job.method], count) for job in jobs]
        run_ids = []
        with progress.work("explaining", sum(costs), cost=sum(costs), is_mixed=len(costs) > 1) as explaining:
            for job, cost in zip(jobs, costs, strict=True):
                with explaining.part(cost):
                    run_ids.append(_complete(job, _start(job, home)))
        return run_ids


def _check_flags(settings: ExplainSettings) -> None:
    """Raise InputError on a flag that none of the methods uses."""
    for name, methods in METHODS_BY_FLAG.items():
        if getattr(settings, name) != getattr(ExplainSettings, name) and not set(settings.method) & set(methods):
            raise InputError(
                f"--{name} does nothing for {', '.join(settings.method)}; leave it out, or choose a method that uses "
                f"it: {', '.join(methods)}"
            )


def _check_targets(targets: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Raise InputError on a class that is named twice, as by its name and its ID."""
    named_classes = set()
    for target in targets:
        class_id = target_class(target, classes)
        if class_id in named_classes:
            raise InputError(f"--target {target!r} is a class that is already named; name each class once")
        if class_id is not None:
            named_classes.add(class_id)


def resume(record: catalogue.RunRecord, home: Home, data: str | None = None) -> str:
    """Resume an explainer run after its last committed part; returns its ID."""
    if record.status == "FINISHED":
        raise InputError(f"run {record.run_id[:8]} is finished; nothing to resume")
    method = read_recorded_settings(home, record, ExplainSettings).method[0]
    committed = commits.commits_by_unit(home, record.run_id)
    epochs = set(read_recorded_instances(home, record) or ())
    finished_epochs = {epoch for epoch in epochs if f"{method}_epoch_{epoch:04d}" in committed}

    if pruned := sorted((epochs - finished_epochs) & commits.pruned_epochs(home, record.source)):
        stored = ",".join(str(commit.epoch) for commit in commits.stored_epochs(home, record.source))
        raise InputError(
            f"run {record.run_id[:8]} cannot be resumed: it still needs the checkpoints of epochs "
            f"{', '.join(map(str, pruned))}, which were pruned; explain those that are kept: "
            f"study explain {record.source[:8]} --method {method} --epochs {stored}"
        )
    with open_recorded_job(record, home, data, finished_epochs) as job:
        return _complete(job, runs.reopen_run(home, record))


def rerun(record: catalogue.RunRecord, home: Home, data: str | None) -> str:
    """Repeat a run from its own record, with the same instances and settings; returns the new run's ID."""
    with open_recorded_job(record, home, data) as job:
        return _complete(job, _start(job, home))


def steps(job: Job) -> ModuleType:
    """The module that explains a job's epochs."""
    return concepts if job.method in CONCEPT_METHODS else attribution


def _start(job: Job, home: Home) -> runs.Run:
    source = job.source.record
    settings = job.settings
    tags = {
        runs.SOURCE: f"study explain --method {job.method}",
        "study.method": job.method,
        "study.n": str(len(np.unique(np.concatenate(list(job.source.instances.values()))))),
        "study.epochs": settings.epochs[:500],
        "study.split": settings.split,
    }
    epochs = _describe_epochs(list(job.source.epochs))
    note = (
        f"**{job.method}** of `{source.name}` (run `{source.run_id}`), {epochs}, split {settings.split}, "
        f"target: {', '.join(settings.target)}. {steps(job).NOTE}\n\n"
        f"{describe_metrics(steps(job).MEANINGS)}"
    )
    # epochs with the same instances share one entry
    epochs_by_instances: dict[tuple[int, ...], list[int]] = {}
    for epoch, instances in job.source.instances.items():
        epochs_by_instances.setdefault(tuple(instances.tolist()), []).append(epoch)
    recorded = [{"epochs": epochs, "ids": list(ids)} for ids, epochs in epochs_by_instances.items()]
    return start_child(home, "explain", job.method, settings, source, tags, note, {"instances": recorded})


def _describe_epochs(epochs: list[int]) -> str:
    """Epochs, ascending, in words: epoch 10 only; epochs 0 to 10; epochs 0, 5, 10."""
    return f"epochs {format_epochs(epochs)}" if len(epochs) > 1 else f"epoch {epochs[0]} only"


def _complete(job: Job, run: runs.Run) -> str:
    """Explain what is not committed yet. Raises RunError at an epoch to whose weights the method is not applicable."""
    with run_guard(run):
        if job.method in METHODS:
            attribution.begin(job, run)
        for epoch in progress.track(job.source.epochs, job.method, "epochs"):
            try:
                steps(job).explain_epoch(job, run, epoch)
            except NotApplicable as error:
                raise RunError(f"{job.method}, epoch {epoch}: {error}; earlier epochs are kept") from None
    return run.run_id
