"""References: maps that do not depend on the model, which any explanation must beat.

Adebayo et al. 2018, arXiv 1810.03292, for the edge detector. Property: both are the same for any weights of the model.
"""

import torch
from torch import Tensor, nn

from xai.faithfulness.filters import correlate
from xai.gradient import target_scores
from xai.method import DEFAULTS, Attribution, MethodInputs, Reference


def draw_random_maps(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Uniform noise in 0..1, from each instance's own generator: [N, H, W]."""
    maps = [torch.rand(images.shape[2:], generator=inputs.generator(row)) for row in range(len(images))]
    return Attribution(torch.stack(maps).to(images), target_scores(model, images, targets))


def detect_edges(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Sobel magnitude of the grey image, the mean of the channels, reflected at its edges: [N, H, W], 0 or more."""
    grey = images.mean(1)  # [N, H, W]
    smoothing = torch.tensor([1.0, 2.0, 1.0])
    derivative = torch.tensor([-1.0, 0.0, 1.0])
    maps = torch.hypot(correlate(grey, smoothing, derivative), correlate(grey, derivative, smoothing))
    return Attribution(maps, target_scores(model, images, targets))


REFERENCES = {
    reference.name: reference
    for reference in (
        Reference("random", draw_random_maps),
        Reference("edge", detect_edges),
    )
}
