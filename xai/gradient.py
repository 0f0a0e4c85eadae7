"""Scores and their gradients with respect to the image, without a trace left in the model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xai.method import PASS


def score_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each image's target logit [N, C, H, W], and that logit [N]."""
    inputs = images.detach().clone().requires_grad_()
    with frozen(model), torch.enable_grad():
        scores = model(inputs).gather(1, targets[:, None]).squeeze(1)  # [N]
        (gradient,) = torch.autograd.grad(scores.sum(), inputs)
    return gradient, scores.detach()


def all_scores(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of each image, [N, K]."""
    with frozen(model), torch.no_grad():
        return torch.cat([model(part) for part in passes(images)])


def target_scores(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The target logit of each image, [N]."""
    return all_scores(model, images).gather(1, targets[:, None]).squeeze(1)


def passes(rows: Tensor) -> tuple[Tensor, ...]:
    """The rows in parts of at most PASS, all about as large."""
    return rows.chunk(max(1, -(-len(rows) // PASS)))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients of parameters inside; everything as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    needed = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, need in needed:
            parameter.requires_grad_(need)
