"""Expected gradients: integrated gradients with many real images as baselines, none of which need be neutral.

Erion et al. 2021, arXiv 1906.10670, equation 3; the estimate behind shap's GradientExplainer. Property: a map sums to
the score minus the mean score of the background, up to sampling error; on a linear model it is w (x - mean).
"""

import torch
from torch import Tensor, nn

from xai.gradient import all_scores, exact_scores, score_gradient, split_into_passes
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

SAMPLES = 200


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Mean over baselines b and alphas in 0..1 of (x - b) times the gradient at b + alpha (x - b): [N, H, W], signed.

    In logits. Baselines are drawn without replacement while any are left, and one alpha from each of as many equal
    parts of 0..1: neither changes the mean, both reduce its error. The baseline score is the mean over those drawn.
    """
    background = inputs.background_images(images)
    with compute_passes_in(torch.float32):
        background_scores = all_scores(model, background)  # [B, K]
    samples = inputs.samples or SAMPLES
    rounds = -(-samples // len(background))  # rounded up
    maps = []
    baseline_scores = []
    for row, (image, target) in enumerate(zip(images, targets, strict=True)):
        generator = inputs.generator(row)
        permutations = [torch.randperm(len(background), generator=generator) for _ in range(rounds)]
        drawn = torch.cat(permutations)[:samples]  # rows of the background
        alphas = (torch.randperm(samples, generator=generator) + torch.rand(samples, generator=generator)) / samples
        maps.append(_average_gradients(model, image, target, background[drawn], alphas.to(image)))
        baseline_scores.append(background_scores[drawn, target].mean())
    return Attribution(torch.stack(maps), exact_scores(model, images, targets), torch.stack(baseline_scores))


def _average_gradients(model: nn.Module, image: Tensor, target: Tensor, baselines: Tensor, alphas: Tensor) -> Tensor:
    """The map [H, W] of one image, from baselines [S, C, H, W] and alphas [S]."""
    total = torch.zeros_like(image)
    for baseline, alpha in zip(split_into_passes(baselines), split_into_passes(alphas), strict=True):
        points = baseline + alpha.view(-1, 1, 1, 1) * (image - baseline)  # [S, C, H, W]
        gradients, _ = score_gradient(model, points, target.expand(len(points)))
        total += ((image - baseline) * gradients).sum(0)
    return total.sum(0) / len(baselines)


expected_gradients = attribute  # its name in earlier versions

METHOD = Method(
    "expected_gradients",
    attribute,
    signed=True,
    takes_samples=True,
    summary="the same, with 200 training images as baselines",
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
        limits="An estimate: shares add up only up to sampling error; the result depends on the images drawn. "
        + LEAVES_PARTS_OUT,
        use="signed contributions against typical images",
        beware="noise from the sampled baselines",
        in_print="Expected Gradients",
    ),
)
