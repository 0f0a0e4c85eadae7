"""Which of a layer's axes are places of the image: tried out, as [N, c, h, w] and [N, h, w, c] look the same.

A taller or wider image has more places along one axis, whatever the weights. Where a model takes images of one size
alone, its layers show by what changes when a band of the image does: on the axes of places the change moves along.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from xai.gradient import frozen

BANDS = 4  # of the image's height and width, changed one at a time
CLEAR = 3  # times as far must a change move along its own axis as along the other
# layers by which [N, c, h, w] is a picture of c channels
PLANAR = (
    nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d, nn.MaxPool2d, nn.LPPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
LOOKED_AT = 2  # images whose bands are changed

Shape = tuple[int, ...]
Note = Callable[[str, tuple, object], None]  # gets the name of a layer, what it takes and what it gives


@dataclass(frozen=True)
class ObservedLayer:
    """What a layer gives in a pass of N images."""

    shape: Shape | None  # of its last output; None if that is no tensor
    calls: int
    behind_learned: bool  # whether it or a layer before it has parameters
    has_parameters: bool  # whether it has
    negative: bool = False  # whether some value is
    zero: bool = False  # whether all are
    channels_last: bool | None = None  # [N, h, w, c] rather than [N, c, h, w]; None if neither is known to be
    grows: bool = False  # whether a larger image has more places in it, or none was taken so far

    @property
    def spatial_shape(self) -> Shape:
        """Its places, [h, w], if the axes are known."""
        if self.shape is None or self.channels_last is None:
            return ()
        return self.shape[1:3] if self.channels_last else self.shape[2:]

    @property
    def positions(self) -> int:
        return torch.Size(self.spatial_shape).numel() if self.spatial_shape else 0


def observe_layers(model: nn.Module, images: Tensor) -> dict[str, ObservedLayer]:
    """All layers that a pass over images [N, C, H, W] calls, in the order they are last done."""
    modules, calls = dict(model.named_modules()), dict.fromkeys(dict(model.named_modules()), 0)
    seen: dict[str, ObservedLayer] = {}

    givers, planar = WeakTensorKeyDictionary(), set[str]()  # names of the layers that a tensor came from

    def note(name: str, inputs: tuple, output: object) -> None:
        calls[name] += 1
        if isinstance(modules[name], PLANAR) and inputs:
            planar.update((name, *givers.get(inputs[0], ())))
        if isinstance(output, Tensor):
            givers[output] = (name, *givers.get(output, ()))
        seen.pop(name, None)
        learns = any(True for _ in modules[name].parameters())
        learned = learns or any(one.behind_learned for one in seen.values())
        if not isinstance(output, Tensor):
            seen[name] = ObservedLayer(None, calls[name], learned, learns)
        else:
            negative, zero = bool((output < 0).any()), not output.any()
            seen[name] = ObservedLayer(tuple(output.shape), calls[name], learned, learns, negative, zero)

    _pass(model, images, note)
    return _with_axes(model, images, seen, planar)


def _pass(model: nn.Module, images: Tensor, note: Note) -> None:
    """One pass in which `note` gets every layer's name, inputs and output, before a later layer works in place."""
    hooks = [
        module.register_forward_hook(lambda _module, inputs, output, name=name: note(name, inputs, output))
        for name, module in model.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)  # which takes no hooks
    ]
    try:
        with frozen(model), torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()


def _with_axes(
    model: nn.Module, images: Tensor, seen: dict[str, ObservedLayer], planar: set[str]
) -> dict[str, ObservedLayer]:
    """The layers with what is known of their axes, by larger images and, where these say nothing, by bands.

    Behind attention over the whole image bands say nothing either. There what 2-D layers take and give has channels
    first, if it has the image's format.
    """
    shapes = {name: one.shape for name, one in seen.items() if one.shape}
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 4 and shape[0] == len(images)}
    tall, wide = _shapes_of_larger(model, images[:1].cpu()) if maps else ({}, {})
    known = {name: _by_size(shape, tall.get(name), wide.get(name)) for name, shape in maps.items()}
    grow = {name for name, reading in known.items() if reading != "unclear"}
    unclear = {name for name, shape in maps.items() if name not in grow and sum(side > 1 for side in shape[1:]) > 1}
    known |= _by_bands(model, images[:LOOKED_AT], unclear) if unclear else {}
    known |= {
        name: "first" for name in unclear & planar if known[name] == "neither" and _has_format(maps[name], images)
    }
    readings = {"first": False, "last": True}
    return {
        name: replace(
            one, channels_last=readings.get(known.get(name, "neither")), grows=name in grow or name not in tall | wide
        )
        for name, one in seen.items()
    }


def _has_format(shape: Shape, images: Tensor) -> bool:
    """Whether an output [N, c, h, w] is as many times as wide as the images, but for one place."""
    (rows, columns), (height, width) = shape[2:], images.shape[2:]
    return abs(rows * width - columns * height) <= max(height, width)


def _shapes_of_larger(model: nn.Module, image: Tensor) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of the layers' outputs for the image [1, C, H, W] twice as tall, and twice as wide.

    Those up to where the model stops, if it takes none of that size. A copy is asked, on the processor: a model may
    remember sizes, and a GPU may not survive what a model cannot do.
    """
    shapes: tuple[dict[str, Shape], dict[str, Shape]] = ({}, {})
    with suppress(Exception):  # a model that cannot be copied
        copied = copy.deepcopy(model).cpu()
        for axis, found in zip((2, 3), shapes, strict=True):
            with suppress(Exception):  # whatever a model raises on images of another size than it is made for
                _pass(copied, image.repeat_interleave(2, axis), _shape_into(found))
    return shapes


def _shape_into(shapes: dict[str, Shape]) -> Note:
    def note(name: str, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    return note


def _by_size(own: Shape, tall: Shape | None, wide: Shape | None) -> str:
    """Reading of an output by its shapes for a taller and a wider image: first, last (channels), neither, unclear."""
    if len(own) != len(tall or own) or len(own) != len(wide or own):
        return "neither"
    rows, columns = ({axis for axis in (1, 2, 3) if other and other[axis] != own[axis]} for other in (tall, wide))
    if not rows | columns:
        return "unclear"
    fits = (name for name, row, column in (("first", 2, 3), ("last", 1, 2)) if rows <= {row} and columns <= {column})
    return next(fits, "neither")


def _by_bands(model: nn.Module, images: Tensor, names: set[str]) -> dict[str, str]:
    """Readings of some outputs by where they change with a band of the image: first, last, neither."""
    found: dict[str, str] = {}

    def note(name: str, _inputs: tuple, output: object) -> None:
        if name in names and isinstance(output, Tensor):
            found[name] = _reading(output.unflatten(0, (-1, len(images))))

    _pass(model, _banded(images), note)
    return found


def _banded(images: Tensor) -> Tensor:
    """The images, then with each band of rows replaced by noise, then with each of columns: [V N, C, H, W]."""
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    versions = [images]
    for axis in (2, 3):
        for band in torch.arange(images.shape[axis], device=images.device).chunk(BANDS):
            versions.append(images.index_copy(axis, band, noise.index_select(axis, band)))
    return torch.cat(versions)


def _reading(outputs: Tensor) -> str:
    """Of outputs [V, N, a, b, c] of the banded images."""
    changes = (outputs[1:] - outputs[:1]).abs().mean(1)  # [V - 1, a, b, c]
    centres = [_centres(changes, axis) for axis in (1, 2, 3)]  # of each axis, for bands of rows and of columns
    for name, row, column in (("first", 1, 2), ("last", 0, 1)):
        if _moves(*centres[row]) and _moves(*reversed(centres[column])):
            return name
    return "neither"


def _centres(changes: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Where along an axis the change lies on the whole, 0..1, for each band of rows and for each of columns."""
    others = [other for other in (1, 2, 3) if other != axis]
    weights = changes.mean(others).double().cpu()  # [V - 1, length]
    centre = weights @ torch.linspace(0, 1, weights.shape[1], dtype=weights.dtype) / weights.sum(1)
    return centre.chunk(2)


def _moves(along: Tensor, across: Tensor) -> bool:
    """Whether a change moves with the bands along an axis, and hardly with those across it; true of a single place."""
    if not along.any() and not across.any():
        return True
    moved = along[-1] - along[0]
    return bool((along.diff() > 0).all() and moved > CLEAR * (across.amax() - across.amin()))
