"""Image files become images of one shape."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.common.progress import work
from pipelines.common.wording import plural
from pipelines.data.names import format_names
from pipelines.data.pixels import Header, Unreadable, choose_range, read_header, read_pixels
from pipelines.data.raw import LoadOptions, Reading
from pipelines.data.stored_images import StoredImages
from tracking.errors import InputError

NamedFile = tuple[str, bytes | Path]  # name for messages; content or path
STRETCH_TO_NOTE = 1.01  # rounding to whole pixels stretches images by less
SIDES = range(8, 1025)  # side lengths in pixels that the networks take


@dataclass(frozen=True)
class DecodedImages:
    """The files that were read."""

    images: StoredImages  # [N, C, H, W]
    rows: np.ndarray  # [N], int64, their positions among all files
    sources: tuple[str, ...]  # where each lies in the data set
    notes: tuple[str, ...]  # what was converted or left out
    reading: Reading  # how they were read, and the sources of all others


def decode_images(files: Iterable[NamedFile], sources: Sequence[str], options: LoadOptions) -> DecodedImages:
    """All files, which are read twice, in one shape; `sources` says where each lies in the data set.

    The images are grey only if all files are. They take `options.size` pixels a side, by default the most common size
    of the files. Raises InputError naming the files that cannot be read.
    """
    headers: dict[int, Header] = {}
    faults: dict[int, Unreadable] = {}
    with work("reading sizes of pictures", len(sources), "images") as reading_headers:
        for row, (name, content) in enumerate(files):
            reading_headers.advance()
            if sources[row] in options.left_out:
                continue
            try:
                headers[row] = read_header(name, content)
            except Unreadable as fault:
                faults[row] = fault
    if not headers:
        raise _make_unreadable_error(list(faults.values()), len(faults), options)

    sizes = Counter(header.size for header in headers.values())
    (width, height), _ = sizes.most_common(1)[0]
    if options.size:
        width = height = options.size
    elif width not in SIDES or height not in SIDES:
        problem = "few" if min(width, height) < SIDES[0] else "many"
        raise InputError(
            f"most images have {width}x{height} pixels, too {problem} to train on; give --size, {SIDES[0]} to "
            f"{SIDES[-1]}"
        )
    channels = 1 if all(header.is_grey for header in headers.values()) else 3
    reading = options.recorded_reading or _choose_reading(headers.values())
    return decode_to_shape(files, sources, (channels, height, width), reading, options, faults)


def decode_to_shape(
    files: Iterable[NamedFile],
    sources: Sequence[str],
    shape: tuple[int, int, int],
    reading: Reading,
    options: LoadOptions,
    faults: dict[int, Unreadable] | None = None,
) -> DecodedImages:
    """All files in `shape` (C, H, W), read as `reading` says; `faults` are rows known to be unreadable.

    Files are read one by one into the folder of `options`, so that few are ever in memory. Raises InputError naming
    the files that cannot be read.
    """
    count = sum(source not in options.left_out for source in sources)
    faults = dict(faults or {})
    rows: list[int] = []
    stretches: list[float] = []
    conversions: Counter[str] = Counter()
    with options.open_writer(shape) as writer, work("decoding pictures", count, "images") as decoding:
        for row, (source, (name, content)) in enumerate(zip(sources, files, strict=True)):
            if source in options.left_out or row in faults:
                continue
            decoding.advance()
            try:
                pixels = read_pixels(name, content, shape, reading.top_levels)
            except Unreadable as fault:
                faults[row] = fault
                continue
            writer.append(pixels.array)
            rows.append(row)
            conversions.update(pixels.remarks)
            stretches.append(pixels.stretch)
        images = writer.finish()

    sorted_faults = [faults[row] for row in sorted(faults)]
    if sorted_faults and (not options.skip_unreadable or not rows):
        raise _make_unreadable_error(sorted_faults, count, options)
    notes = [
        f"{converted_count:,} of {plural(count, 'image')} {remark}" for remark, converted_count in conversions.items()
    ]
    stretched_count = sum(stretch > STRETCH_TO_NOTE for stretch in stretches)
    if stretched_count:
        notes.append(
            f"{stretched_count:,} of {plural(count, 'image')} stretched out of proportion, "
            f"by up to {max(stretches):.2f} times"
        )
    if sorted_faults:
        notes.append(
            f"{len(sorted_faults):,} of {count:,} images cannot be read and are left out: {_list_faults(sorted_faults)}"
        )

    decoded_rows = set(rows)
    unreadable = tuple(source for row, source in enumerate(sources) if row not in decoded_rows)
    return DecodedImages(
        images=images,
        rows=np.array(rows, dtype=np.int64),
        sources=tuple(sources[row] for row in rows),
        notes=tuple(notes),
        reading=replace(reading, unreadable=unreadable),
    )


def _choose_reading(headers: Iterable[Header]) -> Reading:
    """The smallest range of each kind that holds the levels of all images."""
    largest_levels: dict[str, float] = {}
    for header in headers:
        if header.level_kind:
            largest_so_far = largest_levels.get(header.level_kind, 0)
            largest_levels[header.level_kind] = max(header.largest_level, largest_so_far)
    ranges: dict[str, Any] = {kind: choose_range(kind, level) for kind, level in largest_levels.items()}
    return Reading(**ranges)


def _make_unreadable_error(faults: list[Unreadable], count: int, options: LoadOptions) -> InputError:
    """One line for all images that cannot be read."""
    if len(faults) == 1:
        images = f"image {_list_faults(faults)}"
        them = "it"
    else:
        images = f"{len(faults):,} of {count:,} images: {_list_faults(faults)}"
        them = "them"
    if options.recorded_reading:
        return InputError(f"cannot read {images}; restore {them}, for the run was made with {them}")
    return InputError(f"cannot read {images}; fix or remove {them}, or leave {them} out with --skip-unreadable")


def _list_faults(faults: list[Unreadable]) -> str:
    return format_names(f"{fault.name}: {fault.reason}" for fault in faults)
