"""Models: the study's own CNN, and any factory of the user's."""

import importlib
import inspect
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipelines.datasets import Dataset
from tracking.errors import InputError

WHITENED = 1000  # training images whose patches the first layer is made from


class Normalise(nn.Module):
    """Images in 0..1 to zero mean and unit deviation per channel: the first layer of every model.

    It also shrinks images to `scale` of their side where that is under 1. Both are part of a checkpoint, so whoever
    uses one, of whatever epoch, gives it images as they are.
    """

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
        return (images - self.mean) / self.std


def cnn(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Convolutions with batch normalisation, ReLU and max pooling, then a dense ReLU layer.

    Each ReLU is a module of its own and none works in place, as SHAP and hooks need it. `features` ends in a ReLU,
    so its output is non-negative, as factorizing it needs. The pooled head takes images of any size from 8x8.
    """
    # 2x2 filters are enough to tell colours and edges apart, and leave odd sides that pooling halves well
    first, side = 8 * image_shape[0], min(image_shape[1:]) - 1
    features = [nn.Sequential(nn.Conv2d(image_shape[0], first, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU())]
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
    parts = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    # pooling before normalising gives the same maxima at a quarter of the work
    parts += [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU())


MODELS: dict[str, Callable[..., nn.Module]] = {"cnn": cnn}


def build_model(name: str, data: Dataset, seed: int) -> nn.Module:
    """The untrained model `name` for the data, its weights drawn from `seed`.

    `name` is a key of MODELS or package.module:factory. A factory takes num_classes and, if it wants, image_shape
    (C, H, W); it gets normalised images [N, C, H, W] and returns logits [N, num_classes].
    """
    torch.manual_seed(seed)
    factory = MODELS.get(name) or _import_factory(name)
    try:
        shape = {"image_shape": data.image_shape} if "image_shape" in inspect.signature(factory).parameters else {}
        network = factory(num_classes=len(data.classes), **shape)
        model = nn.Sequential(OrderedDict(normalise=Normalise(*data.channel_statistics()), network=network))
        if name in MODELS:
            whiten(network.features[0][0], model.normalise(data.splits["train"].images[:WHITENED].float() / 255))
        with torch.no_grad():
            logits = model.eval()(data.splits["train"].images[:2].float() / 255)
    except (TypeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"model {name} does not take images {data.image_shape}: {reason}") from None
    if logits.shape != (2, len(data.classes)):
        raise InputError(
            f"model {name} returns {tuple(logits.shape)} for 2 images; it must return one logit for each of "
            f"{len(data.classes)} classes"
        )
    return model.to(memory_format=torch.channels_last)


def _import_factory(name: str) -> Callable[..., nn.Module]:
    module, _, function = name.partition(":")
    if not function:
        raise InputError(f"no model {name!r}; there are: {', '.join(MODELS)}, or give package.module:factory")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"cannot find model {name}: {error}") from None
