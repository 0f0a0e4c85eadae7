"""Model parameter randomization: does a map change when the model's learned weights are replaced by fresh ones?

Adebayo et al. 2018, arXiv 1810.03292, section 4.1, cascading from the output down. Property: a map that does not depend
on the model, such as an edge detector's, stays the same and has similarity 1 throughout.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai.faithfulness.similarity import map_similarity
from xai.gradient import frozen
from xai.method import NotApplicable
from xai.torch_private import NormBase

MAX_STAGES = 4
NORMALISATIONS = (NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Stage:
    """The layers from the output down to one of them."""

    name: str  # of the deepest, as in named_modules
    modules: tuple[str, ...]  # in the order in which they run


def cascade_stages(model: nn.Module, images: Tensor) -> tuple[Stage, ...]:
    """At most four: the output layer first, everything last, the others evenly in between.

    A normalisation belongs to the layer before it. A layer used several times counts where it is used last. Modules
    without parameters, such as one that normalises images, stay as they are. Raises NotApplicable if there are no
    others.
    """
    groups = _group_layers(model, images)
    if not groups:
        raise NotApplicable("the model has no parameters, so there is nothing to randomize")
    counts = torch.linspace(1, len(groups), min(MAX_STAGES, len(groups))).round().int().tolist()
    stages = []
    for count in counts:
        last_groups = groups[len(groups) - count :]
        deepest = last_groups[0][0] or type(model).__name__
        stages.append(Stage(deepest, tuple(name for group in last_groups for name in group)))
    return tuple(stages)


@contextmanager
def randomized(model: nn.Module, fresh: nn.Module, stage: Stage) -> Iterator[nn.Module]:
    """The model with the stage's parameters and buffers replaced by those of `fresh`; afterwards exactly as before.

    Parameters shared with other layers change there too. Raises NotApplicable if `fresh` has another architecture.
    """
    modules = dict(model.named_modules())
    fresh_modules = dict(fresh.named_modules())
    pairs = [
        pair
        for name in stage.modules
        for pair in _pair_tensors(name, modules[name], fresh_modules.get(name, nn.Module()))
    ]
    originals = [(tensor, tensor.detach().clone()) for tensor, _ in pairs]
    try:
        _copy_values(pairs)
        yield model
    finally:
        _copy_values(originals)


def randomization_similarity(
    model: nn.Module,
    fresh: nn.Module,
    stages: tuple[Stage, ...],
    explain_fn: Callable[[nn.Module], Tensor],
    maps: Tensor,
) -> dict[str, Tensor]:
    """Spearman of the maps [N, H, W] with those that `explain_fn` makes of the randomized model, [N] per stage.

    Of absolute values (`randomized/STAGE`) and of signed ones (`randomized_signed/STAGE`); NaN where a map is constant.
    """
    similarities = {}
    for stage in stages:
        with randomized(model, fresh, stage):
            randomized_maps = explain_fn(model).to(maps)
        magnitude, signed = map_similarity(maps, randomized_maps)
        similarities[f"randomized/{stage.name}"] = magnitude
        similarities[f"randomized_signed/{stage.name}"] = signed
    return similarities


def _group_layers(model: nn.Module, images: Tensor) -> list[list[str]]:
    """Names of layers with parameters, each with the normalisations after it, in the order in which they last run."""
    learned = {name: module for name, module in model.named_modules() if _is_learned(module)}
    order = _call_order(learned, model, images)
    groups: list[list[str]] = []
    for name in order:
        if groups and isinstance(learned[name], NORMALISATIONS):
            groups[-1].append(name)
        else:
            groups.append([name])
    groups = groups or [[]]
    for name in learned:
        if name not in order:  # its parent uses its weights, as attention does
            parent = name.rpartition(".")[0]
            group = next((group for group in groups if parent in group), groups[0])
            group.append(name)
    return [group for group in groups if group]


def _call_order(modules: dict[str, nn.Module], model: nn.Module, images: Tensor) -> list[str]:
    """Names of the modules that the model calls, in the order in which they are last entered."""
    order: dict[str, None] = {}

    def record(name: str) -> Callable[[nn.Module, tuple], None]:
        def hook(module: nn.Module, inputs: tuple) -> None:
            order.pop(name, None)
            order[name] = None

        return hook

    hooks = [module.register_forward_pre_hook(record(name)) for name, module in modules.items()]
    try:
        with frozen(model), torch.no_grad():
            model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return [*order]


def _is_learned(module: nn.Module) -> bool:
    """Whether it owns parameters; a normalisation without any still has learned statistics."""
    if isinstance(module, NORMALISATIONS):
        return bool(_own_tensors(module))
    return any(True for _ in module.parameters(recurse=False))


def _pair_tensors(name: str, module: nn.Module, fresh: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """A layer's own parameters and buffers, each with that of the fresh layer."""
    tensors = _own_tensors(module)
    fresh_tensors = _own_tensors(fresh)
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    if shapes != {key: tensor.shape for key, tensor in fresh_tensors.items()}:
        raise NotApplicable(
            f"the fresh model has no layer {name!r} of this shape; make it with the same factory and settings"
        )
    return [(tensors[key], fresh_tensors[key]) for key in tensors]


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of the module itself, without those of its submodules."""
    return dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])


@torch.no_grad()
def _copy_values(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Overwrites the first of each pair with the second."""
    for tensor, source in pairs:
        tensor.copy_(source)
