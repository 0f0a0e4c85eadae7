"""SmoothGrad: saliency averaged over noisy copies of the image, in which the gradient's own noise cancels.

Smilkov et al. 2017, arXiv 1706.03825, equation 1. Property: on a linear model it is saliency.
"""

import torch
from torch import Tensor, nn

from xai.gradient import passes, score_gradient, target_scores
from xai.method import NOTHING, Attribution, Given

SAMPLES = 50
NOISE = 0.1  # deviation of the noise as a share of the image's range; the paper finds 10 to 20 % best


def smooth_grad(model: nn.Module, images: Tensor, targets: Tensor, given: Given = NOTHING) -> Attribution:
    """|mean of d score / d pixel over noisy copies|, its largest channel: [N, H, W], 0 or more."""
    maps = [
        _one(model, image, target, given, row) for row, (image, target) in enumerate(zip(images, targets, strict=True))
    ]
    return Attribution(torch.stack(maps), target_scores(model, images, targets))


def _one(model: nn.Module, image: Tensor, target: Tensor, given: Given, row: int) -> Tensor:
    random, count = given.random(row), given.samples or SAMPLES
    deviation = NOISE * (image.amax() - image.amin())
    total = torch.zeros_like(image)
    for part in passes(torch.arange(count)):
        noise = torch.randn(len(part), *image.shape, generator=random).to(image)
        gradient, _ = score_gradient(model, image + deviation * noise, target.expand(len(part)))
        total += gradient.sum(0)
    return (total / count).abs().amax(0)  # [H, W]
