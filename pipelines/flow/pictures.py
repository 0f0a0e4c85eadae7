"""Thumbnails and heatmaps for the page."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection
from PIL import Image

import queries
from pipelines.common.settings import TrainSettings
from pipelines.data.added import read_extra_splits
from pipelines.data.linked import linked_image
from pipelines.data.names import format_name, format_names
from pipelines.data.pixels import read_picture
from pipelines.flow.packing import Packed
from pipelines.flow.record import Record
from pipelines.lifecycle.run_inputs import load_data, read_recorded_settings
from tracking.errors import InputError
from tracking.home import Home
from xai import METHODS

SIDES = (48, 32, 24, 16)  # pixels a thumbnail may have, the largest that fit are taken
WIDEST = 16_383  # pixels a WebP picture may have
MAP_SIDES = (64, 32, 16, 8)  # pixels of a heatmap's shorter side
MOST_MAPS = 20_000


def add_thumbnails(packed: Packed, record: Record, home: Home, data: str | None) -> tuple[dict | None, list[str]]:
    """One picture of all thumbnails, row by row; its layout, or None, and notes on what is not shown.

    Raises InputError where they cannot be had from `data`.
    """
    notes: list[str] = []
    try:
        images = _linked(record, data, notes) if record.run.kind == "import" else _images(record, home, data)
    except InputError as error:
        if data is not None:
            raise
        return None, [f"No thumbnails: {error}."]
    across = int(np.ceil(np.sqrt(len(images))))
    own = max(max(image.size) for image in images)
    for side in sorted({min(own, side) for side in SIDES}, reverse=True):
        if side * across <= WIDEST and packed.add_file("thumbnails", _sprite(images, side, across), "thumbnails"):
            return {"side": side, "across": across}, notes
    return None, notes


def _images(record: Record, home: Home, data: str | None) -> list[Image.Image]:
    """The images of all instances, in their order. Raises InputError where they cannot be had."""
    settings = read_recorded_settings(home, record.run, TrainSettings)
    settings = settings if data is None else replace(settings, data=data)
    found = load_data(settings, home, record.run).splits | read_extra_splits(home, record.run)
    splits = [found[name] for name in (record.home, *record.splits[1:])]
    return [
        _picture(splits[split].images[instance].numpy())
        for split, instance in zip(record.split, record.ids, strict=True)
    ]


def _linked(record: Record, data: str | None, notes: list[str]) -> list[Image.Image]:
    """The images an imported log names, below the log's folder or folder `data`; blank ones for those it cannot have.

    Raises InputError if there is none.
    """
    folder = Path(data or Path(record.run.params["file"]).parent)
    images, missing = [], []
    for source in record.sources:
        image = _opened(linked_image(folder, source))
        if image is None:
            missing.append(source)
        images.append(image or Image.new("RGB", (1, 1), "white"))
    if len(missing) == len(images):
        raise InputError(
            f"no image {format_name(missing[0])} below {format_name(folder)}; name the log's folder of images with "
            "--data"
        )
    if missing:
        notes.append(
            f"{len(missing)} of {len(images)} images have no thumbnail, as {format_name(folder)} has no such image in "
            f"it: {format_names(missing)}."
        )
    return images


def _opened(file: Path | None) -> Image.Image | None:
    """An image no larger than its thumbnail may be; None if it cannot be read."""
    if file is None:
        return None
    try:
        image = read_picture(str(file), file)
    except InputError:
        return None
    return image if max(image.size) <= SIDES[0] else _shrunk(image, SIDES[0])


def _picture(pixels: np.ndarray) -> Image.Image:
    """An image from its pixels [C, H, W]."""
    return Image.fromarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))


def _sprite(images: list[Image.Image], side: int, across: int) -> bytes:
    """All images, `across` in a row, as WebP; each keeps its proportions on a square of `side` pixels."""
    whole = Image.new("RGB", (side * across, side * -(-len(images) // across)))
    for place, image in enumerate(images):
        fitting = image if max(image.size) == side else _shrunk(image, side)
        left, top = (side - fitting.width) // 2, (side - fitting.height) // 2
        whole.paste(fitting, (place % across * side + left, place // across * side + top))
    content = io.BytesIO()
    whole.save(content, "WEBP", quality=80, method=2)
    return content.getvalue()


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    share = side / max(image.size)
    width, height = (max(1, round(share * length)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS if share < 1 else Image.Resampling.NEAREST)


def add_maps(packed: Packed, record: Record, connection: DuckDBPyConnection) -> dict:
    """Heatmaps of the page's instances, each scaled by its own largest value; their rows and size."""
    nothing = {"instances": [], "rows": [], "kinds": [], "height": 0, "width": 0}
    given = {"run_id": record.run.run_id, "split": record.home}
    [(count,)] = connection.execute(f"select count(*) from ({queries.internal_text('flow_maps')})", given).fetchall()
    if count > MOST_MAPS:
        packed.left_out |= {f"{count:,} heatmaps, of which a page holds {MOST_MAPS:,}"}
    if not 0 < count <= MOST_MAPS:
        return nothing
    found = queries.execute(connection, "flow_maps", given).fetchall()
    height, width = found[0][6:8]
    for side in sorted({min(height, width, side) for side in MAP_SIDES}, reverse=True):
        shape = (side * height // min(height, width), side * width // min(height, width))
        values = np.stack(
            [_scaled(np.array(row[8], np.float32).reshape(height, width), row[3], shape) for row in found]
        )
        if packed.add("maps", values, "heatmaps"):
            return _described(record, found) | {"height": shape[0], "width": shape[1]}
    return nothing


def _scaled(values: np.ndarray, method: str, shape: tuple[int, int]) -> np.ndarray:
    """A map at the page's size as bytes: 0..255 from nothing to most, signed ones around 128."""
    image = Image.fromarray(values)
    small = np.asarray(image.resize(shape[::-1], Image.Resampling.BOX))
    full = np.abs(small).max() or 1.0
    signed = METHODS[method].signed
    return np.round(128 + 127 * small / full if signed else 255 * small / full).astype(np.uint8)


def _described(record: Record, found: list[tuple]) -> dict:
    """What each map shows: its instance, and its epoch, class explained and kind."""
    names = [record.splits[0] if row[0] == record.home else row[0] for row in found]
    kinds = list(dict.fromkeys((method, kind) for _, _, _, method, _, kind, *_ in found))
    return {
        "instances": record.places(np.array(names), np.array([row[1] for row in found])).tolist(),
        "rows": [(epoch, target, kinds.index((method, kind))) for _, _, epoch, method, target, kind, *_ in found],
        "kinds": [{"method": method, "target_kind": kind, "signed": METHODS[method].signed} for method, kind in kinds],
    }
