"""New images join a training run's history: every stored checkpoint is evaluated on them, once.

An instance has a fixed place in a batch of fixed size, so that its predictions are bit-identical whenever they are
made, and whatever other images are given.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common import workers
from pipelines.common.progress import work
from pipelines.common.settings import PredictSettings, TrackedSettings, parse_probabilities
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.added import (
    EXTRA_PREFIX,
    NAME_PATTERN,
    count_evaluated_additions,
    join_splits,
    read_additions,
)
from pipelines.data.datasets import Dataset
from pipelines.data.incoming import find_images, read_images
from pipelines.data.names import format_name
from pipelines.data.raw import Split
from pipelines.data.stored_images import Images
from pipelines.lifecycle import spreading
from pipelines.lifecycle.additions import commit_addition
from pipelines.lifecycle.later_model import remember_model
from pipelines.lifecycle.run_inputs import load_data, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs
from pipelines.lifecycle.spreading import LoadedRun, Opening, Shard
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.memory import PROBE_IMAGES, count_fitting_images, default_memory_limit
from pipelines.models.networks import build_tracked_model
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.user_errors import describe_model_error
from tracking import catalogue, commits, committing, locks, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.index import ingest
from tracking.remote import fetch_run
from xai.method import limit_pass_size, pass_size

ADVICE = "run the same command again to evaluate the missing epochs"
BATCH = 32  # images, fewer if they do not fit into memory; instance i is always number i % batch of a batch
SHARD = 32 * BATCH  # instances of an epoch that are evaluated in the same process


@dataclass(frozen=True)
class Evaluation:
    """The training run whose checkpoints are evaluated, and the split extra:NAME."""

    source: LoadedRun
    name: str

    @property
    def split(self) -> str:
        return EXTRA_PREFIX + self.name

    def read_additions(self) -> list[Split]:
        return read_additions(self.source.home, self.source.record.run_id, self.name)


@dataclass(frozen=True)
class AddedImages:
    """What shards are computed with: the images of a split extra:NAME."""

    source: LoadedRun
    images: Images  # [N, C, H, W]


def predict(settings: PredictSettings, home: Home) -> str:
    """Add the images that are new, evaluate every epoch where predictions are missing; returns the split's name."""
    if not re.fullmatch(NAME_PATTERN, settings.name):
        raise InputError(
            f"--name is {format_name(settings.name)!r}; it takes 1 to 40 letters, digits, - and _, and must not end "
            "in _epoch"
        )
    record = catalogue.resolve(home, settings.run, catalogue.WITH_CHECKPOINTS)
    fetch_run(home, record.run_id)  # additions are numbered, and others may have come from another home
    files = find_images(settings.images)
    data = remember_model(home, record, settings.model, settings.model_args, settings.data)
    with (
        workers.working(settings.workers, settings.scheduler, home, record.run_id),
        locks.reading_checkpoints(home, record.run_id),
    ):
        try:
            evaluation = Evaluation(_open_run(settings, home, record, data), settings.name)
            images = read_images(files, evaluation.source.data, settings.skip_unreadable)
            _find_new_rows(evaluation, evaluation.read_additions(), images)  # refuses before anything is written
            # held to the end, because additions are numbered
            with (
                locks.held(home, record.run_id, f"extra_{settings.name}"),
                limit_pass_size(evaluation.source.fitting),
            ):
                _add_and_evaluate(settings, evaluation, images)
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


def _open_run(
    settings: PredictSettings, home: Home, record: catalogue.RunRecord, data: Dataset | None = None
) -> LoadedRun:
    """The run with all epochs that have a checkpoint; `data` is its data, if that is loaded already."""
    epochs = commits.stored_epochs(home, record.run_id)
    choose_epochs("all", epochs)  # refuses a run without any
    recorded_settings = read_recorded_settings(home, record, TrackedSettings)
    device_name = settings.device or hardware.choose_available_device(recorded_settings.device)
    data_path = settings.data or recorded_settings.data
    train_settings = hardware.resolve_device(replace(recorded_settings, device=device_name, data=data_path))
    data = data or load_data(train_settings, home, record)
    device = hardware.prepare_device(train_settings)
    model = build_tracked_model(train_settings, data).to(device)
    probe = prepare_images(data.splits["train"].images[:PROBE_IMAGES], device)
    memory = settings.memory or default_memory_limit(device)
    return LoadedRun(
        home=home,
        record=record,
        data=data,
        model=model,
        device=device,
        epochs={epoch.epoch: epoch for epoch in epochs},
        memory=memory,
        fitting=count_fitting_images(model, probe, memory),
    )


@contextmanager
def open_added_images(
    record: catalogue.RunRecord, home: Home, settings: PredictSettings, addition_count: int
) -> Iterator[AddedImages]:
    """In a worker: the images of the first additions to a split."""
    evaluation = Evaluation(_open_run(settings, home, record), settings.name)
    yield AddedImages(evaluation.source, join_splits(evaluation.read_additions()[:addition_count]).images)


def _add_and_evaluate(settings: PredictSettings, evaluation: Evaluation, images: Split) -> None:
    """Verify the checkpoints, commit the new images, then the predictions that are missing, epoch by epoch."""
    source = evaluation.source
    additions = evaluation.read_additions()
    if _find_new_rows(evaluation, additions, images):
        epochs_to_verify = list(source.epochs.values())
    else:
        epochs_to_verify = [epoch for epoch, _ in _find_missing(evaluation, additions)]
    verify_checkpoints(source.home, source.record, source.model, source.data, source.device, epochs_to_verify)
    run = runs.open_run(source.home, source.record)
    _add_images(evaluation, run, images)
    _evaluate_missing(settings, evaluation, run)


def _add_images(evaluation: Evaluation, run: runs.Run, images: Split) -> None:
    """Commit those of the images that the split lacks."""
    additions = evaluation.read_additions()
    while new_rows := _find_new_rows(evaluation, additions, images):
        first_id = sum(len(addition.labels) for addition in additions)
        rows = images.rows(np.array(new_rows))
        if commit_addition(run, evaluation.name, len(additions) + 1, first_id, rows):
            break
        fetch_run(run.home, run.run_id)  # at this moment, another home added images
        additions = evaluation.read_additions()
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
            classes = evaluation.source.data.classes
            other_label = f"label {format_name(classes[first_label])}" if first_label >= 0 else "no label"
            raise InputError(
                f"{format_name(source)} has label {format_name(classes[label])}, but the same picture, "
                f"{format_name(first_source)}, has {other_label} in {evaluation.split}; give it with one label, or "
                "choose another --name"
            )
    return new_rows


def _evaluate_missing(settings: PredictSettings, evaluation: Evaluation, run: runs.Run) -> None:
    """Commit the predictions that are missing, epoch by epoch."""
    additions = evaluation.read_additions()
    missing = _find_missing(evaluation, additions)
    source = evaluation.source
    say(f"{evaluation.split}: {len(missing)} of {plural(len(source.epochs), 'epoch')} to evaluate")
    if not missing:
        return
    kept = parse_probabilities(read_recorded_settings(source.home, source.record, TrackedSettings).probabilities)
    joined = join_splits(additions)
    first_ids = list(accumulate((len(addition.labels) for addition in additions), initial=0))  # and the next one
    # a unit for each addition, so that homes that evaluate at the same moment never commit rows of one instance twice
    shards = {
        (epoch.epoch, number): _list_shards(
            run, _evaluation_unit(evaluation, epoch, number), epoch.epoch, first_ids[number - 1], first_ids[number]
        )
        for epoch, evaluated_count in missing
        for number in range(evaluated_count + 1, len(additions) + 1)
    }
    # settings that do not change what a worker opens are left out, so that it opens the images once
    reading = replace(settings, images=(), memory=source.memory, workers=None, scheduler=None)
    opening = Opening(source.home, run.run_id, open_added_images, (reading, len(additions)))
    spreading.begin(opening, chain.from_iterable(shards.values()))

    added = AddedImages(source, joined.images)
    with work(evaluation.split, len(missing), "epochs") as epochs:
        for epoch, evaluated_count in missing:
            if workers.current() is None:
                source.load(epoch.epoch)
            for number in range(evaluated_count + 1, len(additions) + 1):
                logits = torch.cat([spreading.compute(added, shard, ADVICE) for shard in shards[epoch.epoch, number]])
                ids = torch.arange(first_ids[number - 1], first_ids[number])
                predictions = Predictions(evaluation.split, ids, joined.labels[ids], logits)
                columns = predictions.to_columns(run.run_id, epoch.epoch, kept)
                unit = _evaluation_unit(evaluation, epoch, number)
                committing.commit_tables(run, unit, {"predictions": columns}, epoch.epoch, is_shared=True)
            epochs.advance()


def _evaluation_unit(evaluation: Evaluation, epoch: EpochCommit, number: int) -> str:
    """Unit of the predictions of an addition at an epoch."""
    return f"extra_{evaluation.name}_{number:04d}_epoch_{epoch.epoch:04d}"


def _list_shards(run: runs.Run, unit: str, epoch: int, first_id: int, end: int) -> list[Shard]:
    """An epoch's instances from `first_id` up to `end`, in shards that end where batches do."""
    ends = [*range(first_id - first_id % SHARD + SHARD, end, SHARD), end]
    return [
        Shard(f"{run.run_id}-{unit}-{start}", epoch, compute_shard, (start, stop))
        for start, stop in pairwise([first_id, *ends])
    ]


def _find_missing(evaluation: Evaluation, additions: list[Split]) -> list[tuple[EpochCommit, int]]:
    """Epochs at which predictions are missing, each with the number of additions that have them, the first ones."""
    source = evaluation.source
    evaluated = count_evaluated_additions(source.home, source.record.run_id, evaluation.name)
    counts = [(epoch, evaluated.get(epoch.epoch, 0)) for epoch in source.epochs.values()]
    return [(epoch, count) for epoch, count in counts if count < len(additions)]


def compute_shard(added: AddedImages, start: int, end: int) -> Tensor:
    """Logits of the images from `start` to `end`, [end - start, K], with the weights that the model has."""
    return compute_logits_from(added.source.model, added.images[:end], start, added.source.device)


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
