"""One pass over the training images."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipelines.models.hardware import autocast
from pipelines.models.networks import Classifier, main_logits
from pipelines.models.predictions import Predictions, prepare_images
from pipelines.models.randomness import epoch_seed, seed_generators
from pipelines.training.augment import choose_flips, crop_images
from pipelines.training.averaging import update_average
from pipelines.training.recipe import Recipe


def train_epoch(model: Classifier, recipe: Recipe, epoch: int) -> Predictions:
    """Train for one epoch; what the network said of each instance as it saw it (augmented, dropout on).

    All randomness derives from seed and epoch, so an epoch can be repeated without the ones before.
    """
    settings = recipe.settings
    random = torch.Generator().manual_seed(epoch_seed(settings.seed, epoch))
    seed_generators(epoch_seed(settings.seed, -epoch))  # dropout, and whatever else the network draws
    order = torch.randperm(len(recipe.labels), generator=random)
    for network in (model, recipe.mean):
        network.normalise.scale.fill_(recipe.scale(epoch))
    model.train()
    turned = choose_flips(len(order), settings.seed, epoch) if settings.random_flip == "yes" else None
    seen = []
    batches = tqdm(order.tensor_split(recipe.steps), f"epoch {epoch}", leave=False, disable=None, unit="step")
    for step, rows in enumerate(batches):
        images = crop_images(
            recipe.padded, rows, settings.random_shift, None if turned is None else turned[rows], random
        )
        done = (epoch - 1) * recipe.steps + step + 1
        seen.append(_step(model, recipe, recipe.rate(done), prepare_images(images, recipe.device), recipe.labels[rows]))
        update_average(recipe.mean, model, settings.ema_decay, done)
    logits = torch.cat(seen)[order.argsort()]
    return Predictions("train_seen", torch.arange(len(order)), recipe.labels, logits)


def _step(model: nn.Module, recipe: Recipe, rate: float, images: Tensor, labels: Tensor) -> Tensor:
    """One optimizer step; returns the logits it was made from."""
    with autocast(recipe.settings):
        logits = main_logits(model(images)).float()
    smoothing = recipe.settings.label_smoothing
    nn.functional.cross_entropy(logits, labels.to(recipe.device), label_smoothing=smoothing).backward()
    for optimizer in recipe.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.setdefault("share", group["lr"] / recipe.settings.lr)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return logits.detach().cpu()
