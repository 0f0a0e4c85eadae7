"""The seam to private names of torch, so that a version without one fails here, by name."""

import pytest
from torch import nn

from xai.faithfulness.randomization import NORMALISATIONS
from xai.torch_private import NormBase

WITH_STATISTICS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LazyBatchNorm2d,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LazyInstanceNorm2d,
)  # fmt: skip


@pytest.mark.parametrize("layer", WITH_STATISTICS, ids=lambda layer: layer.__name__)
def test_norm_base_is_the_base_of_every_batch_and_instance_normalisation(layer: type[nn.Module]) -> None:
    assert issubclass(layer, NormBase)
    assert issubclass(layer, NORMALISATIONS)


@pytest.mark.parametrize("layer", [nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm])
def test_norm_base_is_the_base_of_nothing_else(layer: type[nn.Module]) -> None:
    assert not issubclass(layer, NormBase)
