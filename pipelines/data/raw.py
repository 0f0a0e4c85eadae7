"""What a data set's own loader returns, and how many files become one array."""

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

File = tuple[str, bytes | Path]  # name for messages, and the content or where it is
STRETCHED = 1.01  # what whole numbers of pixels alone do to proportions is not worth a note
SIDES = range(8, 1025)  # pixels a side that networks here can take


@dataclass(frozen=True)
class Split:
    """Images of one split; the row number is the instance_id."""

    images: Tensor  # [N, C, H, W], uint8
    labels: Tensor  # [N], int64
    sources: tuple[str, ...]  # where each image lies in the data set
    truth: Tensor | None = None  # [N, 2, 4] boxes (top, left, height, width) of deciding glyph and decoy, planted only

    def rgb(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Images as figures take them, [N, H, W, 3], 0..1; grey ones too."""
        return self.images[rows].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy() / 255

    def rows(self, rows: np.ndarray) -> "Split":
        truth = None if self.truth is None else self.truth[rows]
        return Split(self.images[rows], self.labels[rows], tuple(self.sources[row] for row in rows), truth)

    def part(self, start: int, end: int) -> "Split":
        """The rows from `start` up to `end`, which share their memory with the whole."""
        truth = None if self.truth is None else self.truth[start:end]
        return Split(self.images[start:end], self.labels[start:end], self.sources[start:end], truth)


@dataclass(frozen=True)
class Reading:
    """How image files were read. Recorded with a run, so that what is read later is read alike.

    The defaults are what holds for runs that recorded nothing.
    """

    integers: int = 65535  # level that becomes 255 where whole numbers have over 8 bits
    floats: float = 1.0  # the same of floats
    unreadable: tuple[str, ...] = ()  # sources that were left out

    @property
    def tops(self) -> dict[str, float]:
        """The level that becomes 255, by kind."""
        return {kind: getattr(self, kind) for kind in RANGES}


@dataclass(frozen=True)
class Options:
    """What whoever loads a data set may decide."""

    size: int | None = None  # pixels a side
    skip_unreadable: bool = False  # else an image that cannot be read is an error
    known: Reading | None = None  # how a run read the same files


@dataclass(frozen=True)
class Decoded:
    """Files that became one array."""

    images: Tensor  # [N, C, H, W], uint8
    rows: np.ndarray  # [N], their places among the files given
    notes: tuple[str, ...]  # what was converted and left out
    reading: Reading  # with unreadable as the loader is to fill it


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

    Grey files stay grey only if all are. All images take `size` x `size` pixels, by default the most common size of
    the files. Raises InputError naming the files that cannot be read.
    """
    headers, faults = {}, {}
    for row, (name, content) in enumerate(files):
        try:
            headers[row] = read_header(name, content)
        except Unreadable as fault:
            faults[row] = fault
    if not headers:
        raise _refusal(list(faults.values()), len(files), options)
    common = Counter(header.size for header in headers.values()).most_common(1)[0][0]
    if not options.size and not all(side in SIDES for side in common):
        raise InputError(
            f"most images have {common[0]}x{common[1]} pixels, too {'few' if min(common) < SIDES[0] else 'many'} "
            f"to train on; give --size, {SIDES[0]} to {SIDES[-1]}"
        )
    shape = (options.size, options.size) if options.size else common
    mode = "L" if all(header.grey for header in headers.values()) else "RGB"
    reading = options.known or _choose_reading(headers.values())
    return fill(files, len(files), shape, mode, reading, options, faults)


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

    Files are read one by one, so that little but the result is ever in memory.
    """
    images = _room((count, 1 if mode == "L" else 3, *size[::-1]))
    faults, stretches = dict(faults or {}), []
    rows: list[int] = []
    converted: Counter[str] = Counter()
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
        converted.update(pixels.remarks)
        stretches.append(pixels.stretch)
    found = [faults[row] for row in sorted(faults)]
    if found and (not options.skip_unreadable or not rows):
        raise _refusal(found, count, options)
    notes = [f"{many} of {count} images {remark}" for remark, many in converted.items()]
    if many := sum(stretch > STRETCHED for stretch in stretches):
        notes.append(f"{many} of {count} images stretched out of proportion, by up to {max(stretches):.2f} times")
    if found:
        notes.append(f"{len(found)} of {count} images cannot be read and are left out: {_reasons(found)}")
    return Decoded(torch.from_numpy(images[: len(rows)]), np.array(rows, dtype=np.int64), tuple(notes), reading)


def _choose_reading(headers: Iterable[Header]) -> Reading:
    """The smallest range of each kind that holds the levels of all images."""
    largest: dict[str, float] = {}
    for header in headers:
        if header.kind:
            largest[header.kind] = max(header.largest, largest.get(header.kind, 0))
    ranges: dict[str, Any] = {kind: choose_range(kind, level) for kind, level in largest.items()}
    return Reading(**ranges)


def _refusal(faults: list[Unreadable], count: int, options: Options) -> InputError:
    """One line for all images that cannot be read."""
    if len(faults) == 1:
        what, them = f"image {_reasons(faults)}", "it"
    else:
        what, them = f"{len(faults)} of {count} images: {_reasons(faults)}", "them"
    if options.known:
        return InputError(f"cannot read {what}; restore {them}, for the run was made with {them}")
    return InputError(f"cannot read {what}; mend or remove {them}, or go on without {them} by --skip-unreadable")


def _reasons(faults: list[Unreadable]) -> str:
    return format_names(f"{fault.name}: {fault.reason}" for fault in faults)


def _room(shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty(shape, dtype=np.uint8)
    except MemoryError:
        needed = f"{np.prod(shape, dtype=float) / 1e9:.1f} GB"
        raise InputError(f"{shape[0]} images of {shape[3]}x{shape[2]} need {needed}; give a smaller --size") from None
