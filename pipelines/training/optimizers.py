"""Optimizers and the learning rate schedule."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

WARM_UP_FRACTION = 0.03  # of all steps, in which the learning rate rises
ADAM_LR_FRACTION = 0.1  # of Muon's learning rate, for the weights that Muon does not train


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates, so that every direction of a filter bank learns equally fast.

    Jordan 2024, kellerjordan.github.io/posts/muon, in the form that trains CIFAR-10 networks: three Newton-Schulz
    steps, and each bank kept at norm sqrt(filters), which the batch normalisation after it makes harmless.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float, momentum: float = 0.6) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # closures are not supported
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:  # the network does not use it
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(momentum, alpha=group["momentum"])  # Nesterov
                direction = orthogonalize(update.flatten(1)).view_as(weight)
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp_min(1e-7))
                weight.add_(direction, alpha=-group["lr"])


def orthogonalize(matrix: torch.Tensor) -> torch.Tensor:
    """Approximately the nearest matrix [R, C] with orthonormal rows: singular values are pulled towards 1."""
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(3):
        square = matrix @ matrix.T  # [R, R]
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    return matrix


def make_optimizers(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    body_lr: float | None = None,
    head: Collection[str] = (),
) -> list[torch.optim.Optimizer]:
    """The optimizers that train a model between them: muon (with AdamW for the other weights), adam or sgd.

    With `body_lr`, all parameters but those named in `head` are groups of their own, with that learning rate.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if body_lr is None:
        parts = [(list(trained.values()), lr)]
    else:
        body = [weight for name, weight in trained.items() if name not in head]
        parts = [(body, body_lr), ([weight for name, weight in trained.items() if name in head], lr)]
    if name == "sgd":
        return [torch.optim.SGD(_make_groups(parts), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)]
    if name == "adam":
        return [torch.optim.AdamW(_make_groups(parts), lr, weight_decay=weight_decay)]

    filter_banks = [([weight for weight in weights if _is_filter_bank(weight)], rate) for weights, rate in parts]
    others = [
        ([weight for weight in weights if not _is_filter_bank(weight)], ADAM_LR_FRACTION * rate)
        for weights, rate in parts
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if groups := _make_groups(filter_banks):
        optimizers.append(Muon(groups, lr))
    if groups := _make_groups(others):
        optimizers.append(torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), weight_decay=weight_decay))
    return optimizers


def _is_filter_bank(weight: nn.Parameter) -> bool:
    """Whether Muon trains a weight: rows can be orthonormal only if they are no more than the columns."""
    return weight.ndim == 4 and weight[:1].numel() >= len(weight) > 0


def _make_groups(parts: list[tuple[list[nn.Parameter], float]]) -> list[dict[str, Any]]:
    """Parameter groups of weights and their learning rates, without empty ones."""
    return [{"params": weights, "lr": lr} for weights, lr in parts if weights]


def one_cycle_factor(progress: float) -> float:
    """Factor on the peak learning rate at a fraction of all steps: a linear rise, then a parabola down to 0.

    Smith 2018, 1803.09820. Half-way, the rate is at about a quarter of its peak instead of at a half: with few epochs,
    the time at low rates is what counts, and models from the middle of training are good already.
    """
    if progress < WARM_UP_FRACTION:
        return progress / WARM_UP_FRACTION
    return ((1 - progress) / (1 - WARM_UP_FRACTION)) ** 2
