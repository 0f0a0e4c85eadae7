"""Pictures that a program hands to a model: arrays, tensors, Pillow images, image files or their content.

Those of the shape that the model was made for are taken as they are. All others are read as image files of its data
set are: turned grey or coloured, and resized.
"""

import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from pipelines.data.pixels import read_pixels
from pipelines.data.raw import Reading
from tracking.errors import InputError

Shape = tuple[int, int, int]  # channels, height, width
COLUMN = "image"  # of a table with other columns too
CHANNELS = (1, 3, 4)  # of an array: grey, colour, colour with transparency
DATA_URL = "data:"  # how a text begins that holds a file, and not its path
LEVELS = 255
UNSAVED_MODES = ("CMYK", "YCbCr", "LAB", "HSV", "F")  # of Pillow, which PNG does not have


def list_pictures(given: Any, channels: int) -> Sequence[Any]:
    """The pictures that were given, one by one: arrays [H, W, C] or [H, W], Pillow images, paths or bytes.

    An array is one picture, or pictures [N, H, W, C] or [N, C, H, W]; of one channel also [N, H, W]. Raises InputError
    on anything else.
    """
    if isinstance(given, pd.DataFrame):
        if COLUMN not in given and len(given.columns) != 1:
            raise InputError(f"the table has {len(given.columns)} columns; name that of the pictures {COLUMN!r}")
        return list(given[COLUMN] if COLUMN in given else given.iloc[:, 0])
    if isinstance(given, pd.Series):
        return list(given)
    if isinstance(given, str | bytes | Path | Image.Image):
        return [given]
    if isinstance(given, list | tuple) and given and not isinstance(given[0], list | tuple | int | float):
        return list(given)
    array = _as_array(given)
    if array.dtype.kind in "OUS":
        return array.ravel().tolist()
    if array.ndim == 4 or (array.ndim == 3 and channels == 1 and array.shape[-1] not in CHANNELS):
        return list(array)
    return [array] if array.size else []


def read_given_picture(picture: Any, number: int, shape: Shape, reading: Reading, *, files: bool) -> Tensor:
    """One of `list_pictures` as the model takes it: [C, H, W], float32 in 0..1.

    `reading` is how the model's data set was read, `files` whether paths are allowed. Raises InputError, which names
    the picture by its number.
    """
    name = f"picture {number}"
    if isinstance(picture, str) and picture.startswith(DATA_URL):
        content: bytes | Path = _decode_url(picture, name)
    elif isinstance(picture, str | Path):
        if not files:
            raise InputError(f"{name} is a path; a served model takes arrays, and files as data:image/png;base64,...")
        name = str(picture)
        content = Path(picture)
    elif isinstance(picture, bytes):
        content = picture
    elif isinstance(picture, Image.Image):
        content = _to_png(picture.convert("RGB") if picture.mode in UNSAVED_MODES else picture)
    else:
        array = _channels_last(_as_array(picture), name)
        levels = _check_levels(array, name)
        channels, height, width = shape
        if array.shape == (height, width, channels):
            return torch.from_numpy(levels).permute(2, 0, 1)
        pixels = (levels * LEVELS).round().astype(np.uint8)
        content = _to_png(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels))
    return torch.from_numpy(read_pixels(name, content, shape, reading.top_levels).array / np.float32(LEVELS))


def _as_array(given: Any) -> np.ndarray:
    try:
        return given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    except (ValueError, TypeError):  # lists of different lengths
        raise InputError(
            f"a {type(given).__name__} that is not an array of one shape; give pictures one by one"
        ) from None


def _channels_last(array: np.ndarray, name: str) -> np.ndarray:
    """A picture as an array [H, W, C]."""
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 3 and array.shape[-1] in CHANNELS:
        return array
    if array.ndim == 3 and array.shape[0] in CHANNELS:
        return array.transpose(1, 2, 0)
    raise InputError(
        f"{name} has shape {array.shape}; a picture is [height, width, channels], [channels, height, width] or "
        "[height, width]"
    )


def _check_levels(array: np.ndarray, name: str) -> np.ndarray:
    """Brightness as float32 in 0..1. Raises InputError on levels that are neither 8-bit integers nor in 0..1."""
    top = {"u": LEVELS, "i": LEVELS, "f": 1}.get(array.dtype.kind)
    if top is None:
        raise InputError(f"{name} is an array of {array.dtype}; give integers in 0..{LEVELS} or floats in 0..1")
    if array.size == 0 or not (array.min() >= 0 and array.max() <= top):
        what = f"levels from {array.min():g} to {array.max():g}" if array.size else "no pixel"
        raise InputError(f"{name} has {what}; {array.dtype} must lie in 0..{top}")
    return array.astype(np.float32) / np.float32(top)


def _decode_url(url: str, name: str) -> bytes:
    head, _, body = url.partition(",")
    try:
        if head.endswith(";base64"):
            return base64.b64decode(body, validate=True)
    except binascii.Error:
        pass
    raise InputError(
        f"{name} is not an image in base64; it begins with {url[:40]!r}, and not as data:image/png;base64,..."
    )


def _to_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=0)
    return file.getvalue()
