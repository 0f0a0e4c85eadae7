"""Images and heatmaps as parts of the page: PNG in its text, small ones enlarged pixel by pixel."""

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection
from PIL import Image

from pipelines.common.settings import TrainSettings
from pipelines.data.added import read_extra_splits
from pipelines.data.datasets import Dataset
from pipelines.data.linked import linked_image
from pipelines.data.names import format_name
from pipelines.data.pixels import read_picture
from pipelines.explaining.maps.heatmaps import full_colour_magnitude, overlay
from pipelines.lifecycle.run_inputs import load_data, read_recorded_settings
from pipelines.reporting.html import Html, html
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.home import Home

SIDE = 96  # pixels of the longer side that a picture has at the least, if whole multiples allow
MOST = 144  # at the most


@dataclass(frozen=True)
class Pictures:
    """The images of a run, or why there are none."""

    data: Dataset | None = None  # with the splits added later; None for an imported log, and where it cannot be had
    files: Path | None = None  # folder of an imported log's images
    why_none: str | None = None

    def image(self, split: str, instance: int, source: str | None = None) -> np.ndarray | None:
        """An image [H, W, 3], 0..1; None if it cannot be had."""
        if self.files is not None:
            return _opened(linked_image(self.files, source or ""))
        if self.data is None:
            return None
        return self.data.splits[split].rgb([instance])[0]

    def thumbnail(self, split: str, instance: int, source: str | None = None) -> Html:
        """The image as an element; a word where it cannot be had."""
        image = self.image(split, instance, source)
        if image is None:
            return html('<span class="none">no image</span>')
        return picture(image, f"image {instance} of {split}")


def read_pictures(connection: DuckDBPyConnection, home: Home, run: RunRecord, data: str | None) -> Pictures:
    """The images behind a run, at `data` if they moved. Raises InputError where they are not at `data`."""
    if run.kind == "import":
        if data is not None:
            _check_folder(connection, run, Path(data))
        return Pictures(files=Path(data or Path(run.params["file"]).parent))
    settings = read_recorded_settings(home, run, TrainSettings)
    try:
        found = load_data(replace(settings, data=data or settings.data), home, run)
    except InputError as error:
        if data is not None:
            raise
        return Pictures(why_none=str(error))
    return Pictures(replace(found, splits=found.splits | read_extra_splits(home, run)))


def picture(image: np.ndarray, alt: str) -> Html:
    """An image [H, W, 3], 0..1, as an element."""
    return html('<img class="thumb" src="{}" alt="{}">', Html(data_uri(np.round(image * 255).astype(np.uint8))), alt)


def heatmap(image: np.ndarray, values: np.ndarray, signed: bool, alt: str, full: float | None = None) -> Html:
    """A map [H, W] over its image; `full` is the value of the full colour, default the map's own 99.5th percentile."""
    if not values.any():
        return html('<span class="none">zero everywhere</span>')
    if values.shape != image.shape[:2]:
        return html('<span class="none">of another size</span>')
    return picture(overlay(image, values, full or full_colour_magnitude(values), signed), alt)


def data_uri(pixels: np.ndarray) -> str:
    """An image [H, W, 3], uint8, as text a page can hold."""
    found, file = _sized(Image.fromarray(pixels)), io.BytesIO()
    found.save(file, "PNG", optimize=True)
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


def _check_folder(connection: DuckDBPyConnection, run: RunRecord, folder: Path) -> None:
    """Raise InputError on a folder with none of an imported log's images; some may be missing."""
    sql = "select source from instances where run_id = ? order by split, instance_id"
    sources = [source for (source,) in connection.execute(sql, [run.run_id]).fetchall()]
    if not any(linked_image(folder, source) for source in sources):
        raise InputError(
            f"no image {format_name(sources[0])} below {format_name(folder)}; name the log's folder of images with "
            "--data"
        )


def _opened(file: Path | None) -> np.ndarray | None:
    if file is None:
        return None
    try:
        return np.asarray(read_picture(str(file), file)) / 255
    except InputError:
        return None
