"""What becomes of a stored picture before the network sees it: the first layer of every model, and part of its record.

Pictures are [N, C, H, W] in 0..1. Every step is differentiable, so that a map of the network's input is one of the
picture; `rounding` repeats the arithmetic of the library that a network was trained with, to the last bit. Steps import
torchvision when they work: it takes 150 MB and seconds, and most models have none of these steps.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.models.pillow_resizing import FILTERS, LEVELS, Size, find_axis_order, resize_axis, round_levels
from tracking.errors import InputError
from xai.method import Region

GREY_WEIGHTS = (19595, 38470, 7471)  # of red, green and blue in Pillow, in 65536ths

Shape = tuple[int, int, int]  # channels, height, width


class Step(Protocol):
    """A change of a picture's shape or channels."""

    def __call__(self, images: Tensor) -> Tensor: ...

    def output_size(self, size: Size) -> Size:
        """The size of what becomes of a picture of a size."""
        ...

    def seen_region(self, size: Size) -> Region:
        """The part of a picture of a size that its output shows."""
        ...

    def describe(self, shape: Shape) -> str:
        """What becomes of a picture of a shape, as in "it is cropped"; nothing if it stays as it is."""
        ...


@dataclass(frozen=True)
class Resize:
    """Resizes to a height and width, or the shorter side to a length."""

    size: tuple[int, ...]  # (shorter side) or (height, width)
    interpolation: str = "bilinear"  # nearest, nearest-exact, bilinear, bicubic or lanczos
    antialias: bool = True
    rounding: str | None = None  # to 8 bits as by pillow, or by torchvision on tensors (v1, v2); None: not rounded

    def __post_init__(self) -> None:
        """Raises InputError on an interpolation that cannot be done."""
        if not self.interpolation.startswith("nearest") and self.interpolation not in FILTERS:
            raise InputError(f"no interpolation {self.interpolation!r}; there are: nearest, {', '.join(FILTERS)}")

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        size = self.output_size((height, width))
        if size == (height, width):
            return images
        if self.rounding is None:
            return self._resize_tensor("v2", images, size)
        if self.rounding == "pillow":
            levels = round_levels(images.double() * LEVELS)
            for axis in find_axis_order((height, width), size, self.interpolation):
                levels = resize_axis(levels, axis, size[axis - 2], self.interpolation)
            return levels.to(images.dtype) / LEVELS
        # as torchvision resizes tensors of 8 bits, on the processor; with the gradient that it has without rounding
        smooth = self._resize_tensor(self.rounding, images, size)
        levels = round_levels(images.detach() * LEVELS).to("cpu", torch.uint8)
        exact = self._resize_tensor(self.rounding, levels, size).to(images) / LEVELS
        return exact + (smooth - smooth.detach())

    def output_size(self, size: Size) -> Size:
        if len(self.size) == 2:
            return self.size[0], self.size[1]
        height, width = size
        side = self.size[0]
        if height <= width:
            return side, int(side * width / height)
        return int(side * height / width), side

    def seen_region(self, size: Size) -> Region:
        return Region(0, 0, *size)

    def describe(self, shape: Shape) -> str:
        size = self.output_size(shape[1:])
        return "" if size == shape[1:] else f"resized to {join_sides(size)} ({self.interpolation})"

    def _resize_tensor(self, version: str, images: Tensor, size: Size) -> Tensor:
        """As a version of torchvision's transforms, v1 or v2, resizes tensors of their type."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as v1
        from torchvision.transforms.v2 import functional as v2

        resize = {"v1": v1.resize, "v2": v2.resize}[version]
        return resize(images, list(size), InterpolationMode(self.interpolation), antialias=self.antialias)


@dataclass(frozen=True)
class CenterCrop:
    """Cuts out the middle; a picture that is smaller is filled up with black."""

    size: Size

    def __call__(self, images: Tensor) -> Tensor:
        from torchvision.transforms.functional import center_crop

        return center_crop(images, list(self.size))

    def output_size(self, size: Size) -> Size:
        return self.size

    def seen_region(self, size: Size) -> Region:
        top, left = (
            # as torchvision rounds: a margin is half of what is missing, a cut half of what is left over
            -((wanted - length) // 2) if wanted > length else round((length - wanted) / 2.0)
            for length, wanted in zip(size, self.size, strict=True)
        )
        return Region(top, left, *self.size)

    def describe(self, shape: Shape) -> str:
        changes = []
        if any(wanted < length for wanted, length in zip(self.size, shape[1:], strict=True)):
            changes.append("cropped")
        if any(wanted > length for wanted, length in zip(self.size, shape[1:], strict=True)):
            changes.append("filled up with black")
        return f"{' and '.join(changes)} to {join_sides(self.size)} around its centre" if changes else ""


@dataclass(frozen=True)
class Pad:
    """Adds a margin of one brightness."""

    size: tuple[int, int, int, int]  # left, top, right, bottom
    level: float = 0.0  # in 0..1

    def __call__(self, images: Tensor) -> Tensor:
        left, top, right, bottom = self.size
        return functional.pad(images, (left, right, top, bottom), value=self.level)

    def output_size(self, size: Size) -> Size:
        left, top, right, bottom = self.size
        return size[0] + top + bottom, size[1] + left + right

    def seen_region(self, size: Size) -> Region:
        return Region(-self.size[1], -self.size[0], *self.output_size(size))

    def describe(self, shape: Shape) -> str:
        return f"padded to {join_sides(self.output_size(shape[1:]))}" if any(self.size) else ""


@dataclass(frozen=True)
class Grey:
    """One channel of colour pictures, as Pillow computes it; grey ones stay as they are."""

    def __call__(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            return images
        levels = round_levels(images.double() * LEVELS)
        weights = levels.new_tensor(GREY_WEIGHTS).view(-1, 1, 1)
        grey = round_levels((levels * weights).sum(1, keepdim=True) / 65536)
        return grey.to(images.dtype) / LEVELS

    def output_size(self, size: Size) -> Size:
        return size

    def seen_region(self, size: Size) -> Region:
        return Region(0, 0, *size)

    def describe(self, shape: Shape) -> str:
        return "" if shape[0] == 1 else "turned grey"


STEPS: dict[str, Callable[..., Step]] = {"resize": Resize, "center_crop": CenterCrop, "pad": Pad, "grey": Grey}


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become a network's input: the steps in order, then as many channels, then mean and deviation."""

    steps: tuple[Step, ...] = ()
    channels: int | None = None  # that the network takes; grey pictures are repeated. None: those of the pictures
    mean: tuple[float, ...] = (0.0,)  # of each channel, or one for all
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0  # fraction of their side to which images are shrunk, as at the end of progressive resizing

    def to_json(self) -> str:
        """As a run records it."""
        names = {step_class: name for name, step_class in STEPS.items()}
        steps = [{"step": names[type(step)], **asdict(step)} for step in self.steps]  # type: ignore[call-overload]
        described = {"steps": steps, "channels": self.channels, "mean": self.mean, "std": self.std}
        return json.dumps(described if self.scale == 1 else described | {"scale": self.scale})

    @classmethod
    def from_json(cls, text: str) -> "Preprocessing":
        """What `to_json` wrote. Raises InputError on anything else."""
        try:
            content = {name: _to_tuple(value) for name, value in json.loads(text).items()}
            steps = []
            for entry in content.pop("steps", ()):
                fields = {name: _to_tuple(value) for name, value in entry.items()}
                steps.append(STEPS[fields.pop("step")](**fields))
            return cls(steps=tuple(steps), **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"no description of a preprocessing: {text[:200]} ({error})") from None

    def output_shape(self, image_shape: Shape) -> Shape:
        """Shape (C, H, W) of what the network gets of a picture of a shape."""
        channels, height, width = image_shape
        size = (height, width)
        for step in self.steps:
            size = step.output_size(size)
            if isinstance(step, Grey):
                channels = 1
        return self.channels or channels, *size

    def seen_region(self, size: Size) -> Region:
        """The part of a picture of a size that the network sees, in its pixels."""
        seen = Region(0, 0, *size)
        for step in self.steps:
            part = step.seen_region(size)
            down, across = seen.height / size[0], seen.width / size[1]  # pixels of the picture per pixel here
            seen = Region(
                seen.top + part.top * down, seen.left + part.left * across, part.height * down, part.width * across
            )
            size = step.output_size(size)
        return seen


class Preprocess(nn.Module):
    """The first layer of every model: a preprocessing, then images shrunk to the fraction `scale` of their side.

    Mean, standard deviation and scale are part of a checkpoint. A network that does not take channels_last gets
    torch's default layout from it.
    """

    default_layout = False
    mean: Tensor
    std: Tensor
    scale: Tensor

    def __init__(self, preprocessing: Preprocessing, image_shape: Shape) -> None:
        """For pictures of a shape (C, H, W). Raises InputError if they cannot become what the network takes."""
        super().__init__()
        self.steps = preprocessing.steps
        self.image_shape = image_shape
        self.output_shape = preprocessing.output_shape(image_shape)  # of what the network gets of a picture
        self.channels = self.output_shape[0]
        self.seen = preprocessing.seen_region(image_shape[1:])
        channels = 1 if any(isinstance(step, Grey) for step in self.steps) else image_shape[0]
        if self.channels != channels and channels != 1:
            raise InputError(
                f"the network takes {self.channels} channels and the images have {channels}; only grey images can be "
                "repeated to more"
            )
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name))
            if len(values) not in (1, self.channels):
                raise InputError(f"the preprocessing has {len(values)} values of {name}, for {self.channels} channels")
            self.register_buffer(name, values.expand(self.channels).clone().view(-1, 1, 1))
        self.full_scale = preprocessing.scale
        self.register_buffer("scale", torch.tensor(self.full_scale))

    def shrink(self, fraction: float) -> None:
        """Show the network images of this fraction of their side from now on: 1 is as large as they ever are."""
        self.scale.fill_(self.full_scale * fraction)

    def describe(self) -> str:
        """A sentence that says what becomes of a picture before the network gets it."""
        shape: Shape = self.image_shape
        changes = []
        for step in self.steps:
            changes.append(step.describe(shape))
            shape = 1 if isinstance(step, Grey) else shape[0], *step.output_size(shape[1:])
        if self.channels != shape[0]:
            changes.append(f"repeated to {self.channels} channels")
        height, width = (round(side * self.scale.item()) for side in shape[1:])
        if (height, width) != shape[1:]:
            changes.append(f"shrunk to {join_sides((height, width))}")
        mean, std = (getattr(self, name).flatten().tolist() for name in ("mean", "std"))
        if any(mean) or any(value != 1 for value in std):
            changes.append(f"normalised by mean {_list_values(mean)} and standard deviation {_list_values(std)}")
        changes = [change for change in changes if change]
        if not changes:
            return "The network gets pictures as they are, in 0..1."
        becomes = join_sides((self.channels, height, width))
        return (
            f"Before the network gets a picture, it is {', then '.join(changes)}, which makes it {becomes} (channels, "
            "height, width)."
        )

    def forward(self, images: Tensor) -> Tensor:
        for step in self.steps:
            images = step(images)
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        scale = self.scale.item()
        if scale < 1:
            size = [round(side * scale) for side in images.shape[2:]]
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        images = (images - self.mean).div_(self.std)  # no second copy
        if self.default_layout:
            # a copy: images of one channel are in both layouts, and convolutions choose by their strides
            images = images.clone(memory_format=torch.contiguous_format)
        return images


def read_preprocessing(transform: str | None, weights: Mapping[str, Tensor]) -> Preprocessing:
    """What the network of a checkpoint gets of a picture: the steps that its run recorded, if any, and what is part of
    the checkpoint.
    """
    recorded = Preprocessing.from_json(transform) if transform else Preprocessing()
    mean, std = (tuple(weights[f"normalise.{name}"].flatten().tolist()) for name in ("mean", "std"))
    scale = weights["normalise.scale"].item() if "normalise.scale" in weights else 1.0
    return replace(recorded, channels=len(mean), mean=mean, std=std, scale=scale)


def join_sides(sides: Sequence[int]) -> str:
    """A size or shape in words: 3 x 32 x 32."""
    return " x ".join(map(str, sides))


def _list_values(values: Sequence[float]) -> str:
    """Values of all channels; one for all if they are the same."""
    shown = [f"{value:.3g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
