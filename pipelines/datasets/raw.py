"""What a data set's own loader returns, and how many files become one array."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.datasets.pixels import read_header, read_pixels
from tracking.errors import InputError

File = tuple[str, bytes | Path]  # name for messages, and the content or where it is
SIDES = range(8, 1025)  # pixels a side that networks here can take


@dataclass(frozen=True)
class Split:
    """Images of one split; the row number is the instance_id."""

    images: Tensor  # [N, C, H, W], uint8
    labels: Tensor  # [N], int64
    sources: tuple[str, ...]  # where each image lies in the data set
    truth: Tensor | None = None  # [N, 2, 4] boxes (top, left, height, width) of deciding glyph and decoy, planted only

    def rgb(self, rows: Sequence[int]) -> np.ndarray:
        """Images as figures take them, [N, H, W, 3], 0..1; grey ones too."""
        return self.images[rows].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy() / 255

    def rows(self, rows: np.ndarray) -> "Split":
        truth = None if self.truth is None else self.truth[rows]
        return Split(self.images[rows], self.labels[rows], tuple(self.sources[row] for row in rows), truth)


@dataclass(frozen=True)
class Raw:
    """Classes, training and test images as the source has them."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    flips: bool  # whether a mirrored image keeps its class
    shrinks: bool  # whether an image of half the side still shows its class
    notes: tuple[str, ...] = ()


def decode(files: Iterable[File], size: int | None = None) -> tuple[Tensor, tuple[str, ...]]:
    """Images [N, C, H, W], uint8, and notes on what was converted, from (name, content or path).

    Grey files stay grey only if all are. All images take `size` x `size` pixels, by default the most common size of
    the files. Raises InputError naming the file that cannot be read.
    """
    files = list(files)
    if not files:
        raise InputError("the data has no images")
    headers = [read_header(*file) for file in files]
    common = Counter(shape for shape, _ in headers).most_common(1)[0][0]
    if not size and not all(side in SIDES for side in common):
        raise InputError(
            f"most images have {common[0]}x{common[1]} pixels, too {'few' if min(common) < SIDES[0] else 'many'} "
            f"to train on; give --size, {SIDES[0]} to {SIDES[-1]}"
        )
    return fill(files, len(files), (size, size) if size else common, "L" if all(grey for _, grey in headers) else "RGB")


def fill(files: Iterable[File], count: int, size: tuple[int, int], mode: str) -> tuple[Tensor, tuple[str, ...]]:
    """`count` images [N, C, H, W], uint8, of (width, height) `size` and `mode` L or RGB, and notes as from `decode`.

    Files are read one by one, so that little but the result is ever in memory.
    """
    images = _room((count, 1 if mode == "L" else 3, *size[::-1]))
    converted = Counter()
    for row, (name, content) in enumerate(files):
        images[row], remarks = read_pixels(name, content, size, mode)
        converted.update(remarks)
    return torch.from_numpy(images), tuple(f"{many} of {count} images {remark}" for remark, many in converted.items())


def _room(shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty(shape, dtype=np.uint8)
    except MemoryError:
        needed = f"{np.prod(shape, dtype=float) / 1e9:.1f} GB"
        raise InputError(f"{shape[0]} images of {shape[3]}x{shape[2]} need {needed}; give a smaller --size") from None
