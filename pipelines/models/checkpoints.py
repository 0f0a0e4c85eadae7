"""Weights and training state as safetensors files: numbers only, nothing that could run code."""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tracking.errors import InputError


def save_model(model: nn.Module, path: Path) -> Path:
    """Write the model's state. Raises InputError if it holds anything but tensors."""
    state = model.state_dict()
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise InputError(
            f"the model keeps {others[0]}, which is not a tensor, in its state (get_extra_state), and a checkpoint "
            "holds only tensors; register what it needs as a buffer"
        )
    return _save_tensors(state, path)


def load_model(model: nn.Module, path: Path) -> None:
    """Load a checkpoint's weights into `model`. Raises InputError if they do not fit or are not finite."""
    try:
        load_weights(model, load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise _misfit(f"checkpoint {path}", error) from None
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(
                f"checkpoint {path}: {name} is not finite (NaN or infinite), so the epoch cannot be used; "
                "choose another epoch"
            )


def save_state(model: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path) -> Path:
    """Write what changes in training besides the checkpoint: the current weights, momenta and step counts.

    Learning rates follow from the step number.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for parameter, parameter_state in optimizer.state_dict()["state"].items():
            for key, value in parameter_state.items():
                tensors[f"{number}.{parameter}.{key}"] = value
    return _save_tensors(tensors, path)


def load_state(model: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path) -> None:
    """Load what `save_state` wrote. Raises InputError if it does not fit."""
    try:
        weights = {}
        optimizer_states = [optimizer.state_dict() for optimizer in optimizers]
        for name, value in load_file(path).items():
            owner, _, rest = name.partition(".")
            if owner == "model":
                weights[rest] = value
            else:
                parameter, key = rest.split(".", 1)
                parameter_state = optimizer_states[int(owner)]["state"].setdefault(int(parameter), {})
                parameter_state[key] = value
        load_weights(model, weights)
        for optimizer, state in zip(optimizers, optimizer_states, strict=True):
            optimizer.load_state_dict(state)
    except (RuntimeError, SafetensorError, ValueError, KeyError, IndexError) as error:
        raise _misfit(f"the training state {path}", error) from None


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights that the model's own code saved: some modules ask for the version of their layout."""
    versioned = OrderedDict(weights)
    versioned._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]  # torch's, which no type declares
    model.load_state_dict(versioned)


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    # copies, because safetensors refuses a tensor under two names, such as a tied weight
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    try:
        save_file(copies, path)
    except SafetensorError as error:  # a full disk too
        raise OSError(f"cannot write {path}: {error}") from None
    return path


def _misfit(file_description: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300]
    return InputError(f"{file_description} does not fit the model: {reason}")
