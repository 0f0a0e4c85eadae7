"""Optimizers and the learning rate schedule."""

import torch
from torch import nn

WARM_UP = 0.03  # share of the steps in which the learning rate rises
ADAM_SHARE = 0.1  # Adam's rate beside Muon's, for the weights that are no filter banks


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, so that every direction of a filter bank learns equally fast.

    Jordan 2024, kellerjordan.github.io/posts/muon, in the form that trains CIFAR-10 networks: three Newton-Schulz
    steps, and each bank kept at norm sqrt(filters), which batch normalisation behind it makes harmless.
    """

    def __init__(self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.6) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no loss is computed again
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:  # the network does not use it
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(momentum, alpha=group["momentum"])  # Nesterov
                direction = orthogonal(update.flatten(1)).view_as(weight)
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp_min(1e-7)).add_(direction, alpha=-group["lr"])


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About the nearest matrix [R, C] with orthonormal rows: singular values pulled towards 1."""
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(3):
        square = matrix @ matrix.T  # [R, R]
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    return matrix


def make_optimizers(model: nn.Module, name: str, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Optimizers that share the model's weights among them: muon (with Adam for the rest), adam or sgd."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if name == "sgd":
        return [torch.optim.SGD(weights, lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)]
    if name == "adam":
        return [torch.optim.AdamW(weights, lr, weight_decay=weight_decay)]
    banks = [weight for weight in weights if weight.ndim == 4 and weight[:1].numel() >= len(weight) > 0]
    chosen = {id(weight) for weight in banks}
    rest = [weight for weight in weights if id(weight) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [Muon(banks, lr)] if banks else []
    if rest:
        optimizers.append(torch.optim.AdamW(rest, ADAM_SHARE * lr, betas=(0.9, 0.99), weight_decay=weight_decay))
    return optimizers


def one_cycle(share: float) -> float:
    """Part of the peak rate after a share of all steps: up in a line, then down to 0 in a parabola.

    Smith 2018, 1803.09820. Half-way the rate is at a third of its peak instead of at a half: with few epochs the time
    at low rates is what counts, and epochs in the middle are good models already.
    """
    return share / WARM_UP if share < WARM_UP else ((1 - share) / (1 - WARM_UP)) ** 2
