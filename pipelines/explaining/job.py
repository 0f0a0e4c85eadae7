"""What an explainer job works on: a training run's checkpoints, data and model, found by run ID."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common.settings import ExplainSettings, TrainSettings
from pipelines.common.terminal import say
from pipelines.data.added import PREFIX, read_extra_splits
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.run_inputs import checkpoint_file, load_data, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs, choose_instances
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model
from pipelines.models.memory import count_fitting_images, default_memory_limit
from pipelines.models.networks import build_model
from pipelines.models.predictions import prepare_images
from queries.classes import find_class
from tracking import catalogue, commits, locks
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS, MethodInputs
from xai.cut import choose_layer
from xai.method import Layer, NotApplicable, limit_pass_size

BACKGROUND = 200  # training images that baselines are drawn from
CURATED = 8  # instances that get an image key of their own in MLflow, with a slider over epochs
KINDS = ("predicted", "label")  # targets that differ from instance to instance


@dataclass(frozen=True)
class TrainedRun:
    """The training run explained."""

    home: Home
    record: catalogue.RunRecord
    data: Dataset
    model: nn.Module
    device: torch.device
    epochs: dict[int, EpochCommit]
    instances: dict[int, np.ndarray]  # explained, by epoch
    background: Tensor  # [B, C, H, W]
    memory: float  # GB that a pass may take
    fitting: int  # images a pass of these


@dataclass(frozen=True)
class Job:
    """One explainer run: one method on a source."""

    settings: ExplainSettings  # with epochs, targets and layer decided
    method: str
    source: TrainedRun
    layer: Layer | None  # of settings.layer

    def images(self, rows: np.ndarray, split: str | None = None) -> Tensor:
        """Images of a split (default: the one explained) as the model takes them, [N, C, H, W]."""
        return prepare_images(self.source.data.splits[split or self.settings.split].images[rows], self.source.device)

    def method_inputs(self, ids: np.ndarray) -> MethodInputs:
        settings = self.settings
        return MethodInputs(torch.from_numpy(ids), settings.seed, self.source.background, settings.samples, self.layer)

    def load(self, epoch: int) -> None:
        """Put an epoch's weights into the model."""
        load_model(self.source.model, checkpoint_file(self.source.home, self.source.epochs[epoch]))

    def curated(self) -> np.ndarray:
        """The instances explained at the most epochs, the lowest IDs among equals."""
        instances, counts = np.unique(np.concatenate(list(self.source.instances.values())), return_counts=True)
        return instances[np.argsort(-counts, kind="stable")[:CURATED]]


@dataclass(frozen=True)
class ConceptJob(Job):
    """One whose method finds concepts, which always are of a layer."""

    layer: Layer


@contextmanager
def open_trained_run(
    settings: ExplainSettings,
    home: Home,
    fixed: dict[int, np.ndarray] | None = None,
    finished: Collection[int] = (),
) -> Iterator[TrainedRun]:
    """Everything the settings name, checked before any run is started; its checkpoints stay for as long as it is open.

    `fixed` are instances by epoch that were chosen before, `finished` those of the epochs that need no weights.
    """
    record = catalogue.resolve(home, settings.run, ("train",))
    with locks.reading_checkpoints(home, record.run_id):
        source = _source(settings, home, record, fixed, finished)
        needed = [commit for epoch, commit in source.epochs.items() if epoch not in finished]
        with limit_pass_size(source.fitting):
            verify_checkpoints(
                home, record, source.model, source.data, source.device, needed, settings.split, source.instances
            )
            yield source


def _source(
    settings: ExplainSettings,
    home: Home,
    record: catalogue.RunRecord,
    fixed: dict[int, np.ndarray] | None,
    finished: Collection[int],
) -> TrainedRun:
    trained = read_recorded_settings(home, record, TrainSettings)
    trained = replace(trained, data=settings.data or trained.data)
    stored = commits.stored_epochs(home, record.run_id)
    chosen = fixed or _instances(settings, home, record, choose_epochs(settings.epochs, stored))
    needed = [epoch for epoch in chosen if epoch not in finished]
    if needed:
        choose_epochs(",".join(map(str, needed)), stored)  # refuses what is not there
    data = load_data(trained, home, record)
    if settings.split.startswith(PREFIX):
        data = replace(data, splits=data.splits | read_extra_splits(home, record))
    _check_instances(chosen, settings.split, len(data.splits[settings.split].labels))
    for target in settings.target:
        target_class(target, data.classes)
    device = hardware.prepare_device(replace(trained, device=hardware.choose_available_device(trained.device)))
    model = build_model(trained.model, data, trained.seed).to(device)
    committed = {commit.epoch: commit for commit in commits.read_epochs(home, record.run_id)}
    used = {epoch: committed[epoch] for epoch in chosen}
    drawn, memory = background(data, settings.seed, device), settings.memory or default_memory_limit(device)
    fit = count_fitting_images(model, drawn, memory)
    return TrainedRun(home, record, data, model, device, used, chosen, drawn, memory, fit)


def make_job(settings: ExplainSettings, method: str, source: TrainedRun) -> Job:
    """The job of one method, with what the settings leave open decided, so that the record says it all."""
    by_concepts = method in CONCEPT_METHODS
    targets = settings.target or (("label",) if by_concepts else METHODS[method].targets)
    if by_concepts or "label" in targets:
        _check_labels(settings.split, source)
    needs_layer = by_concepts or METHODS[method].looks_at_a_layer
    layer = _layer(settings, method, source) if needs_layer else None
    decided = replace(
        settings, method=(method,), epochs=",".join(map(str, source.epochs)), target=targets,
        layer=layer.name if layer else settings.layer, memory=source.memory, batch=min(settings.batch, source.fitting),
    )  # fmt: skip
    return ConceptJob(decided, method, source, layer) if by_concepts and layer else Job(decided, method, source, layer)


def target_class(target: str, classes: tuple[str, ...]) -> int | None:
    """class_id of a target given as class name or ID; None for predicted and label."""
    if target in KINDS:
        return None
    if (found := find_class(target, dict(enumerate(classes)))) is not None:
        return found
    names = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    raise InputError(f"--target is {target!r}; it takes predicted, label, or a class: {names}")


def _instances(
    settings: ExplainSettings, home: Home, source: catalogue.RunRecord, epochs: list[int]
) -> dict[int, np.ndarray]:
    """Instances by epoch; epochs at which none fits are left out and named."""
    with connect(home) as connection:
        sql = "select split, count(*) from instances where run_id = ? group by split order by split"
        counts = dict(connection.execute(sql, [source.run_id]).fetchall())
        if settings.split not in counts:
            raise InputError(f"no split {settings.split!r} in the run; there are: {', '.join(counts)}")
        count = counts[settings.split]
        chosen = {e: choose_instances(settings, connection, source.run_id, e, count) for e in epochs}
    found = {epoch: instances for epoch, instances in chosen.items() if len(instances)}
    if not found:
        raise InputError(f"--where {settings.where!r} fits no instance of {settings.split} at epochs {epochs}")
    if empty := [epoch for epoch in epochs if epoch not in found]:
        say(f"no instance fits --where at epoch {', '.join(map(str, empty))}; left out")
    return found


def _check_instances(chosen: dict[int, np.ndarray], split: str, count: int) -> None:
    """Raise InputError unless instances, however they were chosen, are in the split, ascending, each once."""
    for epoch, instances in chosen.items():
        if not len(instances) or instances[0] < 0 or instances[-1] >= count or (np.diff(instances) <= 0).any():
            raise InputError(
                f"the instances of epoch {epoch} are not IDs of split {split}, 0 to {count - 1}, ascending, once each"
            )


def _check_labels(split: str, source: TrainedRun) -> None:
    instances = np.unique(np.concatenate(list(source.instances.values())))
    unknown = instances[(source.data.splits[split].labels[instances] < 0).numpy()]
    if len(unknown):
        raise InputError(
            f"{len(unknown)} of {len(instances)} instances of {split} have no label, the first is {unknown[0]}; take "
            '--target predicted or a class, or those with one: --where "label is not null"'
        )


def background(data: Dataset, seed: int, device: torch.device) -> Tensor:
    """Training images that baselines are drawn from, [B, C, H, W]."""
    images = data.splits["train"].images
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:BACKGROUND]
    return prepare_images(images[drawn], device)


def _layer(settings: ExplainSettings, method: str, source: TrainedRun) -> Layer:
    """Decided on the untrained network, which sees images in full size, so that it is the same at every epoch."""
    try:
        images, non_negative = source.background, method in CONCEPT_METHODS
        layer = choose_layer(source.model, images, settings.layer, non_negative=non_negative)
    except NotApplicable as error:
        others = ", ".join(name for name, known in METHODS.items() if not known.looks_at_a_layer)
        raise InputError(f"{method}: {error}; methods without a layer: {others}") from None
    if settings.layer is None:
        say(f"{method} looks at layer {layer.name}")
    return layer
