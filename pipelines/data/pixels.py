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

# what Pillow may open, with the suffixes of such files: other formats, such as PostScript, start other programs
SUFFIXES_BY_FORMAT = {
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
# levels of over 8 bits are scaled to 8 by the smallest of these ranges, from 0 to the number, that holds all of them
LEVEL_RANGES = {"integers": (255, 1023, 4095, 16383, 65535), "floats": tuple(4.0**power for power in range(-8, 1))}
ORIENTATION = ExifTags.Base.Orientation
TRANSPOSE_BY_ORIENTATION = {  # 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)  # those that swap width and height
OPPOSITE_BYTE_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Unreadable(InputError):
    """An image that cannot be read; `name` says which, `reason` why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read image {format_name(name)}: {reason}; fix or remove it")
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are needed."""

    size: tuple[int, int]  # width, height, when upright
    is_grey: bool
    level_kind: str | None  # key of LEVEL_RANGES, if its levels have over 8 bits
    largest_level: float  # of those


@dataclass(frozen=True)
class Pixels:
    """A decoded image."""

    array: np.ndarray  # [C, H, W], uint8
    remarks: list[str]  # what was converted
    stretch: float = 1.0  # factor by which one side was stretched more than the other


def read_header(name: str, content: bytes | Path) -> Header:
    """The header of an image; its pixels are decoded only where they have over 8 bits. Raises Unreadable."""
    with _open_image(name, content) as image:
        tiles = list(image.tile)  # before loading, which empties it
        if image.format == "PNG" and _has_metadata_behind_pixels(image, content):
            image.load()
        is_sideways = _is_sideways(image)
        width, height = image.size
        size = (height, width) if is_sideways else (width, height)
        is_grey = _is_grey(image)
        levels = _read_deep_levels(image, tiles, content)
        if levels is None:
            return Header(size, is_grey, None, 0)
        kind = _kind_of_levels(levels)
        return Header(size, is_grey, kind, _find_largest_level(levels, LEVEL_RANGES[kind][-1]))


def choose_range(kind: str, largest_level: float) -> float:
    """The upper end of the smallest range that holds levels up to `largest_level`; of the widest if all are 0."""
    ranges = LEVEL_RANGES[kind]
    if largest_level == 0:
        return ranges[-1]
    return next(top for top in ranges if top >= largest_level)


def read_pixels(name: str, content: bytes | Path, shape: tuple[int, int, int], top_levels: dict[str, float]) -> Pixels:
    """An image in `shape` (C, H, W), grey if C is 1 and else RGB. Raises Unreadable.

    `top_levels` gives the level that becomes 255, by kind of LEVEL_RANGES.
    """
    channels, height, width = shape
    if channels == 3 and isinstance(content, bytes):
        array = read_small_jpeg(content)
        if array is not None and array.shape == shape:
            return Pixels(array, [])

    with _open_image(name, content) as opened:
        image, remarks = _to_plain_image(opened, content, top_levels)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        remarks.append("grey, now colour" if mode == "RGB" else "colour, now grey")
        image = image.convert(mode)
    stretch = width / height * image.height / image.width
    if image.size != (width, height):
        remarks.append(f"resized to {width}x{height}")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    array = array[None] if channels == 1 else array.transpose(2, 0, 1)
    return Pixels(array, remarks, max(stretch, 1 / stretch))


def read_picture(name: str, content: bytes | Path) -> Image.Image:
    """An image as RGB, in its own size, for pages. Raises Unreadable."""
    header = read_header(name, content)
    top_levels = {}
    if header.level_kind:
        top_levels[header.level_kind] = choose_range(header.level_kind, header.largest_level)
    with _open_image(name, content) as opened:
        image, _ = _to_plain_image(opened, content, top_levels)
    return image.convert("RGB")


def resize_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [C, H, W], uint8, of one or three channels, resized to (width, height) as image files are."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    return resized[None] if resized.ndim == 2 else resized.transpose(2, 0, 1)


@contextmanager
def _open_image(name: str, content: bytes | Path) -> Iterator[ImageFile.ImageFile]:
    """The opened image; any error with it inside the block is raised as Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(_as_file(content), formats=_available_formats()) as image:
                yield image
    except Exception as error:  # Pillow passes on any error of its decoders
        if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
            reason = f"it has over {Image.MAX_IMAGE_PIXELS:,} pixels"
        elif isinstance(error, UnidentifiedImageError):
            length = len(content) if isinstance(content, bytes) else content.stat().st_size
            reason = "its content is not an image of a known kind" if length else "it is empty"
        else:
            reason = format_name((str(error) or type(error).__name__).splitlines()[0])
        raise Unreadable(name, reason) from None


def _as_file(content: bytes | Path) -> io.BytesIO | Path:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    if content.exists() and not content.is_file():  # opening a pipe or a device would wait for its other end
        raise OSError("it is not a file")
    return content


@cache
def _available_formats() -> tuple[str, ...]:
    """The keys of SUFFIXES_BY_FORMAT that the installed Pillow knows."""
    Image.init()
    return tuple(name for name in SUFFIXES_BY_FORMAT if name in Image.OPEN)


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La") or _is_numeric(image)


def _is_numeric(image: Image.Image) -> bool:
    """Whether the levels are plain numbers of over 8 bits: floats, or integers in a mode such as I;16."""
    return image.mode == "F" or image.mode.startswith("I")


def _to_plain_image(
    opened: ImageFile.ImageFile, content: bytes | Path, top_levels: dict[str, float]
) -> tuple[Image.Image, list[str]]:
    """The first frame upright, as L if it is grey, else as RGB, and what was converted."""
    image: Image.Image = opened
    remarks = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a photograph and its previews
        remarks.append("of several frames, only the first one used")

    # as in the file: loading and converting change them
    file_format = opened.format
    file_mode = opened.mode
    info = opened.info
    tiles = list(opened.tile)
    is_grey = _is_grey(opened)
    if file_format == "PNG":
        image.load()  # the orientation may follow the pixels
    orientation = _read_orientation(image)  # before a TIFF is loaded, which turns it upright

    levels = _read_deep_levels(image, tiles, content)
    if levels is not None:
        levels_8_bit, remark = _to_8_bits(levels, top_levels)
        image = Image.fromarray(levels_8_bit, "L" if levels.ndim == 2 else file_mode)
        image.info = info
        remarks.append(remark)
    elif any(_has_16_bits(tile) for tile in tiles):
        remarks.append("of 16 bits, only the upper 8 used")

    if orientation != 1:
        remarks.append("turned upright, as their EXIF data says")
        image.load()
        if file_format != "TIFF":
            image = image.transpose(TRANSPOSE_BY_ORIENTATION[orientation])

    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in info:
        image, is_transparent = put_on_white(image)
        if is_transparent:
            remarks.append("transparent, now on white")
    elif file_mode not in ("1", "L", "P", "RGB") and levels is None:
        remarks.append(f"{file_mode}, now RGB")
    return image.convert("L" if is_grey else "RGB"), remarks


def _read_orientation(image: Image.Image) -> int:
    """How an image is to be turned, 1 (not at all) to 8; anything else in its EXIF or XMP data counts as 1."""
    try:
        # not PNG's own getexif, which would decode the pixels first
        orientation = Image.Image.getexif(image).get(ORIENTATION)
    except Exception:  # Pillow raises many kinds on a broken block, which viewers ignore
        return 1
    if isinstance(orientation, int) and orientation in TRANSPOSE_BY_ORIENTATION:
        return orientation
    return 1


def _is_sideways(image: ImageFile.ImageFile) -> bool:
    """Whether turning upright swaps width and height; of a TIFF, Pillow gives them swapped already."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(ORIENTATION) in SIDEWAYS_ORIENTATIONS:
        return False
    return _read_orientation(image) in SIDEWAYS_ORIENTATIONS


def _has_metadata_behind_pixels(image: ImageFile.ImageFile, content: bytes | Path) -> bool:
    """Whether a PNG has chunks after its pixels, which Pillow reads only together with the pixels."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        file.seek(
            image.tile[0][2] - 8
        )  # start of the first chunk of pixels; a chunk is length, kind, content, checksum
        while True:
            head = file.read(8)
            length, kind = head[:4], head[4:]
            if len(head) < 8 or kind == b"IEND":
                return False
            if kind != b"IDAT":
                return True
            file.seek(int.from_bytes(length) + 4, os.SEEK_CUR)


def put_on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """What a viewer shows, as colours below transparent pixels are arbitrary; and whether any pixel is transparent."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    opacity = np.asarray(image.getchannel("A"))
    return Image.alpha_composite(white, image), bool((opacity < 255).any())


def _read_deep_levels(image: Image.Image, tiles: Sequence[tuple], content: bytes | Path) -> np.ndarray | None:
    """Levels of over 8 bits, [H, W] or [H, W, C], upright if it is a TIFF; None where they have 8 or are out of reach.

    Of colours, Pillow keeps the upper 8 bits; read in the other byte order, the same file gives the lower ones.
    """
    if _is_numeric(image):
        return np.asarray(image)
    if len(tiles) != 1:
        return None
    colours_of_16_bits = re.fullmatch(r"RGB[AX]?;16([BLN])", _raw_mode(tiles[0]))
    if colours_of_16_bits is None:
        return None
    byte_order = colours_of_16_bits[1]
    with Image.open(_as_file(content), formats=_available_formats()) as swapped:
        codec, extents, offset, arguments = swapped.tile[0]
        swapped_mode = _raw_mode(swapped.tile[0])[:-1] + OPPOSITE_BYTE_ORDER[byte_order]
        swapped_arguments = (swapped_mode, *arguments[1:]) if isinstance(arguments, tuple) else swapped_mode
        tile = (codec, extents, offset, swapped_arguments)
        swapped.tile = [tile]  # type: ignore[list-item]  # Pillow's own tuple class is private, and not in Pillow 10
        upper_bits = np.asarray(image).astype(np.uint16)
        lower_bits = np.asarray(swapped)
        return upper_bits * 256 + lower_bits


def _raw_mode(tile: tuple) -> str:
    """How a file holds its pixels, in Pillow's words, such as RGB;16B."""
    arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    return arguments[0] if arguments and isinstance(arguments[0], str) else ""


def _has_16_bits(tile: tuple) -> bool:
    codec, _, _, arguments = tile
    return ";16" in _raw_mode(tile) or (codec.startswith("ppm") and arguments[1] > 255)


def _kind_of_levels(levels: np.ndarray) -> str:
    return "floats" if levels.dtype.kind == "f" else "integers"


def _find_largest_level(levels: np.ndarray, top_level: float) -> float:
    """The largest level, opacity aside. Raises ValueError on levels outside 0..top_level."""
    colours = levels[..., :3] if levels.ndim == 3 else levels
    if not np.isfinite(colours).all():
        raise ValueError("it has pixels that are NaN or infinite")
    if colours.min() < 0 or colours.max() > top_level:
        raise ValueError(f"it has pixels of {colours.min():g} to {colours.max():g}, outside 0..{top_level:g}")
    return colours.max().item()


def _to_8_bits(levels: np.ndarray, top_levels: dict[str, float]) -> tuple[np.ndarray, str]:
    """Levels of over 8 bits as uint8, and a remark on it."""
    kind = _kind_of_levels(levels)
    top_level = top_levels[kind]
    needed_top = choose_range(kind, _find_largest_level(levels, top_level))
    remark = "of 16 bits or more, now 8"
    if needed_top < top_level:
        remark += f": they use 0..{needed_top:g} of 0..{top_level:g}"
    elif top_level != LEVEL_RANGES[kind][-1]:
        remark += f": 0..{top_level:g} became 0..255"

    if levels.ndim == 3:  # the upper 8 bits, which are what Pillow gives at full range
        scaled = levels.astype(np.uint32) * 256 // (int(top_level) + 1)
        scaled[..., 3:] = levels[..., 3:] >> 8  # opacity always has the whole range
    else:
        scaled = np.round(levels.astype(np.float64) / top_level * 255)
    return scaled.astype(np.uint8), remark
