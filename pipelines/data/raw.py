"""What the loader of each data set returns, and how image files become one array."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.data.names import format_names
from pipelines.data.pixels import RANGES, Header, Unreadable, choose_range, read_header, read_pixels
from tracking.errors import InputError

File = tuple[str, bytes | Path]  # name for messages; content or path
STRETCH_TO_NOTE = 1.01  # rounding to whole pixels stretches images by less
SIDES = range(8, 1025)  # side lengths in pixels that the networks take


@dataclass(frozen=True)
class Split:
    """Images of one split; the row number is the instance_id."""

    images: Tensor  # [N, C, H, W], uint8
    labels: Tensor  # [N], int64
    sources: tuple[str, ...]  # where each image lies in the data set
    truth: Tensor | None = None  # [N, 2, 4] boxes (top, left, height, width) of deciding glyph and decoy, planted only

    def rgb(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Images as figures take them, [N, H, W, 3] in 0..1, grey images included."""
        return self.images[rows].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy() / 255

    def rows(self, rows: np.ndarray) -> "Split":
        truth = None if self.truth is None else self.truth[rows]
        return Split(self.images[rows], self.labels[rows], tuple(self.sources[row] for row in rows), truth)

    def part(self, start: int, end: int) -> "Split":
        """The rows from `start` up to `end`; they share the memory of this split."""
        truth = None if self.truth is None else self.truth[start:end]
        return Split(self.images[start:end], self.labels[start:end], self.sources[start:end], truth)


@dataclass(frozen=True)
class Reading:
    """How image files were read. Recorded with a run, so that later images are read in the same way.

    The defaults hold for runs that recorded nothing.
    """

    integers: int = 65535  # level that becomes 255 in images of integers with over 8 bits
    floats: float = 1.0  # level that becomes 255 in images of floats
    unreadable: tuple[str, ...] = ()  # sources that were left out

    @property
    def tops(self) -> dict[str, float]:
        """The level that becomes 255, by kind."""
        return {kind: getattr(self, kind) for kind in RANGES}


@dataclass(frozen=True)
class Options:
    """How a data set is to be loaded."""

    size: int | None = None  # side length in pixels
    skip_unreadable: bool = False  # otherwise an unreadable image is an error
    recorded_reading: Reading | None = None  # how a run read the same files


@dataclass(frozen=True)
class Decoded:
    """Files that became one array."""

    images: Tensor  # [N, C, H, W], uint8
    rows: np.ndarray  # [N], their positions among the files
    notes: tuple[str, ...]  # what was converted or left out
    reading: Reading  # without `unreadable`, which the loader fills in


@dataclass(frozen=True)
class Raw:
    """Classes, training and test images as the source has them."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    flips: bool  # whether a mirrored image keeps its class
    shrinks: bool  # whether an image of half the side still shows its class
    notes: tuple[str, ...] = ()
    reading: Reading = Reading()


def decode(files: Sequence[File], options: Options) -> Decoded:
    """All files in one shape, from (name, content or path).

    The images are grey only if all files are. They take `size` x `size` pixels, by default the most common size of the
    files. Raises InputError naming the files that cannot be read.
    """
    headers = {}
    faults = {}
    for row, (name, content) in enumerate(files):
        try:
            headers[row] = read_header(name, content)
        except Unreadable as fault:
            faults[row] = fault
    if not headers:
        raise _unreadable_error(list(faults.values()), len(files), options)
    sizes = Counter(header.size for header in headers.values())
    size, _ = sizes.most_common(1)[0]
    if options.size:
        size = (options.size, options.size)
    elif not all(side in SIDES for side in size):
        problem = "few" if min(size) < SIDES[0] else "many"
        raise InputError(
            f"most images have {size[0]}x{size[1]} pixels, too {problem} to train on; give --size, {SIDES[0]} to "
            f"{SIDES[-1]}"
        )
    mode = "L" if all(header.grey for header in headers.values()) else "RGB"
    reading = options.recorded_reading or _choose_reading(headers.values())
    return fill(files, len(files), size, mode, reading, options, faults)


def fill(
    files: Iterable[File],
    count: int,
    size: tuple[int, int],
    mode: str,
    reading: Reading,
    options: Options,
    faults: dict[int, Unreadable] | None = None,
) -> Decoded:
    """`count` images of (width, height) `size` and `mode` L or RGB; `faults` are rows known to be unreadable.

    Files are read one by one, so that little besides the result is ever in memory.
    """
    width, height = size
    images = _allocate_images((count, 1 if mode == "L" else 3, height, width))
    faults = dict(faults or {})
    rows: list[int] = []
    stretches: list[float] = []
    conversions: Counter[str] = Counter()
    for row, (name, content) in enumerate(files):
        if row in faults:
            continue
        try:
            pixels = read_pixels(name, content, size, mode, reading.tops)
        except Unreadable as fault:
            faults[row] = fault
            continue
        images[len(rows)] = pixels.array
        rows.append(row)
        conversions.update(pixels.remarks)
        stretches.append(pixels.stretch)

    sorted_faults = [faults[row] for row in sorted(faults)]
    if sorted_faults and (not options.skip_unreadable or not rows):
        raise _unreadable_error(sorted_faults, count, options)
    notes = [f"{converted_count} of {count} images {remark}" for remark, converted_count in conversions.items()]
    stretched_count = sum(stretch > STRETCH_TO_NOTE for stretch in stretches)
    if stretched_count:
        notes.append(
            f"{stretched_count} of {count} images stretched out of proportion, by up to {max(stretches):.2f} times"
        )
    if sorted_faults:
        notes.append(
            f"{len(sorted_faults)} of {count} images cannot be read and are left out: {_list_faults(sorted_faults)}"
        )
    return Decoded(torch.from_numpy(images[: len(rows)]), np.array(rows, dtype=np.int64), tuple(notes), reading)


def _choose_reading(headers: Iterable[Header]) -> Reading:
    """The smallest range of each kind that holds the levels of all images."""
    largest_levels: dict[str, float] = {}
    for header in headers:
        if header.kind:
            largest_levels[header.kind] = max(header.largest, largest_levels.get(header.kind, 0))
    ranges: dict[str, Any] = {kind: choose_range(kind, level) for kind, level in largest_levels.items()}
    return Reading(**ranges)


def _unreadable_error(faults: list[Unreadable], count: int, options: Options) -> InputError:
    """One line for all images that cannot be read."""
    if len(faults) == 1:
        images = f"image {_list_faults(faults)}"
        them = "it"
    else:
        images = f"{len(faults)} of {count} images: {_list_faults(faults)}"
        them = "them"
    if options.recorded_reading:
        return InputError(f"cannot read {images}; restore {them}, for the run was made with {them}")
    return InputError(f"cannot read {images}; fix or remove {them}, or leave {them} out with --skip-unreadable")


def _list_faults(faults: list[Unreadable]) -> str:
    return format_names(f"{fault.name}: {fault.reason}" for fault in faults)


def _allocate_images(shape: tuple[int, int, int, int]) -> np.ndarray:
    try:
        return np.empty(shape, dtype=np.uint8)
    except MemoryError:
        count, _, height, width = shape
        gigabytes = np.prod(shape, dtype=float) / 1e9
        raise InputError(f"{count} images of {width}x{height} need {gigabytes:.1f} GB; give a smaller --size") from None
