"""The weights in a file of torch or safetensors, in any usual form. Nothing in a file is run."""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.common.terminal import say
from pipelines.common.user_code import describe_error
from pipelines.data.datasets import Dataset
from pipelines.data.names import format_name, format_names
from pipelines.models.checkpoints import load_weights
from pipelines.models.networks import name_sources
from tracking.errors import InputError

# where weights lie in a file that holds more, the likelier ones first
USUAL_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
              "ema_state_dict", "model_ema", "ema", "state")  # fmt: skip
DEEPEST_KEY = 3  # keys within each other
LISTED_KEYS = 3  # in a message


def read_weights(path: Path, key: str | None) -> dict[str, Tensor]:
    """The weights in a file of torch or safetensors, by name. Raises InputError if it has none, or needs more."""
    try:
        if zipfile.is_zipfile(path) or not _is_safetensors(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            content = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(_explain_unreadable(path, error)) from None
    except Exception as error:  # of unpickling, which may raise anything
        raise InputError(_explain_refusal(path, error)) from None
    return _find_weights(path, content, key)


def describe_file(path: Path) -> str:
    """What messages call a file of weights."""
    return f"checkpoint {format_name(path.name)}"


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of weights that come from no file of the user's: over names, shapes and bytes, by name."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fit_weights(
    what: str,
    weights: Mapping[str, Tensor],
    network: nn.Module,
    data: Dataset,
    *,
    quietly: bool = False,
    keeps_head: bool = False,
) -> list[str]:
    """Load weights into a network that was built for the data; their names may have a prefix.

    Messages call the weights `what`. Weights of no part of the network are reported, unless `quietly`. If it
    `keeps_head`, the head of a network that is trained further on other classes keeps its own weights: those that
    differ in their number alone, or are lacking and have a row for each class. Their names are returned. Raises
    InputError, with names, on weights that do not fit.
    """
    expected = network.state_dict()
    plain = {name.replace("_orig_mod.", ""): value for name, value in weights.items()}  # of torch.compile
    prefix = _find_prefix(plain, expected)
    loaded = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
    _fill_in(loaded, expected)

    classes = len(data.classes)
    new = []
    if keeps_head:
        new = [name for name in expected if _belongs_to_other_classes(loaded.get(name), expected[name], classes)]
        loaded |= {name: expected[name] for name in new}
    missing = [name for name in expected if name not in loaded]
    unexpected = [name for name in loaded if name not in expected]
    problems = []
    if missing:
        problems.append(f"it lacks {list_keys(missing)}")
    if unexpected:
        problems.append(f"the model has no {list_keys(unexpected)}")
    problems += [
        f"{name} has {loaded[name].shape[0]} outputs in it, and the data set has {classes} classes"
        if _belongs_to_other_classes(loaded[name], value, classes)
        else f"{name} is {tuple(loaded[name].shape)} in it and {tuple(value.shape)} in the model"
        for name, value in expected.items()
        if name in loaded and loaded[name].shape != value.shape
    ][:1]
    if problems:
        raise InputError(f"{what} does not fit the model: {'; '.join(problems)}; check {name_sources(data)}")
    for name, value in loaded.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{what}: {name} is not finite (NaN or infinite), so it cannot be used; leave it out")
    load_weights(network, loaded)
    others = [name for name in plain if not name.startswith(prefix)]
    if others and not quietly:
        say(f"  {what}: {list_keys(others)} not part of the model, left out")
    return new


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with a header in JSON, after its length in eight bytes."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _explain_refusal(path: Path, error: Exception) -> str:
    needed = re.search(r"GLOBAL ([\w.]+)", str(error))
    if needed:
        return (
            f"checkpoint {format_name(path.name)} needs code to be loaded ({needed[1]}), which could do anything; save "
            "its weights alone, with torch.save(model.state_dict(), FILE)"
        )
    return _explain_unreadable(path, error)


def _explain_unreadable(path: Path, error: Exception) -> str:
    reason = describe_error(error).partition(". ")[0]
    return (
        f"checkpoint {format_name(path.name)} cannot be read: it is not a file of torch or safetensors, or it is "
        f"damaged ({reason})"
    )


def _find_weights(path: Path, content: Any, key: str | None) -> dict[str, Tensor]:
    file = describe_file(path)
    if key is not None:
        for part in key.split("."):
            if not isinstance(content, Mapping) or part not in content:
                there = format_names([str(name) for name in content]) if isinstance(content, Mapping) else "no key"
                raise InputError(f"{file} has no key {key!r}; it has {there}")
            content = content[part]
    weights = _search_weights(content, DEEPEST_KEY)
    if weights is None:
        there = f"it has {format_names(list(map(str, content)))}" if isinstance(content, Mapping) else (
            f"it holds a {type(content).__name__}"
        )  # fmt: skip
        raise InputError(f"{file} has no weights by name; {there}; name where they are with --key")
    return weights


def _search_weights(content: Any, depth: int) -> dict[str, Tensor] | None:
    """A mapping of names to tensors, here or under a usual key."""
    if not isinstance(content, Mapping) or not content:
        return None
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    nested = [key for key in USUAL_KEYS if isinstance(content.get(key), Mapping)]
    if tensors and not nested:
        return tensors
    for key in nested if depth else []:
        found = _search_weights(content[key], depth - 1)
        if found:
            return found
    return None


def _find_prefix(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What stands before the model's own names in a file, as `model.` in Lightning and `module.` in DDP."""
    names = list(expected)
    ends = {names[0], names[-1]} if names else set()
    prefixes = {""} | {name.removesuffix(end) for name in weights for end in ends if f".{name}".endswith(f".{end}")}
    return max(sorted(sorted(prefixes), key=len), key=lambda prefix: sum(prefix + name in weights for name in expected))


def _fill_in(loaded: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Add what a file may lack and yet fit: the other names of a tied weight, and counts of old batch normalisation."""
    name_by_address = {
        expected[name].data_ptr(): name for name in loaded if name in expected and expected[name].numel()
    }
    for name, value in expected.items():
        if name in loaded:
            continue
        tied_to = name_by_address.get(value.data_ptr()) if value.numel() else None
        if tied_to is not None and expected[tied_to].shape == value.shape:
            loaded[name] = loaded[tied_to]
        elif name.endswith("num_batches_tracked"):
            loaded[name] = value


def _belongs_to_other_classes(loaded: Tensor | None, expected: Tensor, classes: int) -> bool:
    if loaded is None:
        return expected.ndim > 0 and expected.shape[0] == classes
    return (
        loaded.ndim == expected.ndim > 0
        and expected.shape[0] == classes != loaded.shape[0]
        and loaded.shape[1:] == expected.shape[1:]
    )


def list_keys(names: list[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - LISTED_KEYS
    return ", ".join(names[:LISTED_KEYS]) + (f" and {rest} more" if rest > 0 else "")
