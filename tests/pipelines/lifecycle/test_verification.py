"""What is explained is what was tracked: a checkpoint that predicts anything else than was logged is refused."""

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from pipelines.common.settings import ExplainSettings, PredictSettings, RerunSettings
from pipelines.explaining.explain import explain
from pipelines.lifecycle.verification import allowed_difference
from pipelines.predicting.predict import predict
from pipelines.rerunning import rerun
from pipelines.training.train import train
from support.commands import said
from support.homes import TINY, forge, fresh, place_of
from tracking.catalogue import read_records, resolve
from tracking.errors import RunError
from tracking.home import Home

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(8, classes)

    def forward(self, images):
        return self.fc(self.body(images).mean((2, 3)))

def make(num_classes):
    return Net(num_classes)
"""
COMMANDS = {
    "explain": ("explain", "latest", "--instances", "5"),
    "explain every epoch": ("explain", "latest", "--epochs", "all", "--split", "val", "--where", "label = 3"),
    "explain train": ("explain", "latest", "--split", "train", "--count", "3"),
    "explain added": ("explain", "latest", "--split", "extra:new"),
    "ice": ("explain", "latest", "--method", "ice", "--count", "40", "--layer", "network.body.1"),
    "compare": ("compare", "latest", "--randomization-count", "0"),
    "predict": ("predict", "latest", "{tmp}/other.png"),
    "resume": ("resume", "own"),
    "rerun": ("rerun", "saliency"),
}


def pooled(net, images):
    return net.body(images).mean((2, 3))


CHANGES = {
    "another pooling": lambda net, images: net.fc(net.body(images).amax((2, 3))),
    "other classes": lambda net, images: net.fc(pooled(net, images)).flip(1),
    "dropout": lambda net, images: net.fc(F.dropout(pooled(net, images), 0.5, training=True)),
    "statistics of the batch": lambda net, images: net.fc(F.batch_norm(pooled(net, images), None, None, training=True)
                                                          if len(images) > 1 else pooled(net, images)),
    "NumPy": lambda net, images: net.fc(pooled(net, images) * (1 + np.random.rand())),
    "temperature": lambda net, images: 1.01 * net.fc(pooled(net, images)),
    "an error": lambda net, images: {}["gone"],
}  # fmt: skip


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of an own model."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "tracked_nets.py").write_text(CODE)
    sys.path.append(str(folder))
    yield importlib.import_module("tracked_nets")
    sys.path.remove(str(folder))
    del sys.modules["tracked_nets"]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path, nets: ModuleType) -> Home:
    """A home with a training of that model, an image added to it, maps, and the state of a run that was stopped."""
    folder = tmp_path_factory.mktemp("tracked")
    home = fresh(folder, empty_tracker)
    train(replace(TINY, epochs=1, model="tracked_nets:make", name="own"), home)
    Image.new("L", (8, 8), 90).save(folder / "new.png")
    predict(PredictSettings("latest", (str(folder / "new.png"),)), home)
    explain(ExplainSettings(instances="0,1,2,3", epochs="0,1"), home)
    record = resolve(home, "latest")
    known = place_of(home, record, "run.json")
    known.write_text(json.dumps(record.content() | {"status": "FAILED"}))
    return home


@pytest.mark.parametrize(
    ("change", "command"),
    [*[(change, "explain") for change in CHANGES], *[("other classes", name) for name in COMMANDS]],
)
def test_another_model_is_refused(
    tracked: Home, nets: ModuleType, capsys, monkeypatch, tmp_path: Path, change: str, command: str
) -> None:
    monkeypatch.setattr(nets.Net, "forward", CHANGES[change])
    Image.new("L", (8, 8), 30).save(tmp_path / "other.png")
    before = sorted(tracked.artifacts.rglob("*"))
    code, line = said(capsys, tracked, *(word.format(tmp=tmp_path) for word in COMMANDS[command]))
    assert code == 2, line
    assert "is not the model that was tracked" in line or change == "an error"
    assert sorted(tracked.artifacts.rglob("*")) == before


def test_how_far_off_and_why_is_told(tracked: Home, nets: ModuleType, capsys, monkeypatch) -> None:
    monkeypatch.setattr(nets.Net, "forward", CHANGES["other classes"])
    _, line = said(capsys, tracked, "explain", "latest", "--count", "2")
    assert "run own, epoch 1: this is not the model that was tracked: on 64 instances of test," in line
    assert "classified differently and margins differ by up to" in line
    assert "edited code of tracked_nets:make, dropout or batch statistics" in line
    file = Path(nets.__file__)
    file.write_text(CODE + "\n")
    try:
        assert (
            "the code of tracked_nets has changed since the training" in said(capsys, tracked, "explain", "latest")[1]
        )
        monkeypatch.undo()
        capsys.readouterr()
        explain(ExplainSettings(instances="9"), tracked)
        assert (
            "tracked_nets has changed since the training, but the checkpoints still reproduce the logged predictions"
            in (capsys.readouterr().err)
        )
    finally:
        file.write_text(CODE)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("command", ["explain", "compare", "predict", "resume"])
def test_weights_that_are_not_finite_are_refused(
    tracked: Home, home: Home, capsys, tmp_path: Path, value: float, command: str
) -> None:
    """Even if the commit names them rightly."""
    shutil.copytree(tracked.artifacts, home.artifacts, dirs_exist_ok=True)
    record = resolve(home, "own")
    file = place_of(home, record, "checkpoints/epoch_0001.safetensors")
    weights = load_file(file)
    weights["network.fc.weight"][0, 0] = value
    save_file(weights, file)
    forge(home, record, "epoch_0001", lambda commit: commit)
    Image.new("L", (8, 8), 30).save(tmp_path / "other.png")
    code, line = said(capsys, home, *(word.format(tmp=tmp_path) for word in COMMANDS[command]))
    assert code == 2, line
    assert "epoch_0001.safetensors: network.fc.weight is not finite" in line
    assert len(read_records(home)) == len(read_records(tracked))


def test_rerun_names_the_code_that_changed_or_randomness(
    tracked: Home, home: Home, nets: ModuleType, monkeypatch
) -> None:
    shutil.copytree(tracked.artifacts, home.artifacts, dirs_exist_ok=True)
    file = Path(nets.__file__)
    monkeypatch.setattr(nets.Net, "forward", CHANGES["temperature"])
    with pytest.raises(RunError, match="so tracked_nets:make may draw random numbers that no seed controls"):
        rerun(RerunSettings("own", check=True), home)
    try:
        file.write_text(CODE + "\n")
        with pytest.raises(
            RunError, match=r"the cause may be: code of tracked_nets sha256 \w{8} then, sha256 \w{8} now$"
        ):
            rerun(RerunSettings("own", check=True), home)
    finally:
        file.write_text(CODE)


def test_without_predictions_nothing_is_taken_for_what_was_tracked(tracked: Home, home: Home, capsys) -> None:
    shutil.copytree(tracked.artifacts, home.artifacts, dirs_exist_ok=True)
    place_of(home, resolve(home, "own"), "predictions/epoch_0001.parquet").unlink()
    code, line = said(capsys, home, "explain", "latest", "--count", "2")
    assert (code, "the predictions of epoch 1 are missing" in line) == (2, True)


def test_the_tolerance_goes_by_the_devices_and_the_largest_logit() -> None:
    assert allowed_difference(torch.tensor([[-50.0, 2.0]]), "cpu", "cpu") == pytest.approx(5e-3)
    assert allowed_difference(torch.tensor([[-50.0, 2.0]]), "cuda:1", "cpu") == pytest.approx(0.5)
    assert allowed_difference(torch.zeros(2, 2), "cpu") == pytest.approx(1e-6)
