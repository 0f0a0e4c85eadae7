"""Augmentation of training batches: mirrored and shifted images."""

import torch
from torch import Tensor

CHUNK = 256  # images padded together


def pad_images(images: Tensor, shift: int) -> Tensor:
    """Images [N, C, H, W] with `shift` mirrored pixels around them, stored channels-last for fast cutting."""
    ys, xs = (_reflect(torch.arange(-shift, side + shift), side) for side in images.shape[2:])
    padded = images.new_empty(len(images), len(ys), len(xs), images.shape[1])
    for part, place in zip(images.split(CHUNK), padded.split(CHUNK), strict=True):  # which bounds what is copied twice
        place.copy_(part[:, :, ys][..., xs].permute(0, 2, 3, 1))
    return padded  # [N, H + 2 shift, W + 2 shift, C]


def _reflect(places: Tensor, side: int) -> Tensor:
    """Places in 0..side - 1 of those up to side - 1 beyond either end, which mirror the pixels."""
    return (side - 1) - ((side - 1) - places.abs()).abs()


def crop_images(padded: Tensor, rows: Tensor, shift: int, mirrored: Tensor | None, random: torch.Generator) -> Tensor:
    """The images `rows` at a random place each, those mirrored [B] (None: no one) mirrored: [B, C, H, W], uint8."""
    count, (height, width) = len(rows), (side - 2 * shift for side in padded.shape[1:3])
    down, right = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=random)
    ys = torch.arange(height) + down  # [B, H]
    xs = torch.arange(width) + right  # [B, W]
    if mirrored is not None:
        xs = torch.where(mirrored[:, None], xs.flip(1), xs)
    return padded[rows[:, None, None], ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)


def choose_flips(count: int, seed: int, epoch: int) -> Tensor:
    """Which images an epoch mirrors, [N]: a random half first, then every image the other way at each epoch.

    Two epochs so show all there is to see; drawn anew, a quarter of it would be missed (Jordan 2024, 2404.00498).
    """
    return (torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5) ^ (epoch % 2 == 0)
