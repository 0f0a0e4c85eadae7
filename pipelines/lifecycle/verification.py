"""Whether the model in hand is the one that was tracked: its logits beside the predictions that were logged.

Before a checkpoint is explained, compared, predicted with or continued, each epoch used is held against the rows of
table `predictions`. Whether a network gives the same logits twice is decided in `xai.gradient.unsteadiness`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from duckdb import DuckDBPyConnection
from torch import Tensor, nn

import queries
from pipelines.common.settings import TrainSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_config, read_recorded_settings
from pipelines.lifecycle.selection import sample_instances
from pipelines.models.checkpoints import load_model
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.user_code import digest_code, errors_reported
from tracking.catalogue import RunRecord
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai.gradient import split_into_passes

SAMPLE = 64  # instances compared per epoch, beside as many of those that are asked for
# how far logits may lie apart, as a part of the largest: between passes on a processor the order of sums alone differs;
# a GPU computes convolutions in TF32, with 10 bits of mantissa
TOLERANCE = {"cpu": 1e-4}
TOLERANCE_ELSEWHERE = 1e-2
SMALLEST = 1e-2  # logits under which differences count no less, as of an untrained head of zeros


def allowed_difference(logits: Tensor, *devices: str) -> float:
    """How far apart logits such as these, and what follows from them, may lie on these devices."""
    part = max(TOLERANCE.get(torch.device(device).type, TOLERANCE_ELSEWHERE) for device in devices)
    return part * max(logits.abs().max().item(), SMALLEST)


@torch.inference_mode()
def compute_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits [N, K] of images [N, C, H, W], the first alone and the others together: no batch is one of training."""
    return torch.cat(
        [model.eval()(part).float().cpu() for part in (images[:1], *split_into_passes(images[1:])) if len(part)]
    )


def verify_checkpoints(
    home: Home,
    record: RunRecord,
    model: nn.Module,
    data: Dataset,
    device: torch.device,
    epochs: Sequence[EpochCommit],
    split: str = "val",
    instances: dict[int, np.ndarray] | None = None,
) -> None:
    """Raise InputError where a checkpoint does not give the predictions that were logged of it.

    `instances` are those looked at, by epoch; a fixed sample of the split comes with them. Clean predictions of the
    training images are not logged, so that those of val stand in. Leaves the weights of the last epoch in the model.
    """
    trained = read_recorded_settings(home, record, TrainSettings)
    changed = _changed_code(home, record, trained.model, model)
    with connect(home) as connection:
        logged_rows = [
            _logged(connection, commit, data, split, None if instances is None else instances[commit.epoch])
            for commit in epochs
        ]
    for commit, (logged, name) in zip(epochs, logged_rows, strict=True):
        load_model(model, checkpoint_file(home, commit))
        rows = logged["instance_id"]
        what = f"run {record.name}, epoch {commit.epoch}"
        images = prepare_images(data.splits[name].images[rows], device)
        with errors_reported(f"{what}: model {trained.model} cannot be used"):
            logits = compute_logits(model, images)
        if not logits.isfinite().all():
            raise InputError(f"{what}: the checkpoint's logits are not finite, so there is nothing to look at")
        found = Predictions(name, torch.from_numpy(rows), data.splits[name].labels[rows], logits)
        if apart := _difference(logged, found, allowed_difference(logits, trained.device, device.type)):
            raise InputError(f"{what}: this is not the model that was tracked: on {len(rows)} instances of {name}, "
                             f"{apart}; {_causes(trained.model, changed)}")  # fmt: skip
    if changed:
        say(f"the code of {', '.join(changed)} changed since the training, but the checkpoints still predict what was "
            "logged")  # fmt: skip


def _logged(
    connection: DuckDBPyConnection, commit: EpochCommit, data: Dataset, split: str, chosen: np.ndarray | None
) -> tuple[dict[str, np.ndarray], str]:
    """Rows of the chosen instances and of a sample, by column, and their split."""
    few = np.array([], int) if chosen is None else chosen[:: -(-len(chosen) // SAMPLE) or 1]
    for name, wanted in ((split, few), ("val", few[:0])):
        if name == "train" or name not in data.splits:
            continue
        count = len(data.splits[name].labels)
        ids = np.union1d(wanted, sample_instances(min(SAMPLE, count), count)).astype(int).tolist()
        values = {"run_id": commit.run_id, "epoch": commit.epoch, "split": name, "instances": ids}
        rows = queries.execute(connection, "logged_predictions", values).fetchnumpy()
        if len(rows["instance_id"]):
            return rows, name
    raise InputError(
        f"the predictions of epoch {commit.epoch} are not there, so nothing tells whether its checkpoint is what was "
        "tracked; restore them, or take another epoch"
    )


def _difference(logged: dict[str, np.ndarray], found: Predictions, bound: float) -> str | None:
    """What is off by more than `bound`, in words; None if nothing is."""
    now = found.to_columns("", 0)
    probabilities = np.abs(np.stack(list(logged["probabilities"])) - np.stack(list(now["probabilities"])))
    margins = np.abs(logged["margin"] - now["margin"])  # masked where the label is unknown
    largest = np.ma.max(margins)
    most = 0.0 if largest is np.ma.masked else float(largest)
    if probabilities.max() <= bound and most <= bound:
        return None
    others = int((logged["predicted"] != now["predicted"]).sum())
    parts = [f"{others} of them are classified differently"] if others else []
    parts += [f"margins differ by up to {most:.2g}"] if most > bound else []
    parts += [f"probabilities differ by up to {probabilities.max():.2g}"] if probabilities.max() > bound else []
    return f"{' and '.join(parts)} ({bound:.1g} is allowed)"


def _changed_code(home: Home, record: RunRecord, name: str, model: nn.Module) -> list[str]:
    """Modules of the model's code that are others than in training; nothing where none were recorded."""
    recorded = read_recorded_config(home, record).get("model_code") or {}
    now = digest_code(name, model)
    return [name for name in recorded if now.get(name) != recorded[name]]


def _causes(name: str, changed: list[str]) -> str:
    if changed:
        return f"the code of {', '.join(changed)} changed since the training; restore it"
    return (
        f"what may cause it: edited code of {name}, dropout or batch statistics that are active in "
        "evaluation, random numbers, other versions of torch or of the model's packages"
    )
