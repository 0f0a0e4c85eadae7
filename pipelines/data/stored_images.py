"""Images in a file, of which only those that are asked for are ever in memory."""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, overload

import numpy as np
import torch
from torch import Tensor

from pipelines.data.names import format_name
from tracking.errors import InputError

RELEASE_BYTES = 2**25  # read from a file, after which its pages leave this process; the system keeps them at hand

Rows = Sequence[int] | np.ndarray | Tensor | slice


class StoredImages:
    """Images [N, C, H, W], uint8, in a file: `images[rows]` reads some of them, as a tensor does, and `split` all."""

    def __init__(self, file: "ImageFile", rows: np.ndarray) -> None:
        self.file = file
        self.rows = rows  # [N], int64, of the file

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.file.shape

    def __iter__(self) -> Iterator[Tensor]:
        return (self[row] for row in range(len(self.rows)))

    def __getitem__(self, rows: int | Rows) -> Tensor:
        """A copy of one image [C, H, W], or of several [B, C, H, W]."""
        return torch.from_numpy(self.file.read(self.rows[rows]))

    def split(self, count: int) -> Iterator[Tensor]:
        """All images in order, `count` at a time."""
        for start in range(0, len(self.rows), count):
            yield self[start : start + count]

    def select(self, rows: Rows) -> "StoredImages":
        """Some of the images, of which none is read yet."""
        return StoredImages(self.file, self.rows[rows])


class JoinedImages:
    """Images of two places as one [N, C, H, W], the `more` images [M, C, H, W] after the others."""

    def __init__(self, images: "Tensor | StoredImages | JoinedImages", more: Tensor) -> None:
        self.images = images
        self.more = more

    def __len__(self) -> int:
        return len(self.images) + len(self.more)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.more.shape[1:]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """A copy of the images `rows` [B], [B, C, H, W]."""
        is_more = rows >= len(self.images)
        found = torch.empty(len(rows), *self.shape[1:], dtype=torch.uint8)
        found[~is_more] = self.images[rows[~is_more]]
        found[is_more] = self.more[rows[is_more] - len(self.images)]
        return found


Images = Tensor | StoredImages


@overload
def select_images(images: Tensor, rows: Rows) -> Tensor: ...
@overload
def select_images(images: StoredImages, rows: Rows) -> StoredImages: ...
def select_images(images: Images, rows: Rows) -> Images:
    """Some of the images, which stay where they are: in a file or in memory."""
    return images.select(rows) if isinstance(images, StoredImages) else images[rows]


class ImageFile:
    """A file of numpy's .npy format with images [N, C, H, W], uint8, read through the system's page cache."""

    def __init__(self, opened: BinaryIO, path: Path | None) -> None:
        """Raises ValueError if the file holds something else."""
        self.path = path  # None: it has no name, and goes when this process ends
        version = np.lib.format.read_magic(opened)
        if version != (1, 0):
            raise ValueError(f"it is of version {version}")
        (count, *shape), is_fortran, kind = np.lib.format.read_array_header_1_0(opened)
        if len(shape) != 3 or is_fortran or kind != np.uint8:
            raise ValueError(f"it holds an array of {(count, *shape)}, {kind}")
        self.count, self.shape = count, tuple(shape)
        needed = opened.tell() + count * math.prod(shape)
        if os.fstat(opened.fileno()).st_size < needed:
            raise ValueError(f"it has fewer than {needed:,} bytes")
        self._mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._pixels: np.ndarray = np.ndarray((count, *shape), np.uint8, self._mapping, opened.tell())
        self._bytes_read = 0

    @classmethod
    def open(cls, path: Path) -> "ImageFile":
        """Raises OSError and ValueError."""
        with path.open("rb") as opened:
            return cls(opened, path)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the images, [..., C, H, W]."""
        pixels = np.array(self._pixels[rows])
        self._bytes_read += pixels.nbytes
        if self._bytes_read > RELEASE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            # they would count as memory of this process until the system runs short of it
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._bytes_read = 0
        return pixels

    def all_images(self) -> StoredImages:
        return StoredImages(self, np.arange(self.count))


class ImageWriter:
    """Writes images one by one into a file, in a `with` block; all have one shape, but colour may follow grey."""

    def __init__(self, place: Path | None, shape: tuple[int, ...] = ()) -> None:
        """`place` is the file to make; None: one without a name, which goes when this process ends."""
        self.place = place
        self.count = 0
        self.shape = shape  # of each image; by default that of the first
        self._opened: BinaryIO = tempfile.TemporaryFile() if place is None else place.open("w+b")  # noqa: SIM115

    def __enter__(self) -> "ImageWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError) if error else nullcontext():  # closing writes again what did not fit onto the disk
            self._opened.close()

    def append(self, pixels: np.ndarray) -> None:
        """Add an image [C, H, W], uint8; one of 3 channels gives 3 to the grey ones before it, and gets them after it.

        Raises InputError if the disk is full.
        """
        self.shape = self.shape or pixels.shape
        if self.count == 0:
            self._write_header()
        if len(pixels) > self.shape[0]:
            self._repeat_grey(len(pixels))
        elif len(pixels) < self.shape[0]:
            pixels = np.repeat(pixels, self.shape[0], axis=0)
        if pixels.shape != self.shape:
            raise ValueError(f"an image of {pixels.shape} among those of {self.shape}")
        self._write(np.ascontiguousarray(pixels).tobytes())
        self.count += 1

    def finish(self) -> StoredImages:
        """All images, in order. Raises InputError if the disk is full."""
        end = self._opened.tell()
        self._write_header()  # the number of images is known now
        with full_disk_reported(self._folder):
            self._opened.flush()
        self._opened.seek(0)
        images = ImageFile(self._opened, self.place).all_images()
        self._opened.seek(end)
        return images

    def _write_header(self) -> None:
        """At the start of the file; numpy leaves room in it for any number of images."""
        with full_disk_reported(self._folder):  # seeking writes what is held back
            self._opened.seek(0)
            np.lib.format.write_array_header_1_0(
                self._opened, {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
            )
        self._start = self._opened.tell()

    def _repeat_grey(self, channels: int) -> None:
        """Give grey images `channels` equal channels, from the last one on, as they move towards the end."""
        size = math.prod(self.shape)
        for row in reversed(range(self.count)):
            self._opened.seek(self._start + row * size)
            grey = self._opened.read(size)
            self._opened.seek(self._start + row * size * channels)
            self._write(grey * channels)
        self._opened.seek(self._start + self.count * size * channels)
        self.shape = (channels, *self.shape[1:])

    def _write(self, content: bytes) -> None:
        with full_disk_reported(self._folder):
            self._opened.write(content)

    @property
    def _folder(self) -> Path:
        return self.place.parent if self.place else Path(tempfile.gettempdir())


@contextmanager
def full_disk_reported(folder: Path) -> Iterator[None]:
    """Raises InputError if pictures cannot be written to the folder."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the pictures cannot be kept in {format_name(folder)} ({error.strerror}); make room, or give a smaller "
            "--size"
        ) from None
