"""A model tried out on a few images before a run is made: evaluated, trained for one step, saved and loaded again.

A model that cannot be trained, tracked or reproduced is refused here, for whatever reason.
"""

import torch
from torch import Tensor, nn

from pipelines.common.settings import ResolvedSettings
from pipelines.common.terminal import say
from pipelines.common.user_code import errors_reported
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.verification import allowed_difference, compute_logits
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model, save_model
from pipelines.models.networks import check_logits, check_scale, copy_model, main_logits, name_sources
from pipelines.models.predictions import prepare_images
from pipelines.models.randomness import seed_generators
from pipelines.training.averaging import update_average
from pipelines.training.optimizers import make_optimizers
from tracking.errors import InputError
from tracking.staging import scratch_folder
from xai.gradient import find_nondeterminism

TRIAL_IMAGES = 4
TRIAL_LR = 1e-3  # changes a network in one step, and breaks none


def try_out(settings: ResolvedSettings, model: nn.Module, data: Dataset) -> None:
    """Raise InputError if the model cannot be trained, saved as a checkpoint, or evaluated reproducibly.

    The model is on the device of the settings and is left unchanged.
    """
    name = settings.model
    train = data.splits["train"]
    images = prepare_images(train.images[:TRIAL_IMAGES], torch.device(settings.device))
    labels = train.labels[:TRIAL_IMAGES]
    with errors_reported(f"model {name} cannot be copied, which averaging its weights needs"):
        trained, twin, reloaded = (copy_model(model) for _ in range(3))
    _train_one_step(settings, trained, twin, images, labels, data)
    for weight_name, weight in trained.named_parameters():
        if weight.requires_grad and not weight.isfinite().all():
            raise InputError(f"model {name} cannot be trained: after one step its {weight_name} is not finite")

    with errors_reported(f"model {name} cannot be evaluated after a step of training"):
        logits = compute_logits(trained, images)
        nondeterminism = find_nondeterminism(trained, images)
    if nondeterminism:
        raise InputError(f"model {name} would not reproduce its own predictions: {nondeterminism}")

    with errors_reported(f"model {name} cannot be saved as a checkpoint"), scratch_folder() as folder:
        load_model(reloaded, save_model(trained, folder / "trial.safetensors"))
        update_average(reloaded, trained, settings.ema_decay, 1)
        reloaded_logits = compute_logits(reloaded, images)
    difference = (reloaded_logits - logits).abs().max().item()
    if difference > allowed_difference(logits, settings.device):
        raise InputError(
            f"model {name} would not reproduce its own predictions: after saving and loading, its logits differ by up "
            f"to {difference:.2g}, so its state_dict does not hold all that it learns; register what changes in "
            "training as parameters or persistent buffers"
        )
    check_scale(name, logits)


def _train_one_step(
    settings: ResolvedSettings, trained: nn.Module, twin: nn.Module, images: Tensor, labels: Tensor, data: Dataset
) -> None:
    """Train `trained` for one step; say so if its equal `twin`, from the same seed, has other logits in it."""
    name = settings.model
    if not any(weight.requires_grad for weight in trained.parameters()):
        raise InputError(f"model {name} has nothing to train: none of its parameters requires a gradient")
    outputs = []
    for network in (trained, twin):
        seed_generators(settings.seed)
        with errors_reported(f"model {name} cannot be trained"), hardware.autocast(settings):
            outputs.append(network.train()(images))
    logits, twin_logits = (main_logits(output) for output in outputs)
    for values in (logits, twin_logits):
        if isinstance(values, Tensor) and values.is_floating_point():
            values = values.float()  # bfloat16 comes from autocast
        check_logits(name, values, (len(images), len(data.classes)), name_sources(data), " in training")
    logits = logits.float()

    if main_logits(outputs[0]) is not outputs[0]:
        say(f"model {name} has auxiliary outputs in training; only its main logits are trained")
    if (logits - twin_logits.float()).abs().max() > allowed_difference(logits, settings.device):
        say(
            f"model {name} draws random numbers in training that no seed reaches, such as those of "
            "numpy.random.default_rng(); this training cannot be reproduced exactly"
        )
    with errors_reported(f"model {name} cannot be trained"):
        nn.functional.cross_entropy(logits, labels.to(images.device)).backward()
        lr = min(TRIAL_LR, settings.lr)
        for optimizer in make_optimizers(trained, settings.optimizer, lr, settings.weight_decay):
            optimizer.step()
