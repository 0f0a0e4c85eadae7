"""Models: the study's own CNN, and any factory of the user's."""

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipelines.data.datasets import Dataset
from pipelines.models import user_errors
from pipelines.models.randomness import seed_generators
from pipelines.models.user_code import errors_reported, import_factory
from tracking.errors import InputError

# training images whose patches the first layer is made from; of large ones fewer, which have as many patches
WHITENED, WHITENED_PIXELS = 1000, 64 * 64 * 1000


class Normalise(nn.Module):
    """Images in 0..1 to zero mean and unit deviation per channel: the first layer of every model.

    It also shrinks images to `scale` of their side where that is under 1. Both are part of a checkpoint, so whoever
    uses one, of whatever epoch, gives it images as they are. A network that does not take channels_last gets torch's
    default layout from it.
    """

    default_layout = False
    mean: Tensor
    std: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        scale = self.scale.item()
        if scale < 1:
            size = [round(side * scale) for side in images.shape[2:]]
            images = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        images = (images - self.mean) / self.std
        # a copy, as images of one channel are of both layouts, and a convolution goes by their strides
        return images.clone(memory_format=torch.contiguous_format) if self.default_layout else images


class Classifier(nn.Sequential):
    """What is trained and kept: the normalisation, then the network."""

    normalise: Normalise
    network: nn.Module


def cnn(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Convolutions with batch normalisation, ReLU and max pooling, then a dense ReLU layer.

    Each ReLU is a module of its own and none works in place, as SHAP and hooks need it. `features` ends in a ReLU,
    so its output is non-negative, as factorizing it needs. The pooled head takes images of any size from 8x8.
    """
    # 2x2 filters are enough to tell colours and edges apart, and leave odd sides that pooling halves well
    first, side = 8 * image_shape[0], min(image_shape[1:]) - 1
    start = nn.Sequential(nn.Conv2d(image_shape[0], first, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU())
    features = [start]
    # the last block keeps the size: maps of half the side, as concepts and Grad-CAM look at, would be but a few blobs
    for narrow, wide, shrink in ((first, 64, True), (64, 128, True), (128, 256, False)):
        features += [_block(narrow, wide, pool=shrink and side > 1), _block(wide, wide, pool=False)]
        side //= 2
    head = nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveMaxPool2d(1),
            flatten=nn.Flatten(),
            dense=nn.Linear(256, 128),
            relu=nn.ReLU(),
            dropout=nn.Dropout(0.1),
            logits=nn.Linear(128, num_classes),
        )
    )
    return nn.Sequential(OrderedDict(features=nn.Sequential(*features), head=head))


@torch.no_grad()
def whiten(convolution: nn.Conv2d, images: Tensor) -> None:
    """Start a first layer from filters whose answers to the images' patches are uncorrelated and equally strong.

    The patches' principal directions, divided by their deviation, each with both signs as a ReLU follows; as Jordan
    2024, 2404.00498, section 3.1, but free to learn on.
    """
    patches = nn.functional.unfold(images, convolution.kernel_size).transpose(1, 2).flatten(0, 1)  # [P, C kh kw]
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / (variances + 5e-4).sqrt()).T.flip(0)  # the strongest first
    both = torch.cat([filters, -filters])[: len(convolution.weight)]
    convolution.weight[: len(both)] = both.view(-1, *convolution.weight.shape[1:])


def _block(channels: int, width: int, *, pool: bool) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    # pooling before normalising gives the same maxima at a quarter of the work
    parts += [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU())


Network = TypeVar("Network", bound=nn.Module)
MODELS: dict[str, Callable[..., nn.Module]] = {"cnn": cnn}


def build_model(name: str, data: Dataset, seed: int) -> Classifier:
    """The untrained model `name` for the data, its weights drawn from `seed`.

    `name` is a key of MODELS or package.module:factory. A factory takes num_classes and, if it wants, image_shape
    (C, H, W); it gets normalised images [N, C, H, W] and returns logits [N, num_classes]. Raises InputError for any
    other model, also for one whose code raises an error of whatever class.
    """
    if name not in MODELS and not name.partition(":")[2]:
        raise InputError(f"no model {name!r}; there are: {', '.join(MODELS)}, or give package.module:factory")
    seed_generators(seed)
    refused = f"model {name} does not take images {data.image_shape}"
    factory = MODELS.get(name) or import_factory(name)
    with errors_reported(refused):
        shape = {"image_shape": data.image_shape} if "image_shape" in inspect.signature(factory).parameters else {}
        network = factory(num_classes=len(data.classes), **shape)
    if not isinstance(network, nn.Module):
        raise InputError(f"{refused}: it returns {_kind(network)}; a factory returns a torch.nn.Module")
    user_errors.watch_model(name, map(type, network.modules()))
    model = Classifier(OrderedDict(normalise=Normalise(*data.channel_statistics()), network=network)).eval()
    if name in MODELS:
        images = data.splits["train"].images
        count = min(WHITENED, max(1, WHITENED_PIXELS // images[0, 0].numel()))
        convolution = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
        whiten(convolution, model.normalise(images[:count].float() / 255))
    images = data.splits["train"].images[:2].float() / 255
    with errors_reported(refused), torch.no_grad():
        logits = model(images)
    check_logits(name, logits, (2, len(data.classes)))
    _lay_out(model, images)
    return model


def _lay_out(model: Classifier, images: Tensor) -> None:
    """Put a model that works in torch's default layout into channels_last, if it works in that too.

    One that takes an image apart by `view` does not. It is the same at every build, as it depends on the code alone.
    """
    try:
        with torch.no_grad():
            model.to(memory_format=torch.channels_last)(images.clone(memory_format=torch.channels_last))
    except (Exception, SystemExit):
        model.to(memory_format=torch.contiguous_format)
        model.normalise.default_layout = True


def copy_model(model: Network) -> Network:
    """A copy with tensors of its own. deepcopy alone makes parameters of a script module results of a computation."""
    with torch.no_grad():
        copied = copy.deepcopy(model)
    for weight, original in zip(copied.parameters(), model.parameters(), strict=True):
        weight.requires_grad_(original.requires_grad)
    return copied


def main_logits(output: Any) -> Any:
    """The output that a classifier is trained by: with auxiliary heads the main one, by its name `logits`."""
    if isinstance(output, Mapping):
        return output.get("logits", output)
    return getattr(output, "logits", output)


def check_logits(name: str, logits: object, shape: tuple[int, int], when: str = "") -> None:
    """Raise InputError unless `logits` are what a classifier of so many images and classes returns."""
    wanted = f"it must return one float32 logit for each of {shape[1]} classes"
    if not isinstance(logits, Tensor):
        raise InputError(
            f"model {name} returns {_kind(logits)}{when}; {wanted}; wrap it in a module that returns these alone "
            "(auxiliary outputs may come in training, in a named tuple or dict whose `logits` are the main ones)"
        )
    if logits.shape != shape:
        raise InputError(f"model {name} returns {tuple(logits.shape)} for {shape[0]} images{when}; {wanted}")
    if logits.dtype != torch.float32:
        raise InputError(f"model {name} returns {str(logits.dtype).removeprefix('torch.')}{when}; {wanted}")
    if not logits.isfinite().all():
        raise InputError(f"model {name} returns logits that are not finite before any training; check its weights")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
