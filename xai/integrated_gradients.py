"""Integrated gradients: the score's rise from a baseline to the image, divided among the pixels.

Sundararajan, Taly, Yan 2017, arXiv 1703.01365, equation 1. Property (completeness): a map sums to the score minus the
baseline's score; on a linear model it is w (x - baseline).
"""

import torch
from torch import Tensor, nn

from xai.gradient import exact_scores, score_gradient, split_into_passes
from xai.method import (
    DEFAULTS,
    DEVELOPERS_AND_USERS,
    LEAVES_PARTS_OUT,
    Attribution,
    Card,
    Method,
    MethodInputs,
    compute_passes_in,
)

STEPS = 50  # intervals on the path from baseline to image, at first
MAX_STEPS_FACTOR = 8  # how many times as many steps there may be
MAX_GAP = 0.01  # completeness gap, as a fraction of the score's rise, that is small enough


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """(x - b) times the mean gradient between b and x, summed over channels: [N, H, W], signed, in logits.

    The baseline b is the background's mean colour. Steps are doubled, up to 8 times as many, until the completeness gap
    is at most 1 % of the score's rise; an image that still has a larger gap shows it in its delta.
    """
    baseline = inputs.baseline_image(images)
    steps = inputs.samples or STEPS
    rows = [_attribute_image(model, *pair, baseline, steps) for pair in zip(images, targets, strict=True)]
    maps, scores, baseline_scores = (torch.stack(column) for column in zip(*rows, strict=True))
    return Attribution(maps, scores, baseline_scores)


def _attribute_image(
    model: nn.Module, image: Tensor, target: Tensor, baseline: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Map [H, W], score and baseline score, by the trapezoid rule: doubling the steps reuses all its points."""
    difference = image - baseline
    max_steps = MAX_STEPS_FACTOR * steps
    weights = torch.tensor([0.5, *[1.0] * (steps - 1), 0.5])
    total, scores = _integrate(model, target, baseline, difference, torch.linspace(0, 1, steps + 1), weights)
    ends = torch.stack([baseline, image])
    baseline_score, score = exact_scores(model, ends, target.expand(2), scores[[0, -1]])
    rise = score - baseline_score
    if (scores[-1] - scores[0] - rise).abs() > MAX_GAP / 2 * rise.abs():
        # rounding hides a small rise from passes in bfloat16, which no number of steps makes up for
        with compute_passes_in(torch.float32):
            return _attribute_image(model, image, target, baseline, steps)
    while True:
        values = (difference * total / steps).sum(0)  # [H, W]
        if (values.sum() - rise).abs() <= MAX_GAP * rise.abs() or 2 * steps > max_steps:
            return values, score, baseline_score
        steps *= 2
        midpoints = torch.arange(1, steps, 2) / steps
        total += _integrate(model, target, baseline, difference, midpoints, torch.ones_like(midpoints))[0]


def _integrate(
    model: nn.Module, target: Tensor, baseline: Tensor, difference: Tensor, alphas: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the gradients [C, H, W] at baseline + alpha * difference, for alphas [S], and the scores [S]."""
    total = torch.zeros_like(difference)
    scores = []
    alphas, weights = alphas.to(difference), weights.to(difference)
    for alpha, weight in zip(split_into_passes(alphas), split_into_passes(weights), strict=True):
        points = baseline + alpha.view(-1, 1, 1, 1) * difference  # [S, C, H, W]
        gradients, point_scores = score_gradient(model, points, target.expand(len(points)))
        total += torch.tensordot(weight, gradients, dims=1)
        scores.append(point_scores)
    return total, torch.cat(scores)


integrated_gradients = attribute  # its name in earlier versions

METHOD = Method(
    "integrated_gradients",
    attribute,
    signed=True,
    takes_samples=True,
    summary="signed contributions to the score's rise from the mean colour to the image",
    cited="Sundararajan 2017",
    card=Card(
        name="Integrated gradients",
        source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
        why="interpretability: which pixels the score's rise over a neutral image is made of",
        who=DEVELOPERS_AND_USERS,
        what="signed shares, in logits, of the score's difference between the mean colour and the image",
        how="attribution: gradients along a straight path, in 50 steps at first, doubled until the shares add up",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Depends on the baseline: pixels of the mean colour get nothing, however much they matter. "
        + LEAVES_PARTS_OUT,
        use="signed contributions that add up to the score",
        beware="depends on the baseline",
        in_print="Integrated Gradients",
    ),
)
