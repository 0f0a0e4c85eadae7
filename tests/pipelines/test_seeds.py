"""Trainings of several seeds as one group."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pipelines
from pipelines import seeds
from pipelines.common.settings import TrainSettings
from pipelines.lifecycle.run_inputs import read_recorded_config
from pipelines.seeds import parse_seeds, train
from pipelines.training import train as training
from support.homes import copied, fresh, rows
from tracking.catalogue import read_members, resolve
from tracking.errors import InputError
from tracking.home import Home

GROUP = TrainSettings(size=8, epochs=1, threads=1, precision="float32", seeds="3,1", group="pair")


@pytest.fixture(scope="module")
def group(make_once: Callable, empty_tracker: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a group of two seeds, of which the second was stopped before its last epoch and trained again."""

    def make(folder: Path) -> None:
        home = fresh(folder, empty_tracker)
        compute = training._compute_epoch

        def stop_in_second(one: training.Training, epoch: int) -> tuple:
            if one.settings.seed == 1 and epoch == 1:
                raise KeyboardInterrupt
            return compute(one, epoch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "_compute_epoch", stop_in_second)
            with pytest.raises(KeyboardInterrupt):
                train(GROUP, home)
        train(GROUP, home)

    return copied(make_once("group", make), tmp_path_factory.mktemp("seeds"))


def test_an_interrupted_group_goes_on(group: Home, capsys: pytest.CaptureFixture) -> None:
    members = read_members(group, "pair")
    assert [(run.seed, run.name, run.status) for run in members] == [
        (1, "digits-cnn-1", "FINISHED"), (3, "digits-cnn-3", "FINISHED"),
    ]  # fmt: skip
    assert len(rows(group, "from runs")) == 2  # the second was resumed, the first left as it was
    assert train(GROUP, group) == [members[1].run_id, members[0].run_id]  # in the order of the seeds
    assert f"seed 3: run {members[1].run_id[:8]} (digits-cnn-3) is finished" in capsys.readouterr().err
    assert len(rows(group, "from runs")) == 2


def test_a_group_has_the_same_images_and_says_so(group: Home) -> None:
    one, three = read_members(group, "pair")
    assert one.data_digest == three.data_digest
    for run in (one, three):  # the first run's seed chooses the validation images
        settings = read_recorded_config(group, run)["settings"]
        assert (settings["group"], settings["split_seed"], settings["seed"]) == ("pair", 3, run.seed)
        assert "seeds" not in settings
    images = "select split, instance_id, source from instances where run_id = ? order by all"
    assert rows(group, images, one.run_id) == rows(group, images, three.run_id)
    predictions = "select p_true from predictions where run_id = ? and epoch = 1 order by split, instance_id"
    assert rows(group, predictions, one.run_id) != rows(group, predictions, three.run_id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": "1,5", "epochs": 2}, "the runs of group 'pair' have epochs 1, this one has 2"),
        ({"seeds": "5", "split_seed": 5}, "the runs of group 'pair' have split_seed 3, this one has 5"),
        ({"seeds": None, "seed": 1}, "group 'pair' has a run of seed 1 already"),
        ({"seed": 1}, "--seed and --seeds both say which seeds"),
        ({"name": "mine"}, "--name is of one run"),
        ({"seeds": "1;2"}, "it takes whole numbers such as 0-4 or 0,3,7"),
        ({"seeds": "1", "from_": "nothing"}, "--from nothing: no run 'nothing'"),
    ],
)
def test_what_does_not_fit_the_group_is_refused(group: Home, change: dict, message: str) -> None:
    count = len(rows(group, "from runs"))
    with pytest.raises(InputError, match=message):
        train(replace(GROUP, **change), group)
    assert len(rows(group, "from runs")) == count


def test_a_repeated_run_is_outside_the_group(group: Home, tmp_path: Path) -> None:
    home = copied(group.path.parent, tmp_path)
    [one, _] = read_members(home, "pair")
    repeated = pipelines.rerun(one.run_id, home=home.path, check=True)
    assert resolve(home, repeated).seed_group is None
    assert resolve(home, repeated).data_digest == one.data_digest
    assert len(read_members(home, "pair")) == 2


def test_a_group_is_named_after_data_and_model(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(seeds.training, "train", lambda settings, _: trained.append(settings) or "id")
    assert pipelines.train(dataset="planted:pair", seeds=range(2), home=home.path) == ["id", "id"]
    assert [(one.group, one.seed, one.seeds) for one in trained] == [
        ("planted-cnn-seeds", 0, None), ("planted-cnn-seeds", 1, None),
    ]  # fmt: skip


def test_parse_seeds() -> None:
    assert parse_seeds("0-2,7, 5") == [0, 1, 2, 7, 5]
    assert parse_seeds("4") == [4]
    for wrong in ("", "a", "1-", "-1", "2-1", "0-1000", "1,1", "0-3,2", "1.5"):
        with pytest.raises(InputError, match="--seeds"):
            parse_seeds(wrong)
