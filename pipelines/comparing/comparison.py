"""What a comparing run works on: the selected maps, the model that they explain, and how each method was run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common.settings import CompareSettings, ExplainSettings, TrackedSettings
from pipelines.comparing.map_selection import MapSelection
from pipelines.explaining.job import Job, TrainedRun, background, make_job, open_trained_run
from pipelines.lifecycle.origin import begins_untrained
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.models.fresh import build_random_model
from tracking import catalogue
from tracking.home import Home
from tracking.reading import connect
from xai import METHODS, Attribution, MethodInputs
from xai.gradient import all_scores
from xai.references import REFERENCES

INSTANCES_PER_COMMIT = 250


@dataclass(frozen=True)
class Part:
    """What is measured and committed together: one method on some instances."""

    name: str
    method: str
    instances: np.ndarray  # [N]
    randomized: bool  # whether the method explains again, with other weights, instead of the selected maps being used


@dataclass(frozen=True)
class Comparison:
    """Methods that explained a training run, on N instances, the same for all."""

    settings: CompareSettings  # with epoch and methods resolved
    selection: MapSelection
    source: TrainedRun
    jobs: dict[str, Job]  # how each method was run
    sampled: np.ndarray  # those of the instances that every method explained as part of a random sample
    random_model: nn.Module | None  # an untrained one, of another seed; None without a randomization test

    def load_epoch(self, epoch: int) -> nn.Module:
        """The model with an epoch's weights."""
        return self.source.load(epoch)

    def load_instances(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images [N, C, H, W] and the classes explained [N], which may be those that the loaded weights predict."""
        any_job = next(iter(self.jobs.values()))
        images = any_job.images(rows)
        if self.selection.target == "label":
            return images, self.source.data.splits[self.selection.split].labels[rows].to(images.device)
        return images, all_scores(self.source.model, images).argmax(1)

    def read_maps(self, part: Part, images: Tensor, targets: Tensor) -> Tensor:
        """The maps compared, [N, H, W]."""
        if part.method in REFERENCES:
            return self.explain(part, self.source.model, images, targets).maps
        with connect(self.source.home, run_ids=[self.selection.run_id]) as connection:
            return self.selection.read_maps(connection, part.method, part.instances).to(images.device)

    def explain(self, part: Part, model: nn.Module, images: Tensor, targets: Tensor) -> Attribution:
        """The method's maps of a model, made in the same way as the selected ones."""
        if part.method in REFERENCES:
            return REFERENCES[part.method].attribute(model, images, targets, self.method_inputs(part.instances))
        job = self.jobs[part.method]
        batches = []
        for rows in torch.arange(len(images)).split(job.settings.batch):
            inputs = job.method_inputs(part.instances[rows.numpy()])
            batches.append(METHODS[part.method].attribute(model, images[rows], targets[rows], inputs))
        return Attribution.concatenate(batches)

    def method_inputs(self, rows: np.ndarray) -> MethodInputs:
        """Inputs with the comparison's own seed."""
        return MethodInputs(torch.from_numpy(rows), self.settings.seed)


@contextmanager
def open_comparison(settings: CompareSettings, home: Home, selection: MapSelection) -> Iterator[Comparison]:
    """Everything that is needed, checked before any run starts; its checkpoints stay while it is open."""
    settings = replace(settings, epoch=selection.epoch, method=selection.methods)
    training = catalogue.resolve(home, selection.run_id)
    epochs = {0, selection.epoch} if begins_untrained(home, training) else {selection.epoch}
    explain_settings = ExplainSettings(
        run=selection.run_id,
        epochs=",".join(map(str, sorted(epochs))),
        split=selection.split,
        target=(selection.target,),
        data=settings.data,
        instances=",".join(map(str, selection.instances)),
        seed=settings.seed,
        memory=settings.memory,
    )
    with open_trained_run(explain_settings, home) as source:
        settings = replace(settings, memory=source.memory)
        jobs = {method: _restore_job(method, explain_settings, source, selection) for method in selection.methods}
        with connect(home, run_ids=[source.record.run_id]) as connection:
            sampled = selection.find_sampled(connection)
        random_model = None
        if settings.randomization_count:
            recorded = read_recorded_settings(home, source.record, TrackedSettings)
            random_model = build_random_model(recorded, source.data, recorded.seed + 1).to(source.device)
        yield Comparison(settings, selection, source, jobs, sampled, random_model)


def list_parts(comparison: Comparison) -> Iterator[Part]:
    """The work for every method and reference, in order."""
    instances = comparison.selection.instances
    # spread evenly, as the instances of a folder are sorted by class
    randomized_count = min(comparison.settings.randomization_count, len(instances))
    randomized = instances[np.unique(np.linspace(0, len(instances) - 1, randomized_count).astype(int))]
    part_count = -(-len(instances) // INSTANCES_PER_COMMIT)  # rounded up
    for method in (*comparison.jobs, *REFERENCES):
        for number, part_instances in enumerate(np.array_split(instances, part_count)):
            yield Part(f"{method}_part_{number:03d}", method, part_instances, randomized=False)
        if len(randomized):
            yield Part(f"{method}_randomized", method, randomized, randomized=True)


def _restore_job(method: str, settings: ExplainSettings, source: TrainedRun, selection: MapSelection) -> Job:
    """The job that made a method's maps, for the instances compared."""
    explainer_run = catalogue.resolve(source.home, selection.main_maker(method), ("explain",))
    recorded = read_recorded_settings(source.home, explainer_run, ExplainSettings)
    settings = replace(
        settings, samples=recorded.samples, layer=recorded.layer, seed=recorded.seed, batch=recorded.batch
    )
    recorded_background = background(source.data, recorded.seed, source.device)
    return make_job(settings, method, replace(source, background=recorded_background))
