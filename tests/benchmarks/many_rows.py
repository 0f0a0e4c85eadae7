"""What do the predictions of many images, epochs and classes cost, in the runs' files and in study.duckdb?

    python tests/benchmarks/many_rows.py [--images 50000] [--epochs 5] [--classes 1000] [--probabilities top:20]
        [--split val] [--home FOLDER]

The predictions of a run are made from random logits, as a training makes them: Predictions.to_columns, write_table, a
commit, an ingest. Those of split train_seen have no probabilities of all classes. Seconds are of the processor. Memory
is what a step takes at its peak above what there was before it, logits among that. Ingest is a process of its own,
whose start is not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from usage import MIB, measure

from pipelines.common.settings import TrackedSettings, parse_probabilities
from pipelines.lifecycle.start import commit_start
from pipelines.models.predictions import Predictions
from tracking import committing, runs
from tracking.files import write_table
from tracking.home import Home, find_home, make_home

ROOT = Path(__file__).parents[2]
INGEST = """
import sys
sys.path.insert(0, "tests/benchmarks")
from usage import measure
from tracking.home import find_home
from tracking.index import ingest
def step():
    assert ingest(find_home(sys.argv[1]), [sys.argv[2]], wait=60)
_, seconds, memory = measure(step)
print(seconds, memory)
"""
SPREAD = 0.45  # of the logits from epoch to epoch, beside 2 from image to image: some 5 % of images change their class


def start(home: Home, images: int, classes: int, split: str) -> tuple[runs.Run, np.ndarray]:
    """A run with its images and classes, and the labels [N]."""
    make_home(home)
    settings = TrackedSettings(dataset="made", name=f"made-{images}-{classes}")
    record = runs.new_record("train", settings.name or "", settings.params(), dataset="made", seed=0)
    run = runs.start_run(home, record, {}, "")
    runs.log_record(run)
    labels = np.random.default_rng(0).integers(classes, size=images).astype(np.int32)
    instances = {
        "run_id": [run.run_id] * images,
        "split": ["train" if split == "train_seen" else split] * images,
        "instance_id": np.arange(images, dtype=np.int32),
        "label": labels,
        "source": [f"noise/{number:07}" for number in range(images)],
    }
    commit_start(run, "train", settings, instances, tuple(f"class {number}" for number in range(classes)))
    return run, labels


def make_logits(labels: np.ndarray, classes: int, epoch: int) -> torch.Tensor:
    """Logits [N, K] of an epoch: those of an image keep near each other, and the label's grow."""
    images = torch.Generator().manual_seed(0)
    noise = torch.Generator().manual_seed(1 + epoch)
    logits = torch.empty(len(labels), classes)
    for rows in torch.arange(len(labels)).split(10_000):  # in parts, as noise would take as much memory again
        part = torch.randn(len(rows), classes, generator=images).mul_(2)
        logits[rows] = part.add_(torch.randn(len(rows), classes, generator=noise), alpha=SPREAD)
    logits[torch.arange(len(labels)), torch.from_numpy(labels).long()] += 5 * epoch / (epoch + 4)
    return logits


def commit_epoch(run: runs.Run, epoch: int, columns: dict[str, Any]) -> Path:
    """Commit an epoch's rows; returns their file."""
    path = f"predictions/epoch_{epoch:04d}.parquet"
    with runs.staging_folder(run.home) as folder:
        file = write_table(folder / path, columns)
        committing.commit(run, f"epoch_{epoch:04d}", {path: file}, {"val_loss": 1.0}, epoch)
    return run.home.run_folder(run.run_id) / path


def ingest_epoch(run: runs.Run) -> tuple[float, int]:
    """Bring the index up to date, in another process; its processor seconds and bytes of memory."""
    command = [sys.executable, "-c", INGEST, str(run.home.path.resolve()), run.run_id]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    seconds, memory = output.splitlines()[-1].split()
    return float(seconds), int(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--probabilities", default="top:20")
    parser.add_argument("--split", default="val")
    parser.add_argument("--home", type=Path, help="where the home is made and stays; default: a temporary folder")
    flags = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    kept = parse_probabilities(flags.probabilities)
    names = ("file, B/row", "index, B/row", "columns, s", "MiB", "write, s", "MiB", "ingest, s", "MiB")
    print("| epoch |", " | ".join(names), "|")
    print("|---" * (len(names) + 1), "|", sep="")
    with tempfile.TemporaryDirectory() as folder:
        run, labels = start(find_home(str(flags.home or folder)), flags.images, flags.classes, flags.split)
        ingest_epoch(run)
        empty_size = run.home.database.stat().st_size
        for epoch in range(flags.epochs):
            logits = make_logits(labels, flags.classes, epoch)
            predictions = Predictions(flags.split, torch.arange(len(labels)), torch.from_numpy(labels).long(), logits)
            columns, *making = measure(partial(predictions.to_columns, run.run_id, epoch, kept))
            file, *writing = measure(partial(commit_epoch, run, epoch, columns))
            del predictions, logits, columns
            ingesting = ingest_epoch(run)
            row_count = flags.images * (epoch + 1)
            sizes = (file.stat().st_size / flags.images, (run.home.database.stat().st_size - empty_size) / row_count)
            costs = [f"{seconds:.2f} | {memory / MIB:.0f}" for seconds, memory in (making, writing, ingesting)]
            print(f"| {epoch} |", " | ".join([*(f"{size:.1f}" for size in sizes), *costs]), "|", flush=True)
        runs.finish_run(run)
        ingest_epoch(run)


if __name__ == "__main__":
    main()
