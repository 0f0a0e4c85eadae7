"""What MLflow's pages show of a run besides its params and metrics: what was found about it, pictures, tables."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path

from tracking import mlflow_internals, runs
from tracking.files import write_json
from tracking.home import Home
from tracking.mlflow_client import connect
from tracking.runs import Run
from tracking.staging import staging_folder

# isort: split
# after `mlflow_internals`, as MLflow reads its settings when it is imported
import numpy as np
from mlflow import MlflowClient
from PIL import Image

VERDICT_TAG = "study.verdict"  # a few words, for the list of runs
FOUND = "**Found:** "  # how a sentence at the top of a description begins that another run put there
PNG_LEVEL = 3  # of 9: half of the default's time, for a twentieth more bytes


def set_finding(run: Run, sentence: str, verdict: str, run_id: str) -> None:
    """What `run` found about another run: a verdict in the list of runs, a sentence at the top of its description.

    It replaces what was found before; the rest of the description stays, as someone may have changed it in MLflow.
    """
    runs.set_tag(run, VERDICT_TAG, verdict, run_id)
    _, note = _split_note(run.client, run_id)
    runs.set_tag(run, runs.NOTE, f"{FOUND}{sentence}\n\n{note}", run_id)


def add_to_note(run: Run, line: str, run_id: str) -> None:
    """Add a line to a run's description, unless it is there."""
    note = run.client.get_run(run_id).data.tags.get(runs.NOTE, "")
    if line not in note:
        runs.set_tag(run, runs.NOTE, f"{note}\n\n{line}", run_id)


def read_finding(home: Home, run_id: str) -> str:
    """The sentence that `set_finding` put at the top of a run's description; empty if there is none."""
    return _split_note(connect(home), run_id)[0]


def _split_note(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """The sentence that `set_finding` put at the top of a run's description, and the rest."""
    note = client.get_run(run_id).data.tags.get(runs.NOTE, "")
    if not note.startswith(FOUND):
        return "", note
    first, _, rest = note.partition("\n\n")
    return first.removeprefix(FOUND), rest


def log_picture(run: Run, image: np.ndarray, path: str) -> None:
    """Save an image [H, W, 3], uint8, as `path`, a .png in the run's files."""
    with staging_folder(run.home) as folder:
        local = folder / Path(path).name
        Image.fromarray(image).save(local, compress_level=PNG_LEVEL)
        runs.log_file(run, local, path)


def log_image(run: Run, image: np.ndarray, key: str, step: int) -> None:
    """Log an image [H, W, 3], uint8, under a key that MLflow shows with a step slider and across runs.

    MlflowClient.log_image gives its files a new name every time, so that a resumed run would show pictures twice. Here
    they have names of the same form that never change.
    """
    started = datetime.fromisoformat(f"{run.record.started_at}+00:00")
    started_ms = round(started.timestamp() * 1000)
    image_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{run.run_id}/{key}/{step}")
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{started_ms}+{image_id}"
    picture = Image.fromarray(image)
    with staging_folder(run.home) as folder:
        picture.save(folder / f"{name}.png", compress_level=PNG_LEVEL)
        # what the page shows: MLflow's own is 256 pixels wide, too few to read a text by
        picture.save(folder / f"{name}+compressed.webp", method=0)
        # the picture last: where it is, `list_images` finds it, and both are there
        runs.log_files(run, {f"images/{file}": folder / file for file in (f"{name}+compressed.webp", f"{name}.png")})
    _mark_as_pictured(run.home, run.run_id)


@cache  # so once per process
def _mark_as_pictured(home: Home, run_id: str) -> None:
    """Tell MLflow's page that a run has images."""
    connect(home).set_tag(run_id, mlflow_internals.MLFLOW_LOGGED_IMAGES, "True")


def list_images(home: Home, run_id: str) -> Iterator[tuple[str, int]]:
    """Keys and steps of the images that `log_image` has logged of a run."""
    with suppress(FileNotFoundError):
        for name in os.listdir(home.run_folder(run_id) / "images"):
            if name.endswith(".png"):
                key, _, step, *_ = name.split("+")
                yield key.replace("~", "/"), int(step)


def read_experiment_tags(home: Home) -> dict[str, str]:
    return connect(home).get_experiment(runs.experiment_id(home)).tags


def set_experiment_tag(home: Home, key: str, value: str) -> None:
    connect(home).set_experiment_tag(runs.experiment_id(home), key, value)


def log_tables(run: Run, tables: dict[str, list[dict]]) -> None:
    """Log rows by name of a .json file, which MLflow shows as a table; the first table is the one it opens.

    Images [H, W, 3], uint8, in them become files of the run. Logging them again replaces the run's tables.

    MlflowClient.log_table would append to an existing table, which a resumed run must not.
    """
    for name, rows in tables.items():
        data = []
        for number, row in enumerate(rows):
            cells = []
            for column, value in row.items():
                if isinstance(value, np.ndarray):
                    path = f"{Path(name).stem}/{column}_{number:03d}.png"
                    log_picture(run, value, path)
                    value = {"type": "image", "filepath": path, "compressed_filepath": path}
                cells.append(value)
            data.append(cells)
        content = {"columns": list(rows[0]), "data": data}
        with staging_folder(run.home) as folder:
            runs.log_file(run, write_json(folder / name, content), name)
    listed = [{"path": name, "type": "table"} for name in tables]
    runs.set_tag(run, mlflow_internals.MLFLOW_LOGGED_ARTIFACTS, json.dumps(listed))
