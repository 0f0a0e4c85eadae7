"""Study homes made by hand, and what is in them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb

import queries
from pipelines.common.settings import TrainSettings
from tracking import commits, committing, mlflow_client, reading, runs
from tracking.catalogue import RunRecord, list_runs, resolve
from tracking.files import sha256, write_table
from tracking.home import Home, find_home
from tracking.index import ingest
from tracking.reading import connect
from tracking.tables import holds_macros

TINY = TrainSettings(size=8, epochs=3, batch=128, threads=1)
FIRST = "digits-cnn-0"  # as a training of TINY is called
OTHER = replace(TINY, seed=1, epochs=2, name="other")


def fresh(folder: Path, empty_tracker: Path) -> Home:
    home = find_home(str(folder / "study"))
    home.path.mkdir()
    for kept in (home.mlflow_db, home.database):
        shutil.copy(empty_tracker.with_name(kept.name), kept)
    return home


def copied(source: Path, folder: Path) -> Home:
    """The home of a folder that `fresh` made, in another folder, with paths and index that are its own."""
    home = find_home(str(folder / "study"))
    shutil.copytree(source / "study", home.path)
    mlflow_client.connect(home)
    ingest(home)
    return home


def up_to_date(home: Home) -> bool:
    """Whether the index can be read now, and is complete."""
    index, _ = reading.complete_index(home, list_runs(home))
    if index:
        index.close()
    return index is not None


def drop_macros(home: Home) -> None:
    """Make the index as an earlier version left it."""
    kinds = "select function_name, replace(function_type, 'table_macro', 'macro table') from duckdb_functions()"
    with duckdb.connect(str(home.database)) as connection:
        for name, kind in connection.execute(f"{kinds} where not internal").fetchall():
            connection.execute(f"drop {kind} {name}")
        assert not holds_macros(connection)


def start(home: Home, name: str = "one") -> runs.Run:
    run = runs.start_run(home, runs.new_record("train", name, {"seed": 0}), {}, "")
    runs.log_record(run)
    return run


def commit_epoch(run: runs.Run, epoch: int, rows: int = 3) -> commits.Commit:
    unit = f"epoch_{epoch:04d}"
    with runs.staging_folder(run.home) as folder:
        file = write_table(folder / f"{unit}.parquet", prediction_rows(run.run_id, epoch, rows))
        return committing.commit(run, unit, {f"predictions/{unit}.parquet": file}, {"accuracy": 0.5 + epoch}, epoch)


def prediction_rows(run_id: str, epoch: int, rows: int) -> dict:
    constant = {"run_id": run_id, "epoch": epoch, "split": "test", "label": 1, "predicted": 0, "p_true": 0.25,
                "p_predicted": 0.75, "margin": -1.0, "p_sq": 0.6, "probabilities": [0.75, 0.25]}  # fmt: skip
    return {name: [value] * rows for name, value in constant.items()} | {"instance_id": list(range(rows))}


def everything(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple]:
    """All rows of a table; of predictions with the columns that the index leaves in files."""
    source = "full_predictions" if table == "predictions" else table
    return connection.execute(f"select * from {source} order by all").fetchall()


def attribution_rows(run_id: str) -> dict:
    constant = {
        "run_id": run_id, "source_run_id": run_id, "epoch": 1, "method": "saliency", "split": "test", "target": 1,
        "target_kind": "label", "score": 0.5, "baseline_score": 0.0, "delta": 0.0, "map8": [0.25] * 64,
        "height": 1, "width": 2, "map": [1.0, -1.0],
    }  # fmt: skip
    return {name: [value, value] for name, value in constant.items()} | {"instance_id": [0, 1]}


def place_of(home: Home, record: RunRecord, path: str) -> Path:
    return home.run_folder(record.run_id) / path


def forge(home: Home, record: RunRecord, unit: str, change: Callable[[dict], dict]) -> None:
    """Change a commit, and let it name the files' sha256 as they are now."""
    place = place_of(home, record, f"commits/{unit}.json")
    content = json.loads(place.read_text())
    for file in content["files"]:
        if (known := place_of(home, record, file["path"])).is_file():
            file["sha256"] = sha256(known)
    place.write_text(json.dumps(change(content)))


PREDICTED = """
    select epoch, split, instance_id, predicted, p_true, margin, p_sq, probabilities
    from full_predictions where run_id = ? order by epoch, split, instance_id"""


def rows(home: Home, sql: str, *values: object) -> list[tuple]:
    """What a home answers to SQL."""
    with connect(home) as connection:
        return connection.execute(sql, values).fetchall()


def predictions(home: Home, run_id: str) -> list[tuple]:
    return rows(home, PREDICTED, run_id)


def answer(home: Home, name: str, **values: str) -> list[dict]:
    """Rows of a question about the latest run."""
    with connect(home) as connection:
        return queries.run(connection, name, {"run_id": resolve(home, "latest").run_id, **values}).dicts
