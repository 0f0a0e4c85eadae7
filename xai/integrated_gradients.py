"""Integrated gradients: the score's rise from a baseline to the image, shared out among the pixels on the way.

Sundararajan, Taly, Yan 2017, arXiv 1703.01365, equation 1. Property (completeness): a map sums to the score minus the
baseline's score; on a linear model it is w (x - baseline).
"""

import torch
from torch import Tensor, nn

from xai.gradient import score_gradient, split_into_passes
from xai.method import DEFAULTS, DEVELOPERS_AND_USERS, Attribution, Card, Method, MethodInputs

STEPS = 50  # intervals on the way from baseline to image, at first
MOST = 8  # times as many at the most
GAP = 0.01  # completeness gap, as a share of the score's rise, that is small enough


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """(x - b) times the mean gradient between b and x, summed over channels: [N, H, W], signed, in logits.

    The baseline b is the background's mean colour. An image whose gap is over 1 % gets twice the steps, again and
    again, up to 8 times; whoever still has such a gap is seen in its delta.
    """
    baseline, steps = inputs.baseline_image(images), inputs.samples or STEPS
    rows = [_one(model, image, target, baseline, steps) for image, target in zip(images, targets, strict=True)]
    maps, scores, baseline_scores = (torch.stack(part) for part in zip(*rows, strict=True))
    return Attribution(maps, scores, baseline_scores)


def _one(
    model: nn.Module, image: Tensor, target: Tensor, baseline: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Map [H, W], score and baseline score by the trapezoid rule, whose points twice the steps use again."""
    way, most = image - baseline, MOST * steps
    weights = torch.tensor([0.5, *[1.0] * (steps - 1), 0.5])
    total, scores = _walk(model, target, baseline, way, torch.linspace(0, 1, steps + 1), weights)
    baseline_score, score = scores[0], scores[-1]
    rise = score - baseline_score
    while True:
        values = (way * total / steps).sum(0)  # [H, W]
        if (values.sum() - rise).abs() <= GAP * rise.abs() or 2 * steps > most:
            return values, score, baseline_score
        steps *= 2
        between = torch.arange(1, steps, 2) / steps
        total += _walk(model, target, baseline, way, between, torch.ones_like(between))[0]


def _walk(
    model: nn.Module, target: Tensor, baseline: Tensor, way: Tensor, shares: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the gradients [C, H, W] at some shares of the way, [S], and the scores there, [S]."""
    total, scores = torch.zeros_like(way), []
    for share, weight in zip(split_into_passes(shares.to(way)), split_into_passes(weights.to(way)), strict=True):
        points = baseline + share.view(-1, 1, 1, 1) * way  # [S, C, H, W]
        gradient, score = score_gradient(model, points, target.expand(len(points)))
        total += torch.tensordot(weight, gradient, dims=1)
        scores.append(score)
    return total, torch.cat(scores)


METHOD = Method(
    "integrated_gradients",
    attribute,
    signed=True,
    takes_samples=True,
    summary="signed shares of the score's rise from the mean colour to the image",
    cited="Sundararajan 2017",
    card=Card(
        name="Integrated gradients",
        source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
        why="interpretability: which pixels the score's rise over a neutral image is made of",
        who=DEVELOPERS_AND_USERS,
        what="signed shares, in logits, of the score's difference between the mean colour and the image",
        how="attribution: gradients along a straight path, at first 50 steps, doubled until the shares add up",
        when="after training, at any stored epoch",
        where="any differentiable image classifier",
        limits="Depends on the baseline: pixels of the mean colour get nothing, however much they matter.",
    ),
)
