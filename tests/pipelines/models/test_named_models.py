"""Models by name, with arguments and a transform: built alike wherever a run's model is built."""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import transforms

from pipelines.cli import main
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.lifecycle.origin import begins_untrained
from pipelines.models.libraries import LIBRARIES, fetch_pretrained, own_preprocessing
from pipelines.models.networks import build_model, build_tracked_model, resolve_transform
from pipelines.training import train as training
from support.homes import TINY, predictions
from tracking import mlflow_client
from tracking.catalogue import read_records, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.runs import NOTE

TRANSFORM = transforms.Compose(
    [transforms.Resize(24), transforms.CenterCrop(20), transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))]
)


def make(num_classes: int, image_shape: tuple[int, int, int], width: int = 4) -> nn.Module:
    channels, height, _ = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * (height - 2) ** 2, num_classes)
    )


@pytest.fixture(autouse=True)
def own_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_nets")
    module.make, module.transform, module.get_transform = make, TRANSFORM, lambda: TRANSFORM
    module.keywords = lambda **options: nn.Sequential(nn.Flatten(), nn.Linear(64, options["num_classes"]))
    module.bare = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module.random = transforms.RandomHorizontalFlip()
    monkeypatch.setitem(sys.modules, "own_nets", module)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("digits", None, Home(tmp_path_factory.mktemp("data")), val_fraction=0.1, seed=0, size=8)


SETTINGS = replace(
    TINY,
    epochs=1,
    precision="float32",
    model="own_nets:make",
    model_args='{"width": 3}',
    transform="own_nets:transform",
)


def test_arguments_and_transform_are_recorded_and_used_by_every_command(home: Home, capsys) -> None:
    run_id = training.train(SETTINGS, home)
    record = resolve(home, run_id)
    assert record.params["model_args"] == '{"width": 3}'
    assert '"size": [24]' in record.params["transform"]
    for command in (
        ("explain", run_id, "--method", "grad_cam", "--count", "5"),
        ("rerun", run_id, "--check"),
        ("report", run_id),
    ):
        assert main([*command, "--home", str(home.path)]) == 0, capsys.readouterr().err
    page = (home.run_folder(run_id) / "report.html").read_text()
    words = "it is resized to 24 x 24 (bilinear), then cropped to 20 x 20 around its centre"
    for described in (page, mlflow_client.connect(home).get_run(run_id).data.tags[NOTE]):
        assert words in described
        assert "which makes it 1 x 20 x 20 (channels, height, width)." in described
    again = next(other for other in read_records(home) if other.kind == "train" and other.run_id != run_id)
    assert predictions(home, again.run_id) == predictions(home, run_id)


def test_the_network_gets_what_the_transform_makes_of_a_picture(data: Dataset) -> None:
    model = build_tracked_model(resolve_transform(SETTINGS), data)
    assert model.normalise.output_shape == (1, 20, 20)
    picture = data.splits["test"].images[:1]
    made = model.normalise(picture.float() / 255)
    assert torch.equal(made[0], TRANSFORM(Image.fromarray(picture[0, 0].numpy())))
    by_function = resolve_transform(replace(SETTINGS, transform="own_nets:get_transform"))
    assert by_function.transform == resolve_transform(SETTINGS).transform
    plain = build_tracked_model(resolve_transform(replace(SETTINGS, transform="none", channels=3)), data)
    assert torch.equal(plain.normalise(picture.float() / 255), picture.float().expand(-1, 3, -1, -1) / 255)


def test_a_factory_gets_what_its_signature_takes(data: Dataset) -> None:
    for name in ("own_nets:keywords", "own_nets:bare"):
        assert build_model(name, data, 0)
    with pytest.raises(InputError) as refused:
        build_model("own_nets:keywords", data, 0, model_args='{"num_classes": 3}')
    assert str(refused.value) == (
        "model own_nets:keywords returns 3 logits per image, and the data set has 10 classes; check --model and "
        "--model-args, and --dataset digits (10 classes, pictures of 1 x 8 x 8)"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model-args", "[1]"), "it takes a JSON object such as"),
        (("--model-args", "{width"), "which is not JSON"),
        (("--model-args", '{"depth": 1}'), "unexpected keyword argument 'depth'"),
        (("--transform", "own_nets:random"), "transform RandomHorizontalFlip cannot become part of the model"),
        (("--transform", "own_nets:nothing"), "cannot find transform own_nets:nothing"),
        (("--transform", "mean"), "no description of a preprocessing"),
        (("--model", "torchvision:resnet19"), "did you mean resnet18"),
        (("--model", "resnet18"), "timm:NAME and torchvision:NAME"),
        (("--weights", "nothing.pt"), "--weights: no file nothing.pt"),
        (("--weights", "pretrained"), "--weights pretrained is for models of timm and torchvision"),
        (("--freeze", "trunk"), "--freeze trunk names no parameter; the network's parts are 0, 1, 2, 3"),
        (("--freeze", "0", "*"), "there is nothing to train"),
    ],
)
def test_what_cannot_be_built_is_one_line(home: Home, capsys, flags: tuple, message: str) -> None:
    command = ["train", "--size", "8", "--threads", "1", "--model", "own_nets:make", *flags, "--home", str(home.path)]
    assert main(command) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert read_records(home) == []


def test_weights_out_of_reach_are_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fetch(*_) -> None:
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s [Retry 1/5].")
        raise ConnectionError("the name is unknown. Try again")

    monkeypatch.setitem(LIBRARIES, "torchvision", replace(LIBRARIES["torchvision"], fetch_weights=fetch))
    with pytest.raises(InputError, match=r"cannot be fetched \(ConnectionError: the name is unknown\); fetch them"):
        fetch_pretrained("torchvision:resnet18", None)
    assert caplog.records == []
    logging.getLogger("huggingface_hub.utils").warning("heard again")
    assert len(caplog.records) == 1


def library_transform(name: str):
    import timm
    import torchvision

    if name.startswith("timm:"):
        config = timm.get_pretrained_cfg(name[5:]).to_dict()
        return timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config))
    return torchvision.models.get_model_weights(name.partition(":")[2])["DEFAULT"].transforms()


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_resnet", "torchvision:mobilenet_v3_small"])
def test_a_network_of_a_library_has_its_own_preprocessing(data: Dataset, name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    settings = resolve_transform(replace(TINY, model=name))
    model = build_tracked_model(settings, data)
    picture = data.splits["test"].images[:1]
    expected: Tensor = library_transform(name)(Image.fromarray(picture[0, 0].numpy()).convert("RGB"))
    assert torch.equal(model.normalise(picture.float() / 255)[0], expected)
    with torch.inference_mode():
        assert torch.allclose(model.network(expected[None]), model(picture.float() / 255), atol=1e-5)
    assert np.prod(model(picture.float() / 255).shape) == 10


def test_a_smaller_network_takes_smaller_images(data: Dataset) -> None:
    pytest.importorskip("timm")
    settings = replace(TINY, model="timm:test_vit", model_args='{"img_size": 32}')
    assert build_tracked_model(resolve_transform(settings), data).normalise.output_shape == (3, 32, 32)
    assert own_preprocessing("own_nets:make", None) is None


def test_training_begins_with_weights_and_leaves_frozen_ones(home: Home, tmp_path: Path, capsys) -> None:
    """Those of a network with other classes: its body stays as it is, and its head is a new one."""
    torch.manual_seed(5)
    torch.save({"state_dict": {f"model.{name}": value for name, value in make(7, (1, 20, 20), 3).state_dict().items()}},
               tmp_path / "net.ckpt")  # fmt: skip
    settings = replace(SETTINGS, weights=str(tmp_path / "net.ckpt"), freeze=("0",), ema_decay=0.0)
    run_id = training.train(settings, home)
    said = capsys.readouterr().err
    assert "3.weight, 3.bias of other classes" in said
    assert "2 of 4 parameters are trained, 2 are frozen" in said
    torch.manual_seed(5)
    body = make(7, (1, 20, 20), 3)[0]
    heads = []
    for epoch in (0, 1):
        stored = load_file(home.run_folder(run_id) / f"checkpoints/epoch_{epoch:04d}.safetensors")
        assert torch.equal(stored["network.0.weight"], body.weight)
        heads.append(stored["network.3.weight"])
    assert not torch.equal(*heads)
    assert not begins_untrained(home, resolve(home, run_id))
