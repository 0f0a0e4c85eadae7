"""Tables for the tests of queries/, and the same definitions once more in plain Python."""

import json
import random
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np

from support.places import ROOT
from tracking.ingesting import link
from tracking.tables import MAP_COLUMNS, add_macros

SCHEMA = ROOT / "tracking" / "schema.sql"
CLASSES = ["cat", "dog", "bird", "fish"]

# One row an image: its label, then what was predicted and p_true at each epoch. Epoch 2 was never logged,
# nothing is ever predicted as fish, and nobody knows what image 5 shows.
EPOCHS = [0, 1, 3, 4]
TINY = [
    (0, [0, 0, 0, 0], [0.9, 0.9, 0.9, 0.9]),
    (0, [1, 0, 1, 0], [0.2, 0.6, 0.4, 0.8]),
    (1, [0, 2, 2, 1], [0.1, 0.3, 0.2, 0.5]),
    (1, [1, 1, 1, 2], [0.6, 0.7, 0.8, 0.3]),
    (3, [2, 2, 1, 1], [0.0, 0.1, 0.2, 0.1]),
    (None, [0, 1, 1, 0], [None, None, None, None]),
]
# Of patches of dogs: the trial, the split of the altered images, and what they are predicted as.
TRIALS = [
    ("pasted", "test", 1),
    ("pasted_elsewhere", "test", 0),
    ("pasted_from_others", "test", 0),
    ("covered", "val", 0),
    ("covered_elsewhere", "val", 1),
]


def empty() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    source = Path(make_empty().name) / "empty.duckdb"
    connection.execute(f"attach '{source}' as source (read_only); copy from database source to memory; detach source")
    return connection


@cache
def make_empty() -> TemporaryDirectory:
    """The folder of a database without rows: to copy its macros takes a quarter of the time to make them."""
    folder = TemporaryDirectory()
    with duckdb.connect(f"{folder.name}/empty.duckdb") as connection:
        connection.execute(SCHEMA.read_text())
        add_macros(connection)
        connection.execute(f"create table maps ({', '.join(f'{name} {kind}' for name, kind in MAP_COLUMNS.items())})")
        connection.execute("create view full_predictions as from predictions")
    return folder


def insert(connection, table: str, rows: list[dict]) -> None:
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    values = ", ".join(f"unnest(${key}) as {key}" for key in columns)
    connection.execute(f"insert into {table} by name select {values}", columns)


def link_all(connection) -> None:
    """Derived columns as the index has them."""
    for (run_id,) in connection.execute("select distinct run_id from predictions").fetchall():
        link(connection, run_id)


def prediction(run_id, split, epoch, instance_id, label, predicted, p_true) -> dict:
    """A row of predictions; margin is 1 when right, -1 when wrong, -2 for a fish."""
    ok = predicted == label
    return {
        "run_id": run_id,
        "epoch": epoch,
        "split": split,
        "instance_id": instance_id,
        "label": label,
        "predicted": predicted,
        "p_true": p_true,
        "p_predicted": p_true if ok else 0.6,
        "margin": None if label is None else 1 if ok else -2 if label == 3 else -1,
        "p_sq": 0.82 if p_true == 0.9 else 0.5,
    }


def tiny_rows(run_id: str, split: str) -> list[dict]:
    return [
        prediction(run_id, split, epoch, instance_id, label, predicted[at], p_true[at])
        for instance_id, (label, predicted, p_true) in enumerate(TINY)
        for at, epoch in enumerate(EPOCHS)
    ]


def add_classes(connection, run_id: str, names: list[str]) -> None:
    rows = [{"run_id": run_id, "class_id": key, "name": name} for key, name in enumerate(names)]
    insert(connection, "classes", rows)


def add_instances(connection, run_id: str, split: str, labels: list[int | None]) -> None:
    rows = [
        {"run_id": run_id, "split": split, "instance_id": key, "label": label, "source": f"{split}/{key}"}
        | {"content": f"{key:016x}"}  # of every split alike
        for key, label in enumerate(labels)
    ]
    insert(connection, "instances", rows)


def add_tiny_run(connection, run_id: str) -> None:
    """Another run on the same test images, with the same predictions."""
    insert(connection, "predictions", tiny_rows(run_id, "test"))
    add_instances(connection, run_id, "test", [label for label, *_ in TINY])


def add_verdict(
    connection, run_id: str, instance_id: int, verdict: str, who: str, split: str = "test", **given
) -> None:
    """A verdict on an image that table instances has; given: new_label, note, given_at."""
    sql = "select label, source, content from instances where (run_id, split, instance_id) = (?, ?, ?)"
    [(label, source, content)] = connection.execute(sql, [run_id, split, instance_id]).fetchall()
    row = {"run_id": run_id, "split": split, "instance_id": instance_id, "verdict": verdict, "who": who}
    row |= {"label": label, "source": source, "content": content, "new_label": None, "given_at": "2026-01-01"}
    insert(connection, "verdicts", [row | given])


def add_run(
    connection, run_id: str, started_at: str = "2026-01-01", kind: str = "train", source=None, status: str = "FINISHED"
) -> None:
    row = {"run_id": run_id, "kind": kind, "name": f"name of {run_id}", "source_run_id": source}
    row |= {"status": status, "dataset": "pets", "seed": 1, "started_at": started_at, "params": "{}"}
    insert(connection, "runs", [row])


def add_map(connection, explainer, values, run_id="tiny", **place) -> None:
    """A map [H, W] of an explainer run in view and table; by default of instance 0, at epoch 4 by saliency."""
    values = np.asarray(values, np.float32)
    height, width = values.shape
    row = {"run_id": explainer, "source_run_id": run_id, "epoch": 4, "method": "saliency", "split": "test"}
    row |= {"instance_id": 0, "target": 0, "target_kind": "predicted"} | place
    full = {key: value for key, value in row.items() if key != "sampled"}
    insert(connection, "maps", [full | {"height": height, "width": width, "map": values.ravel().tolist()}])
    if height % 8 == width % 8 == 0:
        cells = values.reshape(8, height // 8, 8, width // 8).mean((1, 3))
        insert(connection, "attributions", [row | {"score": 1.0, "map8": cells.ravel().tolist()}])


def add_scores(connection, comparison, method, metric, values, run_id="tiny", **place) -> None:
    """A metric's values of a comparison, by instance or for instances 0, 1, ..."""
    found = values if isinstance(values, dict) else dict(enumerate(values))
    row = {"run_id": comparison, "source_run_id": run_id, "epoch": 4, "method": method, "split": "test"} | place
    rows = [row | {"instance_id": key, "metric": metric, "value": float(value)} for key, value in found.items()]
    insert(connection, "attribution_scores", rows)


def add_tiny(connection, run_id: str = "tiny") -> None:
    add_run(connection, run_id)
    add_classes(connection, run_id, CLASSES)
    add_instances(connection, run_id, "test", [label for label, *_ in TINY])
    insert(connection, "predictions", tiny_rows(run_id, "test"))
    link_all(connection)


def random_rows(run_id: str, seed: int, images: int = 40) -> list[dict]:
    """Random predictions of a few classes; some labels unknown, some epochs never logged."""
    draw = random.Random(seed)
    epochs = sorted(draw.sample(range(12), 7))
    rows = []
    for instance_id in range(images):
        label = draw.choice([0, 1, 2, 3, None])
        for epoch in epochs:
            predicted = draw.choice([0, 1, 2, label if label is not None else 3])
            p_true = None if label is None else draw.random()
            rows.append(prediction(run_id, "test", epoch, instance_id, label, predicted, p_true))
    return rows


def noisy_rows(run_id: str, split: str, images: int, rate: float, seed: int, epochs: int = 4) -> list[dict]:
    """Predictions of 4 classes by a model whose mistakes grow rarer the surer it is; `rate` of the labels are wrong.

    Labels of images 0, 1, ... are the wrong ones.
    """
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 4, images)
    label = np.where(np.arange(images) < round(rate * images), (truth + draw.integers(1, 4, images)) % 4, truth)
    mistaken_for = (truth + draw.integers(1, 4, images)) % 4
    ease, log_odds = draw.random(images), draw.normal(2, 1.5, images)
    rows = []
    for epoch in range(1, epochs + 1):
        now = log_odds + draw.normal(0, 0.4, images)
        predicted = np.where(ease < 1 / (1 + np.exp(0.5 + 1.5 * now)), mistaken_for, truth)
        p_predicted = 0.3 + 0.7 / (1 + np.exp(-now))
        p_true = np.where(predicted == label, p_predicted, (1 - p_predicted) / 3)
        largest_other = np.where(predicted == label, (1 - p_predicted) / 3, p_predicted)
        columns = {
            "instance_id": range(images),
            "label": label.tolist(),
            "predicted": predicted.tolist(),
            "p_true": p_true.tolist(),
            "p_predicted": p_predicted.tolist(),
            "margin": np.log(p_true / largest_other).tolist(),
            "p_sq": (p_predicted**2 + (1 - p_predicted) ** 2 / 3).tolist(),
        }
        rows += [
            {"run_id": run_id, "split": split, "epoch": epoch} | dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
    return rows


def flow_rows(path: Path, run_id: str) -> tuple[list[str], list[int], list[dict]]:
    """Class names, labels and predictions (probability 1 for the predicted class) of an InstanceFlow file."""
    log = json.loads(path.read_text())
    labels = [instance["actual"] for instance in log["instances"]]
    rows = []
    for epoch in log["epochs"]:
        for key, (label, predicted) in enumerate(zip(labels, epoch["classifications"], strict=True)):
            p_true = float(predicted == label)
            rows.append(prediction(run_id, "test", int(epoch["id"]), key, label, predicted, p_true))
            rows[-1] |= {"p_predicted": 1.0, "p_sq": 1.0}
    return log["labels"], labels, rows


# The definitions, image by image and epoch by epoch.


def histories(rows: list[dict]) -> dict[int, list[dict]]:
    found: dict[int, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["epoch"]):
        found.setdefault(row["instance_id"], []).append(row)
    return found


def glyph(history: list[dict], at: int) -> str:
    """InstanceFlow's node type of one image at one of its epochs."""
    here = history[at]["predicted"]
    arrives = at > 0 and history[at - 1]["predicted"] != here
    leaves = at + 1 < len(history) and history[at + 1]["predicted"] != here
    return {(0, 0): "stable", (1, 0): "in", (0, 1): "out", (1, 1): "inout"}[arrives, leaves]


def fold(predicted: int, shown: list[int] | None, other: int) -> int:
    return predicted if shown is None or predicted in shown else other


def nodes(rows: list[dict], first: int, last: int, shown: list[int] | None, other: int) -> dict[tuple, int]:
    counts: dict[tuple, int] = {}
    for history in histories(rows).values():
        for at, row in enumerate(history):
            if first <= row["epoch"] <= last and (shown is None or row["label"] in shown):
                place = fold(row["predicted"], shown, other)
                key = (row["epoch"], place, row["label"], glyph(history, at))
                counts[key] = counts.get(key, 0) + 1
    return counts


def links(rows: list[dict], first: int, last: int, shown: list[int] | None, other: int) -> dict[tuple, int]:
    counts: dict[tuple, int] = {}
    for history in histories(rows).values():
        for row, after in pairwise(history):
            if first <= row["epoch"] and after["epoch"] <= last and (shown is None or row["label"] in shown):
                ends = [fold(end["predicted"], shown, other) for end in (row, after)]
                key = (row["epoch"], after["epoch"], *ends, row["label"])
                counts[key] = counts.get(key, 0) + 1
    return counts


def outcome(label: int, before: int, after: int) -> str:
    if after == label:
        return "kept" if before == label else "fixed"
    if before == label:
        return "broken"
    return "stuck" if before == after else "rerouted"


def flow_metrics(history: list[dict]) -> dict:
    """The columns of InstanceFlow's table, as its source computes them."""
    predicted = [row["predicted"] for row in history]
    score_raw = sum(row["predicted"] != row["label"] for row in history)
    frequency_raw = sum(before != after for before, after in pairwise(predicted))
    visited = sorted(set(predicted))
    return {
        "score_raw": score_raw,
        "score": round(score_raw / len(history), 2),
        "frequency_raw": frequency_raw,
        "frequency": round(frequency_raw / (len(history) - 1), 2) if len(history) > 1 else None,
        "n_classes_visited": len(visited),
        "visited": visited,
    }


def dynamics(history: list[dict]) -> dict:
    """When a labelled image was right, lost and right for good."""
    right = [row["predicted"] == row["label"] for row in history]
    epochs = [row["epoch"] for row in history]
    since = len(right)
    while since and right[since - 1]:
        since -= 1
    return {
        "forgetting": sum(before and not after for before, after in pairwise(right)),
        "last_forgotten": max(
            (epochs[at] for at in range(1, len(right)) if right[at - 1] and not right[at]), default=None
        ),
        "learning": sum(after and not before for before, after in pairwise(right)),
        "first_learned": next((epoch for epoch, ok in zip(epochs, right, strict=True) if ok), None),
        "stable_since": epochs[since] if since < len(right) else None,
    }
