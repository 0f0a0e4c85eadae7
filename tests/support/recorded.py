"""A small training of the user's own, as those of the README: pictures, a network and an ordinary loop."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from pipelines.recording.recording import Recording

CLASSES = ("left", "right", "none")
COUNTS = {"train": 48, "val": 12, "test": 24}


class Pictures(Dataset):
    """8x8 pictures of a bright half, or none, with noise."""

    def __init__(self, count: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.labels = np.arange(count) % len(CLASSES)
        self.images = generator.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
        self.images[self.labels == 0, :, :4] += 120
        self.images[self.labels == 1, :, 4:] += 120

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[np.ndarray, int]:
        return self.images[position], int(self.labels[position])


def make_net(width: int = 6) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(4 * width, len(CLASSES)),
    )  # fmt: skip


def make_sets() -> dict[str, Pictures]:
    return {name: Pictures(count, seed) for seed, (name, count) in enumerate(COUNTS.items())}


def train_one(run: Recording, net: nn.Module, optimizer: torch.optim.Optimizer, train_set: Pictures) -> None:
    """An epoch of an ordinary loop, with shuffling and dropout."""
    net.train()
    for images, labels, ids in DataLoader(run.with_ids(train_set), batch_size=16, shuffle=True):
        logits = net(images.permute(0, 3, 1, 2).float() / 255)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        run.seen(ids, logits, labels)


def make_vit() -> nn.Module:
    """A network of Hugging Face's, whose output has more than logits."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_channels=1, num_labels=len(CLASSES),
    )  # fmt: skip
    return ViTForImageClassification(config)
