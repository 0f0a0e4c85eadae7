"""An own model that raises an error late ends a command with one line; an error of ours still shows its traceback."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from pipelines import cli
from pipelines.comparing import compare
from pipelines.explaining.maps import attribution
from pipelines.models import user_errors
from pipelines.predicting import predict
from pipelines.training import epoch
from pipelines.training import train as training
from support.commands import said
from tracking import commits
from tracking.catalogue import RunRecord, read_records
from tracking.home import Home

NETS = """
import torch
from torch import nn

class Odd(Exception):
    pass

class Net(nn.Module):
    limit, error, calls = None, Odd, 0

    def __init__(self, classes):
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()), nn.Linear(4, classes)

    def forward(self, images):
        if Net.limit is not None:
            Net.calls += 1
            if Net.calls >= Net.limit:
                raise Net.error("the sensor is gone")
        return self.fc(self.body(images).mean((2, 3)))

def make(num_classes):
    return Net(num_classes)
"""
TRAIN = ("train", "--size", "8", "--threads", "1", "--epochs", "2", "--progressive-resizing", "no", "--batch", "512",
         "--model", "late_nets:make")  # fmt: skip


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The class of the network that late_nets:make makes; it raises from call `limit` on."""
    (tmp_path / "late_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "late_nets", raising=False)
    import late_nets

    yield late_nets.Net
    sys.modules.pop("late_nets")
    user_errors.watch_model("cnn", ())


def kept(home: Home, run: RunRecord) -> list[str]:
    return [commit.unit for commit in commits.read_commits(home, run.run_id)]


@pytest.mark.parametrize("error", [None, SystemExit, FileNotFoundError])
def test_training_keeps_what_came_before_and_says_how_to_go_on(
    home: Home, nets, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, error
) -> None:
    monkeypatch.setattr(nets, "error", error or nets.error)
    arm(nets, monkeypatch, training, "_compute_epoch", at=1, calls=3)
    code, line = said(capsys, home, *TRAIN)
    [run] = read_records(home)
    assert (code, run.status, kept(home, run)) == (1, "FAILED", ["start", "epoch_0000"])
    assert f"model late_nets:make raised {nets.error.__name__}: " in line
    assert "the sensor is gone" in line
    assert "(late_nets.py, line 19)" in line
    assert f"resume it with: study resume {run.run_id[:8]}" in line
    nets.limit = None
    assert cli.main(["resume", run.run_id, "--home", str(home.path)]) == 0
    assert kept(home, run) == ["start", "epoch_0000", "epoch_0001", "epoch_0002"]


def arm(nets, monkeypatch: pytest.MonkeyPatch, module, function: str, *, at: int, calls: int) -> None:
    """Let the network raise at a call of its forward, counted from the `at`-th call of a function on, 0 the first."""
    original, seen = getattr(module, function), []

    def counted(*given, **named):
        seen.append(None)
        if len(seen) == at + 1:
            nets.calls, nets.limit = 0, calls
        return original(*given, **named)

    monkeypatch.setattr(module, function, counted)


def test_explaining_comparing_and_predicting_end_with_one_line(
    home: Home, nets, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cli.main([*TRAIN, "--home", str(home.path)]) == 0
    explain = ("explain", "latest", "--method", "smooth_grad", "--count", "6", "--batch", "2", "--epochs", "1,2")
    with monkeypatch.context() as patch:
        arm(nets, patch, attribution, "explain_epoch", at=1, calls=5)
        code, line = said(capsys, home, *explain)
    failed = read_records(home)[-1]
    assert (code, failed.status) == (1, "FAILED")
    assert kept(home, failed) == ["start", "smooth_grad_epoch_0001_part_000", "smooth_grad_epoch_0001"]
    assert line.startswith("study: model late_nets:make raised Odd: the sensor is gone (late_nets.py, line 19); run")
    nets.limit = None
    assert cli.main(["resume", failed.run_id, "--home", str(home.path)]) == 0

    with monkeypatch.context() as patch:
        arm(nets, patch, compare, "measure_part", at=1, calls=5)
        code, line = said(capsys, home, "compare", "latest", "--epoch", "2")
    failed = read_records(home)[-1]
    assert (code, failed.kind, failed.status, len(kept(home, failed))) == (1, "compare", "FAILED", 2)
    assert "model late_nets:make raised Odd: the sensor is gone" in line
    assert "study resume" in line
    nets.limit = None

    Image.new("L", (8, 8), 99).save(tmp_path / "new.png")
    with monkeypatch.context() as patch:
        arm(nets, patch, predict, "compute_logits_from", at=1, calls=1)
        code, line = said(capsys, home, "predict", "latest", str(tmp_path / "new.png"))
    assert code == 1
    assert "raised Odd" in line
    assert line.endswith("kept; run the same command again to evaluate the missing epochs")


@pytest.mark.parametrize("model", ["cnn", "late_nets:make"])
def test_an_error_of_ours_shows_its_traceback(home: Home, nets, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Also one in a hook of ours that runs inside the network's pass, and one of a library that we call wrongly."""
    monkeypatch.setattr(epoch, "main_logits", None)
    with pytest.raises(TypeError):
        cli.main([*TRAIN[:-1], model, "--home", str(home.path)])
    [run] = read_records(home)
    assert run.status == "FAILED"


def test_the_innermost_frame_decides(nets) -> None:
    network = nets(10)
    user_errors.watch_model("late_nets:make", map(type, network.modules()))
    images = torch.zeros(1, 1, 8, 8)
    assert "raised RuntimeError" in user_errors.describe_model_error(caught(lambda: network(images[:, 0, 0])))
    script = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    user_errors.watch_model("late_nets:make", map(type, script.modules()))
    assert "raised RuntimeError" in user_errors.describe_model_error(caught(lambda: script(images)))
    user_errors.watch_model("late_nets:make", map(type, network.modules()))
    ours = {"__name__": "xai.hooks"}
    exec("def faulty(module, inputs, output): raise ValueError", ours)
    network.body.register_forward_hook(ours["faulty"])
    assert user_errors.describe_model_error(caught(lambda: network(images))) is None
    assert user_errors.describe_model_error(MemoryError()) is None


def caught(call) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
