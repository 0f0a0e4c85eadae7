"""SmoothGrad: saliency averaged over noisy copies of the image, in which the gradient's own noise cancels.

Smilkov et al. 2017, arXiv 1706.03825, equation 1. Property: on a linear model it is saliency.
"""

import torch
from torch import Tensor, nn

from xai.gradient import score_gradient, split_into_passes, target_scores
from xai.method import DEFAULTS, DEVELOPERS, Attribution, Card, Method, MethodInputs

SAMPLES = 50
NOISE = 0.1  # deviation of the noise as a share of the image's range; the paper finds 10 to 20 % best


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """|mean of d score / d pixel over noisy copies|, its largest channel: [N, H, W], 0 or more."""
    maps = [
        _one(model, image, target, inputs, row) for row, (image, target) in enumerate(zip(images, targets, strict=True))
    ]
    return Attribution(torch.stack(maps), target_scores(model, images, targets))


def _one(model: nn.Module, image: Tensor, target: Tensor, inputs: MethodInputs, row: int) -> Tensor:
    random, count = inputs.generator(row), inputs.samples or SAMPLES
    deviation = NOISE * (image.amax() - image.amin())
    total = torch.zeros_like(image)
    for part in split_into_passes(torch.arange(count)):
        noise = torch.randn(len(part), *image.shape, generator=random).to(image)
        gradient, _ = score_gradient(model, image + deviation * noise, target.expand(len(part)))
        total += gradient.sum(0)
    return (total / count).abs().amax(0)  # [H, W]


METHOD = Method(
    "smooth_grad",
    attribute,
    signed=False,
    takes_samples=True,
    summary="the same, averaged over 50 noisy copies",
    cited="Smilkov 2017",
    card=Card(
        name="SmoothGrad",
        source="Smilkov et al. 2017, arXiv 1706.03825",
        why="interpretability: saliency without the gradient's own noise",
        who=DEVELOPERS,
        what="the mean gradient over 50 copies of the image with noise of a tenth of its range, without a sign",
        how="attribution: 50 passes forward and back; a heatmap",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Looks smoother, which need not mean more faithful; depends on how much noise is added.",
    ),
)
