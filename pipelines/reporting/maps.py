"""Question (a): maps of the same images by every method, for right and for wrong predictions."""

import numpy as np

from pipelines.common.figures import short
from pipelines.explaining.maps.heatmaps import full_colour_magnitude
from pipelines.reporting.examples import ExplainedImages
from pipelines.reporting.html import NOTHING, Cell, Html, html, table
from pipelines.reporting.pictures import heatmap
from pipelines.reporting.subject import Subject
from pipelines.reporting.techniques import called
from pipelines.reporting.words import percent
from xai import METHODS


def maps_of(explained: ExplainedImages, instances: list[int], caption: str) -> Html:
    """A row for each image: the image, then its map by every method."""
    if not instances or explained.subject.pictures.data is None:
        return NOTHING
    rows = []
    for instance in instances:
        own = {row["method"]: row for row in explained.of(instance) if row["target_kind"] == "predicted"}
        image = explained.subject.pictures.image(explained.subject.split, instance)
        cells = [_map(explained, image, own.get(method)) for method in explained.methods]
        rows.append([described(explained.subject, next(iter(own.values()))), *cells])
    heads = ("image", *map(called, explained.methods))
    return table(html("{}{}", caption, explained.answer.mark), heads, rows, f"maps across-{len(heads)}", len(heads))


def _map(explained: ExplainedImages, image: np.ndarray | None, row: dict | None) -> Html | Cell:
    if row is None or image is None:
        return Cell("no map" if row is None else "no image", kind="none")
    alt = f"{row['method']} of image {row['instance_id']}"
    return heatmap(image, explained.values(row), METHODS[row["method"]].signed, alt)


def described(subject: Subject, row: dict) -> Html:
    """An image with what it is and what it was misclassified as."""
    right = row["predicted"] == row["label"]
    sure = f" {percent(row['p_predicted'], 100)}" if row["p_predicted"] is not None else ""
    label, predicted = (short(subject.classes[row[key]], 16) for key in ("label", "predicted"))
    words = f"✓ {label}{sure}" if right else f"✗ {label}, misclassified as {predicted}{sure}"
    return html('{}<span class="{}">#{} {}</span>', subject.pictures.thumbnail(subject.split, row["instance_id"]),
                "right" if right else "wrong", row["instance_id"], words)  # fmt: skip


def for_and_against(explained: ExplainedImages, instances: list[int]) -> Html:
    """SHAP of each image in two, what speaks for the predicted class and what against it; of the true one likewise."""
    rows = []
    for instance in instances:
        own = {row["target_kind"]: row for row in explained.of(instance) if row["method"] == "shap"}
        image = explained.subject.pictures.image(explained.subject.split, instance)
        if "predicted" in own and image is not None:
            wrong = own["predicted"]["target"] != own["predicted"]["label"] and "label" in own
            shown = [own["predicted"], *([own["label"]] if wrong else [])]
            rows.append([described(explained.subject, own["predicted"]), *_halves(explained, image, shown)])
    if not rows:
        return NOTHING
    columns = max(map(len, rows))
    heads = ("image", "for the predicted class", "against it", "for the true class", "against it")[:columns]
    caption = html(
        "What speaks for (red) and against (blue) a class, by SHAP; one scale for each image{}", explained.answer.mark
    )
    return table(caption, heads, [row + [""] * (columns - len(row)) for row in rows], f"maps across-{columns}", columns)


def _halves(explained: ExplainedImages, image: np.ndarray, rows: list[dict]) -> list[Html]:
    values = [explained.values(row) for row in rows]
    full = full_colour_magnitude(np.stack(values))
    return [
        heatmap(image, half, True, f"SHAP {name} class {row['target']} of image {row['instance_id']}", full)
        for row, whole in zip(rows, values, strict=True)
        for name, half in (("for", whole.clip(min=0)), ("against", whole.clip(max=0)))
    ]
