"""A batch that several processes share, for layers that look beyond one image: as if one process had all of it.

Batch normalisation takes its statistics over the whole batch (as in Peng 2017, 1711.07240, on any device). Random
numbers, such as those of dropout, are drawn for the whole batch in every process, from generators in the same state,
and each takes those of its own images: how many processes there are changes none of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipelines.common.ranks import rank, share, world
from pipelines.common.settings import TrainSettings
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.verification import allowed_difference
from pipelines.models.networks import copy_model, main_logits
from pipelines.models.predictions import prepare_images
from pipelines.models.randomness import seed_generators
from pipelines.training.collectives import add_up
from tracking.errors import InputError

# functions that draw a number for each element of their first argument, or for each of its images or channels
DRAWING = {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
    functional.rrelu,
    torch.bernoulli,
    torch.rand_like,
    torch.randn_like,
    torch.Tensor.bernoulli,
}
DRAWING_IN_PLACE = {torch.Tensor.bernoulli_, torch.Tensor.uniform_, torch.Tensor.normal_}
MAKING = {torch.rand, torch.randn}  # tensors of a shape
CHECKED_IMAGES = 2  # per process, and one more, so that their shares differ


def as_whole_batch(count: int) -> AbstractContextManager[object]:
    """Inside, a network trains on this process's share of a batch of `count` images as if it had all of them."""
    return nullcontext() if world() == 1 else _WholeBatch(count)


class _WholeBatch(TorchFunctionMode):
    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._own = share()
        self._own_count = len(range(count)[self._own])

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if function is functional.batch_norm and options.get("training"):
            return _normalise(*args, **options)
        if function in DRAWING and self._is_of_batch(args[0].shape):
            return function(self._extend(args[0]), *args[1:], **options)[self._own]
        if function in DRAWING_IN_PLACE and self._is_of_batch(args[0].shape):
            return args[0].copy_(function(self._extend(args[0]), *args[1:], **options)[self._own])
        if function in MAKING:
            shape = options.pop("size", args)
            if len(shape) == 1 and not isinstance(shape[0], int):
                [shape] = shape
            if self._is_of_batch(shape):
                return function(self._count, *shape[1:], **options)[self._own]
            return function(shape, **options)
        return function(*args, **options)

    def _is_of_batch(self, shape: Sequence[int]) -> bool:
        """Whether a tensor has a row for each of this process's images."""
        return len(shape) > 0 and shape[0] == self._own_count

    def _extend(self, values: Tensor) -> Tensor:
        """Values for the whole batch, laid out in memory as these: where this process has none, zeros."""
        numbers_per_image = values[0].numel()
        strides = (numbers_per_image, *values.stride()[1:])
        if not values.is_contiguous() and not values.is_contiguous(memory_format=torch.channels_last):
            strides = torch.empty(1, *values.shape[1:], device="meta").stride()
        whole = values.new_zeros(self._count * numbers_per_image).as_strided((self._count, *values.shape[1:]), strides)
        whole[self._own] = values
        return whole


def _normalise(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`functional.batch_norm` in training, with the statistics of the images [b, C, ...] of all processes."""
    values = images.to(torch.promote_types(images.dtype, torch.float32))
    channels = values.shape[1]
    var, mean = torch.var_mean(values, [0, *range(2, values.ndim)], correction=0)
    var, mean = var.double(), mean.double()  # as mean squares are subtracted from each other below
    count = values.numel() // channels
    sums = add_up(count * torch.cat([mean, var + mean.square(), mean.new_ones(1)]))
    total = sums[-1]
    mean = sums[:channels] / total
    var = (sums[channels:-1] / total - mean.square()).clamp_min(0)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * total / (total - 1)).to(running_var.dtype), momentum)
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    shape = (1, channels, *[1] * (values.ndim - 2))
    normalised = torch.addcmul(shift.to(values.dtype).view(shape), values, scale.to(values.dtype).view(shape))
    return normalised.to(images.dtype)


def check_divisible(settings: TrainSettings, model: nn.Module, data: Dataset) -> None:
    """Raise InputError in rank 0 if the model has other logits in training where processes share a batch."""
    if world() == 1:
        return
    device = torch.device(settings.device)
    images = data.splits["train"].images[: CHECKED_IMAGES * world() + 1]
    whole_logits, own_logits = (
        _compute_logits(settings.seed, model, prepare_images(part, device), len(images))
        for part in (images, images[share()])
    )
    own_of_whole = whole_logits[share()]
    difference = (own_logits - own_of_whole).abs().max()
    is_different = difference > allowed_difference(own_of_whole, settings.device)
    if add_up(is_different.float()) and rank() == 0:
        raise InputError(
            f"model {settings.model} has other logits in training if several processes share a batch, as of dropout in "
            "attention, statistics of its own over a batch, or compiled parts; train it in one process"
        )


@torch.no_grad()
def _compute_logits(seed: int, model: nn.Module, images: Tensor, count: int) -> Tensor:
    """Training logits of images, all or this process's share of a batch of `count`, in float32. The model stays."""
    seed_generators(seed)
    is_whole = len(images) == count
    with nullcontext() if is_whole else as_whole_batch(count):
        return main_logits(copy_model(model).train()(images)).float().cpu()
