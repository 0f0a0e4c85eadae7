"""Clusters of maps: found where there are some, one where there are none, whatever the maps' scale."""

import pytest
import torch
from torch import Tensor

from xai.map_clusters import MIN_MAPS, cluster_maps


def blobs(count: int, row: float, column: float, seed: int = 0) -> Tensor:
    """8x8 maps [N, 64] with a blob at one place, and noise."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    blob = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2).flatten()
    return blob + 0.1 * torch.rand(count, 64, generator=generator)


@pytest.mark.parametrize("sizes", [(30, 20), (60, 6), (25, 15, 12)])
def test_maps_of_one_place_are_a_cluster_the_largest_first(sizes: tuple[int, ...]) -> None:
    places = [(4, 3), (0, 7), (7, 0)]
    maps = torch.cat([blobs(size, *place, seed) for seed, (size, place) in enumerate(zip(sizes, places, strict=False))])
    expected = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(len(maps), generator=torch.Generator().manual_seed(1))
    assert torch.equal(cluster_maps(maps[order]), expected[order])
    assert torch.equal(cluster_maps(-7 * maps[order] * torch.linspace(1, 9, len(maps))[:, None]), expected[order])


@pytest.mark.parametrize("count", [MIN_MAPS, 60, 200])
def test_maps_without_groups_are_one_cluster(count: int) -> None:
    noise = torch.rand(count, 64, generator=torch.Generator().manual_seed(count))
    for maps in (blobs(count, 2, 3), noise, torch.eye(64)[5].expand(count, 64)):
        assert cluster_maps(maps).max() == 0


def test_few_maps_are_one_cluster_and_none_are_none() -> None:
    two = torch.cat([blobs(9, 0, 0), blobs(9, 7, 7)])
    assert cluster_maps(two).tolist() == [0] * 18
    assert cluster_maps(torch.empty(0, 64)).tolist() == []
