"""What do questions, commits and a rebuild cost in homes of few and of many runs?

    python tests/benchmarks/many_runs.py [--runs 10 100 1000] [--epochs 21] [--rounds 3] [--folder FOLDER]

Each home holds copies of one run: per epoch, a commit and a file of 50 predictions; and a row in MLflow's database.
Figures are processor seconds of whole processes, the smallest of the rounds, which take the homes in turn.
"""

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from tracking import committing, runs
from tracking.catalogue import resolve
from tracking.commits import committed_units
from tracking.home import Home, find_home, make_home
from tracking.index import ingest

ROOT = Path(__file__).parents[2]
INSTANCES, CLASSES = 50, 10
STUDY = (sys.executable, "-m", "pipelines.cli")
COMMIT_NEXT = (
    "import sys; sys.path.insert(0, 'tests/benchmarks'); from many_runs import commit_next; commit_next(sys.argv[1])"
)
COMMANDS = {
    "rebuild": (*STUDY, "rebuild", "--home"),
    "sql": (*STUDY, "sql", "select 1", "--home"),
    "ask": (*STUDY, "ask", "accuracy_by_epoch", "--run-id", "run-1", "--home"),
    "commit": (sys.executable, "-c", COMMIT_NEXT),
}


def make_runs(folder: Path, run_count: int, epoch_count: int) -> Home:
    """A home with copies of a run."""
    home = find_home(str(folder / f"runs{run_count}"))
    make_home(home)
    first = runs.start_run(home, runs.new_record("train", "run-0", {"seed": 0}), {}, "")
    runs.log_record(first)
    for epoch in range(epoch_count):
        commit_epoch(first, epoch)
    runs.finish_run(first)
    run_ids = [uuid.UUID(int=number).hex for number in range(1, run_count)]
    source = home.artifacts / first.run_id
    for number, run_id in enumerate(run_ids, 1):
        for file in source.rglob("*.*"):
            place = home.artifacts / run_id / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".json":
                text = file.read_text().replace(first.run_id, run_id)
                place.write_text(text.replace('"run-0"', f'"run-{number}"'))
            else:
                copy_cheaply(file, place)
    copy_rows(home, first.run_id, run_ids)
    return home


def copy_cheaply(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # it has as many links as the file system allows
        shutil.copy(file, file.with_suffix(".new"))
        os.replace(file.with_suffix(".new"), file)
        os.link(file, place)


def copy_rows(home: Home, run_id: str, new_ids: Sequence[str]) -> None:
    """Give each new run what MLflow's database has of a run, under its own name."""
    with closing(sqlite3.connect(home.mlflow_db)) as database, database:
        database.row_factory = sqlite3.Row
        for table in ("runs", "tags"):
            for row in database.execute(f"select * from {table} where run_uuid = ?", [run_id]).fetchall():
                signs = ", ".join("?" * len(row.keys()))
                for number, new_id in enumerate(new_ids, 1):
                    values = [
                        value if value is None else str(value).replace(run_id, new_id).replace("run-0", f"run-{number}")
                        for value in row
                    ]
                    database.execute(f"insert into {table} values ({signs})", values)


def commit_epoch(run: runs.Run, epoch: int) -> None:
    random = np.random.default_rng(epoch)
    logits = random.normal(size=(INSTANCES, CLASSES))
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)  # [N, K]
    label = random.integers(CLASSES, size=INSTANCES).astype(np.int32)
    p_true = probabilities[np.arange(INSTANCES), label]
    predictions = {
        "run_id": [run.run_id] * INSTANCES,
        "epoch": np.full(INSTANCES, epoch, np.int32),
        "split": ["val"] * INSTANCES,
        "instance_id": np.arange(INSTANCES, dtype=np.int32),
        "label": label,
        "predicted": probabilities.argmax(1).astype(np.int32),
        "p_true": p_true,
        "p_predicted": probabilities.max(1),
        "margin": p_true - probabilities.max(1),
        "p_sq": (probabilities**2).sum(1),
        "probabilities": probabilities,
    }
    committing.commit_tables(run, f"epoch_{epoch:04d}", {"predictions": predictions}, epoch, {"val_loss": 1.0})


def commit_next(path: str) -> None:
    """Commit one more epoch of the home's first run and bring the index up to date, as a training does."""
    home = find_home(path)
    record = resolve(home, "run-0")
    with runs.claimed(home, record):
        commit_epoch(runs.open_run(home, record), len(committed_units(home, record.run_id)))
        assert ingest(home, [record.run_id], wait=60)


def cost(command: Sequence[str]) -> float:
    """Processor seconds of a command with its children. It must succeed."""
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    assert status == 0, f"{command} ended with {os.waitstatus_to_exitcode(status)}"
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--epochs", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where homes are made; default: a temporary folder")
    flags = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        homes = {count: make_runs(Path(folder), count, flags.epochs) for count in flags.runs}
        costs: dict[tuple[str, int], list[float]] = {}
        for name, command in COMMANDS.items():
            for _ in range(1 if name == "rebuild" else flags.rounds):
                for count, home in homes.items():
                    costs.setdefault((name, count), []).append(cost([*command, str(home.path)]))
    print("| runs | files of predictions |", " | ".join(COMMANDS), "|")
    print("|---|---|", "---|" * len(COMMANDS), sep="")
    for count in flags.runs:
        seconds = [f"{min(costs[name, count]):.2f}" for name in COMMANDS]
        print(f"| {count:,} | {count * flags.epochs:,} |", " | ".join(seconds), "|")


if __name__ == "__main__":
    main()
