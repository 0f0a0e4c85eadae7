"""Training that keeps every epoch's checkpoint and every instance's prediction, epoch 0 included."""

import os
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.common import progress, ranks
from pipelines.common.costs import estimate_training
from pipelines.common.settings import ResolvedImprovement, ResolvedTraining, TrainSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.added import join_splits, read_additions
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.additions import commit_addition
from pipelines.lifecycle.child_run import run_guard
from pipelines.lifecycle.epoch_commit import (
    StagedEpoch,
    commit_in_background,
    complete_epochs,
    log_learning_curves,
    resume_file,
    stage_epoch,
)
from pipelines.lifecycle.groups import join_group
from pipelines.lifecycle.origin import UNTRAINED, Origin, describe_origin, read_origin
from pipelines.lifecycle.run_inputs import describe_data, load_data, read_recorded_settings, read_start_table
from pipelines.lifecycle.start import commit_start, count_images, count_weights, instance_columns, start_training_run
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.checkpoints import load_state, save_state
from pipelines.models.networks import Classifier, build_tracked_model
from pipelines.models.predictions import EVALUATION_BATCH, Predictions, measure
from pipelines.models.user_code import digest_code
from pipelines.models.weight_files import list_keys
from pipelines.training.beginning import find_source, freeze_parameters, load_initial_weights, resolve_source
from pipelines.training.epoch import check_finite, train_and_evaluate
from pipelines.training.following import lead
from pipelines.training.label_changes import (
    IGNORE,
    LABEL_CHANGES,
    RECORD,
    LabelChanges,
    decide_label_changes,
    read_label_changes,
)
from pipelines.training.recipe import Recipe, add_repeats, make_recipe, resolve_settings
from pipelines.training.repeats import NEW_IMAGES, TARGETS, Targets, make_repeats
from tracking import catalogue, commits, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.home import Home
from xai.method import limit_pass_size

RECORDED = {"train": ResolvedTraining, "improve": ResolvedImprovement}  # settings of a run, by its kind


@dataclass(frozen=True)
class Training:
    """A training run under way: all that its epochs need."""

    settings: ResolvedTraining
    data: Dataset
    model: Classifier  # with the current weights, not their average
    recipe: Recipe
    run: runs.Run


def train(settings: TrainSettings, home: Home, original: catalogue.RunRecord | None = None) -> str:
    """Train from the beginning, on the data of run `original` if it is given; returns the run ID.

    Raises DivergedError if the training diverges, InputError if that data now has another digest.
    """
    return start_training(settings, home, original, read_origin(home, original) if original else None)


def start_training(
    settings: TrainSettings,
    home: Home,
    data_of: catalogue.RunRecord | None,
    recorded: Origin | None,
    targets: Targets | None = None,
    changes: LabelChanges | None = None,
) -> str:
    """Train as a new run, on the data that run `data_of` read, if there is one; returns the run ID.

    The weights that it begins with must be those `recorded`, if it repeats a run. Labels change as they did in
    `data_of`, unless `changes` say otherwise.
    """
    runs.check_start(home, settings.name)
    settings = join_group(settings, home)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        raise InputError(
            "torchrun has started the training again, which would be another run; continue it with study resume"
        )
    source = find_source(settings, home)
    settings = resolve_source(settings, source)
    data = load_data(settings, home, data_of)
    if changes is None:
        changes = read_label_changes(home, data_of) if data_of else decide_label_changes(settings, home, data)
    resolved = resolve_settings(settings, data)
    hardware.prepare_device(resolved)  # before anything is computed: the first weights depend on the threads too
    model = build_tracked_model(resolved, data)
    origin = load_initial_weights(resolved, home, model, data, source, recorded)
    del source  # its weights would stay in memory as long as the training
    freeze_parameters(resolved, model, data)
    repeats = make_repeats(resolved, data, changes, targets)
    recipe = add_repeats(make_recipe(resolved, data, model, changes), repeats)
    lead(home, recipe, data, model, recipe.first_epoch)

    default_name = f"{data.name}-{resolved.model.rpartition(':')[2]}-{settings.seed}"
    if isinstance(resolved, ResolvedImprovement):
        default_name += "-improved" if resolved.targeted else "-control"
    note = _describe_training(home, recipe, data, model, origin)
    kind = "improve" if repeats else "train"
    run, named_settings = start_training_run(
        home,
        f"study {kind}",
        recipe.settings,
        default_name,
        data,
        note,
        origin,
        settings.seed,
        kind=kind,
        source_run_id=origin.source_run_id if repeats else None,
    )
    training = Training(named_settings, data, model, recipe, run)
    _commit_beginning(training, origin, targets)
    return _run_epochs(training, [])


def _commit_beginning(training: Training, origin: Origin, targets: Targets | None) -> None:
    """Commit what the run is trained on and begins with."""
    run, settings, data, changes = training.run, training.settings, training.data, training.recipe.changes
    tables = {}
    if targets is not None:
        tables[TARGETS] = {"run_id": [run.run_id] * len(targets.chosen["instance_id"]), **targets.chosen}
        if targets.new:  # before the start, without which the run is not continued
            commit_addition(run, NEW_IMAGES, 1, 0, targets.new)
    if changes.new_labels:
        tables[LABEL_CHANGES] = changes.to_columns(run.run_id, data.splits["train"].labels)
    inputs = {"data": describe_data(data), "model_code": digest_code(settings.model, training.model)}
    if settings.verdicts != IGNORE:
        inputs[RECORD] = changes.summary()
    instances = instance_columns(run.run_id, data)
    commit_start(run, run.record.kind, settings, instances, data.classes, inputs, origin, tables)


def rerun(record: catalogue.RunRecord, home: Home, data: str | None) -> str:
    """Train again from a run's own record, on the data it was made with."""
    settings = read_recorded_settings(home, record, RECORDED[record.kind])
    settings = replace(settings, name=None, group=None, data=data or settings.data)  # the group has a run of this seed
    return start_training(settings, home, record, read_origin(home, record), _read_targets(home, record))


def _read_targets(home: Home, record: catalogue.RunRecord) -> Targets | None:
    """What a run looks at more often; None if nothing was chosen for it."""
    chosen = read_start_table(home, record, TARGETS)
    new = read_additions(home, record.run_id, NEW_IMAGES)
    return Targets(chosen, join_splits(new) if new else None) if chosen else None


def resume(record: catalogue.RunRecord, home: Home, data: str | None = None) -> str:
    """Continue after the last committed epoch; the result is bit-identical to that of an uninterrupted training."""
    settings = read_recorded_settings(home, record, RECORDED[record.kind])
    committed = commits.until_gap(commits.read_epochs(home, record.run_id), settings.first_epoch)
    if len(committed) == settings.epochs + 1 and record.status == "FINISHED":
        raise InputError(
            f"run {record.run_id[:8]} is finished after {plural(settings.epochs, 'epoch')}; nothing to resume"
        )
    # a training continues only where its data set is: if that was moved or changed, say so before hours are spent
    dataset = load_data(replace(settings, data=data or settings.data), home, record, takes_kept=False)
    model = build_tracked_model(settings, dataset)
    if not committed:
        source = find_source(settings, home)
        load_initial_weights(settings, home, model, dataset, source, read_origin(home, record))
    freeze_parameters(settings, model, dataset)
    changes = read_label_changes(home, record)
    repeats = make_repeats(settings, dataset, changes, _read_targets(home, record))
    recipe = add_repeats(make_recipe(settings, dataset, model, changes), repeats)
    state = None
    if committed:
        last = committed[-1]
        with limit_pass_size(settings.evaluation_batch or EVALUATION_BATCH):
            verify_checkpoints(home, record, recipe.averaged_model, dataset, recipe.device, [last])
        state = commits.committed_file(home, last, resume_file(last.epoch))
        load_state(model, recipe.optimizers, state)
    lead(home, recipe, dataset, model, recipe.first_epoch + len(committed), state)
    run = runs.reopen_run(home, record)
    return _run_epochs(Training(settings, dataset, model, recipe, run), committed)


def _describe_training(home: Home, recipe: Recipe, data: Dataset, model: Classifier, origin: Origin) -> str:
    """The note of the run in the MLflow UI, in Markdown."""
    settings = recipe.settings
    begins_from = describe_origin(home, origin)
    beginning = "untrained network" if origin.begins == UNTRAINED.begins else "network before training"
    if begins_from:
        beginning += f", which begins from {begins_from}"
    if origin.new_weights:
        beginning += f"; {list_keys(list(origin.new_weights))} are drawn at random"
    judged = f" With {recipe.changes.describe()} (table `label_changes`)." if recipe.changes.judged else ""
    return (
        f"**{settings.model}** ({count_weights(model)}) trained on **{data.name}** ({count_images(data)}), seed "
        f"{settings.seed}. Every epoch's weights: `checkpoints/`; every instance's "
        f"prediction: `predictions/`. Epoch {recipe.first_epoch} is the {beginning}. "
        f"{model.normalise.describe()}{judged}"
    )


def _run_epochs(training: Training, committed: list[EpochCommit]) -> str:
    """Train, evaluate and commit the epochs after those that are committed; returns the run ID."""
    run = training.run
    settings = training.settings
    with run_guard(run):
        threads = plural(settings.threads, "thread")
        processes = f", {ranks.world()} processes" if ranks.world() > 1 else ""
        say(f"  {plural(settings.epochs, 'epoch')} on {settings.device}, {settings.precision}, {threads}{processes}")
        complete_epochs(run, committed, training.data)
        with closing(_make_epochs(training, len(committed))) as epochs:
            committed += commit_in_background(epochs)
        log_learning_curves(run, committed)
    return run.run_id


def _make_epochs(training: Training, done: int) -> Generator[StagedEpoch, None, None]:
    """Train and evaluate all epochs but the first ones that are `done`."""
    settings = training.settings
    first = training.recipe.first_epoch
    last = first + settings.epochs
    cost = estimate_training(len(training.data.splits["train"].labels), settings.epochs)
    with progress.work("training", settings.epochs + 1, done=done, cost=cost) as epochs:
        for epoch in range(first + done, last + 1):
            with epochs.part(1):
                ranks.tell(epoch)
                predictions, metrics = _compute_epoch(training, epoch)
                staged = _stage_epoch(training, epoch, predictions, metrics)
            say(
                f"epoch {epoch:>3}/{last}  val {metrics['val_accuracy']:.2%}  "
                f"test {metrics['test_accuracy']:.2%}  test loss {metrics['test_loss']:.3f}  "
                f"{metrics['seconds']:.1f} s"
            )
            del predictions  # else they would stay in memory while the next epoch's are made
            yield staged


def _compute_epoch(training: Training, epoch: int) -> tuple[list[Predictions], dict[str, float]]:
    """Train, but in the first epoch, and evaluate; predictions of train_seen, val and test, in this order; metrics."""
    started_at = time.perf_counter()
    predictions, train_seconds = train_and_evaluate(training.model, training.recipe, training.data, epoch)
    for part in predictions:
        check_finite(part, "training", epoch)
    metrics = {"train_seconds": train_seconds} if epoch > training.recipe.first_epoch else {}
    metrics |= measure(predictions)
    metrics["seconds"] = time.perf_counter() - started_at
    return predictions, metrics


def _stage_epoch(
    training: Training, epoch: int, predictions: list[Predictions], metrics: dict[str, float]
) -> StagedEpoch:
    """Stage the averaged model, and beside it what resuming needs."""
    recipe = training.recipe
    path = resume_file(epoch)

    def save_resume_state(folder: Path) -> dict[str, Path]:
        return {path: save_state(training.model, recipe.optimizers, folder / Path(path).name)}

    model = recipe.averaged_model
    details = {"processes": float(ranks.world())} if ranks.world() > 1 else {}  # as their number may change bits
    return stage_epoch(training.run, epoch, model, predictions, metrics, training.data, save_resume_state, details)
