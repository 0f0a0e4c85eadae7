"""One pass over the training images."""

import time

import torch
from torch import Tensor, nn

from pipelines.common.progress import track
from pipelines.common.ranks import share
from pipelines.common.splits import TRAIN_SEEN
from pipelines.data.datasets import Dataset
from pipelines.models.hardware import autocast
from pipelines.models.networks import Classifier, main_logits
from pipelines.models.predictions import Predictions, evaluate, prepare_images
from pipelines.models.randomness import epoch_seed, seed_generators
from pipelines.training.augment import choose_flips, crop_images
from pipelines.training.averaging import update_average
from pipelines.training.collectives import add_up_gradients, copy_from_leader, gather_predictions
from pipelines.training.recipe import Recipe
from pipelines.training.repeats import Draws, alter_images, draw_epoch, mix_images, mix_labels
from pipelines.training.whole_batch import as_whole_batch
from tracking.errors import DivergedError


def train_and_evaluate(model: Classifier, recipe: Recipe, data: Dataset, epoch: int) -> tuple[list[Predictions], float]:
    """Train for an epoch, unless it is the first, and evaluate; predictions of train_seen, val and test, in this order.

    Also the seconds that training took. Of several processes, rank 0 alone has all predictions.
    """
    started_at = time.perf_counter()
    predictions = []
    if epoch > recipe.first_epoch:
        labels = recipe.labels[: len(recipe.instance_ids)]
        predictions.append(gather_predictions(train_epoch(model, recipe, epoch), labels))
        for network in (model, recipe.averaged_model):  # what is evaluated is what rank 0 commits, to the last bit
            copy_from_leader(network)
    train_seconds = time.perf_counter() - started_at
    for name in ("val", "test"):
        split = data.splits[name]
        batch = recipe.settings.evaluation_batch
        part = evaluate(recipe.averaged_model, split, name, recipe.device, batch, share())
        predictions.append(gather_predictions(part, split.labels))
    return predictions, train_seconds


def check_finite(part: Predictions, training: str, epoch: int) -> None:
    """Raise DivergedError if a training's logits are not finite after an epoch."""
    if not part.logits.isfinite().all():
        raise DivergedError(f"{training} diverged in epoch {epoch} (logits are not finite); train with a lower --lr")


def train_epoch(model: Classifier, recipe: Recipe, epoch: int) -> Predictions:
    """Train for one epoch; returns the predictions made on the way (images augmented, dropout on).

    All randomness derives from seed and epoch, so that an epoch can be repeated without the ones before it. Of several
    processes, each trains on its share of every batch, and returns its predictions. An image that is seen again
    counts by its first sight, as it is not altered then. New images have no predictions.
    """
    settings = recipe.settings
    random = torch.Generator().manual_seed(epoch_seed(settings.seed, epoch))
    seed_generators(epoch_seed(settings.seed, -epoch))  # for dropout and anything else that the network draws
    for network in (model, recipe.averaged_model):
        network.normalise.shrink(recipe.image_scale(epoch))

    count = len(recipe.labels)
    draws = draw_epoch(recipe.labels, recipe.repeats, random)
    order = torch.randperm(len(draws.rows), generator=random)
    flips = choose_flips(count, settings.seed, epoch) if settings.random_flip == "yes" else None
    first_step = (epoch - recipe.first_epoch - 1) * recipe.steps_per_epoch + 1
    batches = order.tensor_split(recipe.steps_per_epoch)
    tracked_batches = track(batches, f"epoch {epoch}", "steps")

    trained = torch.cat([places[share()] for places in batches])
    ids, positions = trained.sort()  # new images and repeats come after all instances
    row_of_position = positions.argsort()  # of each image trained on, its row in the order of instances
    all_logits = torch.empty(0)  # one piece of memory: a small one per step would keep the large ones around it apart
    done = 0
    model.train()
    for step, places in enumerate(tracked_batches, first_step):
        batch, targets = _make_batch(recipe, draws, places, flips, random)
        images = prepare_images(batch, recipe.device)
        logits = _take_step(model, recipe, recipe.learning_rate(step), images, targets)
        update_average(recipe.averaged_model, model, settings.ema_decay, step)
        if not done:
            all_logits = torch.empty(len(trained), *logits.shape[1:], dtype=logits.dtype)  # [N, K]
        all_logits[row_of_position[done : done + len(logits)]] = logits
        done += len(logits)
    ids = ids[: int((ids < len(recipe.instance_ids)).sum())]
    return Predictions(TRAIN_SEEN, recipe.instance_ids[ids], recipe.labels[ids], all_logits[: len(ids)])


def _make_batch(
    recipe: Recipe, draws: Draws, places: Tensor, flips: Tensor | None, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """This process's share of a batch of `places` [B]: images [b, C, H, W], uint8. And the targets of all of it.

    Targets are classes [B], or where images may be mixed their probabilities [B, K]. Repeats are mirrored where an
    image's first sight is not, then mixed and altered. With repeats, every process makes the whole batch, so that the
    same is drawn in all.
    """
    shift = recipe.settings.random_shift
    rows = draws.rows[places]
    flipped = None if flips is None else flips[rows] ^ (places >= draws.once)
    labels = recipe.labels[rows]
    if recipe.repeats is None:
        return crop_images(recipe.images, rows, shift, flipped, random, share()), labels
    images = crop_images(recipe.images, rows, shift, flipped, random)
    seen_again = (places >= draws.once).nonzero().flatten()
    partner_rows, fractions = draws.partners[places], draws.fractions[places]
    if len(seen_again):
        partners = crop_images(recipe.images, partner_rows[seen_again], shift, None, random)
        mixed = mix_images(images[seen_again], partners, fractions[seen_again])
        images[seen_again] = alter_images(mixed, recipe.repeats.augment)
    return images[share()], mix_labels(labels, recipe.labels[partner_rows], fractions, recipe.repeats.class_count)


def _take_step(model: nn.Module, recipe: Recipe, learning_rate: float, images: Tensor, labels: Tensor) -> Tensor:
    """One optimizer step on a batch with `labels` [B] or [B, K]; returns the logits it was computed from, [b, K].

    `images` [b, C, H, W] are this process's share of the batch: all of it, unless there are several processes.
    """
    settings = recipe.settings
    with autocast(settings), as_whole_batch(len(labels)):
        logits = main_logits(model(images)).float()
    targets = labels[share()].to(recipe.device)
    loss = nn.functional.cross_entropy(logits, targets, label_smoothing=settings.label_smoothing)
    (loss * (len(targets) / len(labels))).backward()  # so that the gradients add up to that of the batch's mean
    add_up_gradients(model)
    for optimizer in recipe.optimizers:
        for group in optimizer.param_groups:
            # each group keeps its own fraction of the common learning rate
            fraction = group.setdefault("lr_fraction", group["lr"] / settings.lr)
            group["lr"] = learning_rate * fraction
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return logits.detach().cpu()
