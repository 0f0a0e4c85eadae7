"""What a data set's own loader returns, and how files become images."""

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tracking.errors import InputError


@dataclass(frozen=True)
class Split:
    """Images of one split; the row number is the instance_id."""

    images: Tensor  # [N, C, H, W], uint8
    labels: Tensor  # [N], int64
    sources: tuple[str, ...]  # where each image lies in the data set
    truth: Tensor | None = None  # [N, 2, 4] boxes (top, left, height, width) of deciding glyph and decoy, planted only

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
    notes: tuple[str, ...] = ()


def decode(files: Iterable[tuple[str, bytes | Path]], size: int | None = None) -> tuple[Tensor, tuple[str, ...]]:
    """Images [N, C, H, W], uint8, and notes on what was converted, from (name, content or path).

    Grey files stay grey only if all are. All images take `size` x `size` pixels, by default the most common size of
    the files. Raises InputError naming the file that cannot be read.
    """
    images = [_open(name, content) for name, content in files]
    if not images:
        raise InputError("the data has no images")
    grey = all(image.mode == "L" for image in images)
    sizes = Counter(image.size for image in images)
    wanted = (size, size) if size else sizes.most_common(1)[0][0]
    resized = sum(count for known, count in sizes.items() if known != wanted)
    notes = [f"{resized} of {len(images)} images resized to {wanted[0]}x{wanted[1]}"] if resized else []
    coloured = sum(image.mode == "L" for image in images)
    if coloured and not grey:
        notes.append(f"{coloured} of {len(images)} images were grey and became colour")
    arrays = [_array(image, wanted, "L" if grey else "RGB") for image in images]
    return torch.from_numpy(np.ascontiguousarray(np.stack(arrays))), tuple(notes)


def _open(name: str, content: bytes | Path) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
        image.load()
    except Exception as error:  # Pillow raises whatever its decoders raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read image {name}: {reason}; mend or remove it") from None
    if image.mode in ("F", "I", "I;16"):
        return _from_numbers(name, image)
    return image if image.mode == "L" else image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _from_numbers(name: str, image: Image.Image) -> Image.Image:
    """Grey image of 16-bit levels, or of floats in 0..1."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"image {name} has pixels that are NaN or infinite; mend or remove it")
    top = 1 if image.mode == "F" else 65535
    if values.min() < 0 or values.max() > top:
        raise InputError(f"image {name} has pixels outside 0..{top}; rescale it")
    return Image.fromarray(np.round(values / top * 255).astype(np.uint8))


def _array(image: Image.Image, wanted: tuple[int, int], mode: str) -> np.ndarray:
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != wanted:
        image = image.resize(wanted, Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
