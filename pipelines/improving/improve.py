"""The command: plans the improved training and its control, runs what is missing of both, and compares them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.common.progress import work
from pipelines.common.settings import ImproveSettings, ResolvedImprovement, ResolvedTraining
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.improving.targets import Targets, choose_targets
from pipelines.improving.verdict import judge
from pipelines.lifecycle.groups import parse_seeds
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from pipelines.training.beginning import Source, open_source
from pipelines.training.train import resume, start_training
from tracking import catalogue, commits, runs
from tracking.catalogue import WITH_CHECKPOINTS, RunRecord
from tracking.errors import InputError
from tracking.home import Home

LR_FRACTION = 0.3  # of the peak learning rate of the run that is gone on from
NOT_COMPARED = ("name", "data")  # settings in which a run may differ from what is planned, and still be it


def improve(settings: ImproveSettings, home: Home) -> list[str]:
    """Train controls and improved runs that are not there yet, and say how they compare; the latter's IDs, by seed."""
    source = open_source(home, settings.run, "best")
    _check_source(home, source)
    targets = choose_targets(settings, home, source)
    say(
        f"improve: from epoch {source.commit.epoch} of run {source.record.run_id[:8]} ({source.record.name}); weakest "
        f"classes on val: {', '.join(targets.weak_classes)}"
    )
    counts = ", ".join(f"{count:,} {reason}" for reason, count in targets.reasons.items())
    say(f"  {plural(len(targets.images['weight']), 'training image')} chosen ({counts})")

    improvements = _plan(settings, home, source, targets)
    controls = [_make_control(planned) for planned in improvements]
    planned_runs = [*controls, *improvements]  # controls first, so that `latest` is an improved run
    if _find_run(home, source, planned_runs[0]) is None:
        for name in {one.group or one.name for one in planned_runs}:  # before hours are spent
            runs.check_start(home, name)
    records = []
    with work("", len(planned_runs), is_mixed=True) as stages:
        for planned in planned_runs:
            with stages.part(1):
                records.append(_complete(home, source, planned, targets.images if planned.targeted else None))
    _conclude(home, source, records[len(controls) :], records[: len(controls)], targets.weak_classes)
    return [record.run_id for record in records[len(controls) :]]


def _check_source(home: Home, source: Source) -> None:
    """Raise InputError if the training cannot go on from there."""
    run_id = source.record.run_id[:8]
    if read_recorded_config(home, source.record)["command"] not in WITH_CHECKPOINTS:
        raise InputError(
            f"run {run_id}: how it was trained is not known here, so no control could go on alike; train with your own "
            f"loop, or with: study train --from {run_id}"
        )
    if source.commit.epoch == 0:
        raise InputError(f"epoch 0 of run {run_id} is before training, so nothing is learned yet; name a later one")


def _plan(settings: ImproveSettings, home: Home, source: Source, targets: Targets) -> list[ResolvedImprovement]:
    """The improved runs' settings, one per seed: those of the source but for what this command decides."""
    trained = read_recorded_settings(home, source.record, ResolvedTraining)
    seeds = [trained.seed] if settings.seeds is None else parse_seeds(settings.seeds)
    # a run that has gone on has a lowered rate already
    usual_lr = trained.lr if source.record.kind == "improve" else LR_FRACTION * trained.lr
    lr = settings.lr or usual_lr
    default_group = f"{source.record.name}-epoch-{source.commit.epoch}-improved"
    changed = {
        "from_": f"{source.record.run_id}:{source.commit.epoch}",
        "weights": None,
        "transform": source.preprocessing.to_json(),
        "data": settings.data or trained.data,
        "split_seed": trained.validation_seed,
        "epochs": settings.epochs,
        "lr": lr,
        "body_lr": trained.body_lr and trained.body_lr * lr / trained.lr,
        "group": None if len(seeds) == 1 else settings.name or default_group,
        "name": settings.name if len(seeds) == 1 else None,
    }
    planned = ResolvedImprovement(
        **vars(trained) | changed,
        first_epoch=source.commit.epoch,
        targeted=True,
        repeats=max(1, round(settings.repeats * targets.image_count)),
        augment=tuple(name for name in settings.augment if name != "none"),
        where=settings.where,
        weak_classes=targets.weak_classes,
    )
    return [replace(planned, seed=seed) for seed in seeds]


def _make_control(planned: ResolvedImprovement) -> ResolvedImprovement:
    """The same without chosen images."""
    name, group = (text and f"{text}-control" for text in (planned.name, planned.group))
    return replace(planned, targeted=False, where=None, name=name, group=group)


def _complete(home: Home, source: Source, planned: ResolvedImprovement, targets: Mapping[str, Any] | None) -> RunRecord:
    """The run with these settings: the one there is, gone on with if it was interrupted, else a new one."""
    record = _find_run(home, source, planned)
    if record is None:
        return catalogue.resolve(home, start_training(planned, home, source.record, None, targets))
    if record.status == "FINISHED":
        say(f"improve: run {record.run_id} ({record.name}) is there already")
        return record
    with runs.claimed(home, record):
        resume(catalogue.resolve(home, record.run_id), home, planned.data)
    return catalogue.resolve(home, record.run_id)


def _find_run(home: Home, source: Source, planned: ResolvedImprovement) -> RunRecord | None:
    """The newest run with these settings that has begun, if there is one."""
    wanted = _comparable(planned.params())
    for record in reversed(catalogue.read_records(home)):
        if record.kind != "improve" or record.source_run_id != source.record.run_id:
            continue
        is_begun = "start" in commits.committed_units(home, record.run_id)
        if is_begun and _comparable(record.params).items() >= wanted.items():
            return record
    return None


def _comparable(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in NOT_COMPARED}


def _conclude(
    home: Home,
    source: Source,
    improved: list[RunRecord],
    controls: list[RunRecord],
    weak_classes: tuple[str, ...],
) -> None:
    """Say the verdict, and let MLflow say it and link all runs."""
    verdict = judge(home, improved, controls, (source.record.run_id, source.commit.epoch), weak_classes)
    for sentence in verdict.sentences:
        say(f"  {sentence}")
    for run, control in zip(improved, controls, strict=True):
        opened = runs.open_run(home, run)
        runs.set_finding(opened, " ".join(verdict.sentences), verdict.summary, run.run_id)
        runs.set_tag(opened, "study.control", control.run_id)
        for other in (control, source.record):
            runs.set_tag(opened, "study.improved", run.run_id, other.run_id)
        links = [
            (control, f"Control of run {run.name} ({run.run_id}): it goes on without chosen images."),
            (run, f"Its control is run {control.name} ({control.run_id})."),
            (
                source.record,
                f"Improved from epoch {source.commit.epoch}: run {run.name} ({run.run_id}), beside its "
                f"control {control.name}: {verdict.summary}.",
            ),
        ]
        for other, line in links:
            runs.add_to_note(opened, line, other.run_id)
