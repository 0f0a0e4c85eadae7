"""How similar two maps of the same image are."""

import torch
from torch import Tensor


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Rank correlation of each row of two [N, P], -1..1; equal values share their mean rank: [N].

    NaN where either row is constant.
    """
    first_ranks = _centred_ranks(first)
    second_ranks = _centred_ranks(second)
    norms = first_ranks.norm(dim=1) * second_ranks.norm(dim=1)
    return ((first_ranks * second_ranks).sum(1) / norms).clamp(-1, 1)


def map_similarity(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Spearman of the magnitudes of two maps [N, H, W] per image, and of the signed values: [N] each."""
    first, second = maps.flatten(1), others.flatten(1)
    return spearman(first.abs(), second.abs()), spearman(first, second)


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks of each row of [N, P] minus their mean: exactly 0 throughout a row of equal values."""
    values = values.contiguous()
    ordered = values.sort(1).values
    lower = torch.searchsorted(ordered, values)
    lower_or_equal = torch.searchsorted(ordered, values, right=True)
    mean_rank = (lower + lower_or_equal - 1).float() / 2  # of the ranks that equal values take
    return mean_rank - (values.shape[1] - 1) / 2
