"""How a training goes: everything left open is settled once, before the first epoch, and recorded with the run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.common.settings import ResolvedSettings, ResolvedTraining, TrainSettings
from pipelines.data.datasets import Dataset
from pipelines.models import hardware
from pipelines.models.image_sizes import plan_image_scales
from pipelines.models.memory import resolve_pass_sizes
from pipelines.models.networks import MODELS, Classifier, copy_model
from pipelines.models.user_code import errors_reported
from pipelines.models.user_errors import describe_error
from pipelines.training.augment import pad_images
from pipelines.training.optimizers import make_optimizers, one_cycle
from pipelines.training.trial import try_out
from tracking.errors import InputError

LEARNING_RATES = {"muon": 0.1, "adam": 1e-3, "sgd": 0.1}
SMALLEST = 32  # sides from here on have something to shrink


@dataclass(frozen=True)
class Recipe:
    """What an epoch needs beside the model."""

    settings: ResolvedTraining
    device: torch.device
    padded: Tensor  # training images with a margin to shift into, [N, H, W, C], uint8
    labels: Tensor  # [N]
    optimizers: list[torch.optim.Optimizer]
    mean: Classifier  # running mean of the model: what is evaluated and kept

    @property
    def steps(self) -> int:
        """Steps an epoch; batches differ by one image at most, so that none is left with a single one."""
        return max(1, round(len(self.labels) / self.settings.batch))

    def scale(self, epoch: int) -> float:
        """Side of the images of an epoch from 1 on, as a part of the full one."""
        return plan_image_scales(self.settings)[epoch - 1]

    def rate(self, step: int) -> float:
        """Learning rate at a step from 1 on, counted over all epochs."""
        return self.settings.lr * one_cycle(step / (self.settings.epochs * self.steps))


def resolve_settings(settings: TrainSettings, data: Dataset) -> ResolvedSettings:
    """The settings with every `auto` and every default that depends on data, model or machine decided.

    Those of a run that is done again stay resolved, with the sizes of passes that it recorded.
    """
    own, images = settings.model in MODELS, data.splits["train"].images
    optimizer = settings.optimizer if settings.optimizer != "auto" else "muon" if own else "adam"
    if settings.random_shift >= min(images.shape[2:]):
        raise InputError(
            f"--random-shift {settings.random_shift} moves images of {tuple(images.shape[2:])} out of sight"
        )
    decided: dict[str, Any] = {
        "data": settings.data and str(Path(settings.data).absolute()),
        "optimizer": optimizer,
        "lr": settings.lr or LEARNING_RATES[optimizer],
        "random_flip": _yes(settings.random_flip, data.flips),
        "progressive_resizing": _yes(
            settings.progressive_resizing, own and data.shrinks and min(images.shape[2:]) >= SMALLEST
        ),
    }
    settings = hardware.resolve_hardware(settings)
    if isinstance(settings, ResolvedTraining):
        return replace(settings, **decided)
    return ResolvedSettings(**vars(settings) | decided)


def make_recipe(settings: ResolvedSettings, data: Dataset, model: Classifier) -> Recipe:
    """The recipe of resolved settings; moves the model to its device.

    The sizes of passes are settled here, as the model must be tried out first, unless a run recorded them.
    """
    device = hardware.prepare_device(settings)
    train = data.splits["train"]
    _check_sizes(settings, model, train.images[:2])
    with errors_reported(f"model {settings.model} cannot be moved to {settings.device}"):
        model.to(device)
    try_out(settings, model, data)
    resolved = settings if isinstance(settings, ResolvedTraining) else resolve_pass_sizes(settings, data, model)
    optimizers = make_optimizers(model, resolved.optimizer, resolved.lr, resolved.weight_decay)
    padded = pad_images(train.images, resolved.random_shift)
    return Recipe(resolved, device, padded, train.labels, optimizers, copy_model(model))


def _check_sizes(settings: TrainSettings, model: Classifier, images: Tensor) -> None:
    """Raise InputError if the model does not take images of a stage's size."""
    for scale in sorted(set(plan_image_scales(settings))):
        model.normalise.scale.fill_(scale)
        try:
            with torch.no_grad():
                model.eval()(images.float() / 255)
        except (Exception, SystemExit) as error:
            side = round(min(images.shape[2:]) * scale)
            raise InputError(
                f"the model does not take images of {side} pixels ({describe_error(error)}); "
                "try --progressive-resizing no"
            ) from None
    model.normalise.scale.fill_(1.0)


def _yes(wanted: str, by_default: bool) -> str:
    return wanted if wanted != "auto" else "yes" if by_default else "no"
