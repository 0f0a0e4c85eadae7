"""What a training computes on: together with the seed, it fixes every bit of the result."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipelines.common import ranks
from pipelines.common.settings import TrackedSettings, TrainSettings
from tracking.errors import InputError

Settings = TypeVar("Settings", bound=TrackedSettings)
Training = TypeVar("Training", bound=TrainSettings)
CONVOLUTIONS = {
    torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
}  # fmt: skip


def resolve_hardware(settings: Training) -> Training:
    """Decide what `auto` and 0 stand for on this machine. Raises InputError if it has no such device."""
    resolved = resolve_device(settings)
    precision = resolved.precision
    if precision == "auto":
        precision = "bfloat16" if computes_bfloat16(torch.device(resolved.device)) else "float32"
    return replace(resolved, precision=precision)


def resolve_device(settings: Settings) -> Settings:
    """Device and threads of this machine. Raises InputError if it has no such device."""
    device = settings.device
    if device == "auto":
        device = _default_device()
    obstacle = _find_obstacle(device)
    if obstacle:
        raise InputError(f"no device {device!r} here: {obstacle}; try --device cpu")
    cores = (os.cpu_count() or 1) // ranks.local_world()  # of this process, if several share the machine
    return replace(settings, device=device, threads=settings.threads or max(cores, 1))


def prepare_device(settings: TrackedSettings) -> torch.device:
    """Set the number of threads that resolved settings name; returns their device."""
    torch.set_num_threads(settings.threads)
    return torch.device(settings.device)


def choose_available_device(recorded_device: str) -> str:
    """The device that a run recorded if this machine has it, else this machine's default."""
    return _default_device() if _find_obstacle(recorded_device) else recorded_device


@contextmanager
def autocast(settings: TrainSettings) -> Iterator[None]:
    """bfloat16 in training passes where the settings say so; evaluation is always float32."""
    if settings.precision != "bfloat16":
        yield
        return
    device_type = torch.device(settings.device).type
    with torch.autocast(device_type, torch.bfloat16), ConvolutionsWithWholeGradients():
        yield


class ConvolutionsWithWholeGradients(TorchFunctionMode):
    """Inside autocast to bfloat16: convolutions of maps narrower than the stride compute in float32.

    Of a map of width 1, a kernel of 3 with stride 2 sees only padding at its left and right, so the gradient there is
    0. oneDNN, as torch 2.14 has it, leaves it as the memory was: another number each time, at times infinite or NaN.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in CONVOLUTIONS:
            return _convolve(func, *args, **kwargs or {})
        return func(*args, **kwargs or {})


def _convolve(
    convolution: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    *rest: Any,
    **options: Any,
) -> Tensor:
    """What the convolution gives for maps [N, C, ..., W], in float32 if W is less than the stride."""
    width_stride = stride if isinstance(stride, int) else stride[-1]
    if input.shape[-1] >= width_stride or input.device.type != "cpu":
        return convolution(input, weight, bias, stride, *rest, **options)
    tensors = [value if value is None else value.float() for value in (input, weight, bias)]
    with torch.autocast("cpu", enabled=False):
        return convolution(*tensors, stride, *rest, **options)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16; emulated, it is over ten times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _find_obstacle(device: str) -> str | None:
    """Why a device cannot compute; None if it can. torch accepts the names of many that are not there."""
    try:
        named = torch.device(device)
        if named.type == "cpu" and named.index:
            return "the processor is one device, cpu"
        with warnings.catch_warnings(action="ignore"):
            matrix = torch.ones(2, 2, device=device)
            matrix.mm(matrix).sum().item()
    except Exception as error:  # many devices raise errors of their own classes
        return str(error).splitlines()[0]
    return None
