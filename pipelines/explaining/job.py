"""What an explainer job works on: a training run's checkpoints, data and model, found by run ID."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipelines.common.settings import ExplainSettings, TrackedSettings
from pipelines.common.terminal import say
from pipelines.data.added import EXTRA_PREFIX, read_extra_splits
from pipelines.data.datasets import Dataset
from pipelines.explaining.maps.pictured import choose_pictured
from pipelines.lifecycle.later_model import remember_model
from pipelines.lifecycle.run_inputs import load_data, read_recorded_config, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs, choose_instances, draw_sample
from pipelines.lifecycle.spreading import LoadedRun
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models import hardware
from pipelines.models.memory import count_fitting_images, default_memory_limit
from pipelines.models.networks import build_tracked_model
from pipelines.models.predictions import prepare_images
from queries.classes import find_class
from tracking import catalogue, commits, locks
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS, MethodInputs
from xai.cut import choose_layer
from xai.method import Layer, NotApplicable, limit_pass_size

BACKGROUND_IMAGES = 200  # training images that baselines are drawn from
TARGETS_BY_INSTANCE = ("predicted", "label")  # targets that differ from instance to instance


@dataclass(frozen=True)
class TrainedRun(LoadedRun):
    """The training run that is explained."""

    instances: dict[int, np.ndarray]  # to explain, by epoch
    background: Tensor  # [B, C, H, W]
    pictured: list[int]  # instances that have a key of their own in MLflow


@dataclass(frozen=True)
class Job:
    """One explainer run: one method on a training run."""

    settings: ExplainSettings  # with epochs, targets and layer resolved
    method: str
    source: TrainedRun
    layer: Layer | None  # of settings.layer

    @property
    def pass_type(self) -> torch.dtype:
        """What passes compute in: float32 until `auto` is resolved."""
        return torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32

    def images(self, instances: np.ndarray, split: str | None = None) -> Tensor:
        """Images of a split (default: the explained one) as the model takes them, [N, C, H, W]."""
        images = self.source.data.splits[split or self.settings.split].images
        return prepare_images(images[instances], self.source.device)

    def find_sampled(self, instances: np.ndarray) -> np.ndarray:
        """Whether each instance belongs to the random sample that the settings draw, [N]."""
        count = len(self.source.data.splits[self.settings.split].labels)
        return np.isin(instances, draw_sample(self.settings, count))

    def method_inputs(self, ids: np.ndarray) -> MethodInputs:
        settings = self.settings
        seen = self.source.model.normalise.seen
        background = self.source.background
        return MethodInputs(torch.from_numpy(ids), settings.seed, background, settings.samples, self.layer, seen)

    def load(self, epoch: int) -> None:
        """Load an epoch's weights into the model."""
        self.source.load(epoch)


@dataclass(frozen=True)
class ConceptJob(Job):
    """A job whose method finds concepts, which are always those of a layer."""

    layer: Layer


@contextmanager
def open_trained_run(
    settings: ExplainSettings,
    home: Home,
    recorded_instances: dict[int, np.ndarray] | None = None,
    finished_epochs: Collection[int] = (),
) -> Iterator[TrainedRun]:
    """Everything the settings name, checked before any run is started; its checkpoints are kept while it is open.

    Instances by epoch are those recorded, if given, instead of those that the settings choose. Finished epochs need no
    weights.
    """
    record = catalogue.resolve(home, settings.run, catalogue.WITH_CHECKPOINTS)
    data = remember_model(home, record, settings.model, settings.model_args, settings.data)
    with locks.reading_checkpoints(home, record.run_id):
        source = _read_trained_run(settings, home, record, data, recorded_instances, finished_epochs)
        needed = [commit for epoch, commit in source.epochs.items() if epoch not in finished_epochs]
        with limit_pass_size(source.fitting):
            verify_checkpoints(
                home, record, source.model, source.data, source.device, needed, settings.split, source.instances
            )
            yield source


def _read_trained_run(
    settings: ExplainSettings,
    home: Home,
    record: catalogue.RunRecord,
    data: Dataset | None,
    recorded_instances: dict[int, np.ndarray] | None,
    finished_epochs: Collection[int],
) -> TrainedRun:
    """What `open_trained_run` opens; `data` is the run's, if it is loaded already."""
    trained = read_recorded_settings(home, record, TrackedSettings)
    trained = replace(trained, data=settings.data or trained.data)

    stored = commits.stored_epochs(home, record.run_id)
    instances = recorded_instances or _choose_instances(settings, home, record, choose_epochs(settings.epochs, stored))
    needed = [epoch for epoch in instances if epoch not in finished_epochs]
    if needed:
        choose_epochs(",".join(map(str, needed)), stored)  # refuses epochs without a checkpoint

    data = data or load_data(trained, home, record)
    if settings.split.startswith(EXTRA_PREFIX):
        data = replace(data, splits=data.splits | read_extra_splits(home, record))
    _check_instances(instances, settings.split, len(data.splits[settings.split].labels))
    for target in settings.target:
        target_class(target, data.classes)  # refuses unknown classes

    device = hardware.prepare_device(replace(trained, device=hardware.choose_available_device(trained.device)))
    model = build_tracked_model(trained, data).to(device)
    committed = {commit.epoch: commit for commit in commits.read_epochs(home, record.run_id)}
    background_images = background(data, settings.seed, device)
    memory = settings.memory or default_memory_limit(device)
    ids, counts = np.unique(np.concatenate(list(instances.values())), return_counts=True)
    with connect(home, run_ids=[record.run_id]) as connection:
        epochs_by_instance = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        pictured = choose_pictured(connection, record.run_id, settings.split, epochs_by_instance)
    return TrainedRun(
        home=home,
        record=record,
        data=data,
        model=model,
        device=device,
        epochs={epoch: committed[epoch] for epoch in instances},
        instances=instances,
        background=background_images,
        memory=memory,
        fitting=count_fitting_images(model, background_images, memory),
        pictured=pictured,
    )


@contextmanager
def open_recorded_job(
    record: catalogue.RunRecord, home: Home, data: str | None, finished_epochs: Collection[int] = ()
) -> Iterator[Job]:
    """The job of a run, for the instances it was started with, even if its settings would choose others today."""
    settings = read_recorded_settings(home, record, ExplainSettings)
    settings = replace(settings, run=record.source, data=data or settings.data)
    with open_trained_run(settings, home, read_recorded_instances(home, record), finished_epochs) as source:
        yield make_job(settings, settings.method[0], source)


def read_recorded_instances(home: Home, record: catalogue.RunRecord) -> dict[int, np.ndarray] | None:
    """Instances by epoch that a run was started with; None in a run of a version that did not record them."""
    parts = read_recorded_config(home, record).get("inputs", {}).get("instances")
    if not parts:
        return None
    return {epoch: np.array(part["ids"]) for part in parts for epoch in part["epochs"]}


def make_job(settings: ExplainSettings, method: str, source: TrainedRun) -> Job:
    """The job of one method, with everything resolved that the settings leave open, so that the record is complete."""
    finds_concepts = method in CONCEPT_METHODS
    default_targets = ("label",) if finds_concepts else METHODS[method].targets
    targets = settings.target or default_targets
    if finds_concepts or "label" in targets:
        _check_labels(settings.split, source)
    layer = None
    if finds_concepts or METHODS[method].looks_at_a_layer:
        layer = _resolve_layer(settings, method, source)
    resolved = replace(
        settings,
        method=(method,),
        epochs=",".join(map(str, source.epochs)),
        target=targets,
        layer=layer.name if layer else settings.layer,
        memory=source.memory,
        batch=min(settings.batch, source.fitting),
    )
    if finds_concepts and layer:
        return ConceptJob(resolved, method, source, layer)
    return Job(resolved, method, source, layer)


def target_class(target: str, classes: tuple[str, ...]) -> int | None:
    """class_id of a target given as class name or ID; None for predicted and label."""
    if target in TARGETS_BY_INSTANCE:
        return None
    class_id = find_class(target, dict(enumerate(classes)))
    if class_id is not None:
        return class_id
    names = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    raise InputError(f"--target is {target!r}; it takes predicted, label, or a class: {names}")


def _choose_instances(
    settings: ExplainSettings, home: Home, record: catalogue.RunRecord, epochs: list[int]
) -> dict[int, np.ndarray]:
    """Instances by epoch; epochs without any are named and left out."""
    instances = {}
    with connect(home, run_ids=[record.run_id]) as connection:
        sql = "select split, count(*) from instances where run_id = ? group by split order by split"
        counts = dict(connection.execute(sql, [record.run_id]).fetchall())
        if settings.split not in counts:
            raise InputError(f"no split {settings.split!r} in the run; there are: {', '.join(counts)}")
        for epoch in epochs:
            chosen = choose_instances(settings, connection, record.run_id, epoch, counts[settings.split])
            if len(chosen):
                instances[epoch] = chosen
    if not instances:
        raise InputError(f"--where {settings.where!r} matches no instance of {settings.split} at epochs {epochs}")
    if empty := [epoch for epoch in epochs if epoch not in instances]:
        say(f"no instance matches --where at epoch {', '.join(map(str, empty))}; left out")
    return instances


def _check_instances(instances_by_epoch: dict[int, np.ndarray], split: str, count: int) -> None:
    """Raise InputError unless instances, however they were chosen, are in the split, ascending and unique."""
    for epoch, instances in instances_by_epoch.items():
        if not len(instances) or instances[0] < 0 or instances[-1] >= count or (np.diff(instances) <= 0).any():
            raise InputError(
                f"the instances of epoch {epoch} are not IDs of split {split}, 0 to {count - 1}, ascending and unique"
            )


def _check_labels(split: str, source: TrainedRun) -> None:
    instances = np.unique(np.concatenate(list(source.instances.values())))
    unlabelled = instances[(source.data.splits[split].labels[instances] < 0).numpy()]
    if len(unlabelled):
        raise InputError(
            f"{len(unlabelled)} of {len(instances)} instances of {split} have no label, the first is {unlabelled[0]}; "
            'explain --target predicted or a class, or only those with a label: --where "label is not null"'
        )


def background(data: Dataset, seed: int, device: torch.device) -> Tensor:
    """Training images that baselines are drawn from, [B, C, H, W]."""
    images = data.splits["train"].images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return prepare_images(images[order[:BACKGROUND_IMAGES]], device)


def _resolve_layer(settings: ExplainSettings, method: str, source: TrainedRun) -> Layer:
    """Chosen on the untrained network with images of full size, so that it is the same at every epoch."""
    non_negative = method in CONCEPT_METHODS
    try:
        layer = choose_layer(source.model, source.background, settings.layer, non_negative=non_negative)
    except NotApplicable as error:
        without_layer = ", ".join(name for name, other in METHODS.items() if not other.looks_at_a_layer)
        raise InputError(f"{method}: {error}; methods without a layer: {without_layer}") from None
    if settings.layer is None:
        say(f"{method} uses layer {layer.name}")
    return layer
