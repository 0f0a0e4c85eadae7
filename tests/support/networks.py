"""Small networks with what trips methods up, and images for them."""

import os

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


class Double(nn.Module):
    """A network in float64, whose roundings do not show in float32: with layers that look at a batch, or draw."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.features = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * (height - 2) * (width - 2), num_classes))
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images.double())
        if self.training:  # stochastic depth
            features = features * features.new_empty(len(features), 1, 1, 1).bernoulli_(0.9)
        return self.head(features).float()


class Attending(nn.Module):
    """A network with dropout inside attention."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = images[:, 0, :8, :8]  # [N, 8, 8]
        return self.head(self.attention(rows, rows, rows)[0].mean(1))


def double(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return Double(num_classes, image_shape)


def attending(num_classes: int) -> nn.Module:
    return Attending(num_classes)


def not_in_rank_1(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """A factory that fails in one of several processes."""
    if os.environ.get("RANK") == "1":
        raise FileNotFoundError("no weights on this machine")
    return flat(num_classes, image_shape)
