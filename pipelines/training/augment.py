"""Augmentation of training batches: random shifts and horizontal flips."""

import torch
from torch import Tensor

PADDING_BATCH = 256  # images padded together, which bounds the memory that copies take


def pad_images(images: Tensor, shift: int) -> Tensor:
    """Images [N, C, H, W] padded by reflection, `shift` pixels on each side, stored channels-last for fast cropping."""
    height, width = images.shape[2:]
    rows = _reflected_positions(height, shift)
    columns = _reflected_positions(width, shift)
    padded = images.new_empty(len(images), len(rows), len(columns), images.shape[1])
    for source, target in zip(images.split(PADDING_BATCH), padded.split(PADDING_BATCH), strict=True):
        reflected = source[:, :, rows][..., columns]
        target.copy_(reflected.permute(0, 2, 3, 1))
    return padded  # [N, H + 2 shift, W + 2 shift, C]


def _reflected_positions(side: int, shift: int) -> Tensor:
    """The pixel of 0..side - 1 that is seen at each of -shift..side + shift - 1, [side + 2 shift]."""
    positions = torch.arange(-shift, side + shift).abs()
    last = side - 1
    return last - (last - positions).abs()


def crop_images(padded: Tensor, rows: Tensor, shift: int, flipped: Tensor | None, random: torch.Generator) -> Tensor:
    """The images `rows`, each cropped at a random position and mirrored where `flipped` [B]: [B, C, H, W], uint8."""
    height = padded.shape[1] - 2 * shift
    width = padded.shape[2] - 2 * shift
    offsets = torch.randint(0, 2 * shift + 1, (2, len(rows), 1), generator=random)
    ys = torch.arange(height) + offsets[0]  # [B, H]
    xs = torch.arange(width) + offsets[1]  # [B, W]
    if flipped is not None:
        xs = torch.where(flipped[:, None], xs.flip(1), xs)
    cropped = padded[rows[:, None, None], ys[:, :, None], xs[:, None, :]]  # [B, H, W, C]
    return cropped.permute(0, 3, 1, 2)


def choose_flips(count: int, seed: int, epoch: int) -> Tensor:
    """Which images are mirrored in an epoch, [N]: a random half in the first, then alternating from epoch to epoch.

    Two epochs thus show both views of every image; drawn anew, they would miss a quarter (Jordan 2024, 2404.00498).
    """
    random = torch.Generator().manual_seed(seed)
    flipped_in_odd_epochs = torch.rand(count, generator=random) < 0.5
    return flipped_in_odd_epochs if epoch % 2 else ~flipped_in_odd_epochs
