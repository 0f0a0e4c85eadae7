"""The page as one file: template, style, scripts and all data inside, nothing fetched from elsewhere."""

import json
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection

import queries
from pipelines.common.policy import policy_of
from pipelines.flow.packing import Packed, as_hundredths, as_shares
from pipelines.flow.pictures import add_maps, add_thumbnails
from pipelines.flow.record import Record
from tracking.home import Home

FOLDER = Path(__file__).parent / "web"
SCRIPTS = (
    "data", "facts", "state", "paint", "words", "strip", "glyphs", "flow", "table", "confusion", "detail", "answers",
    "main",
)  # fmt: skip
SHOWN_QUERIES = (
    "transition_outcomes", "turbulent_epochs", "flow_links", "flow_nodes", "instance_metrics", "confusion_by_epoch",
    "instance_history",
)  # fmt: skip
STEPS = (255, 60, 20)  # of a probability between 0 and 1; a line 150 pixels high shows no more than the second
TURBULENT = 1.5  # times the median of moves from which on a transition is marked, if it has more than the one before


def write_page(path: Path, record: Record, connection: DuckDBPyConnection, home: Home, data: str | None) -> Path:
    """The page of a record at `path`; images come from the run's data set, at `data` if it moved."""
    packed = Packed()
    _add_predictions(packed, record)
    thumbnails, notes = add_thumbnails(packed, record, home, data)
    steps = _add_probabilities(packed, record, connection)
    maps = add_maps(packed, record, connection)
    head = _head(record, connection) | {"thumbnails": thumbnails, "maps": maps, "probability_steps": steps}
    head["notes"] = [
        *_coverage(record),
        *notes,
        *(f"Left out to keep the page small: {what}." for what in sorted(packed.left_out)),
    ]
    path.write_text(_filled(record, head, packed), encoding="utf-8")
    return path


def _add_predictions(packed: Packed, record: Record) -> None:
    kind = np.uint8 if _missing(record) == 255 else np.uint16
    packed.add("predicted", np.where(record.predicted < 0, _missing(record), record.predicted).astype(kind))
    packed.add("label", record.labels.astype(np.int16))
    packed.add("instance_id", record.ids.astype(np.int32))
    packed.add("split", record.split.astype(np.uint8))
    if np.isfinite(record.p_true).any():
        packed.add("p_true", as_shares(record.p_true, np.uint16), "probabilities of the label")
        packed.add("margin", as_hundredths(record.margin), "margins")


def _missing(record: Record) -> int:
    """The number that stands for no prediction."""
    return 255 if len(record.classes) < 255 else 65535


def _add_probabilities(packed: Packed, record: Record, connection: DuckDBPyConnection) -> int | None:
    """Probabilities of all classes, [N, E, K], in as many steps of 0..1 as there is room for; how many, or None."""
    given = {"run_id": record.run.run_id, "split": record.splits[0], "epochs": list(record.epochs)}
    found = connection.sql(queries.internal_text("flow_probabilities"), params=given).to_arrow_table()
    if not found.num_rows:
        return None
    places = record.places(found["split"].to_numpy(), found["instance_id"].to_numpy())
    at = places, record.steps(found["epoch"].to_numpy())
    rows = found["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, len(record.classes))
    for steps in STEPS:
        values = np.zeros((*record.shape, len(record.classes)), np.uint8)
        values[at] = np.round(rows * steps)
        if packed.add("probabilities", values, "probabilities of all classes but the label"):
            return steps
    return None


def _head(record: Record, connection: DuckDBPyConnection) -> dict:
    run = record.run
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "about": f"run {run.run_id[:8]} ({run.name}), {run.dataset}, {', '.join(record.splits)}: "
        f"{len(record.labels):,} images, {len(record.epochs)} epochs"
        + (", epoch 0 is the untrained network" if run.kind == "train" else ""),
        "instances": len(record.labels),
        "epochs": record.epochs,
        "classes": record.classes,
        "splits": record.splits,
        "names": record.names,
        "missing": _missing(record),
        "turbulent": _turbulent(record, connection),
        "queries": {
            name: {"sql": queries.text(name), "params": list(queries.header(name).params)} for name in SHOWN_QUERIES
        },
    }


def _turbulent(record: Record, connection: DuckDBPyConnection) -> list[float | None]:
    """Of every epoch the moves into it over the median, where that is much and not on the way down; else None."""
    given = {"run_id": record.run.run_id, "split": record.splits[0], "limit": str(len(record.epochs) + 1)}
    answer = queries.run(connection, "turbulent_epochs", given)
    rows = answer.dicts
    ratios = {row["next_epoch"]: row["ratio"] or 0.0 for row in rows}
    moves = [ratios.get(epoch, np.inf) for epoch in record.epochs]
    rises = [now > max(TURBULENT, before) for before, now in pairwise([np.inf, *moves])]
    return [float(ratio) if rising else None for ratio, rising in zip(moves, rises, strict=True)]


def _coverage(record: Record) -> list[str]:
    """Which images lack predictions at some epochs, by split."""
    notes, every = [], len(record.epochs)
    for number, split in enumerate(record.splits):
        covered = (record.predicted[record.split == number] >= 0).sum(1)
        if few := (covered < every).sum():
            least, most = covered.min(), covered[covered < every].max()
            notes.append(f"{few} images of {split} have predictions at {least} to {most} of {every} epochs only.")
    return notes


def _filled(record: Record, head: dict, packed: Packed) -> str:
    scripts = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    parts = {
        "policy": policy_of(styles=(style,), scripts=(scripts,)),
        "title": escape(f"InstanceFlow of {record.run.name}"),
        "css": style,
        # a class may be called </script>
        "head": json.dumps(head, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        "js": scripts,
        "arrays": "\n".join(packed.elements),
    }
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    pieces = text.replace("}}", "{{").split("{{")  # every second piece is the name of a part
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
