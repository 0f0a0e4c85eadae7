"""A model cut in two at a layer: what comes before it, and what makes logits of its output."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from xai.gradient import LOGIT_TOLERANCE, check_deterministic, frozen, nearly_equal
from xai.method import Layer, NotApplicable
from xai.spatial_axes import ObservedLayer, observe_layers

JUDGED_IMAGES = 8  # images on which layers are looked at and cuts are checked
MAX_LISTED_LAYERS = 12  # layers that a message names at the most
NEEDED_SHAPE = "[N, channels, height, width]"


@dataclass(frozen=True)
class Cut:
    """`head(body(images))` is the model; the parts share its weights."""

    layer: str
    body: nn.Module  # [N, C, H, W] -> [N, c, h, w]
    head: nn.Module  # [N, c, h, w] -> [N, K]


def cut_model(model: nn.Module, layer: Layer | str) -> Cut:
    """The model in two parts, to be used within `frozen`; raises NotApplicable where it cannot be cut there.

    Both parts have channels first, also of a layer whose channels come last.
    """
    layer = layer if isinstance(layer, Layer) else Layer(layer)
    if layer.name not in dict(model.named_modules()) or not layer.name:
        raise NotApplicable(_unknown(model, layer.name))
    with frozen(model):
        whole = _Whole(model)
        graph = _traced(whole, layer.name)
        calls = [node for node in graph.nodes if node.op == "call_module" and node.target == f"model.{layer.name}"]
        if len(calls) != 1:
            raise NotApplicable(_called(layer.name, len(calls)))
        parts = (fx.GraphModule(whole, part(graph, calls[0], layer)) for part in (_before, _behind))
    return Cut(layer.name, *parts)


def check_cut(model: nn.Module, parts: Cut, images: Tensor) -> None:
    """Raises NotApplicable unless the parts compute what the model does, on images [N, C, H, W]."""
    with frozen(model), torch.no_grad():
        whole = model(images)
        try:
            joined = parts.head(parts.body(images))
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise NotApplicable(_depends(parts.layer, error)) from None
    if not nearly_equal(joined, whole, LOGIT_TOLERANCE):
        raise NotApplicable(
            f"cut at layer {parts.layer!r} the model computes other logits, as its steps depend on more than that "
            "layer's output; name another"
        )


def last_layer(model: nn.Module, images: Tensor, *, non_negative: bool = False) -> str:
    """Name of the layer that layer-based methods look at by default; see `choose_layer`."""
    return choose_layer(model, images, non_negative=non_negative).name


def choose_layer(model: nn.Module, images: Tensor, name: str | None = None, *, non_negative: bool = False) -> Layer:
    """The named layer, or the last that has places, can be cut at and, if so wished, is never negative.

    Judged on the first few of images [N, C, H, W]. Layers before the first that learns, such as a normalisation, do
    not count. Raises NotApplicable where there is none.
    """
    images = images[:JUDGED_IMAGES]
    check_deterministic(model, images)
    seen = observe_layers(model, images)
    if name is not None:
        if reason := _unfit(model, seen, name):
            raise NotApplicable(reason)
        return _tried(model, Layer(name, bool(seen[name].channels_last)), images)
    fit, reasons = spatial_layers(seen), []
    fit = [one for one in fit if seen[one].grows] or fit  # rather than places that pooling to a fixed size repeats
    fit = [one for one in fit if not _unfinished(model, seen, one)] or fit
    _check_last(seen, fit)
    for one in reversed([one for one in fit if not (non_negative and _goes_below_zero(seen[one]))]):
        try:
            return _tried(model, Layer(one, bool(seen[one].channels_last)), images)
        except NotApplicable as error:
            reasons.append(str(error))
    if not reasons:
        raise NotApplicable(
            f"every layer with places has negative activations, which cannot be factorized: {_listed(fit)}"
        )
    raise NotApplicable(f"the model cannot be cut at any of its layers with places ({_listed(fit)}); {reasons[0]}")


def spatial_layers(seen: dict[str, ObservedLayer]) -> list[str]:
    """Layers that a method can look at: called once, behind something learned, with places; the last done last."""
    return [name for name, one in seen.items() if one.calls == 1 and one.behind_learned and one.positions > 1]


def _check_last(seen: dict[str, ObservedLayer], fit: list[str]) -> None:
    """Raises NotApplicable if nothing fits, or if what is learned behind it has places of a kind that is not known."""
    if not fit:
        raise NotApplicable(f"the model has no layer whose output is {NEEDED_SHAPE} with more than one place")
    names = list(seen)
    for name in names[names.index(fit[-1]) + 1 :]:
        one = seen[name]
        if one.has_parameters and one.calls == 1 and not one.positions and one.shape and _may_have_places(one.shape):
            raise NotApplicable(
                f"behind its last maps, layer {fit[-1]!r}, the model goes on with {list(one.shape)} (layer {name!r}), "
                "of which no axes are the image's height and width, so that no late layer can be looked at"
            )


def _unfinished(model: nn.Module, seen: dict[str, ObservedLayer], name: str) -> bool:
    """Whether it is a convolution or such in the middle of a block that ends in a single place."""
    block = seen.get(name.rpartition(".")[0])
    if block is None or not block.shape or len(block.shape) != 4 or _may_have_places(block.shape):
        return False
    return seen[name].has_parameters and not any(True for _ in model.get_submodule(name).children())


def _may_have_places(shape: tuple[int, ...]) -> bool:
    """Whether an output is one of tokens, [N, L, d], or of more axes than one vector an image."""
    return sum(length > 1 for length in shape[1:]) > 1


def _goes_below_zero(one: ObservedLayer) -> bool:
    """Also of a layer that is zero as yet, of which nobody knows."""
    return one.negative or one.zero


def _tried(model: nn.Module, layer: Layer, images: Tensor) -> Layer:
    check_cut(model, cut_model(model, layer), images)
    return layer


def _unfit(model: nn.Module, seen: dict[str, ObservedLayer], name: str) -> str | None:
    """Why a method cannot look at a layer."""
    there = f"layers with places: {_listed(spatial_layers(seen))}"
    if not name or name not in dict(model.named_modules()):
        return _unknown(model, name)
    if name not in seen:
        return f"the model never calls layer {name!r}, as it is a container or not used; {there}"
    one = seen[name]
    if one.calls > 1:
        return f"{_called(name, one.calls)}; {there}"
    if one.shape is None or len(one.shape) != 4:
        gives = "more than one tensor" if one.shape is None else str(list(one.shape))
        return f"layer {name!r} gives {gives}; needed is {NEEDED_SHAPE}; {there}"
    if not one.behind_learned:
        return f"layer {name!r} comes before the first layer that learns, so it shows the image itself; {there}"
    if one.positions == 1 or not _may_have_places(one.shape):
        return f"layer {name!r} has a single place, so its map would be even; {there}"
    if not one.positions:
        return f"layer {name!r} gives {list(one.shape)}, of which no two axes are the image's height and width; {there}"
    return None


def _unknown(model: nn.Module, name: str) -> str:
    names = ", ".join(known for known, _ in model.named_modules() if known)
    return f"the model has no layer {name!r}; there are: {names}"


def _called(name: str, count: int) -> str:
    return f"the model uses layer {name!r} {count} times in a pass, it must be once; name another"


def _depends(name: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the model cannot be cut at {name!r}: its steps depend on the data ({reason})"


def _listed(names: list[str]) -> str:
    """The last ones, as those are the most likely to be wanted."""
    left = f" (the last {MAX_LISTED_LAYERS} of {len(names)})" if len(names) > MAX_LISTED_LAYERS else ""
    return (", ".join(names[-MAX_LISTED_LAYERS:]) or "none") + left


class _Whole(nn.Module):
    """A model that is given images alone, so that what else it could be given has its default."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


class _Tracer(fx.Tracer):
    """Looks into the modules around the layer, and takes all others as they are."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = f"model.{layer}"

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not self.layer.startswith(f"{name}.")


def _traced(model: nn.Module, layer: str) -> fx.Graph:
    try:
        return _Tracer(layer).trace(model)
    except Exception as error:  # a model's own code runs on what is no tensor, and may raise anything
        raise NotApplicable(_depends(layer, error)) from None


def _before(graph: fx.Graph, call: fx.Node, layer: Layer) -> fx.Graph:
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node is call:
            break
    given = copies[call]
    part.output(part.call_method("permute", (given, 0, 3, 1, 2)) if layer.channels_last else given)
    return part


def _behind(graph: fx.Graph, call: fx.Node, layer: Layer) -> fx.Graph:
    nodes, part = list(graph.nodes), fx.Graph()
    given = part.placeholder("activations")
    own = part.call_method("permute", (given, 0, 2, 3, 1)) if layer.channels_last else given
    # a layer behind may work in place, which must not reach what the caller passed in
    copies = {call: part.call_method("clone", (own,))}
    try:
        for node in nodes[nodes.index(call) + 1 :]:
            copies[node] = part.node_copy(node, copies.__getitem__)
    except KeyError:
        raise NotApplicable(
            f"the model goes around layer {layer.name!r}, so the layer does not decide alone; name another"
        ) from None
    return part
