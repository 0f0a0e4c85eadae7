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


def target_scores(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The target logit of each image, [N], at most PASS images at a time."""
    with frozen(model), torch.no_grad():
        logits = torch.cat([model(part) for part in images.split(PASS)])
    return logits.gather(1, targets[:, None]).squeeze(1)


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
