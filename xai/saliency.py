"""Saliency: how strongly the class score reacts to each pixel.

Simonyan, Vedaldi, Zisserman 2014, arXiv 1312.6034, section 3. Property: on a linear model a map is max |w|.
"""

from torch import Tensor, nn

from xai.gradient import score_gradient
from xai.method import NOTHING, Attribution, Given


def saliency(model: nn.Module, images: Tensor, targets: Tensor, given: Given = NOTHING) -> Attribution:
    """|d score / d pixel|, its largest channel: [N, H, W], in logits per unit of brightness, 0 or more."""
    gradient, scores = score_gradient(model, images, targets)
    return Attribution(gradient.abs().amax(dim=1), scores)
