"""Which axes of a layer's output are the image's height and width: tested, as [N, c, h, w] and [N, h, w, c] look alike.

A taller or wider image has more positions along one axis, for any weights. For a model that accepts only one image
size, a band of the image is changed instead: along the spatial axes, the change in the output moves with the band.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from xai.gradient import frozen

BANDS = 4  # of the image's height and of its width, changed one at a time
CLEAR_RATIO = 3  # how many times further a change must move along its own axis than along the other one
BAND_IMAGES = 2  # images whose bands are changed
# layers for which [N, c, h, w] is an image of c channels
PLANAR_LAYERS = (
    nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d, nn.MaxPool2d, nn.LPPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip

Shape = tuple[int, ...]
LayerCallback = Callable[[str, tuple, object], None]  # receives a layer's name, inputs and output


@dataclass(frozen=True)
class ObservedLayer:
    """What a layer returned in a pass over N images."""

    shape: Shape | None  # of its last output; None if that is not a tensor
    calls: int
    behind_learned: bool  # whether it or a layer before it has parameters
    has_parameters: bool
    negative: bool = False  # whether any value is negative
    zero: bool = False  # whether all values are zero
    channels_last: bool | None = None  # [N, h, w, c] rather than [N, c, h, w]; None if it is known to be neither
    grows: bool = False  # whether a larger image gives more positions, or the model accepted no larger image

    @property
    def spatial_shape(self) -> Shape:
        """[h, w], or empty if the axes are unknown."""
        if self.shape is None or self.channels_last is None:
            return ()
        return self.shape[1:3] if self.channels_last else self.shape[2:]

    @property
    def positions(self) -> int:
        """h * w, or 0 if the axes are unknown."""
        return torch.Size(self.spatial_shape).numel() if self.spatial_shape else 0


def observe_layers(model: nn.Module, images: Tensor) -> dict[str, ObservedLayer]:
    """All layers that a pass over images [N, C, H, W] calls, by name, in the order in which they last return."""
    modules = dict(model.named_modules())
    calls = dict.fromkeys(modules, 0)
    layers: dict[str, ObservedLayer] = {}
    sources = WeakTensorKeyDictionary()  # names of the layers that returned a tensor
    planar = set[str]()

    def observe(name: str, inputs: tuple, output: object) -> None:
        calls[name] += 1
        if isinstance(modules[name], PLANAR_LAYERS) and inputs:
            planar.update((name, *sources.get(inputs[0], ())))
        layers.pop(name, None)  # so that the order is that of the last calls
        has_parameters = any(True for _ in modules[name].parameters())
        behind_learned = has_parameters or any(layer.behind_learned for layer in layers.values())
        if isinstance(output, Tensor):
            sources[output] = (name, *sources.get(output, ()))
            layers[name] = ObservedLayer(
                tuple(output.shape), calls[name], behind_learned, has_parameters,
                negative=bool((output < 0).any()), zero=not output.any(),
            )  # fmt: skip
        else:
            layers[name] = ObservedLayer(None, calls[name], behind_learned, has_parameters)

    _run_with_callback(model, images, observe)
    return _find_axes(model, images, layers, planar)


def _run_with_callback(model: nn.Module, images: Tensor, callback: LayerCallback) -> None:
    """One pass; the callback sees each output before a later layer can change it in place."""
    hooks = [
        module.register_forward_hook(lambda _module, inputs, output, name=name: callback(name, inputs, output))
        for name, module in model.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)  # which accepts no hooks
    ]
    try:
        with frozen(model), torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()


def _find_axes(
    model: nn.Module, images: Tensor, layers: dict[str, ObservedLayer], planar: set[str]
) -> dict[str, ObservedLayer]:
    """The layers with their axes, found with larger images and, where these tell nothing, with bands.

    Both are made of what the first learned step gets, as a resize or crop before it hides sizes, and edges.
    Behind attention over the whole image, bands tell nothing either. There the inputs and outputs of 2-D layers have
    channels first, provided that they have the image's aspect ratio.
    """
    model, images = _skip_unlearned_steps(model, images)
    candidates = {
        name: layer.shape
        for name, layer in layers.items()
        if layer.shape and len(layer.shape) == 4 and layer.shape[0] == len(images)
    }
    taller, wider = _shapes_for_larger_images(model, images[:1].cpu()) if candidates else ({}, {})
    orders = {name: _order_from_shapes(shape, taller.get(name), wider.get(name)) for name, shape in candidates.items()}
    growing = {name for name, order in orders.items() if order != "unclear"}

    unclear = {
        name
        for name, shape in candidates.items()
        if name not in growing and sum(length > 1 for length in shape[1:]) > 1
    }
    if unclear:
        orders |= _orders_from_bands(model, images[:BAND_IMAGES], unclear)
    for name in unclear & planar:
        if orders[name] == "neither" and _has_aspect_ratio(candidates[name], images):
            orders[name] = "first"

    channels_last = {"first": False, "last": True}
    return {
        name: replace(
            layer,
            channels_last=channels_last.get(orders.get(name, "neither")),
            grows=name in growing or name not in taller | wider,
        )
        for name, layer in layers.items()
    }


def _skip_unlearned_steps(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """A sequential model after its first steps, as far as these learn nothing, and the images [N, c, h, w] it gets."""
    if type(model).forward is not nn.Sequential.forward:
        return model, images
    steps = OrderedDict(model.named_children())
    with frozen(model), torch.no_grad():
        for name, step in list(steps.items())[:-1]:
            changed = step(images)
            if changed.ndim != 4 or any(True for _ in step.parameters()):
                break
            images = changed
            del steps[name]
    return nn.Sequential(steps), images


def _has_aspect_ratio(shape: Shape, images: Tensor) -> bool:
    """Whether an output [N, c, h, w] has the images' aspect ratio, give or take one position."""
    (rows, columns), (height, width) = shape[2:], images.shape[2:]
    return abs(rows * width - columns * height) <= max(height, width)


def _shapes_for_larger_images(model: nn.Module, image: Tensor) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of the layers' outputs for the image [1, C, H, W] at twice the height, and at twice the width.

    If the model rejects that size, the shapes up to the layer that fails. This runs a copy on the CPU: a model may
    remember sizes, and a GPU may not survive an invalid operation.
    """
    taller: dict[str, Shape] = {}
    wider: dict[str, Shape] = {}
    with suppress(Exception):  # the model cannot be copied
        copied = copy.deepcopy(model).cpu()
        for axis, shapes in ((2, taller), (3, wider)):
            with suppress(Exception):  # any error of a model on images of another size than it is made for
                _run_with_callback(copied, image.repeat_interleave(2, axis), _record_shapes_in(shapes))
    return taller, wider


def _record_shapes_in(shapes: dict[str, Shape]) -> LayerCallback:
    def record(name: str, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    return record


def _order_from_shapes(shape: Shape, taller: Shape | None, wider: Shape | None) -> str:
    """Where the channels are, by the shapes for a taller and a wider image: first, last, neither or unclear."""
    if len(shape) != len(taller or shape) or len(shape) != len(wider or shape):
        return "neither"
    row_axes = {axis for axis in (1, 2, 3) if taller and taller[axis] != shape[axis]}
    column_axes = {axis for axis in (1, 2, 3) if wider and wider[axis] != shape[axis]}
    if not row_axes | column_axes:
        return "unclear"
    if row_axes <= {2} and column_axes <= {3}:
        return "first"
    if row_axes <= {1} and column_axes <= {2}:
        return "last"
    return "neither"


def _orders_from_bands(model: nn.Module, images: Tensor, names: set[str]) -> dict[str, str]:
    """Where the named layers' channels are, by how outputs change with a band of the image: first, last or neither."""
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    versions = [images]  # then with each band of rows replaced by noise, then with each band of columns
    row_bands = torch.arange(images.shape[2], device=images.device).chunk(BANDS)
    column_bands = torch.arange(images.shape[3], device=images.device).chunk(BANDS)
    for axis, bands in ((2, row_bands), (3, column_bands)):
        for band in bands:
            versions.append(images.index_copy(axis, band, noise.index_select(axis, band)))
    orders: dict[str, str] = {}

    def record(name: str, _inputs: tuple, output: object) -> None:
        if name in names and isinstance(output, Tensor):
            orders[name] = _order_from_changes(output.unflatten(0, (-1, len(images))), len(row_bands))

    _run_with_callback(model, torch.cat(versions), record)
    return orders


def _order_from_changes(outputs: Tensor, row_bands: int) -> str:
    """Where the channels of outputs [V, N, a, b, c] are, for V versions of the images, the unchanged ones first."""
    changes = (outputs[1:] - outputs[:1]).abs().mean(1)  # [V - 1, a, b, c]
    first, second, third = (_change_centres(changes, axis, row_bands) for axis in (1, 2, 3))
    for order, height, width in (("first", second, third), ("last", first, second)):
        rows_follow = _moves_along(height.row_bands, height.column_bands)
        if rows_follow and _moves_along(width.column_bands, width.row_bands):
            return order
    return "neither"


@dataclass(frozen=True)
class _Centres:
    """Where along an axis the change is centred, 0..1, for each changed band."""

    row_bands: Tensor
    column_bands: Tensor


def _change_centres(changes: Tensor, axis: int, row_bands: int) -> _Centres:
    others = [other for other in (1, 2, 3) if other != axis]
    weights = changes.mean(others).double().cpu()  # [V - 1, length]
    centres = weights @ torch.linspace(0, 1, weights.shape[1], dtype=weights.dtype) / weights.sum(1)
    return _Centres(centres[:row_bands], centres[row_bands:])


def _moves_along(own_bands: Tensor, other_bands: Tensor) -> bool:
    """Whether a change moves with the bands along its axis, and hardly with the others; true for a single position."""
    if not own_bands.any() and not other_bands.any():
        return True
    moved = own_bands[-1] - own_bands[0]
    return bool((own_bands.diff() > 0).all() and moved > CLEAR_RATIO * (other_bands.amax() - other_bands.amin()))
