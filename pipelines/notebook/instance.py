"""One image as a notebook shows it: what it is, how it was predicted epoch by epoch, and its heatmaps.

Static HTML whose styles stand in its elements and whose colours follow the text's, so that it looks alike in every
notebook, light or dark, and survives where scripts and style sheets are removed.
"""

from dataclasses import dataclass

import numpy as np
from duckdb import DuckDBPyConnection

import queries
from pipelines.common.figures import capital
from pipelines.common.heatmaps import SCALE_NOTE
from pipelines.common.splits import stored_split
from pipelines.pages.html import Html, html, joined
from pipelines.pages.pictures import Picture, Pictures, heatmap
from pipelines.pages.reviews import describe_review
from pipelines.reporting.techniques import called
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from xai import METHODS

MAPS_SHOWN = 6  # of a method, the last epoch always
RIGHT, WRONG = "#2a86c8", "#d9772b"  # readable on white and on black
CHART_HEIGHT, BAND_HEIGHT = 90, 16  # pixels of the curve, and of the band below it
FAINT = "opacity: 0.7; font-size: 0.85em"


@dataclass(frozen=True)
class ShownInstance:
    """One image with its history and its heatmaps."""

    text: str
    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def show_instance(
    connection: DuckDBPyConnection, pictures: Pictures, run: RunRecord, instance_id: int, split: str
) -> ShownInstance:
    """Raises InputError if the run has no such image."""
    scope = {"run_id": run.run_id, "split": split, "instance_id": str(instance_id)}
    history = queries.run(connection, "instance_history", scope).dicts
    if not history:
        raise InputError(_explain_no_instance(connection, run, instance_id, split))
    [(source,)] = connection.execute(
        "select any_value(source) from instances where run_id = ? and split = ? and instance_id = ?",
        [run.run_id, stored_split(split), instance_id],
    ).fetchall()
    reviews = queries.run(connection, "verdicts", {"run_id": run.run_id, "split": split}).dicts
    last = history[-1]
    title = f"Image {instance_id} of {split}"
    lines = [
        f"label {last['label_name']}" if last["label"] is not None else "label unknown",
        f"epoch {last['epoch']}: predicted as {last['predicted_name']}{_with_probability(last['p_predicted'])}",
        f"run {run.name} ({run.run_id[:8]})",
        *(describe_review(row) for row in reviews if row["instance_id"] == instance_id),
    ]
    picture = pictures.thumbnail(stored_split(split), instance_id, source)
    if pictures.why_none:
        picture = Picture(note=f"no image: {pictures.why_none}")
    document = html(
        '<div style="display: flex; flex-wrap: wrap; gap: 1.2em; align-items: flex-start; margin: 0.5em 0">'
        '<div>{}</div><div><strong>{}</strong><br>{}</div><div>{}</div></div>{}',
        _draw_picture(picture), title, joined(lines, Html("<br>")), _draw_history(history),
        _draw_maps(connection, pictures, run, instance_id, stored_split(split)),
    )  # fmt: skip
    return ShownInstance("\n".join([title, *lines]), str(document))


def _explain_no_instance(connection: DuckDBPyConnection, run: RunRecord, instance_id: int, split: str) -> str:
    sql = "select split, min(instance_id), max(instance_id) from predictions where run_id = ? group by all order by all"
    ranges = [f"{name} {first} to {last}" for name, first, last in connection.execute(sql, [run.run_id]).fetchall()]
    return (
        f"run {run.run_id[:8]} has no predictions of image {instance_id} of split {split!r}; there are: "
        f"{', '.join(ranges) or 'none yet'}"
    )


def _with_probability(probability: float | None) -> str:
    return "" if probability is None else f" with probability {probability:.2f}"


def _draw_picture(picture: Picture, caption: str = "") -> Html:
    if not picture.uri:
        lines = [line for line in (picture.note, caption) if line]
        return html('<div style="max-width: 144px; {}">{}</div>', FAINT, joined(lines, Html("<br>")))
    image = html('<img src="{}" alt="{}" style="image-rendering: pixelated; margin: 0">', picture.uri, picture.alt)
    return html('<div>{}<div style="{}">{}</div></div>', image, FAINT, caption)


def _draw_history(history: list[dict]) -> Html:
    """The probability of the label over epochs, and below it a band of what was predicted."""
    step = min(max(420 / len(history), 3), 40)
    width = step * len(history)
    known = [(number, row["p_true"]) for number, row in enumerate(history) if row["p_true"] is not None]
    points = " ".join(f"{step * (number + 0.5):.1f},{CHART_HEIGHT * (1 - p):.1f}" for number, p in known)
    bands: list[Html] = []
    names: list[tuple[float, str]] = []
    previous = None
    for number, row in enumerate(history):
        colour = "#888" if row["label"] is None else RIGHT if row["predicted"] == row["label"] else WRONG
        about = f"epoch {row['epoch']}: {row['predicted_name']}{_with_probability(row['p_predicted'])}"
        bands.append(
            html('<rect x="{}" y="{}" width="{}" height="{}" fill="{}"><title>{}</title></rect>',
                 f"{step * number:.1f}", CHART_HEIGHT + 4, f"{step:.1f}", BAND_HEIGHT, colour, about)
        )  # fmt: skip
        if row["predicted"] != previous and (not names or step * number - names[-1][0] > 40):
            names.append((step * number, row["predicted_name"] or str(row["predicted"])))
        previous = row["predicted"]
    texts = [html('<text x="{}" y="{}" fill="currentColor">{}</text>', f"{x:.1f}", CHART_HEIGHT + 34, name[:12])
             for x, name in names]  # fmt: skip
    first, last = history[0]["epoch"], history[-1]["epoch"]
    curve = html('<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.5"/>', points)
    return html(
        '<svg width="{w}" height="{h}" viewBox="-30 -8 {w} {h}" role="img" font-size="11" style="max-width: 100%" '
        'aria-label="Probability of the label and predicted class, epochs {first} to {last}">'
        '<g stroke="currentColor" stroke-opacity="0.25"><path d="M0 0H{x}M0 {half}H{x}M0 {full}H{x}"/></g>'
        '<g fill="currentColor" fill-opacity="0.7" text-anchor="end"><text x="-4" y="4">1</text>'
        '<text x="-4" y="{base}">0</text></g>{curve}{bands}{texts}</svg>'
        '<div style="{faint}">Probability of the label, epochs {first} to {last}; below, what was predicted: '
        '<span style="color: {right}">■</span> right, <span style="color: {wrong}">■</span> wrong</div>',
        w=f"{width + 60:.0f}", h=CHART_HEIGHT + 52, x=f"{width:.1f}", half=CHART_HEIGHT / 2, full=CHART_HEIGHT,
        base=CHART_HEIGHT + 4, first=first, last=last, curve=curve if known else "", bands=joined(bands),
        texts=joined(texts), faint=FAINT, right=RIGHT, wrong=WRONG,
    )  # fmt: skip


def _draw_maps(
    connection: DuckDBPyConnection, pictures: Pictures, run: RunRecord, instance_id: int, split: str
) -> Html:
    """A row of heatmaps per method, of the epochs that it explained."""
    image = None if pictures.data is None else pictures.image(split, instance_id)
    scope = {"run_id": run.run_id, "split": split, "target": "predicted", "instance_id": str(instance_id)}
    by_method: dict[str, list[tuple]] = {}
    for method, *made in queries.execute(connection, "mosaic_maps", scope).fetchall():
        by_method.setdefault(method, []).append(tuple(made))
    if not by_method:
        command = f"study explain {run.run_id[:8]} --split {split} --instances {instance_id}"
        return html('<div style="{}">No heatmaps of this image yet; <code>{}</code> makes one.</div>', FAINT, command)
    if image is None:
        return html('<div style="{}">Heatmaps by {}.</div>', FAINT, ", ".join(map(called, by_method)))

    cells = []
    for method in (name for name in METHODS if name in by_method):
        made = by_method[method]
        chosen = sorted({round(place) for place in np.linspace(0, len(made) - 1, min(len(made), MAPS_SHOWN))})
        shown = []
        for epoch, height, width, values in (made[place] for place in chosen):
            attribution = np.array(values, np.float32).reshape(height, width)
            alt = f"{called(method)} of image {instance_id}, epoch {epoch}"
            shown.append(_draw_picture(heatmap(image, attribution, METHODS[method].signed, alt), f"epoch {epoch}"))
        cells.append(html('<div><div>{}</div><div style="display: flex; flex-wrap: wrap; gap: 4px">{}</div></div>',
                          capital(called(method)), joined(shown)))  # fmt: skip
    return html(
        '<div style="display: flex; flex-wrap: wrap; gap: 1em">{}</div>'
        '<div style="{}">Maps of the predicted class. {}</div>',
        joined(cells), FAINT, SCALE_NOTE,
    )  # fmt: skip
