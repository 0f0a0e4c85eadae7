"""Models of the user's: what cannot be trained, kept or repeated is refused in one line before a run is made."""

import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.cli import main
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.models.checkpoints import load_model, save_model
from pipelines.models.networks import build_model
from pipelines.models.predictions import prepare_images
from pipelines.training import train as training
from pipelines.training.epoch import train_epoch
from pipelines.training.optimizers import make_optimizers
from pipelines.training.recipe import make_recipe, resolve_settings
from support.homes import TINY
from tracking.catalogue import read_records
from tracking.errors import InputError
from tracking.home import Home
from xai import METHODS, MethodInputs, NotApplicable

SMALL = training.replace(TINY, epochs=1, model="own_nets:make", precision="float32")
Outputs = namedtuple("Outputs", "logits aux_logits")


class Plain(nn.Module):
    """Two layers and a head on the mean over all places."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images).mean((2, 3)))


def given(change) -> type[nn.Module]:
    """Plain, its logits changed by a function of (network, images, logits)."""

    class Changed(Plain):
        def forward(self, images: Tensor) -> Tensor:
            return change(self, images, super().forward(images))

    return Changed


def raising(error: BaseException, *, training_only: bool = False):
    def change(network: nn.Module, images: Tensor, logits: Tensor) -> Tensor:
        if network.training or not training_only:
            raise error
        return logits

    return given(change)


class Odd(Exception):
    """An error that no library raises."""


class ExtraState(Plain):
    def get_extra_state(self) -> dict:
        return {"seen": 0}

    def set_extra_state(self, state: dict) -> None:
        pass


class Forgetful(Plain):
    """Learns a statistic that its state_dict lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.shift += 1.0
        logits = super().forward(images)
        return torch.cat([logits[:, :1] + self.shift, logits[:, 1:]], 1)


class ByView(nn.Module):
    """As in PyTorch's tutorial: places are flattened by `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv(images)).view(-1, 6 * 36))


class Versioned(Plain):
    """Asks for the version of its state, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state: dict, prefix: str, local_metadata: dict, *rest) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError("version should be 2")
        super()._load_from_state_dict(state, prefix, local_metadata, *rest)


class InPlace(Plain):
    """Changes the images it is given."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(2))


class Tied(Plain):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.body[2]

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(F.relu(self.again(self.body(images))).mean((2, 3)))


class Spare(Plain):
    """A filter bank that no pass uses, one of zeros, and one without any element."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(8, 8, 3)
        nn.init.zeros_(self.body[2].weight)
        self.nothing = nn.Parameter(torch.zeros(0, 2, 3, 3))


def frozen(network: nn.Module) -> nn.Module:
    return network.requires_grad_(False)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


def draws(network: nn.Module, images: Tensor, logits: Tensor) -> Tensor:
    """Noise in training, from NumPy's and Python's global generators."""
    import random

    return logits + float(np.random.rand() + random.random()) * network.training * logits


REFUSED = {
    "assertion": (raising(AssertionError("wrong image height")), "AssertionError: wrong image height"),
    "index": (raising(IndexError("out")), "IndexError: out"),
    "key": (raising(KeyError("x")), "KeyError: 'x'"),
    "own error": (raising(Odd()), ": Odd"),
    "exit": (raising(SystemExit(3)), "SystemExit: 3"),
    "in training": (raising(ValueError("no labels"), training_only=True), "cannot be trained: ValueError: no labels"),
    "exit in training": (raising(SystemExit("bye"), training_only=True), "cannot be trained: SystemExit: bye"),
    "tuple": (given(lambda net, x, y: (y, y)), "returns a tuple"),
    "dict": (given(lambda net, x, y: {"scores": y}), "returns a dict"),
    "aux tuple": (given(lambda net, x, y: (y, y) if net.training else y), "returns a tuple in training"),
    "none": (given(lambda net, x, y: None), "returns a NoneType"),
    "four dimensions": (given(lambda net, x, y: y[:, :, None, None]), r"returns \(2, 10, 1, 1\) for 2 images"),
    "integers": (given(lambda net, x, y: y.long()), "returns int64"),
    "half": (given(lambda net, x, y: y.half()), "returns float16"),
    "double": (lambda: Plain().double(), "does not take images"),
    "nan": (given(lambda net, x, y: y * torch.nan), "not finite before any training"),
    "probabilities": (given(lambda net, x, y: y.softmax(1)), "returns probabilities"),
    "dropout": (given(lambda net, x, y: F.dropout(y, 0.5, training=True)), "evaluated twice on the same images"),
    "numpy": (given(lambda net, x, y: y * float(np.random.rand())), "evaluated twice on the same images"),
    "batch": (given(lambda net, x, y: y - y.mean(0)), "evaluated on one image alone"),
    "no gradient": (given(lambda net, x, y: y.detach()), "cannot be trained: RuntimeError"),
    "frozen": (lambda: frozen(Plain()), "none of its parameters requires a gradient"),
    "extra state": (ExtraState, "keeps network._extra_state, which is not a tensor"),
    "forgetful": (Forgetful, "state_dict does not hold all that it learns"),
    "class": (lambda: Plain, "returns the class Plain"),
    "nothing": (lambda: None, "returns a NoneType"),
}
TRAINED = {
    "plain": Plain,
    "view": ByView,
    "tied": Tied,
    "versioned": Versioned,
    "lazy": lazy,
    "spare": Spare,
    "draws": given(draws),
    "in place": InPlace,
    "aux": given(lambda net, x, y: Outputs(y, y) if net.training else y),
    "log-probabilities": given(lambda net, x, y: y.log_softmax(1)),
    "frozen body": lambda: nn.Sequential(frozen(Plain().body), nn.Flatten(), nn.Linear(512, 10)),
    "script": lambda: torch.jit.script(Plain()),
}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch):
    """Make `own_nets:make` a factory of what is given."""

    def put(make) -> None:
        module = ModuleType("own_nets")
        module.make = lambda num_classes: make()
        monkeypatch.setitem(sys.modules, "own_nets", module)

    return put


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("digits", None, Home(tmp_path_factory.mktemp("data")), val_fraction=0.1, seed=0, size=8)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_a_run_is_made(home: Home, own, monkeypatch, data: Dataset, name: str) -> None:
    make, message = REFUSED[name]
    own(make)
    monkeypatch.setattr(training, "load_data", lambda *_: data)
    with pytest.raises(InputError, match=message) as refused:
        training.train(SMALL, home)
    assert "\n" not in str(refused.value)
    assert read_records(home) == []


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sgd"])
@pytest.mark.parametrize("name", TRAINED)
def test_taken_and_left_as_it_is(own, data: Dataset, tmp_path: Path, name: str, optimizer: str) -> None:
    own(TRAINED[name])
    settings = resolve_settings(training.replace(SMALL, optimizer=optimizer), data)
    model = build_model(settings.model, data, 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    recipe = make_recipe(settings, data, model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    train_epoch(model, recipe, 1)
    other = build_model(settings.model, data, 1)
    load_model(other, save_model(recipe.averaged_model, tmp_path / "x.safetensors"))
    images = prepare_images(data.splits["test"].images[:5], recipe.device)
    assert torch.equal(other.eval()(images), recipe.averaged_model.eval()(images))


def test_what_a_model_prints_is_no_result(home: Home, own, capsys) -> None:
    def speak(net: nn.Module, images: Tensor, logits: Tensor) -> Tensor:
        print("hello")
        return logits

    own(given(speak))
    command = ("train", "--size", "8", "--threads", "1", "--epochs", "1", "--model", "own_nets:make")
    assert main([*command, "--home", str(home.path)]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [record.run_id for record in read_records(home)]
    assert "hello" in err


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch, data: Dataset) -> None:
    (tmp_path / "nets_of_this_folder.py").write_text(
        "from torch import nn\ndef make(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.syspath_prepend("unused")  # restores the path afterwards
    monkeypatch.chdir(tmp_path)
    assert build_model("nets_of_this_folder:make", data, 0)
    with pytest.raises(InputError, match="No module named 'no_such_nets'; install it, run study in the folder"):
        build_model("no_such_nets:make", data, 0)


@pytest.mark.parametrize(
    "code", ["import sys; sys.exit(3)", "1 / 0", "raise KeyError('x')", "def make(: pass", "import no"]
)
def test_a_module_that_does_not_load_is_one_line(tmp_path: Path, monkeypatch, data: Dataset, code: str) -> None:
    (tmp_path / "broken_nets.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="cannot find model broken_nets:make: ") as refused:
        build_model("broken_nets:make", data, 0)
    assert "\n" not in str(refused.value)


def test_an_epoch_repeats_whatever_generator_the_network_draws_from(own, data: Dataset) -> None:
    own(given(draws))
    logits = []
    for _ in range(2):
        np.random.rand()  # whatever came before
        settings = resolve_settings(SMALL, data)
        model = build_model(settings.model, data, 0)
        logits.append(train_epoch(model, make_recipe(settings, data, model), 1).logits)
    assert torch.equal(*logits)


def test_randomness_without_a_seed_is_said(own, data: Dataset, capsys) -> None:
    own(given(lambda net, x, y: y * float(np.random.default_rng().random()) if net.training else y))
    make_recipe(resolve_settings(SMALL, data), data, build_model(SMALL.model, data, 0))
    assert "cannot be reproduced exactly" in capsys.readouterr().err


def test_main_logits_and_log_probabilities_are_said(own, data: Dataset, capsys) -> None:
    for name, message in (
        ("aux", "only its main logits are trained"),
        ("log-probabilities", "returns log-probabilities"),
    ):
        own(TRAINED[name])
        make_recipe(resolve_settings(SMALL, data), data, build_model(SMALL.model, data, 0))
        assert message in capsys.readouterr().err


def test_zeros_at_the_start_are_no_probabilities_and_show_dropout(own, data: Dataset) -> None:
    """A head of zeros says nothing until it is trained for a step."""

    def zeros(change=lambda net, x, y: y) -> nn.Module:
        network = given(change)()
        nn.init.zeros_(network.fc.weight)
        nn.init.constant_(network.fc.bias, 0.1)
        return network

    own(zeros)
    make_recipe(resolve_settings(SMALL, data), data, build_model(SMALL.model, data, 0))
    own(lambda: zeros(lambda net, x, y: y + net.fc(F.dropout(net.body(x).mean((2, 3)), 0.5))))
    with pytest.raises(InputError, match="evaluated twice"):
        make_recipe(resolve_settings(SMALL, data), data, build_model(SMALL.model, data, 0))


def test_a_script_module_has_no_layers_to_look_at(own, data: Dataset) -> None:
    own(TRAINED["script"])
    model, images = build_model(SMALL.model, data, 0), data.splits["test"].images[:2].float() / 255
    assert METHODS["saliency"].attribute(model, images, torch.zeros(2, dtype=int), MethodInputs()).maps.any()
    with pytest.raises(NotApplicable):
        METHODS["grad_cam"].attribute(model, images, torch.zeros(2, dtype=int), MethodInputs())


def test_only_what_needs_it_leaves_channels_last(own, data: Dataset) -> None:
    for make in (Plain, ByView):
        own(make)
        assert build_model(SMALL.model, data, 0).normalise.default_layout == (make is ByView)


def test_a_tied_weight_is_averaged_once() -> None:
    from pipelines.training.averaging import update_average

    model, mean = Tied(), Tied()
    before = mean.again.weight.clone()
    update_average(mean, model, 0.5, 1000)
    assert torch.allclose(mean.again.weight, (before + model.again.weight) / 2)


def test_muon_has_no_optimizer_for_weights_that_are_not_there() -> None:
    assert [type(made).__name__ for made in make_optimizers(nn.Linear(3, 2), "muon", 0.1, 0)] == ["AdamW"]
    assert [type(made).__name__ for made in make_optimizers(nn.Conv2d(4, 2, 3, bias=False), "muon", 0.1, 0)] == ["Muon"]
