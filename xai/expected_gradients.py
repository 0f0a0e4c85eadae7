"""Expected gradients: integrated gradients from many real images as baselines, none of which need be neutral.

Erion et al. 2021, arXiv 1906.10670, equation 3; the estimate behind shap's GradientExplainer. Property: a map sums to
the score minus the mean score of the background, up to sampling error; on a linear model it is w (x - mean).
"""

import torch
from torch import Tensor, nn

from xai.gradient import all_scores, score_gradient, split_into_passes, target_scores
from xai.method import DEFAULTS, DEVELOPERS_AND_USERS, Attribution, Card, Method, MethodInputs

SAMPLES = 200


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Mean over baselines b and shares a of (x - b) times the gradient at b + a (x - b): [N, H, W], signed, in logits.

    Baselines are drawn without replacement as long as there are any, shares one from each of as many equal parts
    of 0..1: both leave the mean as it is and take from its error. The baseline score is that of the baselines drawn.
    """
    background = inputs.background_images(images)
    of_background = all_scores(model, background)  # [B, K]
    maps, baseline_scores = [], []
    for row, (image, target) in enumerate(zip(images, targets, strict=True)):
        drawn, shares = _draw(len(background), inputs, row)
        maps.append(_one(model, image, target, background[drawn], shares.to(image)))
        baseline_scores.append(of_background[drawn, target].mean())
    return Attribution(torch.stack(maps), target_scores(model, images, targets), torch.stack(baseline_scores))


def _draw(count: int, inputs: MethodInputs, row: int) -> tuple[Tensor, Tensor]:
    """Rows of the background [S] and shares of the way from them to the image [S]."""
    random, samples = inputs.generator(row), inputs.samples or SAMPLES
    rounds = [torch.randperm(count, generator=random) for _ in range(-(-samples // count))]
    parts = torch.randperm(samples, generator=random) + torch.rand(samples, generator=random)
    return torch.cat(rounds)[:samples], parts / samples


def _one(model: nn.Module, image: Tensor, target: Tensor, baselines: Tensor, shares: Tensor) -> Tensor:
    total = torch.zeros_like(image)
    for start, share in zip(split_into_passes(baselines), split_into_passes(shares), strict=True):
        points = start + share.view(-1, 1, 1, 1) * (image - start)  # [S, C, H, W]
        gradient, _ = score_gradient(model, points, target.expand(len(points)))
        total += ((image - start) * gradient).sum(0)
    return total.sum(0) / len(baselines)  # [H, W]


METHOD = Method(
    "expected_gradients",
    attribute,
    signed=True,
    takes_samples=True,
    summary="the same from 200 training images as baselines",
    cited="Erion 2021",
    card=Card(
        name="Expected gradients",
        source="Erion et al. 2021, arXiv 1906.10670; what shap's GradientExplainer estimates",
        why="interpretability: as integrated gradients, without one baseline that would have to be neutral",
        who=DEVELOPERS_AND_USERS,
        what="signed shares, in logits, of the score's difference from the mean score of training images",
        how="attribution: 200 gradients between the image and training images drawn at random",
        when="after training, at any stored epoch",
        where="any differentiable image classifier with training images at hand",
        limits="An estimate: shares add up only up to sampling error; the images drawn are part of the result.",
    ),
)
