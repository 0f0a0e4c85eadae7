"""Model randomisation: does a map change when the model's learnt weights are replaced by fresh ones?

Adebayo et al. 2018, arXiv 1810.03292, section 4.1, cascading from the output down. Property: a map that knows nothing
of the model, as an edge detector's, stays the same and has similarity 1 throughout.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai.faithfulness.similarity import map_similarity
from xai.gradient import frozen
from xai.method import NotApplicable

MOST = 4  # stages
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Stage:
    """The layers from the output down to one of them."""

    name: str  # of the deepest, as in named_modules
    modules: tuple[str, ...]  # in the order they are done


def cascade_stages(model: nn.Module, images: Tensor) -> tuple[Stage, ...]:
    """At most four, the output layer first, everything last, the others evenly between.

    A normalisation goes with the layer before it. A layer used several times counts where it is used last. Modules
    without parameters, such as one that normalises images, stay as they are.
    """
    groups = _groups(model, images)  # in the order they are done
    if not groups:
        raise NotApplicable("the model has no parameters, so there is nothing to randomise")
    counts = torch.linspace(1, len(groups), min(MOST, len(groups))).round().int().tolist()
    parts = [groups[len(groups) - count :] for count in counts]
    return tuple(
        Stage(part[0][0] or type(model).__name__, tuple(name for group in part for name in group)) for part in parts
    )


@contextmanager
def randomized(model: nn.Module, fresh: nn.Module, stage: Stage) -> Iterator[nn.Module]:
    """The model with the stage's parameters and buffers those of `fresh` inside; exactly as it was afterwards.

    Parameters that other layers share change there too. Raises NotApplicable if `fresh` is another architecture.
    """
    own, other = dict(model.named_modules()), dict(fresh.named_modules())
    pairs = [pair for name in stage.modules for pair in _pairs(name, own[name], other.get(name, nn.Module()))]
    kept = [(value, value.detach().clone()) for value, _ in pairs]
    try:
        _write(pairs)
        yield model
    finally:
        _write(kept)


def randomization_similarity(
    model: nn.Module,
    fresh: nn.Module,
    stages: tuple[Stage, ...],
    explain_fn: Callable[[nn.Module], Tensor],
    maps: Tensor,
) -> dict[str, Tensor]:
    """Spearman of the maps [N, H, W] with those `explain_fn` makes of the randomised model, [N] for each stage.

    Of absolute values (`randomized/STAGE`) and signed ones (`randomized_signed/STAGE`); NaN where a map is constant.
    """
    found = {}
    for stage in stages:
        with randomized(model, fresh, stage):
            others = explain_fn(model).to(maps)
        found[f"randomized/{stage.name}"], found[f"randomized_signed/{stage.name}"] = map_similarity(maps, others)
    return found


def _groups(model: nn.Module, images: Tensor) -> list[list[str]]:
    """Names of layers with parameters, each with the normalisations behind it, in the order they are last done."""
    learning = {name: module for name, module in model.named_modules() if _learns(module)}
    order = _order(learning, model, images)
    groups: list[list[str]] = []
    for name in order:
        if groups and isinstance(learning[name], NORMS):
            groups[-1].append(name)
        else:
            groups.append([name])
    groups = groups or [[]]
    for name in [name for name in learning if name not in order]:  # its parent uses its weights, as attention does
        parent = name.rpartition(".")[0]
        next((group for group in groups if parent in group), groups[0]).append(name)
    return [group for group in groups if group]


def _order(modules: dict[str, nn.Module], model: nn.Module, images: Tensor) -> list[str]:
    """Names of the modules the model calls, in the order they are last entered."""
    order: dict[str, None] = {}

    def note(name: str) -> Callable[[nn.Module, tuple], None]:
        def hook(module: nn.Module, inputs: tuple) -> None:
            order.pop(name, None)
            order[name] = None

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    try:
        with frozen(model), torch.no_grad():
            model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return [*order]


def _learns(module: nn.Module) -> bool:
    """Whether it owns parameters; a normalisation without any still has learnt statistics."""
    return bool(_tensors(module)) if isinstance(module, NORMS) else any(True for _ in module.parameters(recurse=False))


def _pairs(name: str, own: nn.Module, other: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """A layer's own parameters and buffers, each with the fresh layer's."""
    mine, theirs = _tensors(own), _tensors(other)
    if {key: value.shape for key, value in mine.items()} != {key: value.shape for key, value in theirs.items()}:
        raise NotApplicable(
            f"the fresh model has no layer {name!r} of this shape; make it by the same factory and settings"
        )
    return [(mine[key], theirs[key]) for key in mine]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of the module itself, not of those inside it."""
    return dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])


@torch.no_grad()
def _write(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    for own, other in pairs:
        own.copy_(other)
