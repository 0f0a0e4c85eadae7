"""ROAD: is the class still predicted once a fraction of the pixels is replaced by what their neighbours suggest?

Rong et al. 2022, arXiv 2202.00449, section 4: noisy linear imputation, which tells the model little about which pixels
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
NOISE_DEVIATION = 0.01  # standard deviation of the noise on imputed pixels, as in the authors' code
MAX_RESIDUAL = 1e-6  # of a solved image, in units of brightness; far below the noise
MAX_ITERATIONS = 5000  # 32 x 32 pixels take up to 80, 224 x 224 a few hundred
IMAGES_PER_GROUP = MAX_PASS_SIZE // 8  # whose imputed versions make one pass
SOLVED_TOGETHER = 4  # images: small ones stay in the CPU's cache and do not wait for its other threads


def classify_imputed(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    order: Tensor,
    inputs: MethodInputs = DEFAULTS,
    fractions: Sequence[float] = IMPUTED_FRACTIONS,
) -> tuple[Tensor, Tensor]:
    """Whether the target is the top class with each of F fractions of the pixels imputed, [N, F] bool each.

    First for the most relevant pixels by `order` [N, P], then for the least relevant. At least one pixel is kept.
    """
    pixels = order.shape[1]
    ranks = ranks_in_order(order)
    inputs = replace(inputs, seed=inputs.seed + 1)  # other randomness than that of a map made of noise
    groups = []
    for rows in torch.arange(len(images)).split(IMAGES_PER_GROUP):
        generators = [inputs.generator(row) for row in rows.tolist()]
        columns = []
        for fraction in fractions:
            count = min(round(fraction * pixels), pixels - 1)
            removed = torch.stack([ranks[rows] < count, ranks[rows] >= pixels - count], 1)  # [n, 2, P]
            imputed = impute_with_noise(images[rows], removed.unflatten(2, images.shape[2:]), generators)
            predicted = all_scores(model, imputed.flatten(0, 1)).argmax(1).view(-1, 2)
            columns.append(predicted == targets[rows, None])
        groups.append(torch.stack(columns, 1))  # [n, F, 2]
    most_relevant, least_relevant = torch.cat(groups).unbind(2)
    return most_relevant, least_relevant


def impute_with_noise(images: Tensor, removed: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Imputed images [N, M, C, H, W] with noise on the imputed pixels, from each image's generator, in each channel."""
    imputed = impute(images, removed)
    noise = torch.stack([torch.randn(imputed.shape[1:], generator=generator) for generator in generators])
    return imputed + NOISE_DEVIATION * noise.to(imputed) * removed[:, :, None]


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Images [N, C, H, W] with the pixels of each mask [N, M, H, W] replaced, by their neighbours: [N, M, C, H, W].

    Each removed pixel becomes the mean of the eight around it, removed or not, with weight 1/6 for those beside it and
    1/12 for those at a corner; at the image's edges, of those that exist. Every mask must keep a pixel.
    """
    masks = removed[:, :, None].to(images)  # [N, M, 1, H, W]
    batches = zip(images.split(SOLVED_TOGETHER), masks.split(SOLVED_TOGETHER), strict=True)
    return torch.cat([_solve(*batch) for batch in batches])


def _solve(images: Tensor, masks: Tensor) -> Tensor:
    """By conjugate gradients, from the mean of the kept pixels: the equations are symmetric and positive definite.

    Each channel stops on its own, so that its result does not depend on what is solved beside it.
    """
    kept = images[:, None] * (1 - masks)
    kept_mean = kept.sum((3, 4), keepdim=True) / (1 - masks).sum((3, 4), keepdim=True)
    solution = kept + masks * kept_mean
    weights = _sum_neighbours(torch.ones_like(masks))  # of all neighbours together, less at edges
    residual = masks * (_sum_neighbours(solution) - weights * solution)
    direction = residual
    squares = residual.square().sum((3, 4), keepdim=True)
    for _ in range(MAX_ITERATIONS):
        unsolved = residual.abs().amax((3, 4), keepdim=True) > MAX_RESIDUAL
        if not unsolved.any():
            break
        product = (weights * direction).sub_(_sum_neighbours(direction)).mul_(masks)
        step = torch.where(unsolved, squares / (direction * product).sum((3, 4), keepdim=True), 0)
        solution = solution + step * direction
        residual = residual - step * product
        previous_squares = squares
        squares = residual.square().sum((3, 4), keepdim=True)
        direction = torch.where(unsolved, residual + squares / previous_squares * direction, direction)
    return solution


def _sum_neighbours(values: Tensor) -> Tensor:
    """Weighted sum of the pixels around each of [..., H, W]: 1/6 beside it, 1/12 at a corner, none beyond the edges.

    It contains a third of the pixel itself, so that it is two sums by [1, 2, 1]; both sides of the equations have it.
    """
    down = 2 * values
    down[..., 1:, :] += values[..., :-1, :]
    down[..., :-1, :] += values[..., 1:, :]
    across = 2 * down
    across[..., 1:] += down[..., :-1]
    across[..., :-1] += down[..., 1:]
    return across.div_(12)
