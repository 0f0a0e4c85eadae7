"""What a training computes on: bfloat16 where its results are right."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pipelines.models.hardware import autocast
from support.homes import TINY


def fill_free_memory(value: float) -> None:
    """What is allocated next, and not written, holds the value."""
    blocks = [torch.full((2**power,), value) for power in range(4, 20) for _ in range(3)]
    del blocks


@pytest.mark.parametrize(
    ("width", "kernel", "stride"), [(1, 3, 2), (1, 3, 3), (2, 3, 3), (1, 5, 2), (2, 3, 2), (3, 3, 1)]
)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d])
def test_gradients_in_bfloat16_are_those_of_float32_on_the_smallest_maps(
    kind: type[nn.Module], width: int, kernel: int, stride: int
) -> None:
    torch.manual_seed(0)
    layer = kind(16, 48, kernel, stride=stride, padding=kernel // 2)
    maps = torch.randn(4, 16, *[width] * (layer.weight.ndim - 2))
    gradients = {}
    for precision in ("float32", "bfloat16"):
        with autocast(replace(TINY, precision=precision, device="cpu")):
            output = layer(maps)
        fill_free_memory(1e30)
        gradients[precision] = torch.autograd.grad(output.float().square().sum(), layer.weight)[0]
    expected = gradients["float32"]
    torch.testing.assert_close(gradients["bfloat16"], expected, rtol=0, atol=0.05 * expected.abs().max().item())


def test_convolutions_of_wider_maps_are_in_bfloat16() -> None:
    with autocast(replace(TINY, precision="bfloat16", device="cpu")):
        assert nn.Conv2d(3, 4, 3, stride=2)(torch.ones(1, 3, 8, 8)).dtype is torch.bfloat16
        assert nn.functional.conv2d(torch.ones(1, 3, 1, 1), torch.ones(4, 3, 1, 1), stride=2).dtype is torch.float32
    assert nn.Conv2d(3, 4, 3)(torch.ones(1, 3, 8, 8)).dtype is torch.float32
