"""Weights and optimizer state as safetensors files: numbers only, nothing that could run."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tracking.errors import InputError


def save_model(model: nn.Module, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


def load_model(model: nn.Module, path: Path) -> None:
    """Put a checkpoint's weights into `model`. Raises InputError if they do not fit."""
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"checkpoint {path} does not fit the model: {reason}") from None


def save_optimizers(optimizers: list[torch.optim.Optimizer], path: Path) -> Path:
    """All state that changes: momenta and step counts. Learning rates follow from the step number."""
    save_file(
        {
            f"{number}.{parameter}.{key}": value.contiguous()
            for number, optimizer in enumerate(optimizers)
            for parameter, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
        },
        path,
    )
    return path


def load_optimizers(optimizers: list[torch.optim.Optimizer], path: Path) -> None:
    states: list[dict] = [optimizer.state_dict() for optimizer in optimizers]
    for name, value in load_file(path).items():
        number, parameter, key = name.split(".", 2)
        states[int(number)]["state"].setdefault(int(parameter), {})[key] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
