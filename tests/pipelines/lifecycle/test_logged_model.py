"""What MLflow loads of an epoch predicts what was tracked, from pictures in any form, and stores no weights twice."""

import base64
import io
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.pyfunc import scoring_server
from PIL import Image

from pipelines.common.settings import ExplainSettings, PruneSettings, ResumeSettings
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.data.given_pictures import list_pictures, read_given_picture
from pipelines.data.incoming import read_images
from pipelines.data.raw import Reading
from pipelines.explaining.explain import explain
from pipelines.home.prune import prune
from pipelines.recording.record import record
from pipelines.resuming import resume
from pipelines.training import train as training
from support.homes import TINY
from support.logged_models import assert_predicts_as_logged, find_model, load_epoch
from support.recorded import CLASSES, make_net, make_sets
from tracking import models
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home

SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("digits", None, Home(tmp_path_factory.mktemp("data")), val_fraction=0.1, seed=0, size=8)


@pytest.fixture(scope="module")
def loaded(study: Home, trained: RunRecord) -> mlflow.pyfunc.PyFuncModel:
    return load_epoch(study.mlflow_address, trained.run_id, 3)


def test_every_epoch_predicts_what_was_tracked(study: Home, trained: RunRecord, data: Dataset) -> None:
    pictures = data.splits["test"].images.permute(0, 2, 3, 1).numpy()
    for epoch in range(4):
        model = load_epoch(study.mlflow_address, trained.run_id, epoch)
        assert_predicts_as_logged(model.predict(pictures), study, trained.run_id, epoch, data.classes)


def test_a_model_holds_its_signature_and_no_weights(study: Home, trained: RunRecord, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study.mlflow_address)
    model_id = find_model(study.mlflow_address, trained.run_id, 2)
    listed = {file.path for file in MlflowClient().list_logged_model_artifacts(model_id)}
    assert listed - {"registered_model_meta"} == {"MLmodel", "requirements.txt"}
    folder = study.model_folder(model_id)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4096
    info = mlflow.models.get_model_info(str(folder))
    assert info.run_id == trained.run_id
    [picture] = info.signature.inputs
    assert (picture.type, picture.shape) == (np.dtype("uint8"), (-1, 8, 8, 1))
    assert info.signature.outputs.input_names() == ["predicted", *map(str, range(10))]
    assert f"torch=={torch.__version__.partition('+')[0]}" in (folder / "requirements.txt").read_text().splitlines()


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


FORMS = {
    "channels first": lambda images, _: images[:, None],
    "no channels": lambda images, _: images,
    "three of them": lambda images, _: images[:3],
    "floats in 0..1": lambda images, _: images[..., None] / 255,
    "a tensor": lambda images, _: torch.from_numpy(images[:, None]).float() / 255,
    "lists, as JSON has them": lambda images, _: images[..., None].tolist(),
    "a list of arrays": lambda images, _: list(images),
    "a list of tensors": lambda images, _: list(torch.from_numpy(images[:, None])),
    "one picture": lambda images, _: images[0],
    "one, channels last": lambda images, _: images[0][..., None],
    "one, channels first": lambda images, _: images[:1],
    "one of Pillow's": lambda images, _: Image.fromarray(images[0]),
    "colour": lambda images, _: np.repeat(images[..., None], 3, axis=3),
    "bytes": lambda images, _: [png(image) for image in images],
    "a path": lambda _, folder: str(folder / "0.png"),
    "paths": lambda images, folder: [folder / f"{row}.png" for row in range(len(images))],
    "an array of paths": lambda images, folder: np.array([str(folder / f"{row}.png") for row in range(len(images))]),
    "base64": lambda images, _: [f"data:image/png;base64,{base64.b64encode(png(image)).decode()}" for image in images],
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_come_in_any_form(loaded, data: Dataset, tmp_path: Path, form: str) -> None:
    images = data.splits["test"].images[:5, 0].numpy()
    for row, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{row}.png")
    predicted = loaded.predict(FORMS[form](images, tmp_path))
    expected = loaded.predict(images[..., None])[: len(predicted)]
    assert len(predicted) in (1, 3, 5)
    pd.testing.assert_frame_equal(predicted, expected, atol=1e-6)


def test_a_table_of_paths_keeps_its_index(loaded, data: Dataset, tmp_path: Path) -> None:
    Image.fromarray(data.splits["test"].images[7, 0].numpy()).save(tmp_path / "seven.png")
    table = pd.DataFrame({"image": [str(tmp_path / "seven.png")], "who": ["me"]}, index=[41])
    predicted = loaded.predict(table)
    assert list(predicted.index) == [41]
    alone = loaded.predict(data.splits["test"].images[7].numpy())
    np.testing.assert_allclose(predicted.iloc[0, 1:].astype(float), alone.iloc[0, 1:].astype(float), atol=1e-6)
    with pytest.raises(InputError, match="the table has 2 columns; name that of the pictures 'image'"):
        loaded.predict(table.rename(columns={"image": "file"}))


def test_other_sizes_are_read_as_files_are(data: Dataset, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    [expected] = read_images([tmp_path / "noise.png"], data, False).images
    for given in (noise, noise.transpose(2, 0, 1), noise / 255):
        [picture] = list_pictures(given, 1) if given.ndim == 3 and given.shape[-1] == 3 else [given]
        found = read_given_picture(picture, 0, data.image_shape, Reading(), files=True)
        assert torch.equal((found * 255).round().byte(), expected)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.full((1, 8, 8, 1), 300), r"picture 0 has levels from 300 to 300; int64 must lie in 0..255"),
        (np.full((2, 8, 8, 1), 2.0), r"picture 0 has levels from 2 to 2; float64 must lie in 0..1"),
        (np.full((1, 8, 8, 1), np.nan), "picture 0 has levels from nan to nan"),
        (np.zeros((1, 8, 8, 1), bool), "picture 0 is an array of bool; give integers in 0..255 or floats in 0..1"),
        (np.zeros((2, 1, 8, 8, 1)), r"picture 0 has shape \(2, 1, 8, 8, 1\); a picture is \[height, width, channels\]"),
        ([[[0, 1], [0]]], "a list that is not an array of one shape"),
        ("nowhere.png", "cannot read image nowhere.png"),
        ([b"nothing"], "cannot read image picture 0"),
        (["data:image/png;base64,???"], "picture 0 is not an image in base64"),
        ([np.zeros((8, 8)), None], r"picture 1 has shape \(\); a picture is"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(loaded, given, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        loaded.predict(given)
    assert "\n" not in str(error.value)


def test_no_picture_gives_no_row(loaded) -> None:
    for nothing in ([], np.zeros((0, 8, 8, 1), np.uint8), pd.DataFrame({"image": []})):
        assert loaded.predict(nothing).shape == (0, 11)


def test_a_served_model_takes_pictures_and_no_paths(loaded, data: Dataset, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(SERVING, "true")
    images = data.splits["test"].images[:2].permute(0, 2, 3, 1).numpy()
    schema = loaded.metadata.get_input_schema()
    request = json.dumps({"inputs": images.tolist()})
    answer = json.loads(scoring_server.invocations(request, "application/json", loaded, schema).response)
    assert [row["predicted"] for row in answer["predictions"]] == list(loaded.predict(images)["predicted"])
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "zero.png")
    with pytest.raises(InputError, match="picture 0 is a path; a served model takes arrays"):
        loaded.predict([str(tmp_path / "zero.png")])


def test_loading_leaves_random_numbers_alone_and_gives_the_module(study: Home, trained: RunRecord) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(()).item())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    model = load_epoch(study.mlflow_address, trained.run_id, 1, model_config={"device": "cpu"})
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    raw = model.get_raw_model()
    assert not raw.training
    pictures = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        probabilities = raw(pictures).softmax(1).numpy()
    np.testing.assert_allclose(model.predict(pictures).iloc[:, 1:].to_numpy(), probabilities, atol=1e-6)


def test_a_folder_is_enough_where_its_run_is_known(
    copy: Home, trained: RunRecord, empty_tracker: Path, tmp_path: Path, monkeypatch
) -> None:
    """A moved home, a copy of the model's folder, and one for which nobody says where the run is."""
    model_id = find_model(copy.mlflow_address, trained.run_id, 1)
    shutil.copy(empty_tracker, tmp_path / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    at_home = mlflow.pyfunc.load_model(str(copy.model_folder(model_id)))
    shutil.copytree(copy.model_folder(model_id), tmp_path / "model")
    with pytest.raises(InputError, match=f"the model is epoch 1 of run {trained.run_id}, whose files MLflow at sqlite"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.mlflow_address)
    apart = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    pd.testing.assert_frame_equal(at_home.predict(noise), apart.predict(noise))


def test_changed_and_pruned_weights_are_refused(tmp_path: Path, trained_home) -> None:
    home = trained_home(tmp_path, TINY)
    run_id = resolve(home, "latest").run_id
    prune(PruneSettings(run_id, every=100), home)
    with pytest.raises(InputError, match=f"the checkpoint of epoch 1 of run {run_id[:8]} was deleted by study prune"):
        load_epoch(home.mlflow_address, run_id, 1)
    weights = home.run_folder(run_id) / "checkpoints" / "epoch_0003.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(InputError, match="was changed after it was committed"):
        load_epoch(home.mlflow_address, run_id, 3)
    description = home.model_folder(find_model(home.mlflow_address, run_id, 0)) / "MLmodel"
    description.write_text(description.read_text().replace(f"run_id: {run_id}", "run_id: ../elsewhere"))
    with pytest.raises(InputError, match="MLmodel does not describe an epoch of a study"):
        load_epoch(home.mlflow_address, run_id, 0)


def test_models_without_files_are_completed_by_resuming(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a run stopped before it wrote them, and those that an earlier version left empty."""
    log_files = models._log_files

    def stop_at_epoch_1(run, model_id, commit, interface) -> None:
        if commit.epoch == 1:
            raise KeyboardInterrupt
        log_files(run, model_id, commit, interface)

    with monkeypatch.context() as patch:
        patch.setattr(models, "_log_files", stop_at_epoch_1)
        with pytest.raises(KeyboardInterrupt):
            training.train(replace(TINY, epochs=1), home)
    run_id = resolve(home, "latest").run_id
    first = home.model_folder(find_model(home.mlflow_address, run_id, 0))
    written = {file.name: file.read_bytes() for file in first.iterdir()}
    shutil.rmtree(first)
    resume(ResumeSettings(run_id), home)
    assert {file.name: file.read_bytes() for file in first.iterdir()} == written
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    for epoch in (0, 1):
        assert len(load_epoch(home.mlflow_address, run_id, epoch).predict(noise)) == 3


def test_a_network_of_a_library_brings_its_own_preprocessing(home: Home) -> None:
    timm = pytest.importorskip("timm")
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg("test_vit").to_dict())
    network = timm.create_model("test_vit", num_classes=len(CLASSES))
    sets = {name: (np.repeat(part.images, 3, axis=3), part.labels) for name, part in make_sets().items()}
    transform = timm.data.create_transform(**config)
    run = record(network, sets, CLASSES, home=str(home.path), factory="timm:test_vit", transform=transform)
    run_id = run.finish()
    model = load_epoch(home.mlflow_address, run_id, 0)
    assert_predicts_as_logged(model.predict(sets["test"][0]), home, run_id, 0, CLASSES)
    assert_predicts_as_logged(model.predict(list(sets["test"][0])), home, run_id, 0, CLASSES)


def test_a_recorded_loop_needs_a_factory_which_may_come_later(home: Home, capsys) -> None:
    torch.manual_seed(0)
    sets = make_sets()
    run_id = record(make_net(), sets, CLASSES, home=str(home.path)).finish()
    told = (
        rf"was recorded without .*: study explain {run_id[:8]} --model package.module:function, or at the beginning: "
    )
    with pytest.raises(InputError, match=told):
        load_epoch(home.mlflow_address, run_id, 0)
    explain(ExplainSettings(run_id, count=4, method=("saliency",), model="support.recorded:make_net"), home)
    model = load_epoch(home.mlflow_address, run_id, 0)
    assert_predicts_as_logged(model.predict(sets["test"].images), home, run_id, 0, CLASSES)
    assert "has changed" not in capsys.readouterr().err


def test_changed_code_is_said_and_odd_names_of_classes_stay(home: Home, tmp_path: Path, monkeypatch, capsys) -> None:
    code = tmp_path / "net_of_mine.py"
    code.write_text("from support.recorded import make_net as make")
    monkeypatch.syspath_prepend(tmp_path)
    names, sets = ("predicted", "a: 'b'", "🐈"), make_sets()
    run_id = record(make_net(), sets, names, home=str(home.path), factory="net_of_mine:make").finish()
    predicted = load_epoch(home.mlflow_address, run_id, 0).predict(sets["test"].images)
    assert "has changed" not in capsys.readouterr().err
    assert list(predicted.columns) == ["predicted_", *names]
    code.write_text(code.read_text() + "\n")
    again = load_epoch(home.mlflow_address, run_id, 0).predict(sets["test"].images)
    pd.testing.assert_frame_equal(again, predicted)
    told = "the code of net_of_mine has changed since the training, so predictions may differ"
    assert told in capsys.readouterr().err.splitlines()
