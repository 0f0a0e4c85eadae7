"""A small residual network for CIFAR-10, width 16: passes that are cheap, so that all beside them is seen."""

from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, rows: Tensor) -> Tensor:
        return self.relu(self.way(rows) + self.skip(rows))


def residual() -> nn.Module:
    """Images [N, 3, 32, 32] to logits [N, 10], by way of 64 maps of 8x8."""
    first = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
