"""How a training works: what the settings leave open is decided before the first epoch and recorded with the run."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipelines.common.settings import (
    AUTO,
    ResolvedSettings,
    ResolvedTraining,
    TrainSettings,
)
from pipelines.common.user_code import describe_error, errors_reported
from pipelines.data.datasets import Dataset
from pipelines.data.stored_images import Images, JoinedImages, select_images
from pipelines.models import hardware
from pipelines.models.image_sizes import plan_image_scales
from pipelines.models.memory import resolve_pass_sizes
from pipelines.models.networks import MODELS, Classifier, copy_model, resolve_transform
from pipelines.training.beginning import resolve_weights
from pipelines.training.heads import find_head
from pipelines.training.label_changes import UNCHANGED, LabelChanges
from pipelines.training.optimizers import make_optimizers, one_cycle_factor
from pipelines.training.repeats import Repeats
from pipelines.training.trial import try_out
from tracking.errors import InputError

LEARNING_RATES = {"muon": 0.1, "adam": 1e-3, "sgd": 0.1}
DEFAULT_MODEL = "cnn"
SMALLEST_RESIZED_SIDE = 32  # pixels; smaller images have nothing to shrink


@dataclass(frozen=True)
class Recipe:
    """What an epoch needs besides the model."""

    settings: ResolvedTraining
    device: torch.device
    images: Images | JoinedImages  # images trained on, [P, C, H, W], uint8: N of the data set, then new ones
    instance_ids: Tensor  # [N], ascending: all of split train, but for those that verdicts leave out
    labels: Tensor  # [P]
    changes: LabelChanges
    optimizers: list[torch.optim.Optimizer]
    averaged_model: Classifier  # moving average of the model: what is evaluated and kept
    repeats: Repeats | None = None  # images that an epoch sees again

    @property
    def first_epoch(self) -> int:
        """What is committed before training: the untrained network, or the epoch that it continues."""
        return self.settings.first_epoch

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch sees, those that it sees again counted again."""
        return len(self.labels) + (self.repeats.count if self.repeats else 0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches differ in size by one image at most, so that none is left with a single image."""
        return max(1, round(self.images_per_epoch / self.settings.batch))

    def image_scale(self, epoch: int) -> float:
        """Side of the images in an epoch as a fraction of the full side."""
        return plan_image_scales(self.settings)[epoch - self.first_epoch - 1]

    def learning_rate(self, step: int) -> float:
        """Learning rate at a step, counted from 1 over all epochs that are trained here."""
        all_steps = self.settings.epochs * self.steps_per_epoch
        return self.settings.lr * one_cycle_factor(step / all_steps)


def resolve_settings(settings: TrainSettings, data: Dataset) -> ResolvedSettings:
    """The settings with every `auto`, and every default that depends on data, model or machine, resolved.

    Those of a run that is repeated are resolved already; they keep the pass sizes that were recorded.
    """
    shortest_side = min(data.image_shape[1:])
    if settings.random_shift >= shortest_side:
        raise InputError(
            f"--random-shift {settings.random_shift} moves images of {data.image_shape[1:]} out of sight; "
            f"give {shortest_side - 1} or less"
        )
    model = DEFAULT_MODEL if settings.model == AUTO else settings.model
    is_built_in = model in MODELS
    optimizer = settings.optimizer
    if optimizer == "auto":
        optimizer = "muon" if is_built_in else "adam"
    has_weights = settings.weights is not None or settings.from_ is not None  # small images would spoil these
    resizes_by_default = is_built_in and data.shrinks and shortest_side >= SMALLEST_RESIZED_SIDE and not has_weights
    resolved: dict[str, Any] = {
        "dataset": data.name,
        "data": data.location,
        "weights": resolve_weights(settings.weights),
        "optimizer": optimizer,
        "lr": settings.lr or LEARNING_RATES[optimizer],
        "random_flip": _resolve_auto(settings.random_flip, data.flips),
        "progressive_resizing": _resolve_auto(settings.progressive_resizing, resizes_by_default),
    }
    settings = resolve_transform(hardware.resolve_hardware(replace(settings, model=model)))
    if isinstance(settings, ResolvedTraining):
        return replace(settings, **resolved)
    return ResolvedSettings(**vars(settings) | resolved)


def _resolve_auto(choice: str, default: bool) -> str:
    if choice != "auto":
        return choice
    return "yes" if default else "no"


def make_recipe(
    settings: ResolvedSettings,
    data: Dataset,
    model: Classifier,
    changes: LabelChanges = UNCHANGED,
) -> Recipe:
    """The recipe for resolved settings, with the labels that verdicts change; moves the model to its device.

    Pass sizes that no run recorded are resolved here, because the model has to be tried out first.
    """
    device = hardware.prepare_device(settings)
    train = data.splits["train"]
    _check_image_sizes(settings, model, train.images[:2])
    with errors_reported(f"model {settings.model} cannot be moved to {settings.device}"):
        model.to(device)
    try_out(settings, model, data)
    resolved = settings if isinstance(settings, ResolvedTraining) else resolve_pass_sizes(settings, data, model)
    head: set[str] = set()
    if resolved.body_lr is not None:
        head = find_head(model, train.images[:2], len(data.classes), "--body-lr")
        if not any(weight.requires_grad for name, weight in model.named_parameters() if name not in head):
            raise InputError("--body-lr does nothing, as no parameter but the head's is trained; leave it out")
    optimizers = make_optimizers(model, resolved.optimizer, resolved.lr, resolved.weight_decay, resolved.body_lr, head)
    instance_ids, labels = changes.apply(train.labels)
    images = train.images  # not a copy, if they are all
    if changes.left_out:
        images = select_images(images, instance_ids.numpy())
    return Recipe(
        settings=resolved,
        device=device,
        images=images,
        instance_ids=instance_ids,
        labels=labels,
        changes=changes,
        optimizers=optimizers,
        averaged_model=copy_model(model),
    )


def add_repeats(recipe: Recipe, repeats: Repeats | None) -> Recipe:
    """The recipe with images that an epoch sees again, and with the new ones among them."""
    if repeats is None or repeats.new is None:
        return replace(recipe, repeats=repeats)
    new = repeats.new
    images = JoinedImages(recipe.images, new.images[:])
    return replace(recipe, images=images, labels=torch.cat([recipe.labels, new.labels]), repeats=repeats)


def _check_image_sizes(settings: TrainSettings, model: Classifier, images: Tensor) -> None:
    """Raise InputError if the model does not take images of every size that progressive resizing gives it."""
    for scale in sorted(set(plan_image_scales(settings))):
        model.normalise.shrink(scale)
        try:
            with torch.no_grad():
                model.eval()(images.float() / 255)
        except (Exception, SystemExit) as error:
            side = round(min(images.shape[2:]) * model.normalise.scale.item())
            raise InputError(
                f"the model does not take images of {side} pixels ({describe_error(error)}); "
                "try --progressive-resizing no"
            ) from None
    model.normalise.shrink(1.0)
