"""Thumbnails and heatmaps of the page."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from duckdb import DuckDBPyConnection
from PIL import Image

import queries
from pipelines.common.heatmaps import (
    GREY,
    OPACITY,
    OUTLINE,
    SCALE_ENDS,
    SCALE_NOTE,
    colour_table,
    find_strongest,
    full_colour_magnitude,
)  # fmt: skip
from pipelines.common.settings import TrackedSettings
from pipelines.data.added import read_extra_splits
from pipelines.data.linked import linked_image
from pipelines.data.names import format_name, format_names
from pipelines.data.pixels import read_picture
from pipelines.instanceflow.packing import Payload
from pipelines.instanceflow.record import Record
from pipelines.lifecycle.run_inputs import load_data, read_recorded_settings
from tracking.errors import InputError
from tracking.home import Home
from xai import METHODS

THUMBNAIL_SIDES = (96, 48, 32, 24, 16)  # pixels, largest first: the first that fits is used
MAX_LARGEST = 1_000  # images with thumbnails of the largest side, of which each has about 3 kB
MAX_WEBP_SIDE = 16_383  # pixels, a limit of the format
MAP_SIDES = (64, 32, 16, 8)  # pixels of a heatmap's shorter side, largest first
MAX_MAPS = 20_000


class StoredMap(NamedTuple):
    """A row of the query `flow_maps`."""

    split: str
    instance_id: int
    epoch: int
    method: str
    target: int
    target_kind: str
    height: int
    width: int
    values: list[float]  # row by row


def read_images(records: Sequence[Record], home: Home, data: str | None) -> tuple[list[Image.Image] | None, list[str]]:
    """The images of the first record's instances, or None, and notes on what is not shown.

    Raises InputError if there are none at `data`, or if those of another record differ. Where only the seeds of two
    trainings drew other validation images, their digests differ too, so the pictures themselves are compared.
    """
    record, *others = records
    is_log = record.run.kind == "import"  # its digest is of its predictions too
    to_check = [other for other in others if other.run.data_digest != record.run.data_digest and not is_log]
    try:
        if is_log:
            return _read_linked_images(record, data)
        images = _read_images(record, home, data)
    except InputError as error:
        if data is not None or to_check:
            raise
        return None, [f"No thumbnails: {error}."]

    for other in to_check:
        for row, (image, other_image) in enumerate(zip(images, _read_images(other, home, data), strict=True)):
            if image.size != other_image.size or image.tobytes() != other_image.tobytes():
                sizes = [f"{width} x {height}" for width, height in (image.size, other_image.size)]
                what = "has other pixels" if sizes[0] == sizes[1] else f"has {' and '.join(sizes)} pixels"
                raise InputError(
                    f"runs {record.run.run_id[:8]} and {other.run.run_id[:8]} have different images in "
                    f"{record.splits[0]}: image {record.instance_ids[row]} {what}; name two runs on the same"
                )
    return images, []


def add_thumbnails(payload: Payload, images: list[Image.Image]) -> dict | None:
    """Add one picture of all thumbnails, row by row. Returns its layout, or None without room."""
    images_per_row = int(np.ceil(np.sqrt(len(images))))
    longest_side = max(max(image.size) for image in images)
    sides = THUMBNAIL_SIDES if len(images) <= MAX_LARGEST else THUMBNAIL_SIDES[1:]
    for side in sorted({min(longest_side, side) for side in sides}, reverse=True):
        if side * images_per_row > MAX_WEBP_SIDE:
            continue
        sprite = _draw_sprite(images, side, images_per_row)
        if payload.add_file("thumbnails", sprite, "thumbnails"):
            return {"side": side, "across": images_per_row, "shrunk": side < longest_side}
    return None


def _read_images(record: Record, home: Home, data: str | None) -> list[Image.Image]:
    """The images of all instances, in their order. Raises InputError if they cannot be read."""
    settings = read_recorded_settings(home, record.run, TrackedSettings)
    if data is not None:
        settings = replace(settings, data=data)
    split_by_name = load_data(settings, home, record.run).splits | read_extra_splits(home, record.run)
    splits = [split_by_name[name] for name in (record.stored_split, *record.splits[1:])]

    images = []
    for split_index, instance_id in zip(record.split_indices, record.instance_ids, strict=True):
        pixels = splits[split_index].images[instance_id].numpy()  # [C, H, W], grey images with one channel
        rgb = np.broadcast_to(pixels, (3, *pixels.shape[1:]))
        images.append(Image.fromarray(rgb.transpose(1, 2, 0)))
    return images


def _read_linked_images(record: Record, data: str | None) -> tuple[list[Image.Image], list[str]]:
    """The images an imported log names, below `data` or else the log's folder, and notes on those that are missing.

    A missing image is blank. Raises InputError if all are missing.
    """
    folder = Path(data or Path(record.run.params["file"]).parent)
    images: list[Image.Image] = []
    missing_sources = []
    for source in record.sources:
        file = linked_image(folder, source)
        try:
            image = read_picture(str(file), file) if file else None
        except InputError:
            image = None
        if image is None:
            missing_sources.append(source)
            image = Image.new("RGB", (1, 1), "white")
        elif max(image.size) > THUMBNAIL_SIDES[0]:
            image = _resize(image, THUMBNAIL_SIDES[0])  # thousands of large photographs do not fit in memory
        images.append(image)

    if len(missing_sources) == len(images):
        raise InputError(
            f"no image {format_name(missing_sources[0])} below {format_name(folder)}; "
            "name the log's folder of images with --data"
        )
    if not missing_sources:
        return images, []
    note = (
        f"{len(missing_sources)} of {len(images)} images have no thumbnail, "
        f"because {format_name(folder)} does not contain them: {format_names(missing_sources)}."
    )
    return images, [note]


def _draw_sprite(images: list[Image.Image], side: int, images_per_row: int) -> bytes:
    """All images as one WebP picture; each keeps its proportions within a square of `side` pixels."""
    row_count = -(-len(images) // images_per_row)
    sprite = Image.new("RGB", (side * images_per_row, side * row_count))
    for index, image in enumerate(images):
        thumbnail = image if max(image.size) == side else _resize(image, side)
        row, column = divmod(index, images_per_row)
        left = column * side + (side - thumbnail.width) // 2
        top = row * side + (side - thumbnail.height) // 2
        sprite.paste(thumbnail, (left, top))
    buffer = io.BytesIO()
    sprite.save(buffer, "WEBP", quality=80, method=2)
    return buffer.getvalue()


def _resize(image: Image.Image, longest_side: int) -> Image.Image:
    factor = longest_side / max(image.size)
    width = max(1, round(factor * image.width))
    height = max(1, round(factor * image.height))
    resampling = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
    return image.resize((width, height), resampling)


def add_maps(payload: Payload, records: Sequence[Record], connection: DuckDBPyConnection) -> dict:
    """Add the heatmaps of the page's instances, each on its own scale.

    Returns their size and style, and what each shows: its instance, epoch, class explained, kind (method and target
    kind) and run.
    """
    nothing = {"instances": [], "rows": [], "kinds": [], "height": 0, "width": 0}
    scopes = [{"run_id": record.run.run_id, "split": record.stored_split} for record in records]
    count_sql = f"select count(*) from ({queries.internal_text('flow_maps')})"
    map_count = sum(connection.execute(count_sql, scope).fetchall()[0][0] for scope in scopes)
    if map_count > MAX_MAPS:
        payload.left_out.add(f"{map_count:,} heatmaps (a page holds at most {MAX_MAPS:,})")
    if not 0 < map_count <= MAX_MAPS:
        return nothing

    maps, rows, instances = [], [], []
    kinds: list[tuple[str, str]] = []
    for run_index, (record, scope) in enumerate(zip(records, scopes, strict=True)):
        run_maps = [StoredMap(*row) for row in queries.execute(connection, "flow_maps", scope).fetchall()]
        # the page calls the first split by its own name, also where its instances are those of train
        names = [record.splits[0] if stored.split == record.stored_split else stored.split for stored in run_maps]
        instance_rows = record.find_rows(np.array(names), np.array([stored.instance_id for stored in run_maps]))
        for stored, instance in zip(run_maps, instance_rows.tolist(), strict=True):
            if instance < 0:  # added later, which a page of two runs leaves out
                continue
            kind = stored.method, stored.target_kind
            if kind not in kinds:
                kinds.append(kind)
            maps.append(stored)
            instances.append(instance)
            rows.append((stored.epoch, stored.target, kinds.index(kind), run_index))
    if not maps:
        return nothing

    shorter_side = min(maps[0].height, maps[0].width)
    for side in sorted({min(shorter_side, side) for side in MAP_SIDES}, reverse=True):
        height = side * maps[0].height // shorter_side
        width = side * maps[0].width // shorter_side
        packed_maps = np.stack([_pack_map(stored, height, width) for stored in maps])
        if payload.add_array("maps", packed_maps, "heatmaps"):
            break
    else:
        return nothing

    described_kinds = []
    for method, target_kind in kinds:
        name, signed = METHODS[method].card.name, METHODS[method].signed
        described_kinds.append({"method": method, "name": name, "target_kind": target_kind, "signed": signed})
    return {
        "instances": instances,
        "rows": rows,
        "kinds": described_kinds,
        "height": height,
        "width": width,
        "style": _describe_style(),
    }


def _describe_style() -> dict:
    """The numbers of `pipelines/common/heatmaps.py`, by which the page draws maps as it does."""
    return {
        "colours": {"signed": colour_table(True).tobytes().hex(), "strength": colour_table(False).tobytes().hex()},
        "ends": {"signed": SCALE_ENDS[True], "strength": SCALE_ENDS[False]},
        "note": SCALE_NOTE,
        "grey": GREY,
        "opacity": OPACITY,
        "outline": OUTLINE,
    }


def _pack_map(stored: StoredMap, height: int, width: int) -> np.ndarray:
    """A map as bytes: its levels, row by row, then its strongest tenth as a bit per pixel.

    The level of 0 to the full colour is 0..255; of signed maps 1..255, zero at 128.
    """
    values = np.array(stored.values, np.float32).reshape(stored.height, stored.width)
    resized = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))
    scaled = np.clip(resized / full_colour_magnitude(values), -1, 1)
    levels = 128 + 127 * scaled if METHODS[stored.method].signed else 255 * scaled.clip(min=0)
    strongest = Image.fromarray(find_strongest(values)).resize((width, height), Image.Resampling.NEAREST)
    return np.concatenate([np.round(levels).astype(np.uint8).ravel(), np.packbits(np.asarray(strongest))])
