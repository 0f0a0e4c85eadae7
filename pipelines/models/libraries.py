"""Networks of timm and torchvision by name, with the preprocessing that each was made for."""

import difflib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from pipelines.common.user_code import describe_error
from pipelines.models.preprocessing import CenterCrop, Preprocessing, Resize
from pipelines.models.transforms import describe_transform
from tracking.errors import InputError


@dataclass(frozen=True)
class Library:
    """Where networks are found by name."""

    list_names: Callable[[], Sequence[str]]
    make: Callable[..., nn.Module]  # from a name, num_classes and the network's own arguments
    describe_preprocessing: Callable[[str, dict[str, Any]], Preprocessing]  # from a name and these arguments
    fetch_weights: Callable[[str, dict[str, Any]], Mapping[str, Tensor]]  # those that it is published with


def split_library(name: str) -> tuple[Library | None, str]:
    """The library that a --model such as timm:NAME names, None if it names none, and what follows.

    Raises InputError if the library is not installed, or has no such network.
    """
    prefix, _, network = name.partition(":")
    library = LIBRARIES.get(prefix)
    if library is None:
        return None, network
    known = library.list_names()
    if network.partition(".")[0] not in known:
        nearest = difflib.get_close_matches(network, known, n=3)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else f"; it has {len(known)} others"
        raise InputError(f"{prefix} has no network {network!r}{hint}")
    return library, network


def own_preprocessing(name: str, model_args: str | None) -> Preprocessing | None:
    """That of a network of a library; None for any other model."""
    library, network = split_library(name)
    return None if library is None else library.describe_preprocessing(network, read_model_args(model_args))


def fetch_pretrained(name: str, model_args: str | None) -> Mapping[str, Tensor]:
    """The weights that a network of a library is published with. Raises InputError if there are none within reach."""
    library, network = split_library(name)
    if library is None:
        raise InputError(f"--weights pretrained is for models of {' and '.join(LIBRARIES)}; for {name}, give a file")
    arguments = read_model_args(model_args)
    arguments.pop("num_classes", None)  # the published head, not one that timm draws at random
    try:
        with _without_retries_told():
            return library.fetch_weights(network, arguments)
    except Exception as error:  # of the network, or of any library that fetches them
        reason = describe_error(error).partition(". ")[0]
        raise InputError(
            f"the pretrained weights of {name} cannot be fetched ({reason}); fetch them where there is a network, and "
            "give the file: --weights FILE"
        ) from None


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """Where there is no network, huggingface_hub warns of each of its twelve tries, and then raises an error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_model_args(text: str | None) -> dict[str, Any]:
    """The model's arguments that --model-args gives. Raises InputError unless it is a JSON object."""
    try:
        arguments = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(
            f"--model-args is {text!r}, which is not JSON ({error}); it takes an object such as '{{\"width\": 64}}'"
        ) from None
    if not isinstance(arguments, dict):
        raise InputError(f"--model-args is {text}; it takes a JSON object such as '{{\"width\": 64}}'")
    return arguments


def _import_timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise InputError(
            'a model of timm needs the package timm; install it with: pip install "xai-study[timm]"'
        ) from None
    return timm


def _import_torchvision() -> ModuleType:
    import torchvision.models  # takes 150 MB and seconds, which most commands do without

    return torchvision.models


def _describe_timm(name: str, arguments: dict[str, Any]) -> Preprocessing:
    timm = _import_timm()
    config = timm.get_pretrained_cfg(name).to_dict()
    size = {"img_size": arguments["img_size"]} if "img_size" in arguments else {}
    resolved = timm.data.resolve_data_config(size, pretrained_cfg=config)
    channels = arguments.get("in_chans", config["input_size"][0])
    return replace(describe_transform(timm.data.create_transform(**resolved)), channels=channels)


def _describe_torchvision(name: str, arguments: dict[str, Any]) -> Preprocessing:
    preprocessing = describe_transform(_import_torchvision().get_model_weights(name)["DEFAULT"].transforms())
    size = arguments.get("image_size")
    if size is not None:  # of a network that is made for another size than its weights
        resize = next(step for step in preprocessing.steps if isinstance(step, Resize))
        preprocessing = replace(preprocessing, steps=(replace(resize, size=(size,)), CenterCrop((size, size))))
    return replace(preprocessing, channels=3)


LIBRARIES = {
    "timm": Library(
        lambda: _import_timm().list_models(),
        lambda name, **arguments: _import_timm().create_model(name, **arguments),
        _describe_timm,
        lambda name, arguments: _import_timm().create_model(name, pretrained=True, **arguments).state_dict(),
    ),
    "torchvision": Library(
        lambda: _import_torchvision().list_models(module=_import_torchvision()),
        lambda name, **arguments: _import_torchvision().get_model(name, **{"weights": None} | arguments),
        _describe_torchvision,
        lambda name, _: _import_torchvision().get_model_weights(name)["DEFAULT"].get_state_dict(progress=False),
    ),
}
