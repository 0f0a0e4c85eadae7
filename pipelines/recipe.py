"""How a training goes: everything left open is settled once, before the first epoch, and recorded with the run."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines import hardware
from pipelines.augment import pad
from pipelines.datasets import Dataset
from pipelines.model import MODELS
from pipelines.optimizers import make_optimizers, one_cycle
from pipelines.settings import TrainSettings
from tracking.errors import InputError

BATCH, STEPS = 256, 40  # images a step, but so few that an epoch has so many steps
RATES = {"muon": 0.1, "adam": 1e-3, "sgd": 0.1}
# stages of a training with growing images: until which share of the epochs, side of the images inside the network as
# a part of the full one, and peak rate as a part of --lr. Small images teach coarse features at a fraction of the
# cost; a cycle of its own lets every stage end with a good model
GROWTH = ((0.3, 0.5, 1.0), (0.8, 0.75, 0.75), (1.0, 1.0, 0.5))
SMALLEST = 32  # sides from here on have something to shrink


@dataclass(frozen=True)
class Stage:
    """Epochs that see images of one size, with one cycle of the learning rate."""

    first: int
    last: int
    scale: float
    peak: float


@dataclass(frozen=True)
class Recipe:
    """What an epoch needs beside the model."""

    settings: TrainSettings  # settled
    device: torch.device
    padded: Tensor  # training images with a margin to shift into, [N, H, W, C], uint8
    labels: Tensor  # [N]
    optimizers: list[torch.optim.Optimizer]

    @property
    def steps(self) -> int:
        """Steps an epoch; batches differ by one image at most, so that none is left with a single one."""
        return max(1, round(len(self.labels) / self.settings.batch))

    def stage(self, epoch: int) -> Stage:
        """The stage of an epoch from 1 on."""
        return next(stage for stage in stages(self.settings) if epoch <= stage.last)

    def rate(self, epoch: int, step: int) -> float:
        """Learning rate at a step of an epoch, both from 1 on."""
        stage = self.stage(epoch)
        done = (epoch - stage.first) * self.steps + step
        share = done / ((stage.last - stage.first + 1) * self.steps)
        return self.settings.lr * stage.peak * one_cycle(share)


def stages(settings: TrainSettings) -> list[Stage]:
    """The stages of settled settings, those without an epoch left out; the last one always has one."""
    if settings.grow == "no":
        return [Stage(1, settings.epochs, 1.0, 1.0)]
    ends = [min(round(share * settings.epochs), settings.epochs - 1) for share, _, _ in GROWTH[:-1]]
    spans = zip([0, *ends], [*ends, settings.epochs], GROWTH, strict=True)
    return [Stage(start + 1, end, scale, peak) for start, end, (_, scale, peak) in spans if end > start]


def settle(settings: TrainSettings, data: Dataset) -> TrainSettings:
    """The settings with every `auto` and every default that depends on data, model or machine decided."""
    own, images = settings.model in MODELS, data.splits["train"].images
    optimizer = settings.optimizer if settings.optimizer != "auto" else "muon" if own else "adam"
    if settings.shift >= min(images.shape[2:]):
        raise InputError(f"--shift {settings.shift} moves images of {tuple(images.shape[2:])} out of sight")
    return replace(
        hardware.settle(settings),
        data=settings.data and str(Path(settings.data).absolute()),
        batch=settings.batch or min(BATCH, max(8, len(images) // STEPS)),
        optimizer=optimizer,
        lr=settings.lr or RATES[optimizer],
        flip=_yes(settings.flip, data.flips),
        grow=_yes(settings.grow, own and data.shrinks and min(images.shape[2:]) >= SMALLEST),
    )


def make_recipe(settings: TrainSettings, data: Dataset, model: nn.Module) -> Recipe:
    """The recipe of settled settings; moves the model to its device."""
    device = hardware.use(settings)
    train = data.splits["train"]
    _check_sizes(settings, model, train.images[:2])
    optimizers = make_optimizers(model.to(device), settings.optimizer, settings.lr, settings.weight_decay)
    return Recipe(settings, device, pad(train.images, settings.shift), train.labels, optimizers)


def _check_sizes(settings: TrainSettings, model: nn.Module, images: Tensor) -> None:
    """Raise InputError if the model does not take images of a stage's size."""
    for stage in stages(settings):
        model.normalise.scale.fill_(stage.scale)
        try:
            with torch.no_grad():
                model.eval()(images.float() / 255)
        except RuntimeError as error:
            side = round(min(images.shape[2:]) * stage.scale)
            reason = str(error).splitlines()[0]
            raise InputError(f"the model does not take images of {side} pixels ({reason}); try --grow no") from None
    model.normalise.scale.fill_(1.0)


def _yes(wanted: str, by_default: bool) -> str:
    return wanted if wanted != "auto" else "yes" if by_default else "no"
