"""A model cut in two at a layer: the body up to that layer, and the head that computes logits from its output."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from xai.gradient import LOGIT_TOLERANCE, check_deterministic, frozen, nearly_equal
from xai.method import Layer, NotApplicable
from xai.spatial_axes import ObservedLayer, observe_layers

JUDGED_IMAGES = 8  # images on which layers are judged and cuts are checked
MAX_LISTED_LAYERS = 12  # in a message
NEEDED_SHAPE = "[N, channels, height, width]"


@dataclass(frozen=True)
class Cut:
    """`head(body(images))` is the model; both parts share its weights."""

    layer: str
    body: nn.Module  # [N, C, H, W] -> [N, c, h, w]
    head: nn.Module  # [N, c, h, w] -> [N, K]


def cut_model(model: nn.Module, layer: Layer | str) -> Cut:
    """The model in two parts, to be used inside `frozen`. Raises NotApplicable if it cannot be cut there.

    Both parts have channels first, even where the layer's own output has channels last.
    """
    layer = layer if isinstance(layer, Layer) else Layer(layer)
    if layer.name not in dict(model.named_modules()) or not layer.name:
        raise NotApplicable(_explain_unknown(model, layer.name))
    with frozen(model):
        whole = _ImagesOnly(model)
        try:
            graph = _Tracer(layer.name).trace(whole)
        except Exception as error:  # tracing runs the model's own code on proxies, which may raise anything
            raise NotApplicable(_explain_data_dependence(layer.name, error)) from None
        calls = [node for node in graph.nodes if node.op == "call_module" and node.target == f"model.{layer.name}"]
        if len(calls) != 1:
            raise NotApplicable(_explain_calls(layer.name, len(calls)))
        body = fx.GraphModule(whole, _copy_body(graph, calls[0], layer))
        head = fx.GraphModule(whole, _copy_head(graph, calls[0], layer))
    return Cut(layer.name, body, head)


def check_cut(model: nn.Module, parts: Cut, images: Tensor) -> None:
    """Raises NotApplicable unless the parts compute the model's logits of images [N, C, H, W]."""
    with frozen(model), torch.no_grad():
        logits = model(images)
        try:
            logits_of_parts = parts.head(parts.body(images))
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise NotApplicable(_explain_data_dependence(parts.layer, error)) from None
    if not nearly_equal(logits_of_parts, logits, LOGIT_TOLERANCE):
        raise NotApplicable(
            f"cut at layer {parts.layer!r}, the model computes other logits, because later steps depend on more than "
            "that layer's output; name another layer"
        )


def last_layer(model: nn.Module, images: Tensor, *, non_negative: bool = False) -> str:
    """Name of the layer that layer-based methods use by default; see `choose_layer`."""
    return choose_layer(model, images, non_negative=non_negative).name


def choose_layer(model: nn.Module, images: Tensor, name: str | None = None, *, non_negative: bool = False) -> Layer:
    """The named layer, or by default the last one with spatial output (and, if asked, no negative values).

    The layer must be one at which the model can be cut. It is judged on the first few of images [N, C, H, W]. Layers
    before the first one with parameters, such as a normalisation, do not count. Raises NotApplicable if there is none.
    """
    images = images[:JUDGED_IMAGES]
    check_deterministic(model, images)
    layers = observe_layers(model, images)
    if name is not None:
        if reason := _explain_unfit(model, layers, name):
            raise NotApplicable(reason)
        return _check_layer(model, Layer(name, bool(layers[name].channels_last)), images)

    names = spatial_layers(layers)
    # prefer layers whose positions are not repeats made by pooling to a fixed size
    names = [layer for layer in names if layers[layer].grows] or names
    names = [layer for layer in names if not _is_inside_pooled_block(model, layers, layer)] or names
    _check_last(layers, names)
    reasons = []
    for layer in reversed(names):
        # a layer that is all zero so far may still become negative
        if non_negative and (layers[layer].negative or layers[layer].zero):
            continue
        try:
            return _check_layer(model, Layer(layer, bool(layers[layer].channels_last)), images)
        except NotApplicable as error:
            reasons.append(str(error))
    if not reasons:
        raise NotApplicable(
            f"every layer with spatial output has negative activations, which cannot be factorized: {_listed(names)}"
        )
    raise NotApplicable(
        f"the model cannot be cut at any of its layers with spatial output ({_listed(names)}); {reasons[0]}"
    )


def spatial_layers(layers: dict[str, ObservedLayer]) -> list[str]:
    """Names of the layers that a method can use: called once, after a parameter, with several positions; in order."""
    return [name for name, layer in layers.items() if layer.calls == 1 and layer.behind_learned and layer.positions > 1]


def _check_last(layers: dict[str, ObservedLayer], names: list[str]) -> None:
    """Raises NotApplicable if no layer is left, or if the last one is followed by learned layers of unknown axes."""
    if not names:
        raise NotApplicable(f"the model has no layer whose output is {NEEDED_SHAPE} with more than one position")
    order = list(layers)
    for name in order[order.index(names[-1]) + 1 :]:
        layer = layers[name]
        if layer.shape is None or layer.positions:
            continue
        if layer.has_parameters and layer.calls == 1 and _has_several_vectors(layer.shape):
            raise NotApplicable(
                f"after its last feature maps, layer {names[-1]!r}, the model continues with {list(layer.shape)} "
                f"(layer {name!r}), none of whose axes are the image's height and width, so no late layer can be used"
            )


def _is_inside_pooled_block(model: nn.Module, layers: dict[str, ObservedLayer], name: str) -> bool:
    """Whether it is a convolution or the like in the middle of a block that ends in a single position."""
    block = layers.get(name.rpartition(".")[0])
    if block is None or not block.shape or len(block.shape) != 4 or _has_several_vectors(block.shape):
        return False
    has_children = any(True for _ in model.get_submodule(name).children())
    return layers[name].has_parameters and not has_children


def _has_several_vectors(shape: tuple[int, ...]) -> bool:
    """Whether an output is tokens, [N, L, d], or anything else of more axes than one vector per image."""
    return sum(length > 1 for length in shape[1:]) > 1


def _check_layer(model: nn.Module, layer: Layer, images: Tensor) -> Layer:
    check_cut(model, cut_model(model, layer), images)
    return layer


def _explain_unfit(model: nn.Module, layers: dict[str, ObservedLayer], name: str) -> str | None:
    """Why a method cannot use a layer; None if it can."""
    choices = f"layers with spatial output: {_listed(spatial_layers(layers))}"
    if not name or name not in dict(model.named_modules()):
        return _explain_unknown(model, name)
    if name not in layers:
        return f"the model never calls layer {name!r}, because it is a container or unused; {choices}"
    layer = layers[name]
    if layer.calls > 1:
        return f"{_explain_calls(name, layer.calls)}; {choices}"
    if layer.shape is None or len(layer.shape) != 4:
        returned = "more than one tensor" if layer.shape is None else str(list(layer.shape))
        return f"layer {name!r} returns {returned}; it must return {NEEDED_SHAPE}; {choices}"
    if not layer.behind_learned:
        return f"layer {name!r} comes before the first layer with parameters, so it shows the image itself; {choices}"
    if layer.positions == 1 or not _has_several_vectors(layer.shape):
        return f"layer {name!r} has a single position, so its map would be constant; {choices}"
    if not layer.positions:
        shape = list(layer.shape)
        return f"layer {name!r} returns {shape}, of which no two axes are the image's height and width; {choices}"
    return None


def _explain_unknown(model: nn.Module, name: str) -> str:
    names = ", ".join(existing for existing, _ in model.named_modules() if existing)
    return f"the model has no layer {name!r}; there are: {names}"


def _explain_calls(name: str, count: int) -> str:
    return f"the model uses layer {name!r} {count} times per pass, but it must be once; name another layer"


def _explain_data_dependence(name: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the model cannot be cut at {name!r}: its steps depend on the data ({reason})"


def _listed(names: list[str]) -> str:
    """The last names, as those are the most likely to be wanted."""
    omitted = f" (the last {MAX_LISTED_LAYERS} of {len(names)})" if len(names) > MAX_LISTED_LAYERS else ""
    return (", ".join(names[-MAX_LISTED_LAYERS:]) or "none") + omitted


class _ImagesOnly(nn.Module):
    """A model called with images alone, so that its other arguments keep their defaults when it is traced."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


class _Tracer(fx.Tracer):
    """Traces into the modules around the layer, and keeps all others whole."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = f"model.{layer}"

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not self.layer.startswith(f"{name}.")


def _copy_body(graph: fx.Graph, call: fx.Node, layer: Layer) -> fx.Graph:
    """Everything up to and including the layer's call."""
    body = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copies[node] = body.node_copy(node, copies.__getitem__)
        if node is call:
            break
    activations = copies[call]
    if layer.channels_last:
        activations = body.call_method("permute", (activations, 0, 3, 1, 2))
    body.output(activations)
    return body


def _copy_head(graph: fx.Graph, call: fx.Node, layer: Layer) -> fx.Graph:
    """Everything after the layer's call."""
    head = fx.Graph()
    activations = head.placeholder("activations")
    if layer.channels_last:
        activations = head.call_method("permute", (activations, 0, 2, 3, 1))
    # a later layer may work in place, which must not reach the caller's tensor
    copies = {call: head.call_method("clone", (activations,))}
    nodes = list(graph.nodes)
    try:
        for node in nodes[nodes.index(call) + 1 :]:
            copies[node] = head.node_copy(node, copies.__getitem__)
    except KeyError:
        raise NotApplicable(
            f"the model goes around layer {layer.name!r}, so the logits do not depend on it alone; name another layer"
        ) from None
    return head
