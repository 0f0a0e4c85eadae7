"""One pass over the training images."""

import torch
from torch import Tensor, nn

from pipelines.common.progress import track
from pipelines.models.hardware import autocast
from pipelines.models.networks import Classifier, main_logits
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.randomness import epoch_seed, seed_generators
from pipelines.training.augment import choose_flips, crop_images
from pipelines.training.averaging import update_average
from pipelines.training.recipe import Recipe


def train_epoch(model: Classifier, recipe: Recipe, epoch: int) -> Predictions:
    """Train for one epoch; returns the predictions made on the way (images augmented, dropout on).

    All randomness derives from seed and epoch, so that an epoch can be repeated without the ones before it.
    """
    settings = recipe.settings
    random = torch.Generator().manual_seed(epoch_seed(settings.seed, epoch))
    seed_generators(epoch_seed(settings.seed, -epoch))  # for dropout and whatever else the network draws
    for network in (model, recipe.averaged_model):
        network.normalise.shrink(recipe.image_scale(epoch))

    count = len(recipe.labels)
    order = torch.randperm(count, generator=random)
    flips = choose_flips(count, settings.seed, epoch) if settings.random_flip == "yes" else None
    first_step = (epoch - 1) * recipe.steps_per_epoch + 1
    batches = order.tensor_split(recipe.steps_per_epoch)
    tracked_batches = track(batches, f"epoch {epoch}", "steps")

    model.train()
    batch_logits = []
    for step, rows in enumerate(tracked_batches, first_step):
        flipped = None if flips is None else flips[rows]
        cropped = crop_images(recipe.images, rows, settings.random_shift, flipped, random)
        images = prepare_images(cropped, recipe.device)
        logits = _take_step(model, recipe, recipe.learning_rate(step), images, recipe.labels[rows])
        update_average(recipe.averaged_model, model, settings.ema_decay, step)
        batch_logits.append(logits)

    logits = torch.cat(batch_logits)[order.argsort()]  # back in the order of instances
    return Predictions("train_seen", torch.arange(count), recipe.labels, logits)


def _take_step(model: nn.Module, recipe: Recipe, learning_rate: float, images: Tensor, labels: Tensor) -> Tensor:
    """One optimizer step; returns the logits it was computed from, [B, K]."""
    settings = recipe.settings
    with autocast(settings):
        logits = main_logits(model(images)).float()
    targets = labels.to(recipe.device)
    loss = nn.functional.cross_entropy(logits, targets, label_smoothing=settings.label_smoothing)
    loss.backward()
    for optimizer in recipe.optimizers:
        for group in optimizer.param_groups:
            # each group keeps its own fraction of the common learning rate
            fraction = group.setdefault("lr_fraction", group["lr"] / settings.lr)
            group["lr"] = learning_rate * fraction
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return logits.detach().cpu()
