"""Integrated gradients: the score's rise from a baseline to the image, shared out among the pixels on the way.

Sundararajan, Taly, Yan 2017, arXiv 1703.01365, equation 1. Property (completeness): a map sums to the score minus the
baseline's score; on a linear model it is w (x - baseline).
"""

import torch
from torch import Tensor, nn

from xai.gradient import score_gradient
from xai.method import NOTHING, PASS, Attribution, Given

STEPS = 50  # intervals on the way from baseline to image, at first
MOST = 8  # times as many at the most
GAP = 0.01  # completeness gap, as a share of the score's rise, that is small enough


def integrated_gradients(model: nn.Module, images: Tensor, targets: Tensor, given: Given = NOTHING) -> Attribution:
    """(x - b) times the mean gradient between b and x, summed over channels: [N, H, W], signed, in logits.

    The baseline b is the background's mean colour. An image whose gap is over 1 % gets twice the steps, again and
    again, up to 8 times; whoever still has such a gap is seen in its delta.
    """
    baseline, steps = given.baseline(images), given.samples or STEPS
    rows = [_one(model, image, target, baseline, steps) for image, target in zip(images, targets, strict=True)]
    maps, scores, baseline_scores = (torch.stack(part) for part in zip(*rows, strict=True))
    return Attribution(maps, scores, baseline_scores)


def _one(
    model: nn.Module, image: Tensor, target: Tensor, baseline: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Map [H, W], score and baseline score by the trapezoid rule, whose points twice the steps use again."""
    way, most = image - baseline, MOST * steps

    def gradients(shares: Tensor) -> tuple[Tensor, Tensor]:
        points = baseline + shares.to(image).view(-1, 1, 1, 1) * way  # [S, C, H, W]
        return score_gradient(model, points, target.expand(len(points)))

    ends, (baseline_score, score) = gradients(torch.tensor([0.0, 1.0]))
    total = ends.mean(0)
    total += _sum(gradients, torch.arange(1, steps) / steps)
    while True:
        values = (way * total / steps).sum(0)  # [H, W]
        rise = score - baseline_score
        if (values.sum() - rise).abs() <= GAP * rise.abs() or 2 * steps > most:
            return values, score, baseline_score
        steps *= 2
        total += _sum(gradients, torch.arange(1, steps, 2) / steps)


def _sum(gradients, shares: Tensor) -> Tensor | float:
    return sum(gradients(part)[0].sum(0) for part in shares.split(PASS) if len(part))
