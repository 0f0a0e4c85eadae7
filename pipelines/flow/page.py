"""The page as one file: template, style, scripts and all data inside, nothing fetched from elsewhere."""

import json
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection
from markupsafe import Markup

import queries
from pipelines.common.policy import policy_of
from pipelines.flow.packing import Payload, quantize_fractions, quantize_hundredths
from pipelines.flow.pictures import add_maps, add_thumbnails
from pipelines.flow.record import Record
from tracking.home import Home

WEB_FOLDER = Path(__file__).parent / "web"
SCRIPTS = (
    "data", "facts", "state", "paint", "words", "strip", "glyphs", "flow", "table", "confusion", "detail", "gallery",
    "export", "answers", "main",
)  # fmt: skip
SHOWN_QUERIES = (
    "transition_outcomes", "turbulent_epochs", "flow_links", "flow_nodes", "instance_metrics", "confusion_by_epoch",
    "instance_history",
)  # fmt: skip
PROBABILITY_STEPS = (255, 60, 20)  # between 0 and 1, finest first; on a plot 150 pixels high 60 show no less than 255
TURBULENT_RATIO = 1.5  # moves over their median


def write_page(path: Path, record: Record, connection: DuckDBPyConnection, home: Home, data: str | None) -> Path:
    """Write the page of a record to `path`; images come from the run's data set, or from `data` if it has moved."""
    payload = Payload()
    _add_predictions(payload, record)
    thumbnails, notes = add_thumbnails(payload, record, home, data)
    probability_steps = _add_probabilities(payload, record, connection)
    maps = add_maps(payload, record, connection)
    head = _describe_run(record, connection) | {
        "thumbnails": thumbnails,
        "maps": maps,
        "probability_steps": probability_steps,
        "notes": [
            *_note_gaps(record),
            *notes,
            *(f"Left out to keep the page small: {description}." for description in sorted(payload.left_out)),
        ],
    }

    style = (WEB_FOLDER / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((WEB_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    template = (WEB_FOLDER / "page.html").read_text(encoding="utf-8")
    page = Markup(template).format(
        policy=policy_of(styles=(style,), scripts=(scripts,)),
        title=f"InstanceFlow of {record.run.name}",
        style=Markup(style),
        # inside a script nothing is unescaped, but a class called </script> would end it
        head=Markup(json.dumps(head, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")),
        payload=Markup("\n").join(payload.elements),
        scripts=Markup(scripts),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _add_predictions(payload: Payload, record: Record) -> None:
    missing = _missing_code(record)
    class_ids = np.where(record.predicted < 0, missing, record.predicted)
    dtype = np.uint8 if missing == 255 else np.uint16
    payload.add_array("predicted", class_ids.astype(dtype))
    payload.add_array("label", record.labels.astype(np.int16))
    payload.add_array("instance_id", record.instance_ids.astype(np.int32))
    payload.add_array("split", record.split_indices.astype(np.uint8))
    if np.isfinite(record.p_true).any():
        payload.add_array("p_true", quantize_fractions(record.p_true, np.uint16), "probabilities of the label")
        payload.add_array("margin", quantize_hundredths(record.margin), "margins")


def _missing_code(record: Record) -> int:
    """The number in place of a predicted class where there is no prediction."""
    return 255 if len(record.classes) < 255 else 65535


def _add_probabilities(payload: Payload, record: Record, connection: DuckDBPyConnection) -> int | None:
    """Add the probabilities of all classes, [N, E, K], in as many steps as fit. Returns how many, None without room."""
    parameters = {"run_id": record.run.run_id, "split": record.splits[0], "epochs": list(record.epochs)}
    table = connection.sql(queries.internal_text("flow_probabilities"), params=parameters).to_arrow_table()
    if not table.num_rows:
        return None
    rows = record.find_rows(table["split"].to_numpy(), table["instance_id"].to_numpy())
    columns = record.find_columns(table["epoch"].to_numpy())
    class_count = len(record.classes)
    lists = table["probabilities"].combine_chunks()
    probabilities = lists.flatten().to_numpy().reshape(-1, class_count)
    for steps in PROBABILITY_STEPS:
        values = np.zeros((*record.shape, class_count), np.uint8)
        values[rows, columns] = np.round(probabilities * steps)
        if payload.add_array("probabilities", values, "probabilities of all classes but the label"):
            return steps
    return None


def _describe_run(record: Record, connection: DuckDBPyConnection) -> dict:
    run = record.run
    instance_count, epoch_count = record.shape
    splits = ", ".join(record.splits)
    about = (
        f"run {run.run_id[:8]} ({run.name}), {run.dataset}, {splits}: {instance_count:,} images, {epoch_count} epochs"
    )
    if run.kind == "train":
        about += ", epoch 0 is the untrained network"
    shown_queries = {}
    for name in SHOWN_QUERIES:
        parameters = queries.header(name).params
        shown_queries[name] = {"sql": queries.text(name), "params": list(parameters)}
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "about": about,
        "instances": instance_count,
        "epochs": record.epochs,
        "classes": record.classes,
        "splits": record.splits,
        "names": record.names,
        "missing": _missing_code(record),
        "turbulent": _find_turbulent_epochs(record, connection),
        "queries": shown_queries,
    }


def _find_turbulent_epochs(record: Record, connection: DuckDBPyConnection) -> list[float | None]:
    """Per epoch, the moves into it over the median of all transitions, if it is turbulent; else None.

    After the untrained network moves decline from epoch to epoch, so a turbulent one also has more than the one before.
    """
    limit = str(len(record.epochs) + 1)
    parameters = {"run_id": record.run.run_id, "split": record.splits[0], "limit": limit}
    transitions = queries.run(connection, "turbulent_epochs", parameters).dicts
    ratio_by_epoch = {row["next_epoch"]: row["ratio"] or 0.0 for row in transitions}
    turbulent: list[float | None] = []
    previous_ratio = np.inf
    for epoch in record.epochs:
        ratio = ratio_by_epoch.get(epoch, np.inf)  # no transition leads into the first epoch
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
