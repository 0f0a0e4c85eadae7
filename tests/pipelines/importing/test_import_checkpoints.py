"""Checkpoint files of any training as a run: the same predictions, and nothing claimed that is not known."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import transforms

from pipelines.cli import main
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.importing.checkpoint_files import find_checkpoints
from pipelines.models.weight_files import fit_weights, read_weights
from support.commands import said
from support.homes import fresh, rows
from support.logged_models import assert_predicts_as_logged, load_epoch
from tracking import mlflow_client
from tracking.catalogue import read_records, resolve
from tracking.errors import InputError
from tracking.home import Home

MEAN, STD = 0.3, 0.4
EPOCHS = (5, 10, 15)


class Net(nn.Module):
    def __init__(self, num_classes: int, width: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).amax((2, 3)))


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.first(images.flatten(1))))


class BuiltLate(nn.Module):
    """A layer that the first pass makes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes, self.head = num_classes, None

    def forward(self, images: Tensor) -> Tensor:
        if self.head is None:
            self.head = nn.Linear(images[0].numel(), self.num_classes)
        return self.head(images.flatten(1))


@pytest.fixture(scope="module", autouse=True)
def own_nets() -> Iterator[None]:
    module = ModuleType("own_nets")
    module.make, module.tied, module.late = Net, Tied, BuiltLate
    module.softmax = lambda num_classes: nn.Sequential(Net(num_classes), nn.Softmax(1))
    module.evaluation = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "own_nets", module)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("digits", None, Home(tmp_path_factory.mktemp("data")), val_fraction=0.1, seed=0, size=8)


def network(seed: int, width: int = 3) -> Net:
    torch.manual_seed(seed)
    made = Net(10, width)
    made.body[1].running_mean.uniform_(-1, 1)
    return made.eval()


def prefixed(state: dict, prefix: str) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


COMMAND = ("--model", "own_nets:make", "--model-args", '{"width": 3}', "--dataset", "digits", "--size", "8",
           "--threads", "1", "--transform", "own_nets:evaluation")  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    """A home with a run of three checkpoints, whose files are gone."""
    folder = tmp_path_factory.mktemp("imported")
    home = fresh(folder, empty_tracker)
    for epoch in EPOCHS:
        weights = {"epoch": epoch, "state_dict": prefixed(network(epoch).state_dict(), "model.")}
        torch.save(weights, folder / f"net_ep{epoch}.pt")
    assert main(["import-checkpoints", str(folder / "*.pt"), *COMMAND, "--home", str(home.path)]) == 0
    for file in folder.glob("*.pt"):
        file.unlink()
    return home


def test_predictions_are_those_of_the_network_itself(imported: Home, data: Dataset) -> None:
    images = (data.splits["test"].images.float() / 255 - MEAN) / STD
    for epoch in EPOCHS:
        with torch.inference_mode():
            expected = network(epoch)(images).softmax(1).numpy()
        sql = "select probabilities from full_predictions where epoch = ? and split = 'test' order by instance_id"
        stored = np.array([row[0] for row in rows(imported, sql, epoch)])
        assert np.abs(stored - expected).max() < 1e-5
    assert rows(imported, "select distinct split from predictions") == [("test",)]


def test_mlflow_loads_every_checkpoint(imported: Home, data: Dataset) -> None:
    run_id = resolve(imported, "latest").run_id
    pictures = data.splits["test"].images.numpy()
    for epoch in EPOCHS:
        predicted = load_epoch(imported.mlflow_address, run_id, epoch).predict(pictures)
        assert_predicts_as_logged(predicted, imported, run_id, epoch, data.classes)


def test_nothing_is_claimed_that_is_not_known(imported: Home, capsys) -> None:
    record = resolve(imported, "latest")
    assert (record.kind, record.seed, record.status) == ("train", None, "FINISHED")
    assert not {"optimizer", "lr", "batch"} & record.params.keys()
    assert record.params["epochs"] is None
    for command in ("resume", "rerun"):
        code, line = said(capsys, imported, command, record.run_id)
        assert code == 2
        assert "checkpoint files of a training that is not known here: import them again" in line


def test_epochs_that_do_not_begin_at_0_are_explained_shown_and_reported(imported: Home, capsys) -> None:
    compare = ("compare", "--randomization-count", "2", "--shortcut-count", "0")  # no epoch is untrained
    for command in (("explain", "latest", "--epochs", "5,15", "--count", "4"), compare, ("report",), ("flow",)):
        assert main([*command, "--home", str(imported.path)]) == 0, capsys.readouterr().err
    page = (imported.run_folder(resolve(imported, "latest").run_id) / "report.html").read_text()
    assert "Its epochs are 3 checkpoint files; evaluating them took" in page
    assert "Trained for" not in page
    code, line = said(capsys, imported, "explain", "latest", "--epochs", "7")
    assert (code, line) == (2, "study: the run has no checkpoint of epoch 7; there are those of 5, 10, 15")
    code, line = said(capsys, imported, "explain", "latest", "--epochs", "best")
    assert code == 2
    assert "no validation images" in line


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


FORMS: dict[str, Callable[[dict, Path], None]] = {
    "plain": torch.save,
    "legacy": save_legacy,
    "safetensors": save_file,
    "ddp": lambda state, path: torch.save(prefixed(state, "module."), path),
    "lightning": lambda state, path: torch.save(
        {"state_dict": prefixed(state, "model.") | {"loss.weight": torch.ones(3)}, "epoch": 3}, path
    ),
    "compiled": lambda state, path: torch.save({"model_state_dict": prefixed(state, "_orig_mod.")}, path),
    "ddp of compiled": lambda state, path: torch.save({"net": prefixed(state, "module._orig_mod.")}, path),
    "average": lambda state, path: torch.save(
        {"ema": prefixed(state, "module.") | {"n_averaged": torch.ones(())}}, path
    ),
    "nested": lambda state, path: torch.save({"model": {"state_dict": state}, "optimizer": {"state": {}}}, path),
    "half": lambda state, path: torch.save({name: value.half().float() for name, value in state.items()}, path),
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_every_form(form: str, data: Dataset, tmp_path: Path) -> None:
    state, path = network(1).state_dict(), tmp_path / "net"
    FORMS[form](state, path)
    other = network(2)
    assert fit_weights(form, read_weights(path, None), other, data) == []
    for name, value in other.state_dict().items():
        assert torch.allclose(value.double(), state[name].double(), atol=1e-3 if form == "half" else 0), name


def test_a_key_names_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": network(1).state_dict(), "ema": {"weights": network(2).state_dict()}}, path)
    for key, seed in ((None, 1), ("ema", 2), ("ema.weights", 2)):
        assert torch.equal(read_weights(path, key)["head.weight"], network(seed).head.weight)
    with pytest.raises(InputError, match=r"net.pt has no key 'swa'; it has model, ema"):
        read_weights(path, "swa")


def bad(state: dict) -> dict[str, tuple[Callable[[Path], object], str]]:
    return {
        "code": (lambda path: torch.save(network(1), path), r"needs code to be loaded \(.*Net\), which could do"),
        "numpy": (lambda path: torch.save({"model": state, "best": np.float64(1)}, path), "needs code to be loaded"),
        "text": (lambda path: path.write_text("hello"), "is not a file of torch or safetensors, or it is damaged"),
        "empty": (lambda path: path.touch(), "is not a file of torch or safetensors, or it is damaged"),
        "none": (lambda path: torch.save({"epoch": 1}, path), "has no weights by name; it has epoch"),
        "list": (lambda path: torch.save([state], path), "has no weights by name; it holds a list"),
        "missing": (lambda path: torch.save({"head.bias": state["head.bias"]}, path), "it lacks body.0.weight"),
        "unexpected": (lambda path: torch.save(state | {"tail": torch.ones(1)}, path), "the model has no tail"),
        "classes": (
            lambda path: torch.save(Net(7, 3).state_dict(), path),
            r"head.weight has 7 outputs in it, and the data set has 10 classes; check --model and --model-args, and "
            r"--dataset digits \(10 classes, pictures of 1 x 8 x 8\)",
        ),
        "width": (
            lambda path: torch.save(Net(10, 4).state_dict(), path),
            r"body.0.weight is \(4, 1, 3, 3\) in it and \(3, 1, 3, 3\) in the model; check --model and --model-args",
        ),
        "nan": (
            lambda path: torch.save(state | {"head.bias": torch.full((10,), torch.nan)}, path),
            "head.bias is not finite",
        ),
    }


@pytest.mark.parametrize("name", bad({"head.bias": torch.ones(10)}))
def test_a_bad_file_is_one_line_and_leaves_nothing(home: Home, tmp_path: Path, capsys, name: str) -> None:
    write, message = bad(network(1).state_dict())[name]
    torch.save(network(1).state_dict(), tmp_path / "net_1.pt")
    write(tmp_path / "net_2.pt")
    code, line = said(capsys, home, "import-checkpoints", str(tmp_path), *COMMAND)
    assert code == 2
    assert re.search(message, line), line
    assert "net_2.pt" in line
    assert read_records(home) == []


@pytest.mark.parametrize(
    ("names", "epochs", "expected"),
    [
        (("net10.pt", "net9.pt", "net100.pt"), None, [9, 10, 100]),
        (("epoch=3-step=120.ckpt", "epoch=12-step=480.ckpt"), None, [3, 12]),
        (("v2_ep05_0.91.pt", "v2_ep10_0.88.pt"), None, [5, 10]),
        (("checkpoint-500.pt", "checkpoint-1000.pt"), None, [500, 1000]),
        (("resnet18_a1_fold0.pt", "resnet18_a2_fold0.pt"), None, [1, 2]),
        (("first.pt", "second.pt"), None, [1, 2]),
        (("resnet18.pt",), None, [1]),
        (("model_07.pt",), None, [7]),
        (("best_epoch_0.pt",), None, [0]),
        (("a.pt", "b.pt"), "3,8", [3, 8]),
    ],
)
def test_epochs_come_from_names_or_are_given(tmp_path: Path, names: tuple, epochs: str | None, expected: list) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert [file.epoch for file in find_checkpoints([str(tmp_path)], epochs)] == expected
    if epochs is None:  # the shell's own list, in any order and with doubles
        arguments = [str(tmp_path / name) for name in (*names, names[0])]
        assert [file.epoch for file in find_checkpoints(arguments, None)] == expected


@pytest.mark.parametrize(
    ("names", "epochs", "message"),
    [
        (("a_1.pt", "b_1.pt"), None, "a_1.pt, b_1.pt would both be epoch 1"),
        (("best.pt", "net_1.pt"), None, "no epoch in the name of best.pt"),
        (("a.pt", "b.pt"), "1", "--epochs has 1 numbers, and there are 2 files"),
        (("a.pt", "b.pt"), "1,1", "would both be epoch 1"),
        (("a.pt",), "x", "it takes whole numbers"),
        ((), None, "has no checkpoint"),
    ],
)
def test_unclear_epochs_are_refused(tmp_path: Path, names: tuple, epochs: str | None, message: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=message):
        find_checkpoints([str(tmp_path)], epochs)


def test_a_path_that_exists_is_no_pattern(tmp_path: Path) -> None:
    for name in ("net[1].pt", "net1.pt"):
        (tmp_path / name).touch()
    assert [file.path.name for file in find_checkpoints([str(tmp_path / "net[1].pt")], None)] == ["net[1].pt"]
    with pytest.raises(InputError, match="no file matches"):
        find_checkpoints([str(tmp_path / "x*.pt")], None)
    with pytest.raises(InputError, match=r"no checkpoint .*give a file, a folder, or a pattern"):
        find_checkpoints([str(tmp_path / "x.pt")], None)


@pytest.mark.parametrize(("factory", "make"), [("tied", Tied), ("late", BuiltLate)])
def test_one_file_of_a_tied_or_lazily_built_model_is_a_run_of_one_epoch(
    home: Home, tmp_path: Path, capsys, factory: str, make: type
) -> None:
    model = make(10)
    model(torch.zeros(1, 1, 8, 8))
    state = model.state_dict()
    state.pop("second.weight", None)  # as safetensors leaves it out
    save_file(state, tmp_path / "net.safetensors")
    command = ("import-checkpoints", tmp_path / "net.safetensors", "--model", f"own_nets:{factory}", "--size", "8",
               "--threads", "1", "--transform", "none")  # fmt: skip
    assert main([*map(str, command), "--home", str(home.path)]) == 0, capsys.readouterr().err
    printed = capsys.readouterr()
    run_id = printed.out.strip()
    assert f"import-checkpoints: run {run_id} (" in printed.err
    tags = mlflow_client.connect(home).get_run(run_id).data.tags
    assert tags["mlflow.source.name"] == "study import-checkpoints"
    assert rows(home, "select distinct epoch from predictions") == [(1,)]
    assert main(["explain", "--count", "3", "--home", str(home.path)]) == 0, capsys.readouterr().err


def test_probabilities_are_no_logits(home: Home, tmp_path: Path, capsys) -> None:
    torch.save(nn.Sequential(Net(10), nn.Softmax(1)).state_dict(), tmp_path / "net.pt")
    command = ("import-checkpoints", str(tmp_path / "net.pt"), "--model", "own_nets:softmax", "--size", "8")
    code, line = said(capsys, home, *command)
    assert code == 2
    assert "returns probabilities" in line
    assert read_records(home) == []
