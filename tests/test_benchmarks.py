"""Every program in tests/benchmarks runs, on as little as it can: its figures mean nothing here."""

import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

from pipelines.data import planted
from support.pictures import table
from support.places import BROWSER, DRIVER
from tracking import mlflow_client
from tracking.home import Home

FOLDER = Path(__file__).parent / "benchmarks"
# program and perhaps a mode of it: its flags, and constants of its module that say how much it does
PROGRAMS: dict[str, tuple[str, dict[str, object]]] = {
    "crash": ("--kills 1 --commands rebuild --home {home}", {"EARLY": 1}),  # of runs too: test_crash.py
    "concept_effects": (
        "--networks 1 --sets 1 --side 12",
        {"IMAGES": 60, "HELD_OUT": 20, "FITTING": 20, "MAX_EPOCHS": 1},
    ),
    "explainers": ("--count 2 --rounds 1 --threads 1 --methods saliency", {"BATCHES": (32,), "SIDE": 16}),
    "factorization": (
        "",
        {
            "ROWS": 300,
            "CHANNELS": (12,),
            "COUNTS": (3,),
            "SETTINGS": 1,
            "PLANTED_ROWS": 200,
        },
    ),
    "faithfulness": ("--count 2 --epochs 1 --threads 1", {}),
    "flow_page": ("--instances 100 --epochs 3", {"SCROLLING": 0}),
    "improving": ("--run latest --epochs 1 --seeds 0 --ways colour-cutout --home {home}", {}),
    "label_noise": ("--size 8 --epochs 1 --train 150 --test 120 --kinds similar:0.2", {"ENSEMBLE": 2}),
    "label_noise, folds": ("--folds 2 --size 8 --epochs 1 --train 150 --kinds symmetric:0.1", {}),
    "label_noise, simulated": (
        "--simulate 1",
        {
            "MISTAKES": {"half": lambda certainty: 0.5 + 0 * certainty},
            "NOISE": ("unsure:0.3",),
            "SIZES": (100,),
        },
    ),
    "many_at_once": ("--trainings 0 --explainers 0", {}),  # with trainings: test_many.py
    "many_rows": ("--images 30 --epochs 1 --classes 25", {}),
    "many_runs": ("--runs 2 --epochs 2 --rounds 1", {}),
    "noisy_training": (
        "--size 8 --epochs 1 --train 150 --test 60 --seeds 0 --leave-out first-tenth:train_seen --apply",
        {},
    ),
    "nothing_there": ("--studies 1 --settings digits coverage", {}),
    "planted": ("--seeds 0 --epochs 1 --count 4 --methods saliency", {}),
    "planted, pair": ("--pair --seeds 0 --epochs 1 --count 4 --methods saliency", {}),
    "questions": ("--home {home} --questions accuracy_by_epoch", {}),
    "shortcuts": (
        "--studies 1 --networks 1 --kinds planted stripes",
        {"SIZES": {"val": 20, "test": 20}, "COUNT": 4, "IMAGES": 150, "EPOCHS": 1},
    ),
    "tracking_cost": ("--dataset digits --size 8 --epochs 1", {}),
    "training": ("--data {cifar10} --epochs 1 --baseline-until 0", {}),
    "two_models": ("--pairs 2 --asked 1 --images 20", {"SIZES": ((1, 1), (2, 2)), "MAP_SIZES": ((2, 2),)}),
    "zoo": ("--names frozen --size 16", {}),
}
MODULES = {"made_tables", "peers", "residual", "usage", "zoo_networks"}  # what the programs share
# libraries of others, which only these compare with
NEEDED = {"explainers": ("captum",), "faithfulness": ("quantus", "pytorch_grad_cam")}


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """A folder of few random images in CIFAR-10's layout."""
    for part, count in (("train", 60), ("test", 20)):
        parquet.write_table(table(count), tmp_path / f"{part}-00000-of-00001.parquet")
    return tmp_path


@pytest.fixture
def small(empty_tracker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few made images, one thread, and databases that are copied, as making one takes seconds."""
    monkeypatch.setattr(planted, "COUNTS", {"train": 200, "test": 40})
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(mlflow_client, "_make_database", lambda home: shutil.copyfile(empty_tracker, home.mlflow_db))


def test_every_program_is_run() -> None:
    assert {file.stem for file in FOLDER.glob("*.py")} == {name.split(",")[0] for name in PROGRAMS} | MODULES


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_runs(name: str, cifar10: Path, copy: Home, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    flags, constants = PROGRAMS[name]
    name = name.split(",")[0]
    for library in NEEDED.get(name, ()):
        pytest.importorskip(library, reason=f"{name}.py compares with {library}, which is not installed")
    if name == "flow_page" and not (BROWSER and DRIVER):
        pytest.skip("needs chromium and chromedriver on the PATH")
    monkeypatch.syspath_prepend(str(FOLDER))
    program = importlib.import_module(f"benchmarks.{name}")
    for constant, value in constants.items():
        monkeypatch.setattr(program, constant, value)
    monkeypatch.setattr(
        sys, "argv", [f"{name}.py", *(f.format(cifar10=cifar10, home=copy.path) for f in flags.split())]
    )
    program.main()
    assert capsys.readouterr().out.count("\n") >= 2
    assert torch.get_num_threads() == 1
