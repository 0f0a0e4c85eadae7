"""Which parameters of a classifier are its head: those of the layer that makes the logits. All others are its body."""

import torch
from torch import Tensor, nn

from pipelines.models.networks import Classifier
from tracking.errors import InputError

PARAMETRIZED = "parametrizations."  # before the names of what torch computes a layer's weight from


def find_head(model: Classifier, images: Tensor, class_count: int, option: str) -> set[str]:
    """Names of the head's parameters: `fc` of a ResNet, `head` of a ViT, `head.logits` of the cnn.

    A network of timm names its classifier. Of any other, it is the last layer to run, on `images` [N, C, H, W] of
    uint8, whose weight has a row for each class. Raises InputError, which begins with the `option` that needs it, if
    there is none.
    """
    named = getattr(model.network, "get_classifier", None)
    weights = _list_classifiers(named()) if callable(named) else []
    if not weights:
        weights = _find_last(model, images, class_count)
    owned = set(map(id, weights))
    head = {name for name, weight in model.named_parameters() if id(weight) in owned}
    if not head:
        raise InputError(
            f"{option}: no layer of the network has a weight with a row for each of the {class_count} classes, so "
            "head and body cannot be distinguished; leave it out"
        )
    return head


def _list_classifiers(named: object) -> list[nn.Parameter]:
    """Parameters of what timm names: one classifier, or several, as of a distilled network."""
    layers = named if isinstance(named, tuple | list) else [named]
    return [weight for layer in layers if isinstance(layer, nn.Module) for weight in layer.parameters()]


def _find_last(model: Classifier, images: Tensor, class_count: int) -> list[nn.Parameter]:
    """Parameters of the last layer to run that makes as many outputs; those of a module with layers come after."""
    last: dict[bool, nn.Module] = {}

    def note(layer: nn.Module, *_: object) -> None:
        has_layers = any(not f"{name}.".startswith(PARAMETRIZED) for name, _ in layer.named_children())
        last[has_layers] = layer

    hooks = [
        module.register_forward_hook(note)
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)  # which takes no hooks
        and any(weight.ndim > 1 and len(weight) == class_count for weight in _list_weights(module))
    ]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(images.to(device).float() / 255)
    finally:
        for hook in hooks:
            hook.remove()
    layer = last.get(False, last.get(True))
    if layer is None:
        return []
    return [weight for name, weight in layer.named_parameters() if "." not in name or name.startswith(PARAMETRIZED)]


def _list_weights(module: nn.Module) -> list[Tensor]:
    """A module's own parameters, and its weight where torch computes it, as of a weight-normalised layer."""
    weight = getattr(module, "weight", None)
    return [*module.parameters(recurse=False), *([weight] if isinstance(weight, Tensor) else [])]
