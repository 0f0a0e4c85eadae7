"""Images and heatmaps inside the page: PNG in its text, small ones enlarged pixel by pixel."""

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection
from PIL import Image

from pipelines.common.heatmaps import draw_map, outline
from pipelines.common.settings import TrackedSettings
from pipelines.data.added import read_extra_splits
from pipelines.data.datasets import Dataset
from pipelines.data.linked import linked_image
from pipelines.data.names import format_name
from pipelines.data.pixels import read_picture
from pipelines.lifecycle.run_inputs import load_data, read_recorded_settings
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.home import Home

SIDE = 96  # pixels of the longer side that a picture has at least, if whole multiples allow
MOST = 144  # at most


@dataclass(frozen=True)
class Picture:
    """A picture inside the page, or a note on why there is none."""

    uri: str = ""
    alt: str = ""
    note: str = ""


@dataclass(frozen=True)
class Pictures:
    """The images of a run, or why there are none."""

    data: Dataset | None = None  # with the splits added later; None for an imported log, and where it cannot be found
    files: Path | None = None  # folder of an imported log's images
    why_none: str | None = None

    def image(self, split: str, instance: int, source: str | None = None) -> np.ndarray | None:
        """An image [H, W, 3], 0..1; None if it cannot be found."""
        if self.files is not None:
            file = linked_image(self.files, source or "")
            try:
                return None if file is None else np.asarray(read_picture(str(file), file)) / 255
            except InputError:
                return None
        if self.data is None:
            return None
        return self.data.splits[split].rgb([instance])[0]

    def thumbnail(self, split: str, instance: int, source: str | None = None) -> Picture:
        """The image as a page shows it."""
        image = self.image(split, instance, source)
        if image is None:
            return Picture(note="no image")
        return Picture(data_uri(_sized(to_bytes(image))), f"image {instance} of {split}")


def read_pictures(connection: DuckDBPyConnection, home: Home, run: RunRecord, data: str | None) -> Pictures:
    """The images behind a run, at `data` if they moved. Raises InputError where they are not at `data`."""
    if run.kind == "import":
        folder = Path(data or Path(run.params["file"]).parent)
        sql = "select source from instances where run_id = ? order by split, instance_id"
        sources = [source for (source,) in connection.execute(sql, [run.run_id]).fetchall()]
        if any(linked_image(folder, source) for source in sources):  # some may be missing
            return Pictures(files=folder)
        why_none = (
            f"no image {format_name(sources[0])} below {format_name(folder)}; name the log's folder of images with "
            "--data"
        )
        if data is not None:
            raise InputError(why_none)
        return Pictures(why_none=why_none)
    settings = read_recorded_settings(home, run, TrackedSettings)
    try:
        found = load_data(replace(settings, data=data or settings.data), home, run)
    except InputError as error:
        if data is not None:
            raise
        return Pictures(why_none=str(error))
    return Pictures(replace(found, splits=found.splits | read_extra_splits(home, run)))


def read_sources(connection: DuckDBPyConnection, run_id: str, split: str) -> dict[int, str | None]:
    """Where each image of a stored split lies in the data set, as `Pictures.thumbnail` takes it."""
    sql = "select instance_id, source from instances where run_id = ? and split = ?"
    return dict(connection.execute(sql, [run_id, split]).fetchall())


def heatmap(image: np.ndarray, values: np.ndarray, signed: bool, alt: str, full: float | None = None) -> Picture:
    """A map [H, W] over its image; `full` is the magnitude of the full colour, by default the map's own."""
    if not values.any():
        return Picture(note="zero everywhere")
    if values.shape != image.shape[:2]:
        return Picture(note="of another size")
    return Picture(data_uri(Image.fromarray(outlined_map(image, values, signed, full))), alt)


def outlined_map(image: np.ndarray, values: np.ndarray, signed: bool, full: float | None = None) -> np.ndarray:
    """A map [H, W] over its image as `heatmap` shows it, [h, w, 3], uint8."""
    return draw_map(image, values, signed, enlarged, full)


def enlarged(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3], 0..1, as large as its maps, uint8."""
    return np.asarray(_sized(to_bytes(image)))


def framed(image: np.ndarray, place: tuple[int, int, int], alt: str) -> Picture:
    """An image [H, W, 3] with a square framed: its first row, first column and side, in eighths of the image."""
    return Picture(data_uri(Image.fromarray(framed_image(image, place))), alt)


def framed_image(image: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    """The picture of `framed`, [h, w, 3], uint8."""
    large = enlarged(image).copy()
    top, left, side = place
    inside = np.zeros(large.shape[:2], bool)
    height, width = large.shape[0] / 8, large.shape[1] / 8
    inside[round(top * height) : round((top + side) * height), round(left * width) : round((left + side) * width)] = (
        True
    )
    outline(large, inside)
    return large


def paste_patch(image: np.ndarray, donor: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    """An image [H, W, 3] with the donor's pixels in a square, as comparisons paste them; place as in `framed`."""
    top, left, side = place
    rows, columns = (np.arange(size) * 8 // size for size in image.shape[:2])  # cell of each pixel
    inside = ((rows >= top) & (rows < top + side))[:, None] & ((columns >= left) & (columns < left + side))
    return np.where(inside[:, :, None], donor, image)


def to_bytes(image: np.ndarray) -> Image.Image:
    """An image [H, W, 3] of 0..1 as a picture."""
    return Image.fromarray(np.round(image * 255).astype(np.uint8))


def data_uri(picture: Image.Image) -> str:
    """A picture as text that a page can hold."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return uri_of(file.getvalue())


def uri_of(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _sized(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest > MOST:
        width, height = (max(1, round(MOST / longest * side)) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)
    times = max(1, -(-SIDE // longest)) if longest < SIDE else 1
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
