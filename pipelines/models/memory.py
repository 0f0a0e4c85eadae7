"""How many images a pass may hold. Decided once, before the first epoch, because pass size can change the last bits."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.common.settings import ResolvedSettings, ResolvedTraining, TrainSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.models.hardware import autocast
from pipelines.models.image_sizes import plan_image_scales
from pipelines.models.networks import Classifier, copy_model
from pipelines.models.predictions import EVALUATION_BATCH, prepare_images
from tracking.errors import InputError
from xai.gradient import frozen

GB = 1e9
LARGEST_BATCH = 256  # images per step
STEPS_PER_EPOCH = 20  # at least, as far as a batch of 8 images allows
EVALUATION_MEMORY = 0.5  # GB that an evaluation pass may take; larger passes are no faster
# measured on plain and on residual networks, at 32 and 224 pixels: a pass takes 1.1 to 1.3 times what it keeps for the
# gradient, and without a gradient 0.9 to 1.7 times the input and output of the largest layer
WITH_GRADIENT, WITHOUT_GRADIENT = 1.3, 1.8
INPUT_COPIES = 6  # of a pass, as bytes, floats, normalised, in another layout: more than a small network's layers take
PROBE_IMAGES = 2  # images of a trial pass: batch normalisation needs more than one
CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def resolve_pass_sizes(settings: ResolvedSettings, data: Dataset, model: Classifier) -> ResolvedTraining:
    """Resolved settings with pass sizes that fit into --memory (default: half of the memory there is).

    The model is on its device. Raises InputError on a --batch that does not fit.
    """
    memory = settings.memory or default_memory_limit(torch.device(settings.device))
    train = data.splits["train"]
    images = prepare_images(train.images[:PROBE_IMAGES], torch.device(settings.device))
    training_size = _training_size(settings, model, images)
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        evaluation_size = training_size  # an upper bound: hooks do not see into a compiled network
    else:
        evaluation_size = _evaluation_size(model, images)

    largest_batch = int(memory / training_size)
    default_batch = min(LARGEST_BATCH, max(8, len(train.labels) // STEPS_PER_EPOCH))
    if largest_batch < 2:
        raise InputError(
            f"two images take {2 * training_size:.1f} GB in training, more than --memory {memory:g}; give a smaller "
            "--size"
        )
    if settings.batch and settings.batch > largest_batch:
        raise InputError(
            f"--batch {settings.batch} takes about {settings.batch * training_size:.1f} GB in training, and --memory "
            f"is {memory:g}; give --batch {largest_batch} or less, a smaller --size, or more --memory"
        )
    if not settings.batch and default_batch > largest_batch:
        needed = f"{default_batch} would take {default_batch * training_size:.1f} GB"
        say(f"  {plural(largest_batch, 'image')} per step, as {needed} and --memory is {memory:g}")

    largest_evaluation_batch = max(1, int(min(memory, EVALUATION_MEMORY) / evaluation_size))
    pass_sizes = {
        "memory": memory,
        "batch": settings.batch or min(default_batch, largest_batch),
        "evaluation_batch": settings.evaluation_batch or min(EVALUATION_BATCH, largest_evaluation_batch),
    }
    return ResolvedTraining(**vars(settings) | pass_sizes)


def default_memory_limit(device: torch.device) -> float:
    """GB that passes may take where --memory does not say: half of the memory there is."""
    return round(_installed_memory(device) / 2 / GB, 2)


def count_fitting_images(model: nn.Module, images: Tensor, memory: float) -> int:
    """How many images such as these [N, C, H, W] fit into an explaining pass of `memory` GB. InputError if none does.

    Such a pass keeps what the gradient of the image needs, in evaluation mode.
    """
    twin = copy_model(model)
    probe = images[:PROBE_IMAGES]
    try:
        with frozen(twin), torch.enable_grad(), torch.random.fork_rng():
            size = _gradient_size(twin, probe.clone().requires_grad_())
    except RuntimeError:  # such as of a network that cannot be differentiated, which other methods explain
        size = _evaluation_size(model, probe)
    if size > memory:
        raise InputError(f"explaining takes {size:.2g} GB per image, more than --memory {memory:g}; give more --memory")
    return int(memory / size)


def _training_size(settings: TrainSettings, model: Classifier, images: Tensor) -> float:
    """GB per image of a training pass, at the largest size that images get."""
    twin = copy_model(model).train()
    twin.normalise.shrink(max(plan_image_scales(settings)))
    with torch.random.fork_rng(), autocast(settings):
        return _gradient_size(twin, images)


def _gradient_size(model: nn.Module, images: Tensor) -> float:
    """GB per image of a pass that keeps what gradients need, in the model's current mode."""
    kept_bytes: dict[int, int] = {}  # by address, so that storage which tensors share counts once
    model_addresses = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def record_tensor(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept_bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record_tensor, lambda tensor: tensor):
        output = model(images)  # its graph keeps the recorded tensors alive, so that no address is used twice
    total = sum(size for address, size in kept_bytes.items() if address not in model_addresses)
    del output
    return WITH_GRADIENT * max(total, images.nbytes) / len(images) / GB


def _evaluation_size(model: nn.Module, images: Tensor) -> float:
    """GB per image of a pass without gradient."""
    largest_bytes = INPUT_COPIES * images.nbytes

    def record_layer(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal largest_bytes
        layer_bytes = sum(value.nbytes for value in (*inputs, output) if isinstance(value, Tensor))
        largest_bytes = max(largest_bytes, layer_bytes)

    twin = copy_model(model).eval()
    for module in twin.modules():
        is_leaf = not list(module.children())
        if is_leaf:
            module.register_forward_hook(record_layer)
    with torch.inference_mode():
        twin(images)
    return WITHOUT_GRADIENT * largest_bytes / len(images) / GB


def _installed_memory(device: torch.device) -> float:
    """Bytes of memory that the device has, or that this machine or container may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in CONTAINER_LIMITS:
        limit = Path(name).read_text().strip() if os.path.isfile(name) else ""
        if limit.isdigit():  # not "max"
            sizes.append(int(limit))
    return min(sizes)
