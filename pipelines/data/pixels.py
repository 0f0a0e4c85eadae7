"""One image file, or its content, becomes pixels. Pillow's values are the reference."""

import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from pipelines.data.jpeg import read_small_jpeg
from pipelines.data.names import format_name
from tracking.errors import InputError

Size = tuple[int, int]  # width, height, as Pillow has it
# what Pillow may open, by the endings of their files: others, such as PostScript, start other programs
FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpeg", ".jpg"),
    "MPO": (),  # a JPEG with previews
    "PNG": (".png",),
    "PPM": (".pgm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
# levels of over 8 bits become 8 by the smallest of these ranges, from 0 on, that holds all of them
RANGES = {"integers": (255, 1023, 4095, 16383, 65535), "floats": tuple(4.0**power for power in range(-8, 1))}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # those that swap width and height
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Unreadable(InputError):
    """An image that cannot be read; `name` says which, `reason` why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read image {format_name(name)}: {reason}; fix or remove it")
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are needed."""

    size: Size
    grey: bool
    kind: str | None  # key of RANGES, if its levels have over 8 bits
    largest: float  # of these levels


def read_header(name: str, content: bytes | Path) -> Header:
    """The header of an image; its pixels are decoded only where they have over 8 bits. Raises Unreadable."""
    with _opened(name, content) as image:
        tiles = list(image.tile)
        if image.format == "PNG" and _has_metadata_behind(image, content):
            image.load()
        size, grey = image.size[::-1] if _is_turned(image) else image.size, _is_grey(image)
        values = _deep_values(image, tiles, content)
        if values is None:
            return Header(size, grey, None, 0)
        return Header(size, grey, _kind(values), _largest(values, RANGES[_kind(values)][-1]))


def choose_range(kind: str, largest: float) -> float:
    """The upper end of the smallest range that holds levels up to `largest`."""
    return next(top for top in RANGES[kind] if top >= largest) if largest else RANGES[kind][-1]


@dataclass(frozen=True)
class Pixels:
    """A decoded image."""

    array: np.ndarray  # [C, H, W], uint8
    remarks: list[str]  # what was converted
    stretch: float = 1.0  # factor by which one side was stretched more than the other


def read_pixels(name: str, content: bytes | Path, size: Size, mode: str, tops: dict[str, float]) -> Pixels:
    """An image in `size` (width, height) and of mode L or RGB. Raises Unreadable.

    `tops` is the level of each kind in RANGES that becomes 255.
    """
    if mode == "RGB" and isinstance(content, bytes):
        quick = read_small_jpeg(content)
        if quick is not None and quick.shape[1:] == size[::-1]:
            return Pixels(quick, [])
    with _opened(name, content) as image:
        plain, remarks = _plain(image, content, tops)
    if plain.mode != mode:
        remarks.append("grey, now colour" if mode == "RGB" else "colour, now grey")
        plain = plain.convert(mode)
    stretch = size[0] / size[1] * plain.height / plain.width
    if plain.size != size:
        remarks.append(f"resized to {size[0]}x{size[1]}")
        plain = plain.resize(size, Image.Resampling.BILINEAR)
    array = np.asarray(plain)
    return Pixels(array[None] if mode == "L" else array.transpose(2, 0, 1), remarks, max(stretch, 1 / stretch))


def read_picture(name: str, content: bytes | Path) -> Image.Image:
    """An image as RGB, of whatever size it has, for pages. Raises Unreadable."""
    header = read_header(name, content)
    tops = {header.kind: choose_range(header.kind, header.largest)} if header.kind else {}
    with _opened(name, content) as image:
        return _plain(image, content, tops)[0].convert("RGB")


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow knows, for `Image.open`."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _opened(name: str, content: bytes | Path) -> Iterator[ImageFile.ImageFile]:
    """The opened image; whatever goes wrong with it becomes one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(_readable(content), formats=formats()) as image:
                yield image
    except Exception as error:  # Pillow raises whatever its decoders raise
        raise Unreadable(name, _reason(error, content)) from None


def _readable(content: bytes | Path) -> io.BytesIO | Path:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    if content.exists() and not content.is_file():  # a pipe or a device would be waited for
        raise OSError("it is no file")
    return content


def _reason(error: Exception, content: bytes | Path) -> str:
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"it has over {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        length = len(content) if isinstance(content, bytes) else content.stat().st_size
        return "its content is no image of a known kind" if length else "it is empty"
    return format_name((str(error) or type(error).__name__).splitlines()[0])


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La") or _is_numbers(image)


def _is_numbers(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")  # I;16 and its kin too


def _plain(opened: ImageFile.ImageFile, content: bytes | Path, tops: dict[str, float]) -> tuple[Image.Image, list[str]]:
    """The first frame upright, as L if it is grey, else as RGB, and what was converted."""
    image: Image.Image = opened
    remarks = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a photograph and its previews
        remarks.append("of several frames, only the first one used")
    grey, mode, form, info, tiles = _is_grey(image), image.mode, image.format, image.info, list(opened.tile)
    if form == "PNG":
        image.load()  # what says how to turn it may lie behind the pixels
    orientation = _orientation(image)  # read before a TIFF is loaded, which turns it
    values = _deep_values(image, tiles, content)
    if values is not None:
        levels, remark = _to_8_bits(values, tops)
        image = Image.fromarray(levels, "L" if levels.ndim == 2 else mode)
        image.info = info
        remarks.append(remark)
    elif any(_has_16_bits(tile) for tile in tiles):
        remarks.append("of 16 bits, only the upper 8 used")
    if orientation != 1:
        remarks.append("turned upright, as their EXIF data says")
        image.load()
        image = image if form == "TIFF" else image.transpose(UPRIGHT[orientation])
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in info:
        image, seen_through = _on_white(image)
        remarks += ["transparent, now on white"] if seen_through else []
    elif mode not in ("1", "L", "P", "RGB") and values is None:
        remarks.append(f"{mode}, now RGB")
    return image.convert("L" if grey else "RGB"), remarks


def _orientation(image: Image.Image) -> int:
    """How an image is to be turned, 1 (not at all) to 8; whatever else its EXIF or XMP data says counts as 1."""
    try:
        # not PNG's own getexif, which would decode the pixels first
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises many kinds on a broken block, which viewers pass over
        return 1
    return orientation if isinstance(orientation, int) and orientation in UPRIGHT else 1


def _is_turned(image: ImageFile.ImageFile) -> bool:
    """Whether width and height are swapped in the upright image, beyond what Pillow has done already for a TIFF."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(ExifTags.Base.Orientation) in SIDEWAYS:
        return False
    return _orientation(image) in SIDEWAYS


def _has_metadata_behind(image: ImageFile.ImageFile, content: bytes | Path) -> bool:
    """Whether a PNG has chunks behind its pixels, which Pillow reads only with these."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        file.seek(image.tile[0][2] - 8)  # the first chunk of pixels: length, kind, content, checksum
        while len(head := file.read(8)) == 8 and head[4:] == b"IDAT":
            file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)
        return len(head) == 8 and head[4:] != b"IEND"


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """What a viewer shows: colours below transparent pixels are arbitrary. And whether any pixel is transparent."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image), bool((np.asarray(image.getchannel("A")) < 255).any())


def _deep_values(image: Image.Image, tiles: Sequence[tuple], content: bytes | Path) -> np.ndarray | None:
    """Levels of over 8 bits, [H, W] or [H, W, C], upright if it is a TIFF; None where they have 8 or are out of reach.

    Of colours, Pillow keeps the upper 8 bits; read in the other byte order, the same file gives the lower ones.
    """
    if _is_numbers(image):
        return np.asarray(image)
    order = re.fullmatch(r"RGB[AX]?;16([BLN])", _raw_mode(tiles[0])) if len(tiles) == 1 else None
    if order is None:
        return None
    with Image.open(_readable(content), formats=formats()) as lower:
        codec, extents, offset, args = lower.tile[0]
        raw = _raw_mode(lower.tile[0])[:-1] + OTHER_ORDER[order[1]]
        tile = (codec, extents, offset, (raw, *args[1:]) if isinstance(args, tuple) else raw)
        lower.tile = [tile]  # type: ignore[list-item]  # Pillow's own class of tuples is private, and not in Pillow 10
        return np.asarray(image).astype(np.uint16) * 256 + np.asarray(lower)


def _raw_mode(tile: tuple) -> str:
    """How a file holds its pixels, in Pillow's words, such as RGB;16B."""
    args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    return args[0] if args and isinstance(args[0], str) else ""


def _has_16_bits(tile: tuple) -> bool:
    return ";16" in _raw_mode(tile) or (tile[0].startswith("ppm") and tile[3][1] > 255)


def _kind(values: np.ndarray) -> str:
    return "floats" if values.dtype.kind == "f" else "integers"


def _largest(values: np.ndarray, top: float) -> float:
    """The largest level, whatever the opacity. Raises ValueError on levels outside 0..top."""
    values = values[..., :3] if values.ndim == 3 else values
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are NaN or infinite")
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"it has pixels of {values.min():g} to {values.max():g}, outside 0..{top:g}")
    return values.max().item()


def _to_8_bits(values: np.ndarray, tops: dict[str, float]) -> tuple[np.ndarray, str]:
    """Levels of over 8 bits as uint8, and what to say of it."""
    kind = _kind(values)
    top = tops[kind]
    needed = choose_range(kind, _largest(values, top))
    if needed < top:
        remark = f": they use 0..{needed:g} of 0..{top:g}"
    else:
        remark = "" if top == RANGES[kind][-1] else f": 0..{top:g} became 0..255"
    if values.ndim == 3:  # the upper 8 bits, which are what Pillow has at full range
        levels = values.astype(np.uint32) * 256 // (int(top) + 1)
        levels[..., 3:] = values[..., 3:] >> 8  # opacity has the whole range
    else:
        levels = np.round(values.astype(np.float64) / top * 255)
    return levels.astype(np.uint8), f"of 16 bits or more, now 8{remark}"
