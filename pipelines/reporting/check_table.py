"""The images worth a look as a table with pictures, which MLflow shows in its evaluation tab and among the files."""

from collections.abc import Sequence
from itertools import chain, groupby, zip_longest

import numpy as np
from PIL import Image

import queries
from pipelines.common.heatmaps import draw_map
from pipelines.reporting.subject import Subject
from xai import METHODS

SHOWN = 24  # images, of all reasons in turn
SIDE = 160  # pixels of an image or a map
GAP = 4  # between both
PREFERRED = ("integrated_gradients", "shap")  # of an image's maps the first of these is shown, else any


def draw_check_table(subject: Subject, rows: Sequence[dict]) -> list[dict]:
    """A row per image of instances_to_check with a picture: the image, and beside it a map of its predicted class.

    All words stand in one column, as MLflow's tab compares the next one, which so is the picture: which image of how
    many it is, and each reason to look at it. Images that cannot be had are left out.
    """
    by_image = _take_turns(rows)
    drawn: list[tuple[str, np.ndarray]] = []
    for (split, instance), reasons in by_image.items():
        image = subject.pictures.image(split, instance, reasons[0]["source"])
        if image is not None and len(drawn) < SHOWN:
            words = f"{split} #{instance}: {reasons[0]['label_name']}, predicted {reasons[0]['predicted_name']}"
            why = [f"{row['reason'].replace('_', ' ')}: {row['detail']}" for row in reasons]
            drawn.append(("\n".join([words, *why]), _draw(subject, instance, image)))
    whole = "" if len(drawn) == len(by_image) else f" ({len(by_image)} in the CSV)"  # short, as the cell cuts its text
    return [
        {"image": f"{place} of {len(drawn)}{whole}\n{words}", "picture": picture}
        for place, (words, picture) in enumerate(drawn, start=1)
    ]


def _take_turns(rows: Sequence[dict]) -> dict[tuple[str, int], list[dict]]:
    """All rows by split and image: the most striking image of every reason, then the next of each."""
    by_reason = [list(group) for _, group in groupby(rows, key=lambda row: row["reason"])]
    by_image: dict[tuple[str, int], list[dict]] = {}
    for row in chain.from_iterable(zip_longest(*by_reason)):
        if row is not None:
            by_image.setdefault((row["split"], row["instance_id"]), []).append(row)
    return by_image


def _draw(subject: Subject, instance: int, image: np.ndarray) -> np.ndarray:
    scope: dict[str, str | int | float | None] = {
        "run_id": subject.run.run_id,
        "split": subject.split,
        "target": "predicted",
        "instance_id": instance,
    }
    maps = queries.execute(subject.evidence.connection, "mosaic_maps", scope).fetchall()
    last_epoch = max((epoch for _, epoch, *_ in maps), default=None)
    values_by_method = {
        method: np.array(values, np.float32).reshape(height, width)
        for method, epoch, height, width, values in maps
        if epoch == last_epoch and (height, width) == image.shape[:2]
    }
    method = next((name for name in (*PREFERRED, *METHODS) if name in values_by_method), None)
    # MLflow's cell shows the upper half of a square, in whose middle it puts what is not square
    canvas = np.full((2 * SIDE + GAP, 2 * SIDE + GAP, 3), 255, np.uint8)
    _paste(canvas, _fit(image), 0)
    if method is not None:
        values = values_by_method[method]
        _paste(canvas, draw_map(image, values, METHODS[method].signed, _fit), SIDE + GAP)
    return canvas


def _paste(canvas: np.ndarray, fitted: np.ndarray, left: int) -> None:
    """Put a picture [h, w, 3], uint8, at the top of the canvas."""
    canvas[: fitted.shape[0], left : left + fitted.shape[1]] = fitted


def _fit(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3], 0..1, as large as it is in a square of SIDE pixels; [h, w, 3], uint8."""
    picture = Image.fromarray(np.round(image * 255).astype(np.uint8))
    scale = SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return np.asarray(picture.resize(size, resampling))
