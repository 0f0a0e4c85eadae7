"""Transforms of torchvision and timm as a preprocessing, so that the model itself takes stored pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pipelines.models.pillow_resizing import LEVELS
from pipelines.models.preprocessing import CenterCrop, Grey, Pad, Preprocessing, Resize, Step
from tracking.errors import InputError

KNOWN = (
    "Resize, CenterCrop, Pad, Grayscale, RGB, Normalize, and those that make tensors: ToTensor, PILToTensor, ToImage, "
    "ToDtype, ConvertImageDtype"
)
# by name and not by class, because some exist in one version of a library only
CONTAINERS = ("Compose", "Sequential")
UNCHANGED = ("Identity", "ToPILImage", "ToPureTensor", "ToNumpy")
TO_TENSOR = ("PILToTensor", "ToImage", "ToImageTensor", "MaybePILToTensor")  # of 8 bits
TO_FLOAT_TENSOR = ("ToTensor", "MaybeToTensor")


@dataclass
class _Reader:
    """What has been read so far."""

    pictures: str  # what the next transform gets: pillow, tensor (of 8 bits) or float
    steps: list[Step] = field(default_factory=list)
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def describe_transform(transform: Any, pictures: str = "pillow") -> Preprocessing:
    """The preprocessing that does what a transform of torchvision (v1 or v2) or timm does to a stored picture.

    `pictures` says what the transform is given: pillow, tensor (8 bits) or float. Raises InputError, with its name, on
    a transform that is random, or that is not known.
    """
    reader = _Reader(pictures)
    _read(transform, reader)
    if reader.pictures != "float":
        raise InputError("the transform does not end in a float tensor in 0..1; end it with ToTensor or ToDtype")
    return Preprocessing(tuple(reader.steps), reader.channels, reader.mean or (0.0,), reader.std or (1.0,))


def _read(transform: Any, reader: _Reader) -> None:
    name = getattr(transform, "__name__", type(transform).__name__)
    module = type(transform).__module__
    package = module.partition(".")[0]
    if package not in ("torchvision", "timm", "torch"):
        raise _refuse(name)
    if name in CONTAINERS:
        parts: Iterable[Any] = getattr(transform, "transforms", transform)
        for part in parts:
            _read(part, reader)
        return
    if reader.mean is not None and name not in UNCHANGED:
        raise _refuse(f"{name} after Normalize")

    if name == "Resize":
        if transform.max_size is not None or transform.size is None:
            raise _refuse("Resize with max_size")
        _add_resize(reader, transform.size, transform.interpolation, transform.antialias, module)
    elif name == "CenterCrop":
        reader.steps.append(CenterCrop(_read_pair(transform.size)))
    elif name == "Pad":
        reader.steps.append(_read_pad(transform, reader))
    elif name == "Grayscale":
        if reader.pictures != "pillow":
            raise _refuse("Grayscale of a tensor", "put it before ToTensor")
        reader.steps.append(Grey())
        reader.channels = transform.num_output_channels
    elif name == "RGB":
        reader.channels = 3
    elif name in TO_TENSOR:
        reader.pictures = "tensor" if reader.pictures == "pillow" else reader.pictures
    elif name in TO_FLOAT_TENSOR:
        reader.pictures = "float"
    elif name == "ToDtype":
        if transform.dtype != torch.float32 or not transform.scale:
            raise _refuse("ToDtype to anything but torch.float32 with scale=True")
        reader.pictures = "float"
    elif name == "ConvertImageDtype":
        if transform.dtype != torch.float32:
            raise _refuse("ConvertImageDtype to anything but torch.float32")
        reader.pictures = "float"
    elif name == "Normalize":
        if reader.pictures != "float":
            raise _refuse("Normalize before ToTensor")
        _add_normalize(reader, transform.mean, transform.std)
    elif name == "ImageClassification":  # what torchvision's own weights come with
        _add_resize(reader, transform.resize_size, transform.interpolation, transform.antialias, "transforms.v1")
        reader.steps.append(CenterCrop(_read_pair(transform.crop_size)))
        reader.pictures = "float"
        _add_normalize(reader, transform.mean, transform.std)
    elif name not in UNCHANGED:
        raise _refuse(name, "a transform of the evaluation has nothing random" if "Random" in name else None)


def _add_resize(
    reader: _Reader, size: int | Sequence[int], interpolation: Any, antialias: bool | None, module: str
) -> None:
    from torchvision.transforms import InterpolationMode  # imported late, as `preprocessing` does

    is_pillow = reader.pictures == "pillow"
    roundings = {"pillow": "pillow", "tensor": "v2" if ".v2." in module else "v1", "float": None}
    sides = (size,) if isinstance(size, int) else tuple(int(side) for side in size)
    # Pillow always averages over the pixels that it leaves out
    mode = InterpolationMode(interpolation).value
    reader.steps.append(Resize(sides, mode, is_pillow or bool(antialias), roundings[reader.pictures]))


def _add_normalize(reader: _Reader, mean: Sequence[float], std: Sequence[float]) -> None:
    reader.mean = tuple(float(value) for value in mean)
    reader.std = tuple(float(value) for value in std)


def _read_pad(transform: Any, reader: _Reader) -> Pad:
    """A margin; its fill is a level of 8 bits, or of a float tensor."""
    if transform.padding_mode != "constant" or not isinstance(transform.fill, int | float):
        raise _refuse("Pad with anything but one brightness")
    padding = transform.padding
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = (sides * 4)[:4] if len(sides) < 4 else sides
    fill = transform.fill if reader.pictures == "float" else transform.fill / LEVELS
    return Pad((left, top, right, bottom), float(fill))


def _read_pair(size: int | Sequence[int]) -> tuple[int, int]:
    sides = [size] if isinstance(size, int) else [int(side) for side in size]
    return sides[0], sides[-1]


def _refuse(name: str, advice: str | None = None) -> InputError:
    return InputError(
        f"transform {name} cannot become part of the model; {advice or 'leave it out, or do it in the model'}; there "
        f"are: {KNOWN}"
    )
