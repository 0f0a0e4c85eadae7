"""Which weights of a model are drawn at random, and a model with all weights drawn, even if its factory loads some.

Two models from different seeds show it: what is equal in both, and not a constant, was not drawn.
"""

import torch
from torch import nn

from pipelines.common.settings import TrackedSettings
from pipelines.data.datasets import Dataset
from pipelines.models.networks import MODELS, Classifier, build_tracked_model
from xai.torch_private import NormBase

SEEDS = 2**32


def weights_follow_seed(settings: TrackedSettings, data: Dataset, model: Classifier) -> bool:
    """Whether most weights of `model`, which was built from the settings and their seed, are drawn from it."""
    if settings.model in MODELS:
        return True
    fixed = _find_fixed(model, build_tracked_model(settings, data, seed=(settings.seed + 1) % SEEDS))
    varied = [weight for weight in model.parameters() if not _is_constant(weight)]
    return 2 * sum(map(torch.numel, fixed)) <= sum(map(torch.numel, varied))


def build_random_model(settings: TrackedSettings, data: Dataset, seed: int) -> Classifier:
    """An untrained model from a seed; weights that no seed reaches are shuffled, each tensor's among themselves."""
    model = build_tracked_model(settings, data, seed=seed % SEEDS)
    if settings.model in MODELS:
        return model
    fixed = _find_fixed(model, build_tracked_model(settings, data, seed=(seed + 1) % SEEDS))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in fixed:
            order = torch.randperm(weight.numel(), generator=random)
            weight.copy_(weight.flatten()[order].view_as(weight))
    if fixed:
        for module in model.modules():
            if isinstance(module, NormBase) and module.track_running_stats:
                module.reset_running_stats()
    return model


def _find_fixed(model: nn.Module, other: nn.Module) -> list[nn.Parameter]:
    """Parameters of `model` that are equal in both, except constants, such as the ones and zeros of normalisation."""
    return [
        weight
        for weight, twin in zip(model.parameters(), other.parameters(), strict=True)
        if not _is_constant(weight) and torch.equal(weight, twin)
    ]


def _is_constant(weight: torch.Tensor) -> bool:
    return weight.numel() < 2 or bool((weight == weight.flatten()[0]).all())
