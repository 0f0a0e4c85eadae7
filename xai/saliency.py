"""Saliency: how strongly the class score reacts to each pixel.

Simonyan, Vedaldi, Zisserman 2014, arXiv 1312.6034, section 3. Property: on a linear model a map is max |w|.
"""

from torch import Tensor, nn

from xai.gradient import exact_scores, score_gradient
from xai.method import DEFAULTS, DEVELOPERS, LEAVES_PARTS_OUT, Attribution, Card, Method, MethodInputs


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Largest |d score / d pixel| over the channels: [N, H, W], in logits per unit of brightness, 0 or more."""
    gradient, scores = score_gradient(model, images, targets)
    return Attribution(gradient.abs().amax(dim=1), exact_scores(model, images, targets, scores))


saliency = attribute  # its name in earlier versions

METHOD = Method(
    "saliency",
    attribute,
    signed=False,
    summary="how strongly the score reacts to each pixel",
    cited="Simonyan 2014",
    card=Card(
        name="Saliency",
        source="Simonyan, Vedaldi, Zisserman 2014, arXiv 1312.6034",
        why="interpretability: which pixels the class score reacts to most",
        who=DEVELOPERS,
        what="the gradient of one class's logit at one image: its magnitude in the strongest channel",
        how="attribution: one forward and one backward pass; drawn as a heatmap over the image",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Shows how the score would change, not what it is made of; noisy; blind where the score is saturated. "
        + LEAVES_PARTS_OUT,
        use="which pixels the score reacts to",
        beware="noisy; shows reaction, not contribution",
    ),
)
