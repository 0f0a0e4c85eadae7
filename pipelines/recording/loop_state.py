"""What a training loop needs to continue where it stopped: optimizers, schedules and random numbers, without pickles.

Tensors become those of a safetensors file; everything else is JSON in its header.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.models.randomness import read_generators, set_generators
from tracking.errors import InputError

HEADER = "state"


def save_loop_state(parts: Mapping[str, Any], path: Path) -> Path:
    """Write the state of everything in `parts` (objects with state_dict) and of the random number generators.

    Raises InputError on a state that holds anything but numbers, texts and tensors.
    """
    tensors: dict[str, Tensor] = {}
    states = {name: _encode(part.state_dict(), tensors, name) for name, part in parts.items()}
    content = {"parts": states, "random": _encode(read_generators(), tensors, "random")}
    try:
        save_file(tensors, path, {HEADER: json.dumps(content)})
    except SafetensorError as error:  # a full disk too
        raise OSError(f"cannot write {path}: {error}") from None
    return path


def check_loop_state(parts: Mapping[str, Any]) -> None:
    """Raise InputError on a state that cannot be saved."""
    for name, part in parts.items():
        _encode(part.state_dict(), {}, name)


def load_loop_state(parts: Mapping[str, Any], path: Path) -> None:
    """Bring `parts` and the random number generators into the state that was saved. Raises InputError on a misfit."""
    content, tensors = _read_file(path)
    saved = content["parts"]
    if saved.keys() != parts.keys():
        raise InputError(
            f"state has {', '.join(parts) or 'nothing'}; the run recorded that of {', '.join(saved) or 'nothing'}; "
            "give the same"
        )
    for name, part in parts.items():
        try:
            part.load_state_dict(_decode(saved[name], tensors))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"the recorded state of {name} does not fit: {reason}") from None
    set_generators(_decode(content["random"], tensors))


def load_generators(path: Path) -> None:
    """Bring the random number generators into the state that was saved, and nothing else."""
    content, tensors = _read_file(path)
    set_generators(_decode(content["random"], tensors))


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What JSON and tensors a file of `save_loop_state` holds."""
    with safe_open(path, "pt") as file:
        content = json.loads((file.metadata() or {})[HEADER])
        return content, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping


def _encode(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """A value as JSON; tensors go to `tensors`. Dicts become pairs, because their keys may be numbers."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"pairs": [[key, _encode(item, tensors, f"{name}.{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_encode(item, tensors, f"{name}.{number}") for number, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"the state of {name} is of {type(value).__name__}, and only numbers, texts and tensors are kept; leave it out "
        "of `state`"
    )


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _decode(item, tensors) for key, item in value["pairs"]}
    return value
