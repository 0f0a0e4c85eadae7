"""The page as one file: template, style, scripts and all data inside, nothing fetched from elsewhere."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection
from markupsafe import Markup

import queries
from pipelines.common.policy import policy_of
from pipelines.common.wording import plural
from pipelines.instanceflow.packing import Payload, quantize_fractions, quantize_hundredths
from pipelines.instanceflow.pictures import add_maps, add_pictures, find_explained
from pipelines.instanceflow.probabilities import add_probabilities
from pipelines.instanceflow.record import Record, count_totals, draw_rows
from pipelines.lifecycle.origin import UNKNOWN, UNTRAINED, Origin, describe_origin, read_origin
from tracking.catalogue import WITH_CHECKPOINTS
from tracking.home import Home

WEB_FOLDER = Path(__file__).parent / "web"
SCRIPTS = (
    "data", "facts", "heatmaps", "state", "paint", "words", "strip", "glyphs", "flow", "table", "comparison",
    "confusion", "verdicts", "detail", "gallery", "export", "answers", "main",
)  # fmt: skip
SHOWN_QUERIES = (
    "transition_outcomes", "turbulent_epochs", "flow_links", "flow_nodes", "instance_metrics", "confusion_by_epoch",
    "instance_history",
)  # fmt: skip
COMPARING_QUERIES = ("compared_flow", "compared_instances")
SAMPLE = 2_000  # images with pictures, or with probabilities of every class, where not all can have them
MEASURES_SHARE = 0.7  # of the page's limit that measures of all images may take; the rest is for those
TURBULENT_RATIO = 1.5  # moves over their median


def write_page(
    path: Path,
    record: Record,
    connection: DuckDBPyConnection,
    home: Home,
    data: str | None,
    other: Record | None = None,
) -> Path:
    """Write the page of a record to `path`; images come from the run's data set, or from `data` if it has moved.

    With another record, row by row of the same images, its epochs come after those of the first.
    """
    records = (record,) if other is None else (record, other)
    payload = Payload()
    _add_predictions(payload, records)
    if record.is_sample:
        _add_totals(payload, records, connection)
    sample = _choose_sample(records, connection)
    thumbnails, notes = add_pictures(payload, records, home, data, sample)
    probabilities = add_probabilities(payload, records, connection, sample)
    if any(part and part["is_sample"] for part in (thumbnails, probabilities)):
        payload.add_array("sample", sample.astype(np.int32))
    maps = add_maps(payload, records, connection)
    head = _describe_runs(records, connection, home) | {
        "thumbnails": thumbnails,
        "maps": maps,
        "probabilities": probabilities,
        "verdicts": _read_verdicts(record, connection),
        "notes": [
            *_note_sample(record),
            *(note for one in records for note in _note_gaps(one)),
            *_note_added(records, connection),
            *notes,
            *_note_sampled(sample, {"a picture": thumbnails, "the probabilities of other classes": probabilities}),
            *(f"Left out to keep the page small: {description}." for description in sorted(payload.left_out)),
        ],
    }
    path.write_text(_fill_template(head, payload, records), encoding="utf-8")
    return path


def _fill_template(head: dict, payload: Payload, records: Sequence[Record]) -> str:
    style = (WEB_FOLDER / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((WEB_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    template = (WEB_FOLDER / "page.html").read_text(encoding="utf-8")
    return Markup(template).format(
        policy=policy_of(styles=(style,), scripts=(scripts,)),
        title=f"InstanceFlow of {' and '.join(one.run.name for one in records)}",
        style=Markup(style),
        # inside a script nothing is unescaped, but a class called </script> would end it
        head=Markup(json.dumps(head, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")),
        payload=Markup("\n").join(payload.elements),
        scripts=Markup(scripts),
    )


def _add_predictions(payload: Payload, records: Sequence[Record]) -> None:
    record = records[0]
    dtype = np.uint8 if record.missing_code == 255 else np.uint16
    predicted = np.concatenate([one.predicted for one in records], 1)
    predicted[predicted < 0] = record.missing_code
    payload.add_array("predicted", predicted.astype(dtype))
    payload.add_array("label", record.labels.astype(np.int16))
    payload.add_array("instance_id", record.instance_ids.astype(np.int32))
    payload.add_array("split", record.split_indices.astype(np.uint8))
    p_true = np.concatenate([one.p_true for one in records], 1)
    if not np.isfinite(p_true).any():
        return
    margin = np.concatenate([one.margin for one in records], 1)
    for dtype in (np.uint16, np.uint8):
        values = quantize_fractions(p_true, dtype)
        if payload.add_array("p_true", values, "probabilities of the label", share=MEASURES_SHARE):
            break
    payload.add_array("margin", quantize_hundredths(margin), "margins", share=MEASURES_SHARE)


def _read_verdicts(record: Record, connection: DuckDBPyConnection) -> list[tuple]:
    """What reviewers say of the page's images, rows of the internal query; of two runs, both have the same images."""
    splits = [record.splits[index] for index in record.split_indices]
    parameters = {"run_id": record.run.run_id, "splits": splits, "instance_ids": record.instance_ids.tolist()}
    return queries.execute(connection, "flow_verdicts", parameters).fetchall()


def _add_totals(payload: Payload, records: Sequence[Record], connection: DuckDBPyConnection) -> None:
    """What became of all images, which a sample cannot tell: array `totals` [splits, K + 1, E, 8]."""
    totals = np.concatenate([count_totals(connection, record) for record in records], axis=2)
    rows = totals.reshape(-1, totals.shape[2] * totals.shape[3])
    payload.add_array("totals", rows, "counts of all images, so that the overview counts those on the page")


def _choose_sample(records: Sequence[Record], connection: DuckDBPyConnection) -> np.ndarray:
    """Rows of the images that have pictures and probabilities if not all can: those with heatmaps, and a sample."""
    explained = find_explained(records, connection)
    return np.union1d(explained[:SAMPLE], draw_rows(records[0].split_indices, SAMPLE))


def _describe_runs(records: Sequence[Record], connection: DuckDBPyConnection, home: Home) -> dict:
    record = records[0]
    # a log of another program has no weights
    origins = [read_origin(home, one.run) if one.run.kind in WITH_CHECKPOINTS else UNKNOWN for one in records]
    described_runs: list[dict] = []
    start = 0
    for one, origin in zip(records, origins, strict=True):
        run = one.run
        end = start + len(one.epochs)
        described = {"run_id": run.run_id, "name": run.name, "kind": run.kind, "is_trained": origin.is_trained}
        described_runs.append(described | {"start": start, "end": end})
        start = end
    runs = " against ".join(f"run {one['run_id'][:8]} ({one['name']})" for one in described_runs)
    images = f"{record.run.dataset}, {', '.join(record.splits)}: {plural(sum(record.split_sizes), 'image')}"
    epochs = f"{' and '.join(str(len(one.epochs)) for one in records)} epochs"
    about = f"{runs}, {images}, {epochs}"
    if record.run.kind in WITH_CHECKPOINTS and 0 in record.epochs:
        about += f", {_describe_start(home, origins[0])}"

    shown_queries = {}
    for name in SHOWN_QUERIES if len(records) == 1 else (*SHOWN_QUERIES, *COMPARING_QUERIES):
        parameters = queries.header(name).params
        shown_queries[name] = {"sql": queries.text(name), "params": list(parameters)}
    return {
        "runs": described_runs,
        "about": about,
        "instances": len(record.labels),
        "drawn_from": sum(record.split_sizes) if record.is_sample else None,
        "epochs": [epoch for one in records for epoch in one.epochs],
        "classes": record.classes,
        "splits": record.splits,
        "names": None if record.names is None else record.names.to_pylist(),
        "missing": record.missing_code,
        "turbulent": [
            ratio
            for one, origin in zip(records, origins, strict=True)
            for ratio in _find_turbulent_epochs(one, connection, is_trained=origin.is_trained)
        ],
        "queries": shown_queries,
    }


def _describe_start(home: Home, origin: Origin) -> str:
    """What epoch 0 of a training run is, within a sentence."""
    begins_from = describe_origin(home, origin)
    if begins_from:
        head = ", with a new head" if origin.new_weights else ""
        return f"epoch 0 is the network before this training, which begins from {begins_from}{head}"
    if origin == UNTRAINED:
        return "epoch 0 is the network before training"
    return f"epoch 0 {'is a network that was trained before' if origin.is_trained else 'may be trained or not'}"


def _find_turbulent_epochs(record: Record, connection: DuckDBPyConnection, *, is_trained: bool) -> list[float | None]:
    """Per epoch, the moves into it over the median of all transitions, if it is turbulent; else None.

    From an untrained network on, moves decline from epoch to epoch, so a turbulent one also has more than the one
    before, and the first is none. What a trained network changes first can be turbulent.
    """
    limit = str(len(record.epochs) + 1)
    parameters = {"run_id": record.run.run_id, "split": record.splits[0], "limit": limit}
    transitions = queries.run(connection, "turbulent_epochs", parameters).dicts
    ratio_by_epoch = {row["next_epoch"]: row["ratio"] or 0.0 for row in transitions}
    turbulent: list[float | None] = []
    previous_ratio = 0.0 if is_trained else np.inf
    for epoch in record.epochs:
        ratio = ratio_by_epoch.get(epoch)
        if ratio is None:  # no transition leads into the first epoch
            turbulent.append(None)
            continue
        is_turbulent = ratio > max(TURBULENT_RATIO, previous_ratio)
        turbulent.append(float(ratio) if is_turbulent else None)
        previous_ratio = ratio
    return turbulent


def _note_sample(record: Record) -> list[str]:
    """Which images of each split are on the page, if not all are."""
    notes = []
    for size, count, split in zip(record.split_sizes, np.bincount(record.split_indices), record.splits, strict=True):
        if count < size:
            notes.append(f"{count:,} of the {size:,} images of {split} are on this page, drawn at random.")
    if notes:
        notes.append("All epochs and turbulence count all images; flow, table and confusion those on the page.")
    return notes


def _note_sampled(sample: np.ndarray, parts: dict[str, dict | None]) -> list[str]:
    """What only a sample of the page's images has."""
    names = [name for name, layout in parts.items() if layout and layout["is_sample"]]
    if not names:
        return []
    return [f"{len(sample):,} images have {' and '.join(names)}: those with heatmaps, and others drawn at random."]


def _note_gaps(record: Record) -> list[str]:
    """By split, how many images are not predicted at every epoch."""
    notes = []
    epoch_count = len(record.epochs)
    for index, split in enumerate(record.splits):
        predicted_counts = (record.predicted[record.split_indices == index] >= 0).sum(1)  # [images of the split]
        incomplete = predicted_counts[predicted_counts < epoch_count]
        if not len(incomplete):
            continue
        least, most = incomplete.min(), incomplete.max()
        counts = f"{least}" if least == most else f"{least} to {most}"
        notes.append(
            f"Images of {split} not predicted at every epoch: {len(incomplete):,} "
            f"(predicted at {counts} of {epoch_count} epochs)."
        )
    return notes


def _note_added(records: Sequence[Record], connection: DuckDBPyConnection) -> list[str]:
    """Which splits of images added later a page of two runs leaves out."""
    sql = "select distinct split from instances where run_id = $1 and split like 'extra:%'"
    added = {split for one in records for (split,) in connection.execute(sql, [one.run.run_id]).fetchall()}
    left_out = sorted(added - set(records[0].splits))
    return [f"Images added later belong to one run and are not compared: {', '.join(left_out)}."] if left_out else []
