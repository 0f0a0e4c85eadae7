"""The command: plans the improved training and its control, runs what is missing of both, and compares them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.common.progress import work
from pipelines.common.settings import DiffSettings, ImproveSettings, ResolvedImprovement, ResolvedTraining
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.diffing.diff import diff
from pipelines.improving.new_images import digest_images, read_new_images
from pipelines.improving.targets import Choice, choose_targets
from pipelines.improving.verdict import judge
from pipelines.lifecycle.groups import parse_seeds
from pipelines.lifecycle.run_inputs import load_data, read_recorded_config, read_recorded_settings
from pipelines.training.beginning import Source, open_source
from pipelines.training.label_changes import IGNORE, RECORD, LabelChanges, decide_label_changes, read_label_changes
from pipelines.training.repeats import Targets
from pipelines.training.train import resume, start_training
from tracking import catalogue, commits, display, runs
from tracking.catalogue import WITH_CHECKPOINTS, RunRecord
from tracking.errors import InputError
from tracking.home import Home

LR_FRACTION = 0.3  # of the peak learning rate of the run that is continued
NOT_COMPARED = ("name", "data")  # settings in which a run may differ from what is planned, and still be it


@dataclass(frozen=True)
class Plan:
    """A run that is to continue the source."""

    settings: ResolvedImprovement
    targets: Targets | None  # None: it is a control
    changes: LabelChanges


def improve(settings: ImproveSettings, home: Home) -> list[str]:
    """Train controls and improved runs that are not there yet, and say how they compare; the latter's IDs, by seed."""
    source = open_source(home, settings.run, "best")
    _check_source(home, source)
    choice = choose_targets(settings, home, source)
    say(
        f"improve: from epoch {source.commit.epoch} of run {source.record.run_id[:8]} ({source.record.name}); weakest "
        f"classes on val: {', '.join(choice.weak_classes)}"
    )
    counts = ", ".join(f"{count:,} {reason}" for reason, count in choice.reasons.items())
    say(f"  {plural(len(choice.images['weight']), 'training image')} chosen ({counts})")

    controls, improvements = _plan(settings, home, source, choice)
    if _find_run(home, source, controls[0]) is None:
        for name in {plan.settings.group or plan.settings.name for plan in (*controls, *improvements)}:
            runs.check_start(home, name)  # before hours are spent
    records = []
    with work("", len(controls) + len(improvements), is_mixed=True) as stages:
        for plan in (*controls, *improvements):  # controls first, so that `latest` is an improved run
            with stages.part(1):
                records.append(_complete(home, source, plan))
    trained_controls, improved = records[: len(controls)], records[len(controls) :]
    _conclude(home, source, improved, trained_controls, choice.weak_classes)
    _compare(settings, home, source, improved, trained_controls)
    return [record.run_id for record in improved]


def _check_source(home: Home, source: Source) -> None:
    """Raise InputError if the training cannot continue from there."""
    run_id = source.record.run_id[:8]
    if read_recorded_config(home, source.record)["command"] not in WITH_CHECKPOINTS:
        raise InputError(
            f"run {run_id}: how it was trained is not known here, so no control could continue in the same way; train "
            f"with your own loop, or with: study train --from {run_id}"
        )
    if source.commit.epoch == 0:
        raise InputError(f"epoch 0 of run {run_id} is before training, so nothing is learned yet; name a later one")


def _plan(settings: ImproveSettings, home: Home, source: Source, choice: Choice) -> tuple[list[Plan], list[Plan]]:
    """Controls and improved runs, one of each per seed, with the settings of the source unless others are given.

    All see as many images per epoch: where one lacks new images, or those that verdicts leave out, it repeats more.
    """
    trained = read_recorded_settings(home, source.record, ResolvedTraining)
    trained = replace(trained, data=settings.data or trained.data)
    data = load_data(trained, home, source.record)
    targets = Targets(choice.images, read_new_images(settings.images, data))
    changes = changes_before = read_label_changes(home, source.record)
    if settings.verdicts is not None:
        changes = decide_label_changes(replace(trained, verdicts=settings.verdicts), home, data)
    more_left_out = changes.left_out - changes_before.left_out
    new_count = len(targets.new.labels) if targets.new else 0

    seeds = [trained.seed] if settings.seeds is None else parse_seeds(settings.seeds)
    default_group = f"{source.record.name}-epoch-{source.commit.epoch}-improved"
    name = settings.name if len(seeds) == 1 else None
    group = None if len(seeds) == 1 else settings.name or default_group
    continued = _continue_settings(trained, settings, source, choice)
    control = replace(
        continued,
        repeats=continued.repeats + new_count + max(0, -more_left_out),
        name=name and f"{name}-control",
        group=group and f"{group}-control",
    )
    improvement = replace(
        continued,
        targeted=True,
        repeats=continued.repeats + max(0, more_left_out),
        where=settings.where,
        verdicts=settings.verdicts or trained.verdicts,
        new_images=digest_images(targets.new) if targets.new else None,
        name=name,
        group=group,
    )
    return (
        [Plan(replace(control, seed=seed), None, changes_before) for seed in seeds],
        [Plan(replace(improvement, seed=seed), targets, changes) for seed in seeds],
    )


def _continue_settings(
    trained: ResolvedTraining, settings: ImproveSettings, source: Source, choice: Choice
) -> ResolvedImprovement:
    """The settings of a training that continues from the source and sees as many images again as were chosen."""
    # a continued run already has a lower rate
    usual_lr = trained.lr if source.record.kind == "improve" else LR_FRACTION * trained.lr
    lr = settings.lr or usual_lr
    return ResolvedImprovement(
        **vars(trained)
        | {
            "from_": f"{source.record.run_id}:{source.commit.epoch}",
            "weights": None,
            "transform": source.preprocessing.to_json(),  # with the size that images had in the end
            "progressive_resizing": "no",
            "split_seed": trained.validation_seed,
            "epochs": settings.epochs,
            "lr": lr,
            "body_lr": trained.body_lr and trained.body_lr * lr / trained.lr,
        },
        first_epoch=source.commit.epoch,
        targeted=False,
        repeats=max(1, round(settings.repeats * choice.image_count)),
        augment=tuple(name for name in settings.augment if name != "none"),
        weak_classes=choice.weak_classes,
    )


def _complete(home: Home, source: Source, plan: Plan) -> RunRecord:
    """The planned run: the existing one, resumed if it was interrupted, else a new one."""
    record = _find_run(home, source, plan)
    if record is None:
        run_id = start_training(plan.settings, home, source.record, None, plan.targets, plan.changes)
        return catalogue.resolve(home, run_id)
    if record.status == "FINISHED":
        say(f"improve: run {record.run_id} ({record.name}) already exists")
        return record
    with runs.claimed(home, record):
        resume(catalogue.resolve(home, record.run_id), home, plan.settings.data)
    return catalogue.resolve(home, record.run_id)


def _find_run(home: Home, source: Source, plan: Plan) -> RunRecord | None:
    """The newest run of that plan that has begun, if there is one."""
    wanted = {name: value for name, value in plan.settings.params().items() if name not in NOT_COMPARED}
    verdicts = None if plan.settings.verdicts == IGNORE else plan.changes.summary()
    for record in reversed(catalogue.read_records(home)):
        if record.kind != "improve" or record.source_run_id != source.record.run_id:
            continue
        if "start" not in commits.committed_units(home, record.run_id):
            continue
        has_settings = all(record.params.get(name) == value for name, value in wanted.items())
        if has_settings and read_recorded_config(home, record).get(RECORD) == verdicts:
            return record
    return None


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
        display.set_finding(opened, " ".join(verdict.sentences), verdict.summary, run.run_id)
        runs.set_tag(opened, "study.control", control.run_id)
        for other in (control, source.record):
            runs.set_tag(opened, "study.improved", run.run_id, other.run_id)
        links = [
            (control, f"Control of run {run.name} ({run.run_id}): it continues without chosen images."),
            (run, f"Its control is run {control.name} ({control.run_id})."),
            (
                source.record,
                f"Improved from epoch {source.commit.epoch}: run {run.name} ({run.run_id}), beside its "
                f"control {control.name}: {verdict.summary}.",
            ),
        ]
        for other, line in links:
            display.add_to_note(opened, line, other.run_id)


def _compare(
    settings: ImproveSettings,
    home: Home,
    source: Source,
    improved: Sequence[RunRecord],
    controls: Sequence[RunRecord],
) -> None:
    """Make the pages that compare the improved runs with their controls and with the epoch they began from."""
    after, control = (group[0].seed_group if len(group) > 1 else group[0].run_id for group in (improved, controls))
    before = f"{source.record.run_id}:{source.commit.epoch}"
    for reference in (control, before):
        page = diff(DiffSettings(run=str(reference), other=str(after), data=settings.data), home)
        say(f"  {'against the control' if reference == control else 'against the beginning'}: {page}")
