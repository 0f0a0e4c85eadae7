"""How alike two maps of the same image are."""

import torch
from torch import Tensor


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Rank correlation of each row of two [N, P], -1..1; equal values share their mean rank: [N].

    NaN where one of both is the same everywhere.
    """
    one, other = _centred_ranks(first), _centred_ranks(second)
    return ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).clamp(-1, 1)


def map_similarity(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Spearman of the magnitudes of two maps [N, H, W] of each image, and of the signed values: [N] each."""
    one, other = maps.flatten(1), others.flatten(1)
    return spearman(one.abs(), other.abs()), spearman(one, other)


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks of each row of [N, P] minus their mean: a row of equal values has exactly 0 everywhere."""
    values = values.contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    until = torch.searchsorted(ordered, values, right=True)
    mean = (below + until - 1).float() / 2  # of the places equal values take
    return mean - (values.shape[1] - 1) / 2
