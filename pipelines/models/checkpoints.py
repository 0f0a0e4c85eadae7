"""Weights and training state as safetensors files: numbers only, nothing that could run."""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tracking.errors import InputError


def save_model(model: nn.Module, path: Path) -> Path:
    """Raises InputError if the model's state holds anything but tensors."""
    state = model.state_dict()
    if extra := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise InputError(
            f"the model keeps {extra[0]}, which is no tensor, in its state (get_extra_state), and a checkpoint holds "
            "tensors alone; register what it needs as a buffer"
        )
    return _save(state, path)


def load_model(model: nn.Module, path: Path) -> None:
    """Put a checkpoint's weights into `model`. Raises InputError if they do not fit or are not finite."""
    try:
        _put(model, load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise _misfit(f"checkpoint {path}", error) from None
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(f"checkpoint {path}: {name} is not finite (NaN or infinite), so the epoch is of no use")


def _put(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights that were saved by the model's own code: some modules ask for the version of their layout."""
    versioned = OrderedDict(weights)
    versioned._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]  # torch's, which no type tells
    model.load_state_dict(versioned)


def save_state(model: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path) -> Path:
    """What changes in training beside the checkpoint: the weights of the moment, momenta and step counts.

    Learning rates follow from the step number.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for parameter, known in optimizer.state_dict()["state"].items():
            state |= {f"{number}.{parameter}.{key}": value for key, value in known.items()}
    return _save(state, path)


def _save(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    # copies, as a tensor of two names, such as a tied weight, would be refused
    apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    try:
        save_file(apart, path)
    except SafetensorError as error:  # of a full disk too
        raise OSError(f"cannot write {path}: {error}") from None
    return path


def load_state(model: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path) -> None:
    """Put back what `save_state` saved. Raises InputError if it does not fit."""
    try:
        _load_state(model, optimizers, load_file(path))
    except (RuntimeError, SafetensorError, ValueError, KeyError, IndexError) as error:
        raise _misfit(f"the training state {path}", error) from None


def _misfit(what: str, error: Exception) -> InputError:
    return InputError(f"{what} does not fit the model: {' '.join(str(error).split())[:300]}")


def _load_state(model: nn.Module, optimizers: list[torch.optim.Optimizer], known: dict[str, torch.Tensor]) -> None:
    weights, states = {}, [optimizer.state_dict() for optimizer in optimizers]
    for name, value in known.items():
        first, rest = name.split(".", 1)
        if first == "model":
            weights[rest] = value
        else:
            parameter, key = rest.split(".", 1)
            states[int(first)]["state"].setdefault(int(parameter), {})[key] = value
    _put(model, weights)
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
