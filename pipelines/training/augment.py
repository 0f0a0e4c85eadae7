"""Augmentation of training batches: random shifts and horizontal flips."""

import numpy as np
import torch
from torch import Tensor

from pipelines.data.stored_images import Images, JoinedImages


def crop_images(
    images: Images | JoinedImages,
    rows: Tensor,
    shift: int,
    flipped: Tensor | None,
    random: torch.Generator,
    share: slice = slice(None),
) -> Tensor:
    """The images `rows` of [N, C, H, W], shifted at random and mirrored where `flipped` [B]: [B, C, H, W], uint8.

    What comes into sight at an edge is reflected. Only these images are read, and no padded copy of any is made. Of a
    batch that several processes share, each gets its `share`, with the shifts that one process would draw.
    """
    channels, height, width = images.shape[1:]
    offsets = torch.randint(0, 2 * shift + 1, (2, len(rows), 1), generator=random)[:, share]
    tops, lefts = offsets.flatten(1).tolist()
    rows = rows[share]
    mirrored = [False] * len(rows) if flipped is None else flipped[share].tolist()
    seen_rows = _reflected_positions(height, shift)
    seen_columns = _reflected_positions(width, shift)
    pixels = images[rows].numpy()
    cropped = np.empty((len(rows), channels, height, width), np.uint8)
    for place in range(len(rows)):
        ys = seen_rows[tops[place] : tops[place] + height]
        xs = seen_columns[lefts[place] : lefts[place] + width]
        # of lines first, which lie together in memory
        cropped[place] = pixels[place].take(ys, axis=1).take(xs[::-1] if mirrored[place] else xs, axis=2)
    # channels last, those of grey images too, as convolutions choose by the strides
    channels_last = torch.empty(len(rows), height, width, channels, dtype=torch.uint8)
    return channels_last.copy_(torch.from_numpy(cropped).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _reflected_positions(side: int, shift: int) -> np.ndarray:
    """The pixel of 0..side - 1 that is seen at each of -shift..side + shift - 1, [side + 2 shift]."""
    positions = np.abs(np.arange(-shift, side + shift))
    last = side - 1
    return last - np.abs(last - positions)


def choose_flips(count: int, seed: int, epoch: int) -> Tensor:
    """Which images are mirrored in an epoch, [N]: a random half in the first, then alternating from epoch to epoch.

    Two epochs thus show both views of every image; independent draws would miss a quarter (Jordan 2024, 2404.00498).
    """
    random = torch.Generator().manual_seed(seed)
    flipped_in_odd_epochs = torch.rand(count, generator=random) < 0.5
    return flipped_in_odd_epochs if epoch % 2 else ~flipped_in_odd_epochs
