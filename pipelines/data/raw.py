"""What the loader of each data set takes and returns."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pipelines.data.file_stamps import FileStamps
from pipelines.data.pixels import LEVEL_RANGES
from pipelines.data.stored_images import Images, ImageWriter, select_images

CONTENT_DIGITS = 16  # of a pixel digest, in table `instances`
READ_AT_ONCE = 256  # images, where all are gone through


@dataclass(frozen=True)
class Split:
    """Images of one split; the row number is the instance_id."""

    images: Images  # [N, C, H, W], uint8
    labels: Tensor  # [N], int64
    sources: tuple[str, ...]  # where each image lies in the data set
    truth: Tensor | None = None  # [N, B, 4] boxes (top, left, height, width) of what decides, then the decoy; planted
    contents: tuple[str, ...] | None = None  # the sha256 of each image's pixels, where they are known

    def rgb(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Images as figures take them, [N, H, W, 3] in 0..1, grey images included."""
        return self.images[rows].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy() / 255

    def rows(self, rows: np.ndarray) -> "Split":
        """The given rows; a copy, but of images that lie in a file."""
        return Split(
            images=select_images(self.images, rows),
            labels=self.labels[rows],
            sources=tuple(self.sources[row] for row in rows),
            truth=None if self.truth is None else self.truth[rows],
            contents=None if self.contents is None else tuple(self.contents[row] for row in rows),
        )

    def part(self, start: int, end: int) -> "Split":
        """The rows from `start` up to `end`; they share the memory of this split."""
        part = slice(start, end)
        return Split(
            images=select_images(self.images, part),
            labels=self.labels[part],
            sources=self.sources[part],
            truth=None if self.truth is None else self.truth[part],
            contents=None if self.contents is None else self.contents[part],
        )

    def pixel_digests(self) -> tuple[str, ...]:
        """The sha256 of each image's pixels, which tells the same picture."""
        if self.contents is not None:
            return self.contents
        return tuple(
            hashlib.sha256(image.contiguous().numpy()).hexdigest()
            for images in self.images.split(READ_AT_ONCE)
            for image in images
        )


@dataclass(frozen=True)
class Reading:
    """How image files were read. Recorded with a run, so that later images are read in the same way.

    The defaults hold for runs that recorded nothing.
    """

    integers: int = 65535  # level that becomes 255 in images of integers with over 8 bits
    floats: float = 1.0  # level that becomes 255 in images of floats
    unreadable: tuple[str, ...] = ()  # sources that were left out

    @property
    def top_levels(self) -> dict[str, float]:
        """The level that becomes 255, by kind."""
        return {kind: getattr(self, kind) for kind in LEVEL_RANGES}


@dataclass(frozen=True)
class LoadOptions:
    """How a data set is to be loaded."""

    size: int | None = None  # side length in pixels
    skip_unreadable: bool = False  # otherwise an unreadable image is an error
    recorded_reading: Reading | None = None  # how a run read the same files
    test_fraction: float | None = None  # of images held out for testing, where the data set has no test images
    image_column: str | None = None  # names of a table's columns; otherwise they are found
    label_column: str | None = None
    split_column: str | None = None
    folder: Path | None = None  # where decoded images are kept; None: in files that go when this process ends

    def open_writer(self, shape: tuple[int, ...] = ()) -> ImageWriter:
        """What decoded images are written to; in the folder, if there is one. `shape` is by default the first one's."""
        if self.folder is None:
            return ImageWriter(None, shape)
        number = len(list(self.folder.glob("images_*.npy")))
        return ImageWriter(self.folder / f"images_{number}.npy", shape)

    @property
    def left_out(self) -> frozenset[str]:
        """Sources of the images that the run left out: they stay out, readable or not."""
        return frozenset(self.recorded_reading.unreadable if self.recorded_reading else ())


@dataclass(frozen=True)
class RawDataset:
    """Classes and images as the source has them."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    flips: bool  # whether a mirrored image keeps its class
    shrinks: bool  # whether an image of half the side still shows its class
    notes: tuple[str, ...] = ()  # what was converted on the way in, or left out
    reading: Reading = Reading()
    val: Split | None = None  # None: to be split off the training images; of no images: there is none, nor shall be
    files: FileStamps | None = None  # the state of all files it was read from; None: not known
    folder: Path | None = None  # of the home's store that it lies in

    @property
    def parts(self) -> dict[str, Split]:
        """What the source has, by the name of the split, in the order of all tables."""
        return {"train": self.train} | ({} if self.val is None else {"val": self.val}) | {"test": self.test}
