"""What a comparing run works on: the maps chosen, the model they explain, and how each method was run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.common.settings import CompareSettings, ExplainSettings, TrainSettings
from pipelines.comparing.map_selection import MapSelection
from pipelines.explaining.job import Job, TrainedRun, background, make_job, open_trained_run
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_settings
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import build_model
from tracking import catalogue
from tracking.home import Home
from tracking.reading import connect
from xai import METHODS, Attribution, MethodInputs
from xai.gradient import all_scores
from xai.references import REFERENCES

INSTANCES_PER_COMMIT = 250  # instances a commit


@dataclass(frozen=True)
class Unit:
    """What is measured and committed at once: one method on some instances."""

    name: str
    method: str
    instances: np.ndarray  # [N]
    randomized: bool  # explained again with other weights; else the maps there are


@dataclass(frozen=True)
class Comparison:
    """Methods on a source; N instances, the same for all."""

    settings: CompareSettings  # with epoch and methods decided
    chosen: MapSelection
    source: TrainedRun
    jobs: dict[str, Job]  # how each method was run

    def load(self, epoch: int) -> nn.Module:
        """The model as it was at an epoch."""
        load_model(self.source.model, checkpoint_file(self.source.home, self.source.epochs[epoch]))
        return self.source.model

    def fresh(self) -> nn.Module:
        """An untrained model of another seed than the training's."""
        trained = read_recorded_settings(self.source.home, self.source.record, TrainSettings)
        return build_model(trained.model, self.source.data, trained.seed + 1).to(self.source.device)

    def instances(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images [N, C, H, W] and the classes explained [N], by the model as it is loaded."""
        images, split = next(iter(self.jobs.values())).images(rows), self.source.data.splits[self.chosen.split]
        if self.chosen.target == "label":
            return images, split.labels[rows].to(images.device)
        return images, all_scores(self.source.model, images).argmax(1)

    def maps(self, unit: Unit, images: Tensor, targets: Tensor) -> Tensor:
        """The maps compared, [N, H, W]."""
        if unit.method in REFERENCES:
            return self.explain(unit, self.source.model, images, targets).maps
        with connect(self.source.home) as connection:
            return self.chosen.maps(connection, unit.method, unit.instances).to(images.device)

    def explain(self, unit: Unit, model: nn.Module, images: Tensor, targets: Tensor) -> Attribution:
        """The method's maps of a model, made as those there are were made."""
        if unit.method in REFERENCES:
            return REFERENCES[unit.method].attribute(model, images, targets, self.method_inputs(unit.instances))
        job, parts = self.jobs[unit.method], []
        for rows in torch.arange(len(images)).split(job.settings.batch):
            inputs = job.method_inputs(unit.instances[rows.numpy()])
            parts.append(METHODS[unit.method].attribute(model, images[rows], targets[rows], inputs))
        return Attribution.concatenate(parts)

    def method_inputs(self, rows: np.ndarray) -> MethodInputs:
        """The comparison's own randomness."""
        return MethodInputs(torch.from_numpy(rows), self.settings.seed)


@contextmanager
def open_comparison(settings: CompareSettings, home: Home, chosen: MapSelection) -> Iterator[Comparison]:
    """Everything that is needed, checked before any run is started; checkpoints stay for as long as it is open."""
    settings = replace(settings, epoch=chosen.epoch, method=chosen.methods)
    shown = ExplainSettings(
        run=chosen.run_id, epochs=f"0,{chosen.epoch}", split=chosen.split, target=(chosen.target,), data=settings.data,
        instances=",".join(map(str, chosen.instances)), seed=settings.seed,
        memory=settings.memory,
    )  # fmt: skip
    with open_trained_run(shown, home) as source:
        settings = replace(settings, memory=source.memory)
        yield Comparison(settings, chosen, source, {m: _job(m, shown, source, chosen) for m in chosen.methods})


def list_units(comparison: Comparison) -> Iterator[Unit]:
    """The work of every method and of the references, in order."""
    instances, count = comparison.chosen.instances, comparison.settings.randomization_count
    # spread evenly, as the instances of a folder come class by class
    again = instances[np.unique(np.linspace(0, len(instances) - 1, min(count, len(instances))).astype(int))]
    for method in (*comparison.jobs, *REFERENCES):
        for number, part in enumerate(np.array_split(instances, -(-len(instances) // INSTANCES_PER_COMMIT))):
            yield Unit(f"{method}_part_{number:03d}", method, part, randomized=False)
        if len(again):
            yield Unit(f"{method}_randomized", method, again, randomized=True)


def _job(method: str, shown: ExplainSettings, source: TrainedRun, chosen: MapSelection) -> Job:
    """The job that made a method's maps, for the instances compared."""
    maker = catalogue.resolve(source.home, chosen.maker(method), ("explain",))
    made = read_recorded_settings(source.home, maker, ExplainSettings)
    ways = {name: getattr(made, name) for name in ("samples", "layer", "seed", "batch")}
    own = replace(source, background=background(source.data, made.seed, source.device))
    return make_job(replace(shown, **ways), method, own)
