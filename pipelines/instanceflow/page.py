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
from pipelines.instanceflow.pictures import add_maps, add_thumbnails, read_images
from pipelines.instanceflow.record import Record
from pipelines.lifecycle.origin import UNKNOWN, UNTRAINED, Origin, describe_origin, read_origin
from tracking.home import Home

WEB_FOLDER = Path(__file__).parent / "web"
SCRIPTS = (
    "data", "facts", "heatmaps", "state", "paint", "words", "strip", "glyphs", "flow", "table", "comparison",
    "confusion", "detail", "gallery", "export", "answers", "main",
)  # fmt: skip
SHOWN_QUERIES = (
    "transition_outcomes", "turbulent_epochs", "flow_links", "flow_nodes", "instance_metrics", "confusion_by_epoch",
    "instance_history",
)  # fmt: skip
COMPARING_QUERIES = ("compared_flow", "compared_instances")
PROBABILITY_STEPS = (255, 60, 20)  # between 0 and 1, finest first; on a plot 150 pixels high 60 show no less than 255
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
    images, notes = read_images(records, home, data)
    payload = Payload()
    _add_predictions(payload, records)
    thumbnails = add_thumbnails(payload, images) if images else None
    probability_steps = _add_probabilities(payload, records, connection)
    maps = add_maps(payload, records, connection)
    head = _describe_runs(records, connection, home) | {
        "thumbnails": thumbnails,
        "maps": maps,
        "probability_steps": probability_steps,
        "notes": [
            *(note for one in records for note in _note_gaps(one)),
            *_note_added(records, connection),
            *notes,
            *(f"Left out to keep the page small: {description}." for description in sorted(payload.left_out)),
        ],
    }

    style = (WEB_FOLDER / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((WEB_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    template = (WEB_FOLDER / "page.html").read_text(encoding="utf-8")
    page = Markup(template).format(
        policy=policy_of(styles=(style,), scripts=(scripts,)),
        title=f"InstanceFlow of {' and '.join(one.run.name for one in records)}",
        style=Markup(style),
        # inside a script nothing is unescaped, but a class called </script> would end it
        head=Markup(json.dumps(head, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")),
        payload=Markup("\n").join(payload.elements),
        scripts=Markup(scripts),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _add_predictions(payload: Payload, records: Sequence[Record]) -> None:
    record = records[0]
    missing = _missing_code(record)
    predicted = np.concatenate([one.predicted for one in records], 1)
    class_ids = np.where(predicted < 0, missing, predicted)
    dtype = np.uint8 if missing == 255 else np.uint16
    payload.add_array("predicted", class_ids.astype(dtype))
    payload.add_array("label", record.labels.astype(np.int16))
    payload.add_array("instance_id", record.instance_ids.astype(np.int32))
    payload.add_array("split", record.split_indices.astype(np.uint8))
    p_true = np.concatenate([one.p_true for one in records], 1)
    if np.isfinite(p_true).any():
        margin = np.concatenate([one.margin for one in records], 1)
        payload.add_array("p_true", quantize_fractions(p_true, np.uint16), "probabilities of the label")
        payload.add_array("margin", quantize_hundredths(margin), "margins")


def _missing_code(record: Record) -> int:
    """The number in place of a predicted class where there is no prediction."""
    return 255 if len(record.classes) < 255 else 65535


def _add_probabilities(payload: Payload, records: Sequence[Record], connection: DuckDBPyConnection) -> int | None:
    """Add the probabilities of all classes, [N, E, K], in as many steps as fit. Returns how many, None without room."""
    tables = []
    for record in records:
        parameters = {"run_id": record.run.run_id, "split": record.splits[0], "epochs": list(record.epochs)}
        tables.append(connection.sql(queries.internal_text("flow_probabilities"), params=parameters).to_arrow_table())
    if not all(table.num_rows for table in tables):
        return None
    class_count = len(records[0].classes)
    for steps in PROBABILITY_STEPS:
        values = [np.zeros((*record.shape, class_count), np.uint8) for record in records]
        for record, table, own_values in zip(records, tables, values, strict=True):
            rows = record.find_rows(table["split"].to_numpy(), table["instance_id"].to_numpy())
            columns = record.find_columns(table["epoch"].to_numpy())
            lists = table["probabilities"].combine_chunks()
            probabilities = lists.flatten().to_numpy().reshape(-1, class_count)
            own_values[rows, columns] = np.round(probabilities * steps)
        if payload.add_array("probabilities", np.concatenate(values, 1), "probabilities of all classes but the label"):
            return steps
    return None


def _describe_runs(records: Sequence[Record], connection: DuckDBPyConnection, home: Home) -> dict:
    record = records[0]
    # a log of another program has no weights
    origins = [read_origin(home, one.run) if one.run.kind == "train" else UNKNOWN for one in records]
    described_runs: list[dict] = []
    start = 0
    for one, origin in zip(records, origins, strict=True):
        run = one.run
        end = start + len(one.epochs)
        described = {"run_id": run.run_id, "name": run.name, "kind": run.kind, "is_trained": origin.is_trained}
        described_runs.append(described | {"start": start, "end": end})
        start = end
    runs = " against ".join(f"run {one['run_id'][:8]} ({one['name']})" for one in described_runs)
    images = f"{record.run.dataset}, {', '.join(record.splits)}: {plural(len(record.labels), 'image')}"
    epochs = f"{' and '.join(str(len(one.epochs)) for one in records)} epochs"
    about = f"{runs}, {images}, {epochs}"
    if record.run.kind == "train" and 0 in record.epochs:
        about += f", {_describe_start(home, origins[0])}"

    shown_queries = {}
    for name in SHOWN_QUERIES if len(records) == 1 else (*SHOWN_QUERIES, *COMPARING_QUERIES):
        parameters = queries.header(name).params
        shown_queries[name] = {"sql": queries.text(name), "params": list(parameters)}
    return {
        "runs": described_runs,
        "about": about,
        "instances": len(record.labels),
        "epochs": [epoch for one in records for epoch in one.epochs],
        "classes": record.classes,
        "splits": record.splits,
        "names": record.names,
        "missing": _missing_code(record),
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
