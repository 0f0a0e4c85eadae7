"""SmoothGrad: saliency averaged over noisy copies of the image, so that the gradient's own noise cancels.

Smilkov et al. 2017, arXiv 1706.03825, equation 1. Property: on a linear model it is saliency.
"""

import torch
from torch import Tensor, nn

from xai.gradient import exact_scores, score_gradient, split_into_passes
from xai.method import DEFAULTS, DEVELOPERS, LEAVES_PARTS_OUT, Attribution, Card, Method, MethodInputs

SAMPLES = 50
NOISE_FRACTION = 0.1  # standard deviation as a fraction of the image's range; the paper finds 10 to 20 % best


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Largest |mean of d score / d pixel over noisy copies| over the channels: [N, H, W], 0 or more."""
    samples = inputs.samples or SAMPLES
    maps = []
    for row, (image, target) in enumerate(zip(images, targets, strict=True)):
        generator = inputs.generator(row)
        deviation = NOISE_FRACTION * (image.amax() - image.amin())
        total = torch.zeros_like(image)
        for part in split_into_passes(torch.arange(samples)):
            noise = torch.randn(len(part), *image.shape, generator=generator).to(image)
            gradients, _ = score_gradient(model, image + deviation * noise, target.expand(len(part)))
            total += gradients.sum(0)
        maps.append((total / samples).abs().amax(0))  # [H, W]
    return Attribution(torch.stack(maps), exact_scores(model, images, targets))


smooth_grad = attribute  # its name in earlier versions

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
        what="magnitude of the mean gradient over 50 copies of the image with noise of a tenth of its range",
        how="attribution: 50 forward and backward passes; drawn as a heatmap over the image",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Looks smoother, which need not mean more faithful; depends on the amount of noise. " + LEAVES_PARTS_OUT,
        use="a calmer view of saliency",
        beware="hides fine structure",
    ),
)
