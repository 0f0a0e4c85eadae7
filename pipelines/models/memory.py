"""How many images a pass may hold. Decided once, before the first epoch, as the size of a pass can change last bits."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.common.settings import ResolvedSettings, ResolvedTraining, TrainSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.models.hardware import autocast
from pipelines.models.image_sizes import plan_image_scales
from pipelines.models.networks import Classifier, copy_model
from pipelines.models.predictions import EVALUATION_BATCH, prepare_images
from tracking.errors import InputError
from xai.gradient import frozen

GB = 1e9
LARGEST_BATCH, STEPS = 256, 20  # images a step, but so few that an epoch has so many steps
EVALUATION = 1.0  # GB that a pass in evaluation may take; larger ones are no faster
# measured on networks of plain and of residual blocks, at 32 and 224 pixels: what a pass takes in all is 1.1 to 1.3
# times what is kept for the gradient, and without one 0.9 to 1.7 times the input and output of the largest layer
WITH_GRADIENT, WITHOUT_GRADIENT = 1.3, 1.8
PROBE_IMAGES = 2  # tried, as batch normalisation needs more than one
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def resolve_pass_sizes(settings: ResolvedSettings, data: Dataset, model: Classifier) -> ResolvedTraining:
    """Settled settings with the sizes of passes, so that each fits into --memory (default: half of what there is).

    The model is on its device. Raises InputError on a --batch that does not fit.
    """
    memory = settings.memory or default_memory_limit(torch.device(settings.device))
    train = data.splits["train"]
    images = prepare_images(train.images[:PROBE_IMAGES], torch.device(settings.device))
    trained = _trained_size(settings, model, images)
    # what happens inside a compiled network cannot be seen; it takes no more than in training
    compiled = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    evaluated = trained if compiled else _evaluated_size(model, images)
    most, usual = int(memory / trained), min(LARGEST_BATCH, max(8, len(train.labels) // STEPS))
    if most < 2:
        raise InputError(f"two images take {2 * trained:.1f} GB in training, more than --memory {memory:g}; give a "
                         "smaller --size")  # fmt: skip
    if settings.batch and settings.batch > most:
        raise InputError(
            f"--batch {settings.batch} takes about {settings.batch * trained:.1f} GB in training, and --memory is "
            f"{memory:g}; give --batch {most} or less, a smaller --size, or more --memory"
        )
    if not settings.batch and usual > most:
        would = f"{usual} would take {usual * trained:.1f} GB"
        say(f"  {most} images a step, as {would} and --memory is {memory:g}")
    passes = max(1, int(min(memory, EVALUATION) / evaluated))
    sizes = {
        "memory": memory,
        "batch": settings.batch or min(usual, most),
        "evaluation_batch": settings.evaluation_batch or min(EVALUATION_BATCH, passes),
    }
    return ResolvedTraining(**vars(settings) | sizes)


def default_memory_limit(device: torch.device) -> float:
    """GB that passes may take where --memory does not say: half of what there is."""
    return round(_installed(device) / 2 / GB, 2)


def count_fitting_images(model: nn.Module, images: Tensor, memory: float) -> int:
    """How many of the images [N, C, H, W] fit into a pass that explains, of so many GB. InputError if none does.

    Such a pass keeps what the gradient of the image needs, in evaluation mode.
    """
    twin, few = copy_model(model), images[:PROBE_IMAGES]
    try:
        with frozen(twin), torch.enable_grad(), torch.random.fork_rng():
            size = _kept_size(twin, few.clone().requires_grad_())
    except RuntimeError:  # as of a network that cannot be differentiated, which other methods explain
        size = _evaluated_size(model, few)
    if size > memory:
        raise InputError(f"an image takes {size:.2g} GB in explaining, more than --memory {memory:g}; give it more")
    return int(memory / size)


def _trained_size(settings: TrainSettings, model: Classifier, images: Tensor) -> float:
    """GB per image of a training pass, at the largest size that images get."""
    twin = copy_model(model).train()
    twin.normalise.scale.fill_(max(plan_image_scales(settings)))
    with torch.random.fork_rng(), autocast(settings):
        return _kept_size(twin, images)


def _kept_size(model: nn.Module, images: Tensor) -> float:
    """GB per image of a pass that keeps what gradients need, as the model is set."""
    kept: dict[int, int] = {}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(images)  # its graph holds what was noted until it is counted
    total = sum(size for place, size in kept.items() if place not in own)
    del output
    return WITH_GRADIENT * max(total, images.nbytes) / len(images) / GB


def _evaluated_size(model: nn.Module, images: Tensor) -> float:
    """GB per image of a pass without gradient."""
    largest = images.nbytes

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal largest
        parts = [part for part in (*inputs, output) if isinstance(part, Tensor)]
        largest = max(largest, sum(part.nbytes for part in parts))

    twin = copy_model(model).eval()
    for module in twin.modules():
        if not list(module.children()):
            module.register_forward_hook(note)
    with torch.inference_mode():
        twin(images)
    return WITHOUT_GRADIENT * largest / len(images) / GB


def _installed(device: torch.device) -> float:
    """Bytes of memory that the device has, or that this machine or container may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [Path(name).read_text().strip() for name in LIMITS if os.path.isfile(name)]
    known = [int(limit) for limit in limits if limit.isdigit()]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *known])
