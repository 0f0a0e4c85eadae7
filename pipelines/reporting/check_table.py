"""The images worth a look as tables with pictures, which MLflow shows in its evaluation tab and among the files.

That tab has rows named by the first column, and the pictures of the one called `output` beside them; the other columns
are in its menu, and all of them in the table among the run's files.
"""

from collections.abc import Sequence
from itertools import chain, groupby, zip_longest

import numpy as np
from PIL import Image

import queries
from pipelines.common.heatmaps import draw_map
from pipelines.pages.words import percent
from pipelines.reporting.checks import REASONS
from pipelines.reporting.labels import Labels
from pipelines.reporting.subject import Subject
from pipelines.reporting.techniques import called
from xai import METHODS

SHOWN = 24  # images, of all reasons in turn
LABELS_SHOWN = 60  # training images
SIDE = 160  # pixels of an image or a map
GAP = 4  # between both


def draw_check_table(subject: Subject, rows: Sequence[dict], methods: Sequence[str]) -> list[dict]:
    """A row per image of instances_to_check: why to look at it, and the image beside a map of its predicted class.

    Of an image's maps the one by the first of `methods` is shown. Images that cannot be found are left out.
    """
    table: list[dict] = []
    for (split, instance), reasons in _take_turns(rows).items():
        first = reasons[0]
        image = subject.pictures.image(split, instance, first["source"])
        if image is None or len(table) == SHOWN:
            continue
        label, predicted = first["label_name"], first["predicted_name"]
        titles = "; ".join(REASONS[row["reason"]] for row in reasons)
        method, values = _find_map(subject, instance, image, methods)
        table.append(
            {
                "image": f"{split} #{instance}: {label}, predicted as {predicted}. {titles}",
                "output": _draw(image, method, values),
                "label": label,
                "predicted": predicted,
                "reasons": titles,
                "details": "; ".join(f"{REASONS[row['reason']]}: {row['detail']}" for row in reasons),
                "map": f"{called(method)}, for the predicted class" if method else "none",
                "reviewers": first["verdicts"] or "",
            }
        )
    return table


def draw_label_table(subject: Subject, labels: Labels) -> list[dict]:
    """A row per training image whose label the model contradicts, least supported first."""
    table: list[dict] = []
    for row in labels.contradicted[:LABELS_SHOWN]:
        image = subject.pictures.image("train", row["instance_id"])
        if image is None:
            continue
        predicted = row["suggested_name"] or "?"
        table.append(
            {
                "image": f"train #{row['instance_id']}: {row['label_name']}, mostly predicted as {predicted}",
                "output": _draw(image, None, None),
                "label": row["label_name"],
                "mostly predicted": predicted,
                "of the epochs": percent(row["suggested_share"], 1),
                "probability of the label": "" if row["confidence"] is None else f"{row['confidence']:.2f}",
                "reviewers": row["verdicts"] or "",
            }
        )
    return table


def _take_turns(rows: Sequence[dict]) -> dict[tuple[str, int], list[dict]]:
    """All rows by split and image: the most striking image of every reason, then the next of each."""
    by_reason = [list(group) for _, group in groupby(rows, key=lambda row: row["reason"])]
    by_image: dict[tuple[str, int], list[dict]] = {}
    for row in chain.from_iterable(zip_longest(*by_reason)):
        if row is not None:
            by_image.setdefault((row["split"], row["instance_id"]), []).append(row)
    return by_image


def _find_map(
    subject: Subject, instance: int, image: np.ndarray, methods: Sequence[str]
) -> tuple[str | None, np.ndarray | None]:
    """The first of these methods that has a map of the image at its last explained epoch, and the map [H, W]."""
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
    method = next((name for name in methods if name in values_by_method), None)
    return method, values_by_method[method] if method else None


def _draw(image: np.ndarray, method: str | None, values: np.ndarray | None) -> np.ndarray:
    """The image, and a map over it at its right, [h, w, 3], uint8."""
    # MLflow's cell shows the upper half of a square, in whose middle it puts what is not square
    canvas = np.full((2 * SIDE + GAP, 2 * SIDE + GAP, 3), 255, np.uint8)
    _paste(canvas, _fit(image), 0)
    if method is not None and values is not None:
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
