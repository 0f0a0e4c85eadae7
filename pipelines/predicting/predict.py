"""New images join a training run's history: every stored checkpoint is evaluated on them, once.

An instance has a fixed place in a batch of fixed size, so that its predictions are bit-identical whenever they are
made, and whichever other images are given.
"""

import re
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common.progress import work
from pipelines.common.settings import PredictSettings, TrackedSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.added import (
    EXTRA_PREFIX,
    NAME_PATTERN,
    count_evaluated_additions,
    encode_png,
    join_splits,
    read_additions,
)
from pipelines.data.datasets import Dataset
from pipelines.data.incoming import find_images, read_images
from pipelines.data.names import format_name
from pipelines.data.raw import CONTENT_DIGITS, Split
from pipelines.data.stored_images import Images
from pipelines.lifecycle.later_model import remember_model
from pipelines.lifecycle.run_inputs import checkpoint_file, load_data, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model
from pipelines.models.memory import PROBE_IMAGES, count_fitting_images, default_memory_limit
from pipelines.models.networks import build_tracked_model
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.user_errors import describe_model_error
from tracking import catalogue, commits, locks, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.index import ingest
from xai.method import limit_pass_size, pass_size

ADVICE = "run the same command again to evaluate the missing epochs"
BATCH = 32  # images, fewer if they do not fit into memory; instance i is always number i % batch of a batch


@dataclass(frozen=True)
class Evaluation:
    """The training run whose checkpoints are evaluated, and the split extra:NAME."""

    run: runs.Run
    name: str
    epochs: list[EpochCommit]
    data: Dataset
    settings: TrackedSettings  # with the device of this machine

    @property
    def split(self) -> str:
        return EXTRA_PREFIX + self.name

    def read_additions(self) -> list[Split]:
        return read_additions(self.run.home, self.run.run_id, self.name)


def predict(settings: PredictSettings, home: Home) -> str:
    """Add the images that are new, evaluate every epoch where predictions are missing; returns the split's name."""
    if not re.fullmatch(NAME_PATTERN, settings.name):
        raise InputError(
            f"--name is {format_name(settings.name)!r}; it takes 1 to 40 letters, digits, - and _, and must not end "
            "in _epoch"
        )
    record = catalogue.resolve(home, settings.run, ("train",))
    files = find_images(settings.images)
    data = remember_model(home, record, settings.model, settings.model_args, settings.data)
    with locks.reading_checkpoints(home, record.run_id):
        evaluation = _open_run(settings, home, record, data)
        images = read_images(files, evaluation.data, settings.skip_unreadable)
        _find_new_rows(evaluation, evaluation.read_additions(), images)  # refuses before anything is written
        # held to the end, because additions are numbered
        with locks.held(home, record.run_id, f"extra_{settings.name}"):
            try:
                _add_and_evaluate(settings, evaluation, record, images)
            except KeyboardInterrupt:
                say(f"stopped; {ADVICE}")
                raise
            except BaseException as error:
                reason = describe_model_error(error)
                if reason:
                    raise RunError(f"{reason}; what was committed is kept; {ADVICE}") from error
                raise
    ingest(home, [record.run_id], wait=5)
    return evaluation.split


def _open_run(settings: PredictSettings, home: Home, record: catalogue.RunRecord, data: Dataset | None) -> Evaluation:
    epochs = commits.stored_epochs(home, record.run_id)
    choose_epochs("all", epochs)  # refuses a run without any
    recorded_settings = read_recorded_settings(home, record, TrackedSettings)
    device = settings.device or hardware.choose_available_device(recorded_settings.device)
    data_path = settings.data or recorded_settings.data
    train_settings = hardware.resolve_device(replace(recorded_settings, device=device, data=data_path))
    data = data or load_data(train_settings, home, record)
    return Evaluation(runs.open_run(home, record), settings.name, epochs, data, train_settings)


def _add_and_evaluate(
    settings: PredictSettings, evaluation: Evaluation, record: catalogue.RunRecord, images: Split
) -> None:
    """Verify the checkpoints, commit the new images, then the predictions that are missing, epoch by epoch."""
    train_settings = evaluation.settings
    data = evaluation.data
    device = hardware.prepare_device(train_settings)
    model = build_tracked_model(train_settings, data).to(device)
    probe = prepare_images(data.splits["train"].images[:PROBE_IMAGES], device)
    memory = settings.memory or default_memory_limit(device)
    with limit_pass_size(count_fitting_images(model, probe, memory)):
        additions = evaluation.read_additions()
        if _find_new_rows(evaluation, additions, images):
            epochs_to_verify = evaluation.epochs
        else:
            epochs_to_verify = [epoch for epoch, _ in _find_missing(evaluation, additions)]
        verify_checkpoints(evaluation.run.home, record, model, data, device, epochs_to_verify)
        _add_images(evaluation, images)
        _evaluate_missing(evaluation, model, device)


def _add_images(evaluation: Evaluation, images: Split) -> None:
    """Commit those of the images that the split lacks."""
    additions = evaluation.read_additions()
    new_rows = _find_new_rows(evaluation, additions, images)
    if new_rows:
        first_id = sum(len(addition.labels) for addition in additions)
        unit = f"extra_{evaluation.name}_{len(additions) + 1:04d}"
        _commit_addition(evaluation, unit, first_id, images.rows(np.array(new_rows)))
    labelled_count = int((images.labels[new_rows] >= 0).sum())
    say(
        f"{evaluation.split}: {plural(len(new_rows), 'image')} added, {labelled_count} with a label, "
        f"{len(new_rows) - labelled_count} without; {len(images.labels) - len(new_rows)} there already"
    )


def _find_new_rows(evaluation: Evaluation, additions: list[Split], images: Split) -> list[int]:
    """Rows of the images that are new, each picture once. Raises InputError on a picture with two labels."""
    first_seen: dict[str, tuple[int, str]] = {}  # label and source by digest
    for addition in additions:
        for digest, label, source in zip(
            addition.pixel_digests(), addition.labels.tolist(), addition.sources, strict=True
        ):
            first_seen[digest] = label, source
    new_rows = []
    labels = images.labels.tolist()
    for row, digest in enumerate(images.pixel_digests()):
        label = labels[row]
        source = images.sources[row]
        if digest not in first_seen:
            first_seen[digest] = label, source
            new_rows.append(row)
            continue
        first_label, first_source = first_seen[digest]
        if label not in (first_label, -1):
            classes = evaluation.data.classes
            other_label = f"label {format_name(classes[first_label])}" if first_label >= 0 else "no label"
            raise InputError(
                f"{format_name(source)} has label {format_name(classes[label])}, but the same picture, "
                f"{format_name(first_source)}, has {other_label} in {evaluation.split}; give it with one label, or "
                "choose another --name"
            )
    return new_rows


def _commit_addition(evaluation: Evaluation, unit: str, first_id: int, images: Split) -> None:
    count = len(images.labels)
    digests = images.pixel_digests()
    is_unknown = (images.labels < 0).numpy()
    ids = np.arange(first_id, first_id + count, dtype=np.int32)
    instances = {
        "run_id": [evaluation.run.run_id] * count,
        "split": [evaluation.split] * count,
        "instance_id": ids,
        "label": np.ma.array(images.labels.int().numpy(), mask=is_unknown),
        "source": images.sources,
        "name": [None] * count,
        "content": [digest[:CONTENT_DIGITS] for digest in digests],
    }
    pixels = {
        "instance_id": ids,
        "sha256": digests,
        "png": [encode_png(image) for image in images.images],
    }
    runs.commit_tables(evaluation.run, unit, {"instances": instances, "pixels": pixels}, None)


def _evaluate_missing(evaluation: Evaluation, model: nn.Module, device: torch.device) -> None:
    """Commit the predictions that are missing, epoch by epoch."""
    additions = evaluation.read_additions()
    missing = _find_missing(evaluation, additions)
    say(f"{evaluation.split}: {len(missing)} of {plural(len(evaluation.epochs), 'epoch')} to evaluate")
    if not missing:
        return
    images = join_splits(additions)
    with work(evaluation.split, len(missing), "epochs") as epochs:
        for epoch, first_id in missing:
            load_model(model, checkpoint_file(evaluation.run.home, epoch))
            ids = torch.arange(first_id, len(images.labels))
            logits = compute_logits_from(model, images.images, first_id, device)
            predictions = Predictions(evaluation.split, ids, images.labels[first_id:], logits)
            columns = predictions.to_columns(evaluation.run.run_id, epoch.epoch)
            unit = f"extra_{evaluation.name}_{len(additions):04d}_epoch_{epoch.epoch:04d}"
            runs.commit_tables(evaluation.run, unit, {"predictions": columns}, epoch.epoch)
            epochs.advance()


def _find_missing(evaluation: Evaluation, additions: list[Split]) -> list[tuple[EpochCommit, int]]:
    """Epochs at which predictions are missing, each with the first instance without one; all after it lack one too."""
    evaluated = count_evaluated_additions(evaluation.run.home, evaluation.run.run_id, evaluation.name)
    first_ids = list(accumulate((len(addition.labels) for addition in additions), initial=0))
    missing = []
    for epoch in evaluation.epochs:
        evaluated_count = evaluated.get(epoch.epoch, 0)
        if evaluated_count < len(additions):
            missing.append((epoch, first_ids[evaluated_count]))
    return missing


@torch.inference_mode()
def compute_logits_from(model: nn.Module, images: Images, first: int, device: torch.device) -> Tensor:
    """Logits of the images from `first` on, [N - first, K], float32; zeros fill a batch that is not yet full."""
    model.eval()
    batch = min(BATCH, pass_size())
    start = first // batch * batch
    batch_logits = []
    for batch_start in range(start, len(images), batch):
        batch_images = images[batch_start : batch_start + batch]
        padding = batch_images.new_zeros(batch - len(batch_images), *batch_images.shape[1:])
        logits = model(prepare_images(torch.cat([batch_images, padding]), device))
        batch_logits.append(logits.float().cpu())
    return torch.cat(batch_logits)[first - start : len(images) - start]
