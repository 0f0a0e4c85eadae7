"""Whether a checkpoint's model is the one that was tracked: its logits are compared with the logged predictions.

Before a checkpoint is explained, compared, predicted with or continued, each epoch in use is compared with its rows of
table `predictions`. Whether a network gives the same logits twice is checked by `xai.gradient.find_nondeterminism`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from duckdb import DuckDBPyConnection
from torch import Tensor, nn

import queries
from pipelines.common.settings import TrackedSettings
from pipelines.common.terminal import say
from pipelines.common.user_code import errors_reported
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_config, read_recorded_settings
from pipelines.lifecycle.selection import sample_instances
from pipelines.models.checkpoints import load_model
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.user_code import digest_code
from tracking.catalogue import RunRecord
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai.gradient import split_into_passes

SAMPLE_COUNT = 64  # instances compared per epoch, and at most as many more of those that were asked for
# how far logits may lie apart, as a fraction of the largest: between passes on a processor only the order of sums
# differs; a GPU computes convolutions in TF32, with 10 bits of mantissa
TOLERANCES = {"cpu": 1e-4}
OTHER_TOLERANCE = 1e-2
SMALLEST_SCALE = (
    1e-2  # the tolerance of smaller logits, such as an untrained head's zeros, is that of logits this large
)


def allowed_difference(logits: Tensor, *devices: str) -> float:
    """How far apart logits such as these, and values computed from them, may lie on these devices."""
    tolerance = max(TOLERANCES.get(torch.device(device).type, OTHER_TOLERANCE) for device in devices)
    return tolerance * max(logits.abs().max().item(), SMALLEST_SCALE)


@torch.inference_mode()
def compute_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits [N, K] of images [N, C, H, W]; the first image is a pass of its own, to expose dependence on the batch."""
    model.eval()
    passes = [part for part in (images[:1], *split_into_passes(images[1:])) if len(part)]
    return torch.cat([model(part).float().cpu() for part in passes])


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
    """Raise InputError if a checkpoint does not reproduce the predictions that were logged for it.

    `instances` are those in use, by epoch; a fixed sample of the split is added. No clean predictions of training
    images are logged, so those of val stand in. Leaves the weights of the last epoch in the model.
    """
    settings = read_recorded_settings(home, record, TrackedSettings)
    changed_modules = find_changed_code(home, record, settings.model, model)
    with connect(home, run_ids=[record.run_id]) as connection:
        logged_by_epoch = [
            _read_logged(connection, commit, data, split, None if instances is None else instances[commit.epoch])
            for commit in epochs
        ]

    for commit, (logged, logged_split) in zip(epochs, logged_by_epoch, strict=True):
        load_model(model, checkpoint_file(home, commit))
        epoch_name = f"run {record.name}, epoch {commit.epoch}"
        rows = logged["instance_id"]
        images = prepare_images(data.splits[logged_split].images[rows], device)
        with errors_reported(f"{epoch_name}: model {settings.model} cannot be used"):
            logits = compute_logits(model, images)
        if not logits.isfinite().all():
            raise InputError(
                f"{epoch_name}: the checkpoint's logits are not finite, so it cannot be used; choose another epoch"
            )
        labels = data.splits[logged_split].labels[rows]
        predictions = Predictions(logged_split, torch.from_numpy(rows), labels, logits)
        difference = _describe_difference(logged, predictions, allowed_difference(logits, settings.device, device.type))
        if difference:
            raise InputError(
                f"{epoch_name}: this is not the model that was tracked: on "
                f"{plural(len(rows), 'instance')} of {logged_split}, "
                f"{difference}; {_suggest_cause(settings.model, changed_modules)}"
            )
    if changed_modules:
        say(
            f"the code of {', '.join(changed_modules)} has changed since the training, but the checkpoints still "
            "reproduce the logged predictions"
        )


def find_changed_code(home: Home, record: RunRecord, name: str, model: nn.Module) -> list[str]:
    """The modules of the code of model `name` that are not what they were when the run began."""
    recorded_digests = read_recorded_config(home, record).get("model_code") or {}  # old runs have none
    # by content: a script is module __main__ while it runs, and has its own name when a factory is imported from it
    digests = set(digest_code(name, model).values())
    return [module for module, digest in recorded_digests.items() if digest not in digests]


def _read_logged(
    connection: DuckDBPyConnection, commit: EpochCommit, data: Dataset, split: str, instances: np.ndarray | None
) -> tuple[dict[str, np.ndarray], str]:
    """Logged predictions, by column, of some of the instances and of a sample; and the split they are of."""
    if instances is None:
        instances = np.array([], int)
    step = max(1, -(-len(instances) // SAMPLE_COUNT))  # rounded up: at most SAMPLE_COUNT remain
    for name, wanted in ((split, instances[::step]), ("val", instances[:0]), ("test", instances[:0])):
        if name == "train" or name not in data.splits:
            continue
        count = len(data.splits[name].labels)
        sample = sample_instances(min(SAMPLE_COUNT, count), count)
        ids = np.union1d(wanted, sample).astype(int).tolist()
        values = {"run_id": commit.run_id, "epoch": commit.epoch, "split": name, "instances": ids}
        rows = queries.execute(connection, "logged_predictions", values).fetchnumpy()
        if len(rows["instance_id"]):
            return rows, name
    raise InputError(
        f"the predictions of epoch {commit.epoch} are missing, so its checkpoint cannot be verified; restore them, or "
        "choose another epoch"
    )


def _describe_difference(logged: dict[str, np.ndarray], predictions: Predictions, bound: float) -> str | None:
    """What differs by more than `bound`, in words; None if nothing does."""
    current = predictions.to_columns("", 0)
    probability_differences = [np.ma.filled(abs(logged[name] - current[name]), 0) for name in ("p_true", "p_predicted")]
    probability_differences += [
        abs(probabilities - current["probabilities"][row][classes])
        for row, (classes, probabilities) in enumerate(_read_kept(logged))
    ]
    probability_difference = np.concatenate(probability_differences).max()
    margin_differences = np.abs(logged["margin"] - current["margin"])  # masked where the label is unknown
    margin_difference = float(np.ma.filled(np.ma.max(margin_differences), 0.0))
    if probability_difference <= bound and margin_difference <= bound:
        return None
    differences = []
    changed_count = int((logged["predicted"] != current["predicted"]).sum())
    if changed_count:
        differences.append(f"{changed_count} of them are classified differently")
    if margin_difference > bound:
        differences.append(f"margins differ by up to {margin_difference:.2g}")
    if probability_difference > bound:
        differences.append(f"probabilities differ by up to {probability_difference:.2g}")
    return f"{' and '.join(differences)} ({bound:.1g} is allowed)"


def _read_kept(logged: dict[str, np.ndarray]) -> Iterator[tuple[Sequence[int] | slice, np.ndarray]]:
    """Per image, the classes whose probabilities were logged and those; none where neither all nor some were."""
    columns = (logged[name].tolist() for name in ("probabilities", "top_classes", "top_probabilities"))
    for probabilities, top_classes, top_probabilities in zip(*columns, strict=True):
        if probabilities is not None:
            yield slice(None), np.asarray(probabilities)
        elif top_classes is not None:
            yield list(top_classes), np.asarray(top_probabilities)
        else:
            yield [], np.empty(0)


def _suggest_cause(model_name: str, changed_modules: list[str]) -> str:
    if changed_modules:
        return f"the code of {', '.join(changed_modules)} has changed since the training; restore it"
    return (
        f"possible causes: edited code of {model_name}, dropout or batch statistics that are active in evaluation, "
        "random numbers, other versions of torch or of the model's packages"
    )
