"""A loop of the user's own becomes a run: what it gave is what is tracked, and nothing else is claimed."""

import hashlib
import importlib.util
import json
import random
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event, Thread, current_thread

import numpy as np
import pytest
import torch
from matplotlib import rc_context
from mlflow import MlflowClient
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from pipelines.common.settings import (
    CompareSettings,
    ExplainSettings,
    FlowSettings,
    ReportSettings,
    RerunSettings,
    ResumeSettings,
)
from pipelines.comparing.compare import compare
from pipelines.data.datasets import load_dataset
from pipelines.drawing import style
from pipelines.explaining.explain import explain
from pipelines.instanceflow.flow import flow
from pipelines.recording import recording
from pipelines.recording.record import record
from pipelines.recording.recording import end_open_recordings, open_recordings
from pipelines.reporting.report import report
from pipelines.rerunning import rerun
from pipelines.resuming import resume
from support.recorded import CLASSES, Pictures, make_net, make_sets, train_one
from tracking import models
from tracking.catalogue import resolve, resolve_all
from tracking.commits import commits_by_unit, committed_file, read_epochs
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.reading import connect

FACTORY = "support.recorded:make_net"


def record_epochs(home: Home, last: int, total: int = 3, **options) -> tuple[str, nn.Module]:
    """Epochs up to `last` of a loop of `total`; returns the run ID and the network."""
    torch.manual_seed(4)
    net, sets = make_net(), make_sets()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    state = {"optimizer": optimizer, "schedule": schedule}
    run = record(net, sets, CLASSES, home=str(home.path), state=state, **options)
    for _ in run.epochs(last):
        train_one(run, net, optimizer, sets["train"])
        schedule.step()
        run.epoch({"lr": schedule.get_last_lr()[0]})
    return run.finish(), net


@pytest.fixture(autouse=True)
def forget_open_recordings() -> Iterator[None]:
    """Runs that a test leaves open are not ended with the process."""
    yield
    wait([run._showing for run in open_recordings.values() if run._showing])
    open_recordings.clear()


def digest(net: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in net.state_dict().values())).hexdigest()


def test_every_epoch_is_what_the_model_was(home: Home) -> None:
    run_id, net = record_epochs(home, 2)
    known = resolve(home, run_id)
    assert known.status == "FINISHED"
    assert [commit.epoch for commit in read_epochs(home, run_id)] == [0, 1, 2]

    images = torch.from_numpy(make_sets()["test"].images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        probabilities = net.eval()(images).softmax(1).numpy()
    with connect(home) as connection:
        rows = connection.execute(
            "select instance_id, label, probabilities from full_predictions "
            "where epoch = 2 and split = 'test' order by instance_id"
        ).fetchall()
        counts = connection.execute("select split, epoch, count(*) from predictions group by all order by all")
        assert counts.fetchall() == [
            *(("test", epoch, 24) for epoch in range(3)),
            *(("train_seen", epoch, 48) for epoch in (1, 2)),
            *(("val", epoch, 12) for epoch in range(3)),
        ]
    assert [row[1] for row in rows] == make_sets()["test"].labels.tolist()
    np.testing.assert_allclose(np.array([row[2] for row in rows]), probabilities, atol=1e-5)


def test_an_epoch_is_known_before_mlflow_shows_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is not held up by MLflow, and what it asks about an epoch right after it has the epoch's rows."""
    shown = Event()

    def show(*arguments: object, **options: object) -> None:
        assert shown.wait(20), "the loop waits for MLflow"
        log_epoch_model(*arguments, **options)

    log_epoch_model = models.log_epoch_model
    with monkeypatch.context() as patch:
        run = record(make_net(), make_sets(), CLASSES, home=str(home.path), initial=False)
        patch.setattr(models, "log_epoch_model", show)
        run.epoch()
        assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [1]
        with connect(home) as connection:
            sql = "select epoch, count(*) from predictions where split = 'test' group by epoch"
            assert connection.execute(sql).fetchall() == [(1, 24)]
            [(accuracy,)] = connection.execute("select value from metrics where key = 'test_accuracy'").fetchall()
        assert MlflowClient(home.mlflow_address).get_metric_history(run.run_id, "test_accuracy") == []
        shown.set()
        run.finish()
    points = MlflowClient(home.mlflow_address).get_metric_history(run.run_id, "test_accuracy")
    assert [(point.step, point.value) for point in points] == [(1, accuracy)]


def test_a_loop_that_draws_keeps_its_settings(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib's settings are global, so they are changed only while the loop waits."""
    threads: list[Thread] = []

    def change_settings(settings: object) -> AbstractContextManager:
        threads.append(current_thread())
        return rc_context(settings)

    monkeypatch.setattr(style, "rc_context", change_settings)
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    run.epoch()
    run.finish()
    assert threads == [current_thread()] * 3  # confusions of both epochs, learning curves


def test_what_mlflow_refuses_stops_the_next_epoch_and_is_made_up_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    run._showing.result(20)
    with monkeypatch.context() as patch:
        patch.setattr(models, "log_epoch_model", refuse)
        run.epoch()
        with pytest.raises(RunError, match=r"No space left on device; what run .* committed is kept; continue it with"):
            run.epoch()
    assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [0, 1]
    record(make_net(), make_sets(), CLASSES, home=str(home.path), resume=run.run_id).finish()
    points = MlflowClient(home.mlflow_address).get_metric_history(run.run_id, "test_accuracy")
    assert [point.step for point in points] == [0, 1]


def test_a_loop_that_stops_does_not_wait_for_a_lost_server(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Event()
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    run._showing.result(20)
    monkeypatch.setattr(models, "log_epoch_model", lambda *_, **__: answers.wait(20))
    monkeypatch.setattr(recording, "LONGEST_END", 0.1)

    def stop_after_an_epoch() -> None:
        with run:
            run.epoch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_an_epoch()
    assert resolve(home, run.run_id).status == "KILLED"
    assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [0, 1]
    assert not run._showing.done()
    answers.set()
    run._showing.result(20)


def test_seen_batches_carry_the_ids_of_their_images(home: Home) -> None:
    record_epochs(home, 1)
    with connect(home) as connection:
        labels = connection.execute(
            "select label from predictions where split = 'train_seen' order by instance_id"
        ).fetchall()
    assert [label for (label,) in labels] == make_sets()["train"].labels.tolist()


def test_recording_disturbs_no_training(home: Home) -> None:
    """Weights are bit-identical to those of the same loop without a recording."""
    _, recorded = record_epochs(home, 2, total=2)
    torch.manual_seed(4)
    net, train_set = make_net(), make_sets()["train"]
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    for _ in range(2):
        net.train()
        for images, labels in DataLoader(train_set, batch_size=16, shuffle=True):
            logits = net(images.permute(0, 3, 1, 2).float() / 255)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
        schedule.step()
    assert digest(recorded) == digest(net)


def test_modes_and_random_numbers_are_as_before(home: Home) -> None:
    net = make_net()
    net.train()
    net[4].eval()
    torch.manual_seed(1)
    random.seed(1)
    expected = (torch.rand(3).tolist(), random.random())
    torch.manual_seed(1)
    random.seed(1)
    run = record(net, make_sets(), CLASSES, home=str(home.path))
    run.epoch()
    assert (torch.rand(3).tolist(), random.random()) == expected
    assert [module.training for module in (net, net[0], net[4])] == [True, True, False]


def test_a_resumed_loop_ends_as_one_that_never_stopped(home: Home) -> None:
    _, whole = record_epochs(home, 3, name="whole")
    stopped, _ = record_epochs(home, 1, name="stopped")
    again, resumed = record_epochs(home, 3, resume="stopped")
    assert again == stopped
    assert digest(resumed) == digest(whole)
    assert [commit.epoch for commit in read_epochs(home, stopped)] == [0, 1, 2, 3]


def test_weights_that_the_loops_checkpoint_lacks_are_those_of_the_run(home: Home, capfd: pytest.CaptureFixture) -> None:
    """Some releases of transformers save a ViT's weights under other names than a resuming Trainer looks for."""
    run_id, net = record_epochs(home, 1)
    options = {"home": str(home.path), "resume": run_id, "trained_epochs": 1}
    with pytest.raises(InputError, match="its weights differ from those of epoch 1"):
        record(make_net(), make_sets(), CLASSES, **options)
    loaded_in_part = make_net()
    loaded_in_part[0].load_state_dict(net[0].state_dict())
    run = record(loaded_in_part, make_sets(), CLASSES, **options)
    assert digest(loaded_in_part) == digest(net)
    assert "2 weights, such as network.5.weight, were not loaded" in capfd.readouterr().err
    assert run.next_epoch == 2


def test_only_what_is_known_is_recorded(home: Home) -> None:
    run_id, _ = record_epochs(home, 1)
    config = json.loads(committed_file(home, commits_by_unit(home, run_id)["start"], "config.json").read_text())
    assert config["command"] == "record"
    assert set(config["settings"]) >= {"data", "model", "device"}
    assert not set(config["settings"]) & {"optimizer", "lr", "epochs", "batch", "seed", "val_share", "flip"}
    assert config["settings"]["model"] == "unknown"
    page = Path(report(ReportSettings(), home)).read_text()
    assert "its optimizer and its settings are not known here" in page
    for claim in ("planned", "--weight-decay", "adam"):
        assert claim not in page


def test_loops_of_one_recipe_are_a_group_of_seeds(home: Home) -> None:
    record_epochs(home, 1, group="mine", seed=4)
    with pytest.raises(InputError, match="group 'mine' has a run of seed 4 already"):
        record_epochs(home, 1, group="mine", seed=4)
    with pytest.raises(InputError, match="the runs of group 'mine' have model 'unknown', this one has"):
        record_epochs(home, 1, group="mine", seed=5, factory=FACTORY)
    with pytest.raises(InputError, match="seed is missing"):
        record_epochs(home, 1, group="mine")
    record_epochs(home, 1, group="mine", seed=0)
    assert [run.seed for run in resolve_all(home, "mine")] == [0, 4]


def test_all_that_exists_works_on_it(home: Home) -> None:
    run_id, _ = record_epochs(home, 2, factory=FACTORY)
    explained = explain(ExplainSettings(method=("saliency", "grad_cam"), epochs="all", count=12), home)
    assert len(explained) == 2
    compare(CompareSettings(randomization_count=2, shortcut_count=2), home)
    assert Path(flow(FlowSettings(), home)).stat().st_size > 10_000
    assert "maps" in Path(report(ReportSettings(), home)).read_text()
    for step, settings in ((rerun, RerunSettings(run=run_id)), (resume, ResumeSettings(run=run_id))):
        with pytest.raises(InputError, match="its training loop is your own"):
            step(settings, home)


def test_without_a_factory_the_missing_flag_is_said(home: Home) -> None:
    record_epochs(home, 1)
    with pytest.raises(InputError, match=r"--model package\.module:function"):
        explain(ExplainSettings(count=4), home)


def test_a_factory_of_another_model_is_refused(home: Home) -> None:
    with pytest.raises(InputError, match="builds a model that differs"):
        record(make_net(width=5), make_sets(), CLASSES, home=str(home.path), factory=FACTORY)
    assert not home.artifacts.exists()


def test_epochs_that_are_not_recorded_keep_their_numbers(home: Home) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    for epoch in run.epochs(5):
        if epoch % 2 == 0:
            run.epoch(number=epoch)
    for wrong in (4, 2.5, True):
        with pytest.raises(InputError, match="the next epoch is 5"):
            run.epoch(number=wrong)
    run.finish()
    assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [0, 2, 4]
    assert record(make_net(), make_sets(), CLASSES, home=str(home.path), resume="latest").epochs(6) == range(5, 7)


def test_an_exception_keeps_what_was_committed(home: Home) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))

    def fail_in_second_epoch() -> None:
        with run:
            run.epoch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_second_epoch()
    assert resolve(home, "latest").status == "FAILED"
    assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [0, 1]
    with pytest.raises(InputError, match="has ended"):
        run.epoch()


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ZeroDivisionError(), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_that_a_program_leaves_open_ends_with_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, status: str
) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    end_open_recordings()
    assert resolve(home, run.run_id).status == status


def test_predictions_of_the_loop_save_a_pass_and_must_be_the_models(home: Home) -> None:
    net, sets = make_net(), make_sets()
    run = record(net, sets, CLASSES, home=str(home.path))
    images = torch.from_numpy(sets["test"].images).permute(0, 3, 1, 2).float() / 255
    order = torch.randperm(24)
    with torch.no_grad():
        logits = net.eval()(images[order])
    run.epoch(predictions={"test": (order, logits)})
    with connect(home) as connection:
        epochs = connection.execute(
            "select list(probabilities order by instance_id) from full_predictions where split = 'test' group by epoch"
        ).fetchall()
    np.testing.assert_allclose(np.array(epochs[0]), np.array(epochs[1]), atol=1e-6)
    with pytest.raises(InputError, match="are not the model's"):
        run.epoch(predictions={"test": logits})  # in another order
    with pytest.raises(InputError, match="once"):
        run.epoch(predictions={"test": (torch.zeros(24, dtype=torch.long), logits)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sets: {"train": sets["train"]}, "test is missing"),
        (lambda sets: sets | {"holdout": sets["val"]}, "no split is called 'holdout'"),
        (lambda sets: sets | {"test": DataLoader(sets["test"])}, "DataLoader"),
        (lambda sets: sets | {"test": (torch.randn(3, 1, 8, 8), torch.zeros(3).long())}, "outside 0..1"),
        (
            lambda sets: sets | {"test": (torch.zeros(3, 3, 8, 8), torch.zeros(3).long())},
            r"of test have shape \(3, 8, 8\)",
        ),
        (lambda sets: sets | {"val": (torch.zeros(2, 1, 8, 8), torch.tensor([0, 3]))}, "has label"),
    ],
)
def test_wrong_data_leaves_nothing(tmp_path: Path, change, message: str) -> None:
    new = tmp_path / "new"
    with pytest.raises(InputError, match=message):
        record(make_net(), change(make_sets()), CLASSES, home=str(new))
    assert not new.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sets": ("train", "test")}, "sets are of tuple"),
        ({"factory": make_net}, "factory is of function; give its name"),
        ({"factory": FACTORY, "factory_args": "width"}, "factory_args are of str"),
        ({"factory": FACTORY, "factory_args": {"width": torch.ones(1)}}, "kept as JSON"),
        ({"state": torch.optim.SGD(make_net().parameters())}, "state is of SGD; give objects by name"),
        ({"state": {"rate": 0.1}}, "state 'rate' is of float, without state_dict"),
        ({"state": {"own": type("Own", (), {"state_dict": lambda _: {"set": {1}}, "load_state_dict": 0})()}}, "of set"),
        ({"classes": "abc"}, "class names are of str"),
        ({"model": nn.Sequential(make_net(), nn.Softmax(1))}, "returns probabilities"),
        (
            {"model": nn.Sequential(make_net(), nn.Linear(3, 4))},
            "model Sequential returns 4 logits per image, and the data set has 3 classes; check the model's last layer "
            "and the argument classes",
        ),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path: Path, options: dict, message: str) -> None:
    new = tmp_path / "new"
    arguments = {"model": make_net(), "sets": make_sets(), "classes": CLASSES, "home": str(new)}
    with pytest.raises(InputError, match=message):
        record(**(arguments | options))
    assert not new.exists()


def test_a_loop_that_ends_before_its_first_epoch_is_a_run_without_epochs(home: Home) -> None:
    run_id = record(make_net(), make_sets(), CLASSES, home=str(home.path), initial=False).finish()
    assert resolve(home, run_id).status == "FINISHED"
    assert not read_epochs(home, run_id)


def test_pictures_are_written_once_into_the_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.data.stored_images.tempfile.TemporaryFile", None)  # would raise TypeError
    sets = make_sets()
    record(make_net(), sets, CLASSES, home=str(home.path)).finish()
    [store] = (home.data / "recorded").iterdir()
    assert sorted(file.name for file in store.glob("*images*")) == [f"images_{row}.npy" for row in range(len(sets))]
    assert not list((home.path / ".staging").iterdir())
    assert store.stat().st_mode == home.data.stat().st_mode


def test_a_refused_report_loses_nothing_that_was_seen(home: Home) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    run.seen(torch.tensor([5, 3]), torch.zeros(2, 3))
    with pytest.raises(InputError, match="are not the model's"):
        run.epoch(predictions={"test": torch.full((24, 3), 9.0)})
    run.epoch()
    run.epoch()
    with connect(home) as connection:
        rows = connection.execute("select epoch, instance_id from predictions where split = 'train_seen' order by all")
        assert rows.fetchall() == [(1, 3), (1, 5)]


def test_wrong_reports_commit_nothing(home: Home) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    for wrong, message in (
        ({"metrics": [1]}, "metrics are of list"),
        ({"metrics": {"a:b?": 1}}, "a metric is called 'a:b\\?'"),
        ({"metrics": {1: 1}}, "a metric is called 1"),
        ({"metrics": {"accuracy": "high"}}, "metric accuracy is of str"),
        ({"predictions": torch.zeros(24, 3)}, "predictions are of Tensor"),
        ({"predictions": {"test": [1, 2, 3]}}, "logits are list"),
    ):
        with pytest.raises(InputError, match=message):
            run.epoch(**wrong)
    with pytest.raises(InputError, match="ids of train are of str"):
        run.seen("a", torch.zeros(1, 3))
    assert repr(run) == f"Recording(run {run.run_id[:8]}, next epoch 1)"


def test_notes_on_the_data_are_said_once(home: Home, capfd: pytest.CaptureFixture) -> None:
    sets = make_sets()
    sets["test"].images[3] = sets["train"].images[5]
    note = "1 of 24 test images are also training images"
    run = record(make_net(), sets, CLASSES, home=str(home.path))
    assert note in capfd.readouterr().err
    run.finish()
    config = json.loads(committed_file(home, commits_by_unit(home, run.run_id)["start"], "config.json").read_text())
    assert any(note in each for each in config["data"]["notes"])
    record(make_net(), sets, CLASSES, home=str(home.path), resume="latest")
    assert note not in capfd.readouterr().err


def test_a_loop_that_failed_is_resumed_in_the_same_process(home: Home) -> None:
    """As in a notebook, whose cell is run again."""
    failed = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path), resume=failed.run_id)
    run.epoch()
    run.finish()
    assert [commit.epoch for commit in read_epochs(home, failed.run_id)] == [0, 1]
    with pytest.raises(InputError, match="has ended"):
        failed.epoch()


def test_an_output_with_more_than_logits_is_resumed(home: Home) -> None:
    class WithFeatures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()

        def forward(self, images: torch.Tensor) -> dict:
            return {"logits": self.net(images), "features": images}

    run = record(WithFeatures(), make_sets(), CLASSES, home=str(home.path))
    run.finish()
    record(WithFeatures(), make_sets(), CLASSES, home=str(home.path), resume="latest").epoch()
    assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [0, 1]


def test_ids_that_are_positions_in_a_batch_are_refused(home: Home) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path))
    with pytest.raises(InputError, match="positions in the training set"):
        run.seen(torch.arange(4), torch.zeros(4, 3), torch.tensor([2, 1, 1, 0]))
    with pytest.raises(InputError, match="there are 0 to 47"):
        run.seen(torch.tensor([48]), torch.zeros(1, 3))
    with pytest.raises(InputError, match="4 images and 3 classes"):
        run.seen(torch.arange(4), torch.zeros(4, 2))
    run.finish()


def test_a_model_that_diverged_ends_in_one_line(home: Home) -> None:
    net = make_net()
    run = record(net, make_sets(), CLASSES, home=str(home.path))
    with torch.no_grad():
        net[5].weight.fill_(torch.nan)
    with pytest.raises(RunError, match="not finite"):
        run.epoch()
    assert [commit.epoch for commit in read_epochs(home, run.run_id)] == [0]


def test_no_first_epoch_and_no_validation_are_demanded(home: Home) -> None:
    sets = make_sets()
    del sets["val"]
    run = record(make_net(), sets, CLASSES, home=str(home.path), factory=FACTORY, initial=False)
    run.epoch()
    run.finish()
    assert [commit.epoch for commit in commits_by_unit(home, run.run_id).values()] == [None, 1]
    explain(ExplainSettings(count=4), home)
    with pytest.raises(InputError, match="no validation"):
        explain(ExplainSettings(count=4, epochs="best"), home)


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, lambda net: torch.optim.swa_utils.AveragedModel(torch.compile(net))]
)
def test_a_wrapped_model_is_built_again_without_its_wrapper(home: Home, wrap, recwarn) -> None:
    run = record(wrap(make_net()), make_sets(), CLASSES, home=str(home.path), factory=FACTORY)
    run.epoch({"loss": torch.ones(1, requires_grad=True).sum()})
    run.finish()
    assert not [each for each in recwarn if "requires_grad" in str(each.message)]
    explain(ExplainSettings(count=4), home)


def test_a_model_named_later_is_checked_and_remembered(home: Home) -> None:
    record_epochs(home, 1)
    with pytest.raises(InputError, match="does not fit the model"):
        explain(ExplainSettings(count=4, model=FACTORY, model_args='{"width": 5}'), home)
    with pytest.raises(InputError, match=r"--model package\.module:function"):  # nothing wrong is remembered
        explain(ExplainSettings(count=4), home)
    explain(ExplainSettings(count=4, model=FACTORY, model_args='{"width": 6}'), home)
    explain(ExplainSettings(count=4, method=("occlusion",)), home)
    with pytest.raises(InputError, match="has a model already"):
        explain(ExplainSettings(count=4, model="other:net"), home)


def test_a_script_that_is_its_own_factory_has_not_changed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """A script that runs is another module than one that is imported, from the same file."""
    monkeypatch.syspath_prepend(tmp_path)
    code = "from support import recorded\nclass Net(type(recorded.make_net())): pass\n"
    (tmp_path / "own_script.py").write_text(f"{code}def make(): return Net(*recorded.make_net())\n")
    spec = importlib.util.spec_from_file_location("running_script", tmp_path / "own_script.py")
    monkeypatch.setitem(sys.modules, spec.name, script := importlib.util.module_from_spec(spec))
    spec.loader.exec_module(script)
    record(script.make(), make_sets(), CLASSES, home=str(home.path), factory="own_script:make").finish()
    monkeypatch.delitem(sys.modules, spec.name)
    explain(ExplainSettings(count=4), home)
    assert "has changed" not in capfd.readouterr().err


def test_naming_a_model_later_reads_the_pictures_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record_epochs(home, 1)
    loaded = []

    def count_loading(*arguments: object, **options: object) -> object:
        loaded.append(arguments)
        return load_dataset(*arguments, **options)

    monkeypatch.setattr("pipelines.lifecycle.run_inputs.load_dataset", count_loading)
    explain(ExplainSettings(count=4, model=FACTORY), home)
    assert len(loaded) == 1


def test_the_transform_is_part_of_the_model(home: Home) -> None:
    """The loop's network takes resized, normalised pictures; maps are of the pictures as they are stored."""
    transform = v2.Compose(
        [v2.ToImage(), v2.Resize(12), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.4], [0.2])]
    )
    sets, net = make_sets(), make_net()
    run = record(net, sets, CLASSES, home=str(home.path), factory=FACTORY, transform=transform)
    run.finish()
    pictures = torch.stack([transform(image) for image in sets["test"].images])
    with torch.no_grad():
        probabilities = net.eval()(pictures).softmax(1).numpy()
    with connect(home) as connection:
        rows = connection.execute(
            "select probabilities from full_predictions where split = 'test' order by instance_id"
        ).fetchall()
    np.testing.assert_allclose(np.array([row for (row,) in rows]), probabilities, atol=1e-5)
    explain(ExplainSettings(count=4), home)
    with connect(home) as connection:
        assert connection.execute("select distinct height, width from maps").fetchall() == [(8, 8)]


def test_shortcuts_are_tried_without_validation_images(home: Home) -> None:
    torch.manual_seed(4)
    net, sets = make_net(), make_sets() | {"test": Pictures(48, 2)}
    del sets["val"]
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    run = record(net, sets, CLASSES, home=str(home.path), factory=FACTORY)
    for _ in run.epochs(4):
        train_one(run, net, optimizer, sets["train"])
    run.epoch()
    run.finish()
    explain(ExplainSettings(count=20), home)
    compare(CompareSettings(randomization_count=0, shortcut_count=4), home)
    with connect(home) as connection:
        tried = connection.execute("select distinct split, trial like 'covered%' from patch_trials").fetchall()
    assert tried == [("test", False)]  # what covering takes from a class is tried on validation images alone
