"""What a training computes on. Together with the seed it fixes every bit of the result."""

import os
import warnings
from dataclasses import replace
from typing import TypeVar

import torch

from pipelines.common.settings import TrainSettings
from tracking.errors import InputError

Settings = TypeVar("Settings", bound=TrainSettings)


def resolve_hardware(settings: Settings) -> Settings:
    """Decide what `auto` and 0 stand for on this machine. Raises InputError if there is no such device."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if reason := _missing(device):
        raise InputError(f"no device {device!r} here: {reason}; try --device cpu")
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16(torch.device(device)) else "float32"
    return replace(settings, device=device, precision=precision, threads=settings.threads or os.cpu_count() or 1)


def prepare_device(settings: TrainSettings) -> torch.device:
    """The device of settled settings, with their number of threads in force."""
    torch.set_num_threads(settings.threads)
    return torch.device(settings.device)


def choose_available_device(device: str) -> str:
    """`device` if it is on this machine, else the machine's own kind: what a recorded run is looked at on."""
    if not _missing(device):
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _missing(device: str) -> str | None:
    """Why nothing can be computed on a device; None if it can. torch knows many by name alone."""
    try:
        if (named := torch.device(device)).type == "cpu" and named.index:
            return "the processor is one device, cpu"
        with warnings.catch_warnings(action="ignore"):
            torch.ones(2, 2, device=device).mm(torch.ones(2, 2, device=device)).sum().item()
    except Exception as error:  # of a class of its own for many a device
        return str(error).splitlines()[0]
    return None


def autocast(settings: TrainSettings) -> torch.autocast:
    """bfloat16 in training passes where the settings say so; evaluation and explanation are always float32."""
    kind = torch.device(settings.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=settings.precision == "bfloat16")


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is in the hardware; where it is emulated it is over ten times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
