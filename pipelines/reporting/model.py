"""The model, its data, and how it was trained."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from pipelines.common.checked_settings import flag_name
from pipelines.common.settings import TrackedSettings, TrainSettings
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.origin import describe_origin, read_origin
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_config
from pipelines.models.networks import build_tracked_model
from pipelines.models.preprocessing import Preprocess, Shape, read_preprocessing
from pipelines.pages.evidence import Answer
from pipelines.reporting.subject import Subject
from tracking import commits
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.files import read_json

ORDER = {"train": 0, "val": 1, "test": 2}
SHOWN = ("optimizer", "lr", "body_lr", "freeze", "batch", "weight_decay", "label_smoothing", "random_shift",
         "random_flip", "progressive_resizing", "ema_decay", "seed", "precision", "device", "threads", "val_fraction",
         "size")  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer with weights."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output for one image
    weights: int


@dataclass(frozen=True)
class Training:
    """How a run was trained, as far as it is known."""

    settings: dict[str, str]  # by the flag that takes each
    begins_from: str | None  # None if from random weights, or not known
    new_weights: list[str]  # those that were drawn at random all the same
    planned: int | None  # epochs; None if another program's loop trained it
    is_imported: bool  # its epochs are checkpoint files, and seconds are those of evaluating them
    times: Answer  # of metrics_by_epoch
    seconds: float
    processor: str
    cores: int
    versions: dict[str, str]
    commit: str | None
    checkpoint: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """What is known of the model and its data."""

    name: str | None  # None for an imported log
    image_shape: Shape | None
    preprocessing: str | None  # a sentence; None if the images cannot be found
    layers: list[Layer]  # empty if they cannot be listed, as code or data is missing
    data: Answer  # of dataset_overview
    counts: dict[str, dict[str, int]]  # images by split and class
    training: Training | None

    @property
    def class_names(self) -> list[str]:
        return list(dict.fromkeys(name for counts in self.counts.values() for name in counts))

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)


def gather_model(subject: Subject) -> Model:
    """What the run's record says, and the layers of the model as it builds it."""
    overview = subject.ask("dataset_overview")
    counts: dict[str, dict[str, int]] = {}
    for row in sorted(overview.rows, key=lambda row: ORDER.get(row["split"], len(ORDER))):
        counts.setdefault(row["split"], {})[row["class_name"] or "no label"] = row["n"]
    settings, loaded = subject.settings, subject.pictures.data
    if settings is None:
        return Model(None, None, None, [], overview, counts, None)
    model = None if loaded is None else _build(settings, loaded)
    layers = _list_layers(model, loaded.splits["train"].images[:1].float() / 255) if model and loaded else []
    shape = loaded.image_shape if loaded else None
    last = commits.epoch_commits(subject.home, subject.run.run_id)[f"epoch_{subject.epoch:04d}"]
    checkpoint = checkpoint_file(subject.home, last)
    preprocessing = _describe_preprocessing(settings, checkpoint, shape) if shape else None
    training = _gather_training(subject, settings, last)
    return Model(settings.model, shape, preprocessing, layers, overview, counts, training)


def _describe_preprocessing(settings: TrackedSettings, checkpoint: Path, image_shape: Shape) -> str:
    with safe_open(checkpoint, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys() if name.startswith("normalise.")}  # noqa: SIM118
    return Preprocess(read_preprocessing(settings.transform, weights), image_shape).describe()


def _build(settings: TrackedSettings, loaded: Dataset) -> nn.Module | None:
    """The untrained model; None if it cannot be built."""
    try:
        return build_tracked_model(settings, loaded).eval()
    except InputError:
        return None


def _list_layers(model: nn.Module, image: torch.Tensor) -> list[Layer]:
    shapes: dict[str, tuple[int, ...]] = {}
    owners = {name: part for name, part in model.named_modules() if list(part.parameters(recurse=False))}
    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: _shape(output)}))
        for name, part in owners.items()
        if not isinstance(part, torch.jit.ScriptModule)  # which takes no hooks
    ]
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    return [
        Layer(name, _describe(part), shapes.get(name, ()),
              sum(weight.numel() for weight in part.parameters(recurse=False)))
        for name, part in owners.items()
    ]  # fmt: skip


def _shape(output: object) -> tuple[int, ...]:
    return tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else ()


def _describe(part: nn.Module) -> str:
    """A layer's kind and its first settings."""
    settings = re.split(r", (?![^(]*\))", part.extra_repr())
    return f"{type(part).__name__}({', '.join(settings[:3])})"


def _gather_training(subject: Subject, settings: TrackedSettings, last: EpochCommit) -> Training:
    times = subject.ask("metrics_by_epoch", key="seconds")
    start = commits.commits_by_unit(subject.home, subject.run.run_id)["start"]
    known = read_json(commits.committed_file(subject.home, start, "environment.json"))
    digests = {file.path: file.sha256 for file in last.files}
    origin = read_origin(subject.home, subject.run)
    is_imported = read_recorded_config(subject.home, subject.run)["command"] == "import-checkpoints"
    given = settings.given() if isinstance(settings, TrainSettings) else {}
    planned = settings.epochs if isinstance(settings, TrainSettings) else None
    return Training(
        {flag: given[flag] for flag in map(flag_name, SHOWN) if flag in given},
        describe_origin(subject.home, origin), list(origin.new_weights), planned,
        is_imported, times,
        sum(row["value"] for row in times.rows), str(known["processor"]), known["cores"],
        {name: known["packages"][name] for name in ("torch", "mlflow", "duckdb")}, known["git_commit"],
        checkpoint_file(subject.home, last).name, digests[f"checkpoints/epoch_{subject.epoch:04d}.safetensors"],
    )  # fmt: skip
