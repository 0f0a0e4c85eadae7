"""New images join a training run's history: every stored checkpoint is evaluated on them, once.

An instance has its fixed place in a batch of fixed size, so its predictions are the same bits whenever and beside
whichever others they are made.
"""

import hashlib
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipelines.common.settings import PredictSettings, TrainSettings
from pipelines.common.terminal import say
from pipelines.data.added import NAME, PREFIX, count_evaluated_additions, join_splits, read_additions, to_png
from pipelines.data.datasets import Dataset
from pipelines.data.incoming import find_images, read_images
from pipelines.data.names import format_name
from pipelines.data.raw import Split
from pipelines.lifecycle.run_inputs import checkpoint_file, load_data, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model
from pipelines.models.memory import PROBE_IMAGES, count_fitting_images, default_memory_limit
from pipelines.models.networks import build_model
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.user_errors import describe_model_error
from tracking import catalogue, commits, locks, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError, RunError
from tracking.files import write_table
from tracking.home import Home
from tracking.index import ingest
from xai.method import limit_pass_size, pass_size

GO_ON = "the same command goes on with the epochs that are missing"
BLOCK = 32  # images a batch, less where they would not fit into memory; instance i is always number i % block of one


@dataclass(frozen=True)
class Evaluated:
    """The training run whose checkpoints are evaluated, and the split extra:NAME."""

    run: runs.Run
    name: str
    epochs: list[EpochCommit]
    data: Dataset
    settings: TrainSettings  # with the device of this machine

    @property
    def split(self) -> str:
        return PREFIX + self.name

    def additions(self) -> list[Split]:
        return read_additions(self.run.home, self.run.run_id, self.name)


def predict(settings: PredictSettings, home: Home) -> str:
    """Add the images that are new, evaluate what is missing at any epoch; returns the name of the split."""
    if not re.fullmatch(NAME, settings.name):
        raise InputError(
            f"--name is {format_name(settings.name)!r}; it takes 1 to 40 letters, digits, - and _, and must not end "
            "in _epoch"
        )
    record = catalogue.resolve(home, settings.run, ("train",))
    files = find_images(settings.images)
    with locks.reading_checkpoints(home, record.run_id):
        job = _open(settings, home, record)
        given = read_images(files, job.data, settings.skip_unreadable)
        _new(job, job.additions(), given)  # refuses before anything is written
        with locks.held(home, record.run_id, f"extra_{settings.name}"):  # to the end, as additions are numbered
            try:
                with _fitting(settings, job, model := _built(job)):
                    _verify(job, record, model, given)
                    _add(job, given)
                    _evaluate(job, model)
            except KeyboardInterrupt:
                say(f"stopped; {GO_ON}")
                raise
            except BaseException as error:
                if reason := describe_model_error(error):
                    raise RunError(f"{reason}; what was committed is kept; {GO_ON}") from error
                raise
    ingest(home, [record.run_id], wait=5)
    return job.split


def _open(settings: PredictSettings, home: Home, record: catalogue.RunRecord) -> Evaluated:
    done = commits.stored_epochs(home, record.run_id)
    choose_epochs("all", done)  # refuses a run without any
    trained = read_recorded_settings(home, record, TrainSettings)
    device = settings.device or hardware.choose_available_device(trained.device)
    trained = hardware.resolve_hardware(replace(trained, device=device, data=settings.data or trained.data))
    data = load_data(trained, home, record)
    return Evaluated(runs.open_run(home, record), settings.name, done, data, trained)


def _built(job: Evaluated) -> nn.Module:
    """The untrained model, on its device."""
    device = hardware.prepare_device(job.settings)
    return build_model(job.settings.model, job.data, job.settings.seed).to(device)


def _fitting(settings: PredictSettings, job: Evaluated, model: nn.Module) -> AbstractContextManager[None]:
    """Passes inside fit into --memory."""
    device = torch.device(job.settings.device)
    images = prepare_images(job.data.splits["train"].images[:PROBE_IMAGES], device)
    return limit_pass_size(count_fitting_images(model, images, settings.memory or default_memory_limit(device)))


def _verify(job: Evaluated, record: catalogue.RunRecord, model: nn.Module, given: Split) -> None:
    """Raise InputError unless the checkpoints to be evaluated predict what was logged of them."""
    known = job.additions()
    missing = job.epochs if _new(job, known, given) else [epoch for epoch, _ in _missing(job, known)]
    verify_checkpoints(job.run.home, record, model, job.data, torch.device(job.settings.device), missing)


def _add(job: Evaluated, given: Split) -> None:
    """Commit those of the images that the split lacks."""
    known = job.additions()
    rows = _new(job, known, given)
    if rows:
        first = sum(len(part.labels) for part in known)
        _commit_addition(job, f"extra_{job.name}_{len(known) + 1:04d}", first, given.rows(np.array(rows)))
    labelled = int((given.labels[rows] >= 0).sum())
    say(f"{job.split}: {len(rows)} images added, {labelled} with a label, {len(rows) - labelled} without; "
        f"{len(given.labels) - len(rows)} were there already")  # fmt: skip


def _new(job: Evaluated, known: list[Split], given: Split) -> list[int]:
    """Rows of the given images that are new, each picture once. Raises InputError on one with two labels."""
    seen = {digest: (label, source) for part in known for digest, label, source in _described(part)}
    rows = []
    for row, (digest, label, source) in enumerate(_described(given)):
        if digest not in seen:
            seen[digest] = label, source
            rows.append(row)
        elif label not in (seen[digest][0], -1):
            raise _two_labels(job, label, source, *seen[digest])
    return rows


def _two_labels(job: Evaluated, label: int, source: str, other: int, where: str) -> InputError:
    before = f"label {format_name(job.data.classes[other])}" if other >= 0 else "no label"
    return InputError(
        f"{format_name(source)} has label {format_name(job.data.classes[label])}, but the same picture, "
        f"{format_name(where)}, has {before} in {job.split}; give it with one label, or choose another --name"
    )


def _described(split: Split) -> list[tuple[str, int, str]]:
    """Of every image the sha256 of its pixels, its label and its source."""
    digests = [hashlib.sha256(image.contiguous().numpy()).hexdigest() for image in split.images]
    return list(zip(digests, split.labels.tolist(), split.sources, strict=True))


def _commit_addition(job: Evaluated, unit: str, first: int, new: Split) -> None:
    count, unknown = len(new.labels), (new.labels < 0).numpy()
    ids = np.arange(first, first + count, dtype=np.int32)
    digests, _, sources = zip(*_described(new), strict=True)
    instances = {
        "run_id": [job.run.run_id] * count,
        "split": [job.split] * count,
        "instance_id": ids,
        "label": np.ma.array(new.labels.int().numpy(), mask=unknown),
        "source": sources,
        "name": [None] * count,
    }
    pixels = {"instance_id": ids, "sha256": digests, "png": [to_png(image) for image in new.images]}
    _commit(job, unit, {"instances": instances, "pixels": pixels}, None)


def _commit(job: Evaluated, unit: str, tables: dict[str, dict], epoch: int | None) -> None:
    with runs.staging_folder(job.run.home) as folder:
        files = {
            f"{table}/{unit}.parquet": write_table(folder / table / f"{unit}.parquet", columns)
            for table, columns in tables.items()
        }
        runs.commit(job.run, unit, files, {}, epoch)


def _evaluate(job: Evaluated, model: nn.Module) -> None:
    """Commit the predictions that are missing, epoch by epoch."""
    parts = job.additions()
    missing = _missing(job, parts)
    say(f"{job.split}: {len(missing)} of {len(job.epochs)} epochs to evaluate")
    if not missing:
        return
    device, split = hardware.prepare_device(job.settings), join_splits(parts)
    for epoch, first in tqdm(missing, job.split, leave=False, disable=None, unit="epoch"):
        load_model(model, checkpoint_file(job.run.home, epoch))
        ids, logits = torch.arange(first, len(split.labels)), predicted(model, split.images, first, device)
        found = Predictions(job.split, ids, split.labels[first:], logits).to_columns(job.run.run_id, epoch.epoch)
        unit = f"extra_{job.name}_{len(parts):04d}_epoch_{epoch.epoch:04d}"
        _commit(job, unit, {"predictions": found}, epoch.epoch)


def _missing(job: Evaluated, parts: list[Split]) -> list[tuple[EpochCommit, int]]:
    """Epochs at which instances lack a prediction, and the first of these; all behind it lack one too."""
    done = count_evaluated_additions(job.run.home, job.run.run_id, job.name)
    starts = list(accumulate((len(part.labels) for part in parts), initial=0))
    known = [(epoch, done.get(epoch.epoch, 0)) for epoch in job.epochs]
    return [(epoch, starts[number]) for epoch, number in known if number < len(parts)]


@torch.inference_mode()
def predicted(model: nn.Module, images: Tensor, first: int, device: torch.device) -> Tensor:
    """Logits of the images from `first` on, [N - first, K], in float32; zeros stand where a batch has no image yet."""
    model.eval()
    block = min(BLOCK, pass_size())
    start = first // block * block
    room = images.new_zeros(-len(images) % block, *images.shape[1:])
    blocks = torch.cat([images[start:], room]).split(block)
    logits = torch.cat([model(prepare_images(some, device)).float().cpu() for some in blocks])
    return logits[first - start : len(images) - start]
