"""Occlusion: how far the score falls when a window of the image is covered.

Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2. Property: on a linear model a window's fall is the sum of
w (x - baseline) in it.
"""

import torch
from torch import Tensor, nn

from xai.gradient import target_scores
from xai.method import DEFAULTS, Attribution, Card, Method, MethodInputs

# Windows beside each other; they also lie half over each other. Smaller ones leave most of what decides standing,
# larger ones point beside it: of planted glyphs, 7 of 32 pixels wide, a sixth hits more than a fourth or an eighth.
WINDOWS = 6


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Mean fall of the score over the windows that cover a pixel: [N, H, W], signed, in logits.

    Windows have a sixth of the image's side, move by half of theirs, and take the background's mean colour.
    """
    baseline, masks = inputs.baseline_image(images), occlusion_windows(*images.shape[2:]).to(images.device)  # [M, H, W]
    scores = target_scores(model, images, targets)
    maps = [_one(model, *row, baseline, masks) for row in zip(images, targets, scores, strict=True)]
    return Attribution(torch.stack(maps), scores)


def occlusion_windows(height: int, width: int) -> Tensor:
    """All windows [M, H, W], true inside; every pixel lies in one at least."""
    rows, columns = _spans(height), _spans(width)
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)


def _spans(side: int) -> Tensor:
    """The windows along one side [M, side]; the last one ends at the edge."""
    size = max(1, round(side / WINDOWS))
    starts = sorted({*range(0, side - size, max(1, size // 2)), side - size})
    places = torch.arange(side)
    return torch.stack([(places >= start) & (places < start + size) for start in starts])


def _one(model: nn.Module, image: Tensor, target: Tensor, score: Tensor, baseline: Tensor, masks: Tensor) -> Tensor:
    covered = torch.where(masks[:, None], baseline, image)  # [M, C, H, W]
    falls = score - target_scores(model, covered, target.expand(len(covered)))  # [M]
    inside = masks.to(falls.dtype)
    return torch.einsum("m,mhw->hw", falls, inside) / inside.sum(0)


METHOD = Method(
    "occlusion",
    attribute,
    signed=True,
    summary="how far the score falls when a window is covered",
    cited="Zeiler 2014",
    card=Card(
        name="Occlusion",
        source="Zeiler and Fergus 2014, arXiv 1311.2901",
        why="interpretability: what the score loses when a place cannot be seen",
        who="model developers, users and non-experts: it says what was done and what came of it",
        what="signed falls of the logit, in logits, for each covered window",
        how="attribution without gradients: windows of a sixth of the side, half overlapping, take the mean colour",
        when="after training, at any stored epoch",
        where="any image classifier",
        limits="As coarse as its windows; blind to evidence that is there twice; covered images are unlike any seen.",
    ),
)
