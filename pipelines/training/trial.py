"""A model tried out on a few images before a run is made: evaluated, trained for a step, kept and loaded again.

What could not be trained, remembered or repeated is refused here, whatever it is in the model that prevents it.
"""

import torch
from torch import Tensor, nn

from pipelines.common.settings import ResolvedSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.verification import allowed_difference, compute_logits
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model, save_model
from pipelines.models.networks import check_logits, copy_model, main_logits
from pipelines.models.predictions import prepare_images
from pipelines.models.randomness import seed_generators
from pipelines.models.user_code import errors_reported
from pipelines.training.averaging import update_average
from pipelines.training.optimizers import make_optimizers
from tracking.errors import InputError
from tracking.staging import scratch
from xai.gradient import find_nondeterminism

IMAGES = 4
RATE = 1e-3  # learning rate of a step that changes a network and breaks none
SUM_TO_ONE = 1e-5  # how far sums of float32 probabilities are from 1 at the most


def try_out(settings: ResolvedSettings, model: nn.Module, data: Dataset) -> None:
    """Raise InputError if the model cannot be trained, kept as a checkpoint, or evaluated alike again.

    The model, on the device of the settings, is left as it is.
    """
    name, train = settings.model, data.splits["train"]
    images = prepare_images(train.images[:IMAGES], torch.device(settings.device))
    with errors_reported(f"model {name} cannot be copied, which the mean of its weights needs"):
        trained, twin, loaded = (copy_model(model) for _ in range(3))
    _train_a_step(settings, (trained, twin), images, train.labels[:IMAGES], len(data.classes))
    with errors_reported(f"model {name} cannot be evaluated after a step of training"):
        logits, reason = compute_logits(trained, images), find_nondeterminism(trained, images)
    if reason:
        raise InputError(f"model {name} would not give its own predictions again: {reason}")
    with errors_reported(f"model {name} cannot be kept as a checkpoint"), scratch() as folder:
        load_model(loaded, save_model(trained, folder / "trial.safetensors"))
        update_average(loaded, trained, settings.ema_decay, 1)
        kept = compute_logits(loaded, images)
    if (apart := (kept - logits).abs().max().item()) > allowed_difference(logits, settings.device):
        raise InputError(
            f"model {name} would not give its own predictions again: its state_dict does not hold all that it learns: "
            "loaded again, it gives other logits; register what changes in training as parameters or persistent "
            f"buffers (by up to {apart:.2g})"
        )
    _check_scale(name, logits)


def _train_a_step(
    settings: ResolvedSettings, twins: tuple[nn.Module, nn.Module], images: Tensor, labels: Tensor, classes: int
) -> None:
    """Train the first of two equal models for one step; say so if the second, from the same seed, differs in it."""
    name, model = settings.model, twins[0]
    if not any(weight.requires_grad for weight in model.parameters()):
        raise InputError(f"model {name} has nothing to train: none of its parameters requires a gradient")
    outputs = []
    for network in twins:
        seed_generators(settings.seed)
        with errors_reported(f"model {name} cannot be trained"), hardware.autocast(settings):
            outputs.append(network.train()(images))
    main = [main_logits(output) for output in outputs]
    for logits in main:
        single = logits.float() if isinstance(logits, Tensor) and logits.is_floating_point() else logits
        check_logits(name, single, (len(images), classes), " in training")
    if main[0] is not outputs[0]:
        say(f"model {name} has auxiliary outputs in training; its main logits alone are trained")
    if (main[0].float() - main[1].float()).abs().max() > allowed_difference(main[0].float(), settings.device):
        say(f"model {name} draws random numbers in training that no seed reaches, as from numpy.random.default_rng(); "
            "this training cannot be repeated exactly")  # fmt: skip
    with errors_reported(f"model {name} cannot be trained"):
        nn.functional.cross_entropy(main[0].float(), labels.to(images.device)).backward()
        for optimizer in make_optimizers(model, settings.optimizer, min(RATE, settings.lr), settings.weight_decay):
            optimizer.step()


def _check_scale(name: str, logits: Tensor) -> None:
    """Raise InputError on probabilities in place of logits; say so of their logarithms, which are logits too."""
    sums_to_one = ((values.sum(1) - 1).abs().max() < SUM_TO_ONE for values in (logits, logits.exp()))
    if next(sums_to_one) and logits.min() >= 0:
        raise InputError(
            f"model {name} returns probabilities (each row sums to 1), but the loss takes logits; leave out its softmax"
        )
    if next(sums_to_one):
        say(f"model {name} returns log-probabilities; it is trained and explained by these in place of logits")
