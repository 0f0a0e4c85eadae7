"""A model cut in two at a layer: what comes before it, and what makes logits of its output."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from xai.gradient import frozen
from xai.method import Refusal


@dataclass(frozen=True)
class Cut:
    """`head(body(images))` is the model; the parts share its weights."""

    layer: str
    body: nn.Module  # [N, C, H, W] -> [N, c, h, w]
    head: nn.Module  # [N, c, h, w] -> [N, K]


def cut(model: nn.Module, layer: str) -> Cut:
    """The model in two parts, to be used within `frozen`; raises Refusal where it cannot be cut there."""
    if layer not in dict(model.named_modules()) or not layer:
        raise Refusal(f"the model has no layer {layer!r}; there are: {', '.join(_names(model))}")
    with frozen(model):
        graph = _traced(model, layer)
        calls = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
        if len(calls) != 1:
            raise Refusal(f"the model uses layer {layer!r} {len(calls)} times in a pass, it must be once; name another")
        body, head = fx.GraphModule(model, _before(graph, calls[0])), fx.GraphModule(model, _behind(graph, calls[0]))
    return Cut(layer, body, head)


def spatial_layers(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Outputs of all layers that give [N, c, h, w] with more than one place, in the order they are done."""
    found: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
                found.pop(name, None)
                found[name] = output.detach().clone()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    try:
        with frozen(model), torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def last_layer(model: nn.Module, images: Tensor) -> str:
    """Name of the last layer with more than one place, if possible one that is never negative, as behind a ReLU.

    Layers before the first that learns, such as a normalisation, do not count. Raises Refusal without one.
    """
    modules, learned, found = dict(model.named_modules()), False, []
    for name, output in spatial_layers(model, images).items():
        learned = learned or any(True for _ in modules[name].parameters())
        found += [(output.amin() >= 0, name)] if learned else []
    if not found:
        raise Refusal("the model has no layer whose output is [N, channels, height, width]")
    return ([name for positive, name in found if positive] or [name for _, name in found])[-1]


class _Tracer(fx.Tracer):
    """Looks into the modules around the layer, and takes all others as they are."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not self.layer.startswith(f"{name}.")


def _traced(model: nn.Module, layer: str) -> fx.Graph:
    try:
        return _Tracer(layer).trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise Refusal(f"the model cannot be cut at {layer!r}: its steps depend on the data ({reason})") from None


def _before(graph: fx.Graph, call: fx.Node) -> fx.Graph:
    part, copies = fx.Graph(), {}
    for node in graph.nodes:
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node is call:
            break
    part.output(copies[call])
    return part


def _behind(graph: fx.Graph, call: fx.Node) -> fx.Graph:
    nodes, part = list(graph.nodes), fx.Graph()
    given = part.placeholder("activations")
    # a layer behind may work in place, which must not reach what the caller passed in
    copies = {call: part.call_method("clone", (given,))}
    try:
        for node in nodes[nodes.index(call) + 1 :]:
            copies[node] = part.node_copy(node, copies.__getitem__)
    except KeyError:
        raise Refusal(
            f"the model goes around layer {call.target!r}, so the layer does not decide alone; name another"
        ) from None
    return part


def _names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if name]
