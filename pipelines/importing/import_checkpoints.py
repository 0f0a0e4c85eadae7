"""Makes a run of checkpoint files: each becomes an epoch, evaluated on every split. Nothing else is known of it."""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipelines.common.progress import work
from pipelines.common.settings import ImportCheckpointsSettings
from pipelines.common.terminal import say
from pipelines.common.user_code import errors_reported
from pipelines.data.datasets import Dataset
from pipelines.importing.checkpoint_files import CheckpointFile, describe_files, find_checkpoints
from pipelines.lifecycle.child_run import run_guard
from pipelines.lifecycle.epoch_commit import StagedEpoch, commit_in_background, log_learning_curves, stage_epoch
from pipelines.lifecycle.groups import join_group
from pipelines.lifecycle.origin import UNKNOWN
from pipelines.lifecycle.run_inputs import describe_data, load_data
from pipelines.lifecycle.start import commit_start, count_images, count_weights, instance_columns, start_training_run
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model, save_model
from pipelines.models.networks import Classifier, build_tracked_model, check_scale, resolve_transform
from pipelines.models.predictions import evaluate, measure, prepare_images
from pipelines.models.user_code import digest_code
from pipelines.models.weight_files import describe_file, fit_weights, read_weights
from tracking import runs
from tracking.errors import InputError
from tracking.files import sha256
from tracking.home import Home
from tracking.staging import scratch_folder
from xai.gradient import find_nondeterminism

COMMAND = "import-checkpoints"
TRIAL_IMAGES = 4
SPLITS = ("val", "test")
OWN_FIRST_LAYER = "normalise.mean"  # in a checkpoint of this program, whose first layer is part of it


def import_checkpoints(settings: ImportCheckpointsSettings, home: Home) -> str:
    """Make the run; returns its ID. Raises InputError, leaving nothing behind, if a file does not fit the model."""
    runs.check_start(home, settings.name)
    settings = join_group(settings, home)
    files = find_checkpoints(settings.files, settings.epochs)
    settings = _resolve(settings)
    data = load_data(settings, home)
    device = hardware.prepare_device(settings)
    with torch.random.fork_rng():
        model = build_tracked_model(settings, data).to(device)
    say("  " + ", ".join(f"{file.path.name} is epoch {file.epoch}" for file in files))
    for number, file in enumerate(files):  # all of them, before anything is made
        _load(file, settings, model, data, quietly=number > 0)
        _try_out(file, settings, model, data, thoroughly=number == 0)
    digests = [sha256(file.path) for file in files]

    default_name = f"{settings.dataset}-{settings.model.rpartition(':')[2]}-imported"
    note = _describe(settings, data, model, files)
    seed = None if settings.group is None else settings.seed  # what the files were trained with is not known otherwise
    run, settings = start_training_run(home, f"study {COMMAND}", settings, default_name, data, note, UNKNOWN, seed)
    with run_guard(run, COMMAND, advice="import the checkpoints again"):
        inputs = {
            "data": describe_data(data),
            "model_code": digest_code(settings.model, model),
            "files": describe_files(files, digests),
        }
        commit_start(run, COMMAND, settings, instance_columns(run.run_id, data), data.classes, inputs, UNKNOWN)
        with closing(_make_epochs(run, files, settings, model, data, device)) as epochs:
            committed = list(commit_in_background(epochs))
        log_learning_curves(run, committed)
    return run.run_id


def _resolve(settings: ImportCheckpointsSettings) -> ImportCheckpointsSettings:
    """The settings with device, data folder and transform decided."""
    resolved = resolve_transform(hardware.resolve_device(settings))
    if resolved.transform is None:
        say("  pictures go to the network as they are, in 0..1; if yours were normalised or resized, give --transform")
        resolved = resolve_transform(replace(resolved, transform="none"))
    return replace(resolved, data=settings.data and str(Path(settings.data).absolute()))


def _make_epochs(
    run: runs.Run,
    files: list[CheckpointFile],
    settings: ImportCheckpointsSettings,
    model: Classifier,
    data: Dataset,
    device: torch.device,
) -> Generator[StagedEpoch, None, None]:
    """Evaluate the model with the weights of each file."""
    with work("importing", len(files), "checkpoints") as progress:
        for file in files:
            started_at = time.perf_counter()
            _load(file, settings, model, data, quietly=True)
            predictions = [
                evaluate(model, data.splits[split], split, device, settings.evaluation_batch)
                for split in SPLITS
                if split in data.splits
            ]
            metrics = measure(predictions) | {"seconds": time.perf_counter() - started_at}
            staged = stage_epoch(run, file.epoch, model, predictions, metrics, data)
            progress.advance()
            accuracies = "  ".join(f"{part.split} {part.accuracy:.2%}" for part in predictions)
            say(f"epoch {file.epoch:>3}  {accuracies}  {file.path.name}")
            yield staged


def _load(
    file: CheckpointFile, settings: ImportCheckpointsSettings, model: Classifier, data: Dataset, *, quietly: bool
) -> None:
    weights: dict[str, Tensor] = read_weights(file.path, settings.key)
    whole = OWN_FIRST_LAYER in weights
    fit_weights(describe_file(file.path), weights, model if whole else model.network, data, quietly=quietly)


def _try_out(
    file: CheckpointFile, settings: ImportCheckpointsSettings, model: Classifier, data: Dataset, *, thoroughly: bool
) -> None:
    """Raise InputError if the model with these weights cannot be evaluated, reproduced or saved."""
    problem = f"model {settings.model} with {file.path.name}"
    images = prepare_images(data.splits["train"].images[:TRIAL_IMAGES], torch.device(settings.device))
    with errors_reported(f"{problem} cannot be evaluated"), torch.inference_mode():
        logits = model.eval()(images).float().cpu()
    if not logits.isfinite().all():
        raise InputError(f"{problem} returns logits that are not finite; leave this checkpoint out")
    if not thoroughly:
        return
    check_scale(settings.model, logits)
    with errors_reported(f"{problem} cannot be evaluated"):
        nondeterminism = find_nondeterminism(model, images)
    if nondeterminism:
        raise InputError(f"{problem} would not reproduce its own predictions: {nondeterminism}")
    with errors_reported(f"{problem} cannot be saved as a checkpoint"), scratch_folder() as folder:
        load_model(model, save_model(model, folder / "trial.safetensors"))


def _describe(
    settings: ImportCheckpointsSettings, data: Dataset, model: Classifier, files: list[CheckpointFile]
) -> str:
    """The note of the run in the MLflow UI, in Markdown."""
    return (
        f"**{settings.model}** ({count_weights(model)}), {len(files)} checkpoint files evaluated on **{data.name}** "
        f"({count_images(data)}). How they were trained is not known. Every epoch's weights: "
        f"`checkpoints/`; every instance's prediction: `predictions/`. {model.normalise.describe()}"
    )
