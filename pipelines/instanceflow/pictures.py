"""Thumbnails and heatmaps of the page."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
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
from pipelines.data.raw import Split
from pipelines.instanceflow.packing import Payload
from pipelines.instanceflow.record import Record
from pipelines.lifecycle.run_inputs import load_data, read_recorded_settings
from tracking.errors import InputError
from tracking.home import Home
from xai import METHODS

THUMBNAIL_SIDES = (96, 48, 32, 24, 16)  # pixels, largest first: the first that fits is used
LEAST_CHARACTERS = 250  # of a thumbnail of the smallest side
MAX_LARGEST = 1_000  # images with thumbnails of the largest side, of which each has about 3 kB
MAX_WEBP_SIDE = 16_383  # pixels, a limit of the format
MAP_SIDES = (64, 32, 16, 8)  # pixels of a heatmap's shorter side, largest first
MAX_MAPS = 20_000
MAP_BATCH = 2_048  # read at a time


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
    values: np.ndarray  # row by row


@dataclass(frozen=True)
class StoredImages(Sequence):
    """Images of some instances, each read when it is needed."""

    splits: Sequence[Split]
    split_indices: np.ndarray  # [n]
    instance_ids: np.ndarray  # [n]

    def __len__(self) -> int:
        return len(self.instance_ids)

    def __getitem__(self, place: Any) -> Any:
        pixels = self.splits[self.split_indices[place]].images[self.instance_ids[place]].numpy()
        rgb = np.broadcast_to(pixels, (3, *pixels.shape[1:]))  # [3, H, W], also of grey images with one channel
        return Image.fromarray(rgb.transpose(1, 2, 0))


def add_pictures(
    payload: Payload, records: Sequence[Record], home: Home, data: str | None, sample: np.ndarray
) -> tuple[dict | None, list[str]]:
    """Add thumbnails of all images, or of those of a sample if there is no room for more.

    Returns their layout, None if there are none, and notes on what is not shown. Raises InputError as `read_images`.
    """
    count = len(records[0].labels)
    has_room = payload.has_room(LEAST_CHARACTERS * count)
    for rows in (np.arange(count), sample) if has_room else (sample,):
        images, notes = read_images(records, home, data, rows)
        if images is None:
            return None, notes
        layout = add_thumbnails(payload, images)
        if layout is not None:
            return layout | {"is_sample": len(rows) < count}, notes
    return None, notes


def read_images(
    records: Sequence[Record], home: Home, data: str | None, rows: np.ndarray
) -> tuple[Sequence[Image.Image] | None, list[str]]:
    """The images of some of the first record's instances, or None, and notes on what is not shown.

    Raises InputError if there are none at `data`, or if those of another record differ. Where only the seeds of two
    trainings drew other validation images, their digests differ too, so the pictures themselves are compared.
    """
    record, *others = records
    is_log = record.run.kind == "import"  # its digest is of its predictions too
    to_check = [other for other in others if other.run.data_digest != record.run.data_digest and not is_log]
    try:
        if is_log:
            return _read_linked_images(record, data, rows)
        images = _open_images(record, home, data, rows)
    except InputError as error:
        if data is not None or to_check:
            raise
        return None, [f"No thumbnails: {error}."]

    every_row = np.arange(len(record.labels))
    for other in to_check:
        both = zip(*(_open_images(one, home, data, every_row) for one in (record, other)), strict=True)
        for row, (image, other_image) in enumerate(both):
            if image.size != other_image.size or image.tobytes() != other_image.tobytes():
                sizes = [f"{width} x {height}" for width, height in (image.size, other_image.size)]
                what = "has other pixels" if sizes[0] == sizes[1] else f"has {' and '.join(sizes)} pixels"
                raise InputError(
                    f"runs {record.run.run_id[:8]} and {other.run.run_id[:8]} have different images in "
                    f"{record.splits[0]}: image {record.instance_ids[row]} {what}; name two runs on the same"
                )
    return images, []


def add_thumbnails(payload: Payload, images: Sequence[Image.Image]) -> dict | None:
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


def _open_images(record: Record, home: Home, data: str | None, rows: np.ndarray) -> Sequence[Image.Image]:
    """The images of some instances. Raises InputError if they cannot be read."""
    settings = read_recorded_settings(home, record.run, TrackedSettings)
    if data is not None:
        settings = replace(settings, data=data)
    split_by_name = load_data(settings, home, record.run).splits | read_extra_splits(home, record.run)
    splits = [split_by_name[name] for name in (record.stored_split, *record.splits[1:])]
    return StoredImages(splits, record.split_indices[rows], record.instance_ids[rows])


def _read_linked_images(record: Record, data: str | None, rows: np.ndarray) -> tuple[list[Image.Image], list[str]]:
    """The images that an imported log names for some instances, and notes on those that are missing.

    They are below `data` or else in the log's folder.

    A missing image is blank. Raises InputError if all are missing.
    """
    folder = Path(data or Path(record.run.params["file"]).parent)
    images: list[Image.Image] = []
    missing_sources = []
    for source in record.sources.take(pa.array(rows)).to_pylist():
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


def _draw_sprite(images: Sequence[Image.Image], side: int, images_per_row: int) -> bytes:
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


def find_explained(records: Sequence[Record], connection: DuckDBPyConnection) -> np.ndarray:
    """Rows of the page's instances that have heatmaps, ascending."""
    rows = []
    for record in records:
        sql = f"select distinct split, instance_id from ({queries.internal_text('flow_maps')})"
        explained = connection.execute(sql, _scope_of(record)).fetchnumpy()
        rows.append(_find_rows(record, explained["split"], explained["instance_id"]))
    found = np.unique(np.concatenate(rows))
    return found[found >= 0]


def add_maps(payload: Payload, records: Sequence[Record], connection: DuckDBPyConnection) -> dict:
    """Add the heatmaps of the page's instances, each on its own scale.

    Returns their size and style, and what each shows: its instance, epoch, class explained, kind (method and target
    kind) and run.
    """
    nothing = {"instances": [], "rows": [], "kinds": [], "height": 0, "width": 0}
    count_sql = f"select count(*) from ({queries.internal_text('flow_maps')})"
    map_count = sum(connection.execute(count_sql, _scope_of(record)).fetchall()[0][0] for record in records)
    if map_count > MAX_MAPS:
        payload.left_out.add(f"{map_count:,} heatmaps (a page holds at most {MAX_MAPS:,})")
    if not 0 < map_count <= MAX_MAPS:
        return nothing

    shapes = [(stored.height, stored.width) for *_, stored in islice(_read_maps(records, connection), 1)]
    if not shapes:
        return nothing
    shorter_side = min(shapes[0])
    for side in sorted({min(shorter_side, side) for side in MAP_SIDES}, reverse=True):
        height, width = (side * length // shorter_side for length in shapes[0])
        rows, instances, packed_maps = [], [], []
        kinds: list[tuple[str, str]] = []
        for run_index, instance, stored in _read_maps(records, connection):
            kind = stored.method, stored.target_kind
            if kind not in kinds:
                kinds.append(kind)
            instances.append(instance)
            rows.append((stored.epoch, stored.target, kinds.index(kind), run_index))
            packed_maps.append(_pack_map(stored, height, width))
        if payload.add_array("maps", np.stack(packed_maps), "heatmaps"):
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


def _read_maps(records: Sequence[Record], connection: DuckDBPyConnection) -> Iterator[tuple[int, int, StoredMap]]:
    """Place of the record, row of the instance, and the map of each of the page's instances, few at a time."""
    for run_index, record in enumerate(records):
        for batch in queries.execute_to_batches(connection, "flow_maps", _scope_of(record), MAP_BATCH):
            *scalars, values = batch.columns
            columns = [column.to_pylist() for column in scalars] + [values.to_numpy(zero_copy_only=False)]
            instances = _find_rows(record, *(np.array(column) for column in columns[:2]))
            for instance, *row in zip(instances.tolist(), *columns, strict=True):
                if instance >= 0:  # else it is not on the page: not drawn, or added later to one of two runs
                    yield run_index, instance, StoredMap(*row)


def _scope_of(record: Record) -> dict[str, object]:
    return {"run_id": record.run.run_id, "split": record.stored_split}


def _find_rows(record: Record, splits: np.ndarray, instance_ids: np.ndarray) -> np.ndarray:
    """Rows of instances whose split is named as table instances names it; -1 if the page does not have one."""
    return record.find_rows(np.where(splits == record.stored_split, record.splits[0], splits), instance_ids)


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
