"""Occlusion: how far the score falls when a window of the image is covered.

Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2. Property: on a linear model a window's fall is the sum of
w (x - baseline) in it.
"""

import torch
from torch import Tensor, nn

from xai.gradient import exact_scores, target_scores
from xai.method import DEFAULTS, LEAVES_PARTS_OUT, Attribution, Card, Method, MethodInputs

# Windows per side, if they did not overlap by half. Smaller ones leave most of what decides uncovered, larger ones
# point beside it: for planted glyphs, 7 of 32 pixels wide, a sixth finds more than a fourth or an eighth.
WINDOWS_PER_SIDE = 6


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Mean fall of the score over the windows that cover a pixel: [N, H, W], signed, in logits.

    Windows are a sixth of the image's side, move by half of that, and are filled with the background's mean colour.
    """
    baseline = inputs.baseline_image(images)
    masks = occlusion_windows(*images.shape[2:]).to(images.device)  # [M, H, W]
    scores = target_scores(model, images, targets)
    maps = []
    for image, target, score in zip(images, targets, scores, strict=True):
        covered = torch.where(masks[:, None], baseline, image)  # [M, C, H, W]
        falls = score - target_scores(model, covered, target.expand(len(covered)))  # [M]
        inside = masks.to(falls.dtype)
        maps.append(torch.einsum("m,mhw->hw", falls, inside) / inside.sum(0))
    return Attribution(torch.stack(maps), exact_scores(model, images, targets, scores))


def occlusion_windows(height: int, width: int) -> Tensor:
    """All windows [M, H, W], true inside; every pixel lies in at least one."""
    rows, columns = _window_spans(height), _window_spans(width)
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)


def _window_spans(side: int) -> Tensor:
    """The windows along one side [M, side]; the last one ends at the edge."""
    size = max(1, round(side / WINDOWS_PER_SIDE))
    stride = max(1, size // 2)
    starts = sorted({*range(0, side - size, stride), side - size})
    pixels = torch.arange(side)
    return torch.stack([(pixels >= start) & (pixels < start + size) for start in starts])


occlusion = attribute  # its name in earlier versions

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
        who="model developers, users and non-experts: it states what was done and what happened",
        what="signed falls of the logit, in logits, per covered window",
        how="attribution without gradients: windows of a sixth of the side, overlapping by half, get the mean colour",
        when="after training, at any stored epoch",
        where="any image classifier",
        limits="As coarse as its windows; blind to evidence present twice; covered images are unlike training images. "
        + LEAVES_PARTS_OUT,
        use="what a missing region would cost",
        beware="covered images are unlike real ones",
    ),
)
