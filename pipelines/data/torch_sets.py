"""A map-style torch data set of (image, label), or images with their labels, becomes a split: each picture read once.

Its images are pictures: of PIL, of bytes, or of floats in 0..1. What a training does to them besides, such as random
crops and normalising, is not part of a picture, and is refused where it shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from pipelines.common.progress import work
from pipelines.common.user_code import errors_reported
from pipelines.data.decoding import STRETCH_TO_NOTE
from pipelines.data.names import format_name
from pipelines.data.pixels import put_on_white, resize_pixels
from pipelines.data.raw import LoadOptions, Split
from tracking.errors import InputError

IMAGE_KEYS = ("image", "img", "pixel_values")  # of items that are mappings
LABEL_KEYS = ("label", "labels", "target")
READ_TWICE = 16  # items that are read a second time: random changes show as a difference
LEVEL_TOLERANCE = 1e-3  # of 0..255: distance from a whole level that comes from computing with floats
NEEDED_ITEM = "an item is (image, label), or a dict with image and label"
NEEDED_IMAGE = "an image is a PIL image, uint8, or floats in 0..1, of 1 or 3 channels"

Item = tuple[Any, Any]  # image and label


@dataclass(frozen=True)
class TorchSplit:
    """What was read of a data set."""

    split: Split
    notes: tuple[str, ...]  # what was converted


def convert_torch_set(name: str, data_set: Any, classes: Sequence[str] | None, options: LoadOptions) -> TorchSplit:
    """All images of a data set, whose row is their position in it, `options.size` pixels a side if that is given.

    `name` is the split's. Labels are class IDs: positions in `classes`, or any from 0 if these are unknown yet. Raises
    InputError on a data set that has no positions, or whose images are not pictures, not always the same, or of
    several sizes.
    """
    count, read_item = _open_data_set(name, data_set)
    if count:
        _check_repeatable(name, count, read_item)
    labels = np.empty(count, np.int64)
    rounded_count, stretches = 0, []
    size = options.size
    with options.open_writer() as writer, work(f"reading {name}", count, "images") as reading:
        for row in range(count):
            image, label = read_item(row)
            labels[row] = _read_label(name, row, label, classes)
            pixels, is_rounded = _read_pixels(name, row, image)
            rounded_count += is_rounded
            if size:
                _, height, width = pixels.shape
                stretches.append(max(width / height, height / width))
                pixels = resize_pixels(pixels, (size, size))
            if row and pixels.shape[1:] != writer.shape[1:]:
                _, height, width = writer.shape
                raise InputError(
                    f"image {row} of {name} has {pixels.shape[2]}x{pixels.shape[1]} pixels, image 0 has "
                    f"{width}x{height}; bring all to one size"
                )
            writer.append(pixels)  # grey ones before and after a picture in colour get colours too
            reading.advance()
        writer.shape = writer.shape or (1, size or 1, size or 1)  # of no images
        images = writer.finish()

    notes = []
    if rounded_count:
        notes.append(f"{name}: {rounded_count:,} of {count:,} images of over 256 levels, now 8 bits")
    stretched_count = sum(stretch > STRETCH_TO_NOTE for stretch in stretches)
    if stretched_count:
        notes.append(
            f"{name}: {stretched_count:,} of {count:,} images stretched out of proportion, by up to "
            f"{max(stretches):.2f} times"
        )
    sources = tuple(f"{name}/{row:05d}" for row in range(count))
    return TorchSplit(Split(images, torch.from_numpy(labels), sources), tuple(notes))


def _open_data_set(name: str, data_set: Any) -> tuple[int, Callable[[int], Item]]:
    """The number of items, and what reads the item at a position."""
    if isinstance(data_set, DataLoader):
        raise InputError(f"{name} is a DataLoader, which has no positions; give the data set in it (loader.dataset)")
    if is_pair_of_arrays(data_set):
        return _open_arrays(name, *data_set)
    if hasattr(data_set, "images") and hasattr(data_set, "labels") and not hasattr(data_set, "__getitem__"):
        return _open_arrays(name, data_set.images, data_set.labels)
    is_map_style = hasattr(data_set, "__getitem__") and hasattr(data_set, "__len__")
    if not is_map_style or isinstance(data_set, IterableDataset | Mapping | str):
        raise InputError(
            f"{name} is of {type(data_set).__name__}, whose images have no positions; give a map-style torch data set, "
            "with __getitem__ and __len__, or a pair of arrays (images, labels)"
        )
    with errors_reported(f"{name} has no length"):
        count = len(data_set)

    def read_item(row: int) -> Item:
        with errors_reported(f"item {row} of {name} cannot be read"):
            item = data_set[row]
        if isinstance(item, Mapping):
            keys = [next((key for key in known if key in item), None) for known in (IMAGE_KEYS, LABEL_KEYS)]
            if None in keys:
                raise InputError(f"item {row} of {name} has only {', '.join(map(format_name, item))}; {NEEDED_ITEM}")
            return item[keys[0]], item[keys[1]]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise InputError(f"item {row} of {name} is of {type(item).__name__}; {NEEDED_ITEM}")
        return item[0], item[1]

    return count, read_item


def is_pair_of_arrays(value: Any) -> bool:
    """Whether a value is (images, labels)."""
    is_pair = isinstance(value, tuple | list) and len(value) == 2
    return is_pair and isinstance(value[0], np.ndarray | Tensor) and getattr(value[0], "ndim", 0) in (3, 4)


def _open_arrays(name: str, images: Any, labels: Any) -> tuple[int, Callable[[int], Item]]:
    if len(images) != len(labels):
        raise InputError(f"{name} has {len(images)} images and {len(labels)} labels; give one label for each image")
    return len(images), lambda row: (images[row], labels[row])


def _check_repeatable(name: str, count: int, read_item: Callable[[int], Item]) -> None:
    """Raise InputError if an item that is read twice differs, as random augmentation makes it."""
    for row in np.unique(np.linspace(0, count - 1, READ_TWICE).astype(int)).tolist():
        first, second = read_item(row), read_item(row)
        if not all(_are_equal(_as_array(value), _as_array(again)) for value, again in zip(first, second, strict=True)):
            raise InputError(
                f"item {row} of {name} differs between two reads, as random augmentation makes it; give the data set "
                "without it, such as one with the transform of the test images"
            )


def _are_equal(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == second.dtype.kind == "f")


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.float().numpy() if value.is_floating_point() else value.numpy()
    return np.asarray(value)


def _read_label(name: str, row: int, label: Any, classes: Sequence[str] | None) -> int:
    array = _as_array(label)
    is_class_id = array.ndim == 0 and array.dtype.kind in "iub"
    if is_class_id and array >= 0 and (classes is None or array < len(classes)):
        return int(array)
    wanted = "a whole number from 0" if classes is None else f"one of 0..{len(classes) - 1}"
    found = format_name(array.item()) if array.ndim == 0 else f"an array of {array.shape}"
    raise InputError(f"item {row} of {name} has label {found}, not {wanted}; fix the labels")


def _read_pixels(name: str, row: int, image: Any) -> tuple[np.ndarray, bool]:
    """As `_to_pixels`; raises InputError."""
    try:
        return _to_pixels(image)
    except ValueError as error:
        raise InputError(f"image {row} of {name} {error}; {NEEDED_IMAGE}") from None


def _to_pixels(image: Any) -> tuple[np.ndarray, bool]:
    """An image as [C, H, W], uint8, and whether its levels had to be rounded. Raises ValueError saying what it is."""
    if isinstance(image, Image.Image):
        return _read_pil_image(image), False
    array = _as_array(image)
    is_channels_last = isinstance(image, np.ndarray)
    if array.ndim == 2:
        array = array[None]
    elif array.ndim != 3:
        raise ValueError(f"has shape {array.shape}, which is not a picture")
    else:
        first, last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
        if not first and not last:
            raise ValueError(f"has shape {array.shape}")
        if last and (is_channels_last or not first):
            array = array.transpose(2, 0, 1)
    if array.size == 0:
        raise ValueError("has no pixels")
    if array.dtype == np.uint8:
        return array, False
    if array.dtype.kind != "f":
        raise ValueError(f"has levels of {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError("has pixels that are NaN or infinite")
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"has levels of {array.min():.3g} to {array.max():.3g}, outside 0..1: it seems to be normalised or scaled "
            "already, which is the model's task"
        )
    levels = array.astype(np.float64) * 255
    rounded = np.round(levels)
    return rounded.astype(np.uint8), bool(np.abs(levels - rounded).max() > LEVEL_TOLERANCE)


def _read_pil_image(image: Image.Image) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(f"has levels of over 8 bits (mode {image.mode})")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[None]
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image, _ = put_on_white(image)
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
