"""One image file, or its content, becomes pixels. Pillow's values are the reference."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pipelines.datasets.jpeg import read_small_jpeg
from pipelines.datasets.names import shown
from tracking.errors import InputError

Size = tuple[int, int]  # width, height, as Pillow has it


def read_header(name: str, content: bytes | Path) -> tuple[Size, bool]:
    """Size (width, height) and whether the image is grey, without decoding the pixels."""
    with _opened(name, content) as image:
        # Pillow turns a TIFF's size itself, and would decode a whole PNG to look for EXIF data behind the pixels
        known = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        turned = known and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return image.size[::-1] if turned else image.size, _is_grey(image)


def read_pixels(name: str, content: bytes | Path, size: Size, mode: str) -> tuple[np.ndarray, list[str]]:
    """Pixels [C, H, W], uint8, of mode L or RGB, and what was converted. Raises InputError naming the image."""
    if mode == "RGB" and isinstance(content, bytes):
        quick = read_small_jpeg(content)
        if quick is not None and quick.shape[1:] == size[::-1]:
            return quick, []
    with _opened(name, content) as image:
        plain, remarks = _plain(image)
    if plain.mode != mode:
        remarks.append("grey, now colour" if mode == "RGB" else "colour, now grey")
        plain = plain.convert(mode)
    if plain.size != size:
        remarks.append(f"resized to {size[0]}x{size[1]}")
        plain = plain.resize(size, Image.Resampling.BILINEAR)
    array = np.asarray(plain)
    return array[None] if mode == "L" else array.transpose(2, 0, 1), remarks


def read_picture(name: str, content: bytes | Path) -> Image.Image:
    """An image as RGB, of whatever size it has, for pages. Raises InputError naming it."""
    with _opened(name, content) as image:
        return _plain(image)[0].convert("RGB")


@contextmanager
def _opened(name: str, content: bytes | Path) -> Iterator[Image.Image]:
    """The opened image; whatever goes wrong with it becomes one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(_readable(content)) as image:
                yield image
    except Exception as error:  # Pillow raises whatever its decoders raise
        raise InputError(f"cannot read image {shown(name)}: {_reason(error, content)}; mend or remove it") from None


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
    return shown((str(error) or type(error).__name__).splitlines()[0])


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La") or _is_numbers(image)


def _is_numbers(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")  # I;16 and its kin too


def _plain(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The first frame upright, as L if it is grey, else as RGB, and what was converted."""
    remarks = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a photograph and its previews
        remarks.append("of several frames, only the first one used")
    grey, mode = _is_grey(image), image.mode
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        remarks.append("turned upright, as their EXIF data says")
        image = ImageOps.exif_transpose(image)
    if _is_numbers(image):
        return _from_numbers(image), [*remarks, "of 16 bits or more, now 8"]
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image, seen_through = _on_white(image)
        remarks += ["transparent, now on white"] if seen_through else []
    elif mode not in ("1", "L", "P", "RGB"):
        remarks.append(f"{mode}, now RGB")
    return image.convert("L" if grey else "RGB"), remarks


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """What a viewer shows: colours below transparent pixels are arbitrary. And whether any pixel is transparent."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image), image.getchannel("A").getextrema()[0] < 255


def _from_numbers(image: Image.Image) -> Image.Image:
    """Grey image of 16-bit levels, or of floats in 0..1."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are NaN or infinite")
    top = 1 if image.mode == "F" else 65535
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"it has pixels outside 0..{top}")
    return Image.fromarray(np.round(values / top * 255).astype(np.uint8))
