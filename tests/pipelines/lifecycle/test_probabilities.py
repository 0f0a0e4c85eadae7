"""Of which classes a run keeps probabilities, and that everything that reads predictions understands all three ways."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import queries
from pipelines.common.settings import FlowSettings, ReportSettings, TrainSettings, parse_probabilities
from pipelines.instanceflow.flow import flow
from pipelines.lifecycle import verification
from pipelines.lifecycle.run_inputs import load_data, read_recorded_config, read_recorded_settings
from pipelines.models import predictions
from pipelines.models.networks import build_tracked_model
from pipelines.models.predictions import Predictions, find_likeliest
from pipelines.reporting.report import report
from pipelines.rerunning import check
from pipelines.training.train import rerun, train
from support.homes import TINY, everything, fresh
from tracking.catalogue import RunRecord, resolve
from tracking.commits import read_epochs
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import _open_files, connect

CLASSES, KEPT = 25, 3
WAYS = ("all", f"top:{KEPT}", "none")
COUNTS = {"train": 50, "val": 25, "test": 50}


def make_data() -> dict[str, object]:
    """8x8 pictures of noise, brighter by class."""
    random = np.random.default_rng(0)
    made: dict[str, object] = {"classes": [f"class {number}" for number in range(CLASSES)]}
    for split, count in COUNTS.items():
        labels = np.arange(count) % CLASSES
        images = random.integers(0, 50, (count, 8, 8, 1)) + 8 * labels[:, None, None, None]
        made[split] = (images.astype(np.uint8), labels)
    return made


def make_network(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(nn.Conv2d(image_shape[0], 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_classes))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Iterator[Home]:
    """A home with a training for each way, named after it; all of the same seed."""
    home = fresh(tmp_path_factory.mktemp("kept"), empty_tracker)
    module = ModuleType("own_data")
    module.make_data, module.make_network = make_data, make_network  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "own_data", module)
        settings = replace(
            TINY, dataset="own_data:make_data", model="own_data:make_network", size=None, epochs=2, batch=25
        )
        for way in WAYS:
            train(replace(settings, probabilities=way, name=way.replace(":", "-")), home)
        yield home


def run_of(home: Home, way: str) -> RunRecord:
    return resolve(home, way.replace(":", "-"))


def read(home: Home, way: str, columns: str) -> dict[str, np.ndarray]:
    """Columns of a run's clean predictions, in one order."""
    sql = f"select {columns} from full_predictions where run_id = ? and split <> 'train_seen' order by all"
    with connect(home) as connection:
        return connection.execute(sql, [run_of(home, way).run_id]).fetchnumpy()


def test_the_likeliest_are_those_of_all(kept: Home) -> None:
    columns = "epoch, split, instance_id, predicted, p_true, probabilities, top_classes, top_probabilities"
    whole, top, none = (read(kept, way, columns) for way in WAYS)
    for name in ("epoch", "split", "instance_id", "predicted", "p_true"):
        assert np.array_equal(whole[name], top[name])
        assert np.array_equal(whole[name], none[name])
    every = np.stack(whole["probabilities"])
    likeliest = np.argsort(-every, axis=1, kind="stable")[:, :KEPT]
    assert np.array_equal(np.stack(top["top_classes"]), likeliest)
    assert np.array_equal(np.stack(top["top_probabilities"]), np.take_along_axis(every, likeliest, 1))
    assert np.array_equal(likeliest[:, 0], whole["predicted"])
    lacking = {"top_classes": (whole, none), "top_probabilities": (whole, none), "probabilities": (top, none)}
    assert all(np.ma.getmaskarray(rows[name]).all() for name, without in lacking.items() for rows in without)


def test_files_alone_answer_every_question_alike(kept: Home) -> None:
    run_ids = {way: run_of(kept, way).run_id for way in WAYS}
    with connect(kept) as index, _open_files(kept) as files:
        assert everything(index, "predictions") == everything(files, "predictions") != []
        for way, run_id in run_ids.items():
            for name in queries.NAMES:
                given = {"run_id": run_id, "other_run_id": run_ids["all"], "instance_id": "0"}
                values = {key: given.get(key) for key in queries.header(name).params}
                answers = [sorted(map(repr, queries.run(place, name, values).rows)) for place in (index, files)]
                assert answers[0] == answers[1], (way, name)


def test_what_two_runs_keep_is_compared(kept: Home) -> None:
    for way in WAYS:
        for other in WAYS:
            with connect(kept) as connection:
                values = {"run_id": run_of(kept, way).run_id, "other_run_id": run_of(kept, other).run_id}
                rows = queries.run(connection, "run_difference", values).dicts
            assert {row["split"] for row in rows} == {"train_seen", "val", "test"}
            assert all(row["n_different"] == row["only_here"] == 0 == row["max_difference"] for row in rows)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_repeated_and_verified_as_it_was_made(kept: Home, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = run_of(kept, way)
    repeated = resolve(kept, rerun(original, kept, None))
    assert read_recorded_config(kept, repeated)["settings"]["probabilities"] == way
    check(original, repeated, kept)

    load = verification.load_model

    def load_altered(model: nn.Module, path: Path) -> None:
        load(model, path)
        with torch.no_grad():
            next(model.parameters()).add_(0.01)

    monkeypatch.setattr(verification, "load_model", load_altered)
    settings = read_recorded_settings(kept, original, TrainSettings)
    data = load_data(settings, kept, original)
    model = build_tracked_model(settings, data)
    with pytest.raises(InputError, match="this is not the model that was tracked"):
        verification.verify_checkpoints(
            kept, original, model, data, torch.device("cpu"), read_epochs(kept, original.run_id)
        )


@pytest.mark.parametrize("way", WAYS[1:])
def test_pages_of_runs_without_all_probabilities(kept: Home, way: str) -> None:
    name = run_of(kept, way).name
    assert flow(FlowSettings(run=name), kept)
    assert report(ReportSettings(run=name), kept)


@pytest.mark.parametrize("text", ["top", "top:0", "top:x", "5", "ALL", "top:-1", ""])
def test_other_ways_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--probabilities is .*; it takes all, none, or top:K, the K likeliest"):
        TrainSettings(probabilities=text)


def test_ways_as_numbers() -> None:
    assert [parse_probabilities(way) for way in WAYS] == [None, KEPT, 0]


@pytest.mark.parametrize("at_once", [1, 7, 10**6])
def test_rows_are_the_same_however_many_are_worked_on_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).round(decimals=0)  # with many ties
    logits[0] = torch.tensor([0.0, -0.0, -1.0, 0.0, -0.0, 0.0])
    logits[1, 2] = -torch.inf
    labels = torch.arange(20) % 6
    part = Predictions("test", torch.arange(20), labels, logits)
    monkeypatch.setattr(predictions, "LOGITS_AT_ONCE", at_once)
    every, top = part.to_columns("run", 1), part.to_columns("run", 1, 4)
    assert torch.allclose(torch.from_numpy(every["probabilities"]), logits.softmax(1))
    order = np.argsort(-logits.numpy(), axis=1, kind="stable")[:, :4]
    assert np.array_equal(top["top_classes"], order)
    assert np.array_equal(top["top_probabilities"], np.take_along_axis(every["probabilities"], order, 1))
    assert part.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert np.array_equal(part.to_columns("run", 1, 6)["probabilities"], every["probabilities"])


def test_the_lower_class_is_the_likelier_at_a_tie() -> None:
    tied: Tensor = torch.zeros(3, 1000)
    assert find_likeliest(tied, 20).tolist() == [list(range(20))] * 3
