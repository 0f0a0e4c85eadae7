"""Small networks with what trips methods up, and images for them."""

import numpy as np
import torch
from torch import Tensor, nn


def awkward(seed: int = 0) -> nn.Module:
    """A tiny model with what trips methods up: flatten head, biases, batch norm, dropout, two input channels."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(3 * 3 * 2, 4),
    )  # fmt: skip
    model(torch.rand(64, 2, 6, 5))  # running statistics away from their start
    return model


def images(count: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 2, 6, 5, generator=generator), torch.arange(count) % 4


class Pooled(nn.Module):
    """Features, global average pooling and a linear layer, in a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.classify = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images).mean((2, 3)))


def flat(num_classes: int, image_shape: tuple[int, int, int]) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(image_shape)), num_classes))


def without_places(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """A factory of a model without a layer that keeps places."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(image_shape)), num_classes))
