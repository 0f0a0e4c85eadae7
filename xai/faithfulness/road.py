"""ROAD: is the class still found once a share of the pixels is replaced by what their neighbours suggest?

Rong et al. 2022, arXiv 2202.00449, section 4: noisy linear imputation, which tells the model little of which pixels
are missing. Property: an imputed pixel is the weighted mean of its neighbours, so a constant image stays as it is.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from xai.faithfulness.ranking import ranks_in_order
from xai.gradient import all_scores
from xai.method import DEFAULTS, MAX_PASS_SIZE, MethodInputs

IMPUTED_FRACTIONS = (0.1, 0.3, 0.5, 0.7)
NOISE_DEVIATION = 0.01  # deviation of what is added to imputed pixels, as in the authors' code
CLOSE = 1e-6  # residual at which an image is solved, in units of brightness; far under the noise
MOST = 5000  # iterations; 32 x 32 pixels take up to 80, 224 x 224 some hundred
GROUP = MAX_PASS_SIZE // 8  # images whose imputed ones make a pass
SOLVED = 4  # images solved side by side: small ones stay in a processor's cache, and do not wait for its other threads


def classify_imputed(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    order: Tensor,
    inputs: MethodInputs = DEFAULTS,
    shares: Sequence[float] = IMPUTED_FRACTIONS,
) -> tuple[Tensor, Tensor]:
    """Whether the target is the top class with each share of the pixels imputed, [N, S] bool each.

    First of the most relevant pixels by `order` [N, P], then of the least relevant. One pixel always stays.
    """
    pixels, places = order.shape[1], ranks_in_order(order)
    inputs = replace(inputs, seed=inputs.seed + 1)  # other randomness than that of a map made of noise
    kept = []
    for rows in torch.arange(len(images)).split(GROUP):
        randoms = [inputs.generator(row) for row in rows.tolist()]
        columns = []
        for share in shares:
            count = min(round(share * pixels), pixels - 1)
            removed = torch.stack([places[rows] < count, places[rows] >= pixels - count], 1)  # [n, 2, P]
            altered = impute_with_noise(images[rows], removed.unflatten(2, images.shape[2:]), randoms)
            columns.append(all_scores(model, altered.flatten(0, 1)).argmax(1).view(-1, 2) == targets[rows, None])
        kept.append(torch.stack(columns, 1))  # [n, S, 2]
    most, least = torch.cat(kept).unbind(2)
    return most, least


def impute_with_noise(images: Tensor, removed: Tensor, randoms: Sequence[Generator]) -> Tensor:
    """Imputed images [N, M, C, H, W], with noise of each image's own on what is imputed, every channel for itself."""
    found = impute(images, removed)
    noise = torch.stack([torch.randn(found.shape[1:], generator=random) for random in randoms]).to(found)
    return found + NOISE_DEVIATION * noise * removed[:, :, None]


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Images [N, C, H, W] with the pixels of each mask [N, M, H, W] made of their neighbours: [N, M, C, H, W].

    Each removed pixel becomes the mean of the eight around it, removed or not, with weight 1/6 beside it and 1/12
    across a corner; at the image's edges of those there are. Every mask must leave a pixel.
    """
    gone = removed[:, :, None].to(images)  # [N, M, 1, H, W]
    pairs = zip(images.split(SOLVED), gone.split(SOLVED), strict=True)
    return torch.cat([_solved(*pair) for pair in pairs])


def _solved(images: Tensor, gone: Tensor) -> Tensor:
    """By conjugate gradients, from the mean of what stays: the equations are symmetric and positive definite.

    Each channel stops for itself, so that its result does not depend on what is solved beside it.
    """
    stays = images[:, None] * (1 - gone)
    found = stays + gone * stays.sum((3, 4), keepdim=True) / (1 - gone).sum((3, 4), keepdim=True)
    around = _summed(torch.ones_like(gone))  # sum of weights, less at edges
    left = gone * (_summed(found) - around * found)
    step, size = left, left.square().sum((3, 4), keepdim=True)
    for _ in range(MOST):
        open_ = left.abs().amax((3, 4), keepdim=True) > CLOSE
        if not open_.any():
            break
        change = (around * step).sub_(_summed(step)).mul_(gone)
        rate = torch.where(open_, size / (step * change).sum((3, 4), keepdim=True), 0)
        found, left = found + rate * step, left - rate * change
        last, size = size, left.square().sum((3, 4), keepdim=True)
        step = torch.where(open_, left + size / last * step, step)
    return found


def _summed(values: Tensor) -> Tensor:
    """Weighted sum of the pixels around each of [..., H, W], 1/6 beside, 1/12 across a corner, none beyond the edges.

    A third of the pixel itself makes it two sums by [1, 2, 1]; it is on both sides of the equations.
    """
    down = 2 * values
    down[..., 1:, :] += values[..., :-1, :]
    down[..., :-1, :] += values[..., 1:, :]
    both = 2 * down
    both[..., 1:] += down[..., :-1]
    both[..., :-1] += down[..., 1:]
    return both.div_(12)
