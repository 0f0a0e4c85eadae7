"""Out-of-sample predictions of the training images: each by a model that never saw it, whatever stopped the command."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import queries
from pipelines.common.settings import FlowSettings, FoldsSettings, PruneSettings, ResolvedTraining, TrainSettings
from pipelines.data.datasets import leave_out, load_dataset
from pipelines.data.folding import assign_folds
from pipelines.data.raw import Split
from pipelines.home.prune import prune
from pipelines.instanceflow.flow import flow
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.models.networks import build_tracked_model
from pipelines.models.predictions import evaluate
from pipelines.rerunning import check
from pipelines.training import folds as folding
from pipelines.training.epoch import train_epoch
from pipelines.training.folds import folds
from pipelines.training.recipe import make_recipe
from pipelines.training.train import rerun, train
from support.homes import TINY, rows
from support.places import ROOT
from tracking.catalogue import resolve
from tracking.errors import DivergedError, InputError
from tracking.home import Home
from tracking.index import rebuild
from tracking.reading import connect

ONE = replace(TINY, epochs=1)
PREDICTED = "select * from full_predictions where split = 'train_folds' order by epoch, instance_id"


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory, trained_home) -> Home:
    """A home with a run of one epoch, and its predictions by two folds. Tests only look at it."""
    home = trained_home(tmp_path_factory.mktemp("folds"), ONE)
    assert folds(FoldsSettings(k=2), home) == "train_folds"
    return home


def fill_with_nan(model: torch.nn.Module) -> None:
    next(model.parameters()).data.fill_(torch.nan)


def split_of(labels: list[int], pixels: list[int]) -> Split:
    """Images of one pixel each."""
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Split(images, torch.tensor(labels), tuple(f"train/{row}" for row in range(len(labels))))


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_folds_share_every_class_and_keep_equal_pictures_together(k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, 3, 200)).tolist()
    pixels = list(range(200))
    pixels[150], pixels[199], pixels[3] = 0, 0, 120  # copies of images 0, 0 and 120, of other classes too
    fold = assign_folds(split_of(labels, pixels), "abc", k, seed)
    assert set(fold) == set(range(k))
    assert fold[0] == fold[150] == fold[199]
    assert fold[3] == fold[120]
    counts = np.array([np.bincount(fold[np.array(labels) == label], minlength=k) for label in range(3)])
    assert (counts.max(1) - counts.min(1) <= 1 + 3).all()  # of different images by one at most, and three copies
    assert (assign_folds(split_of(labels, pixels), "abc", k, seed) == fold).all()
    assert (assign_folds(split_of(labels, pixels), "abc", k, seed + 1) != fold).any()


def test_rare_classes_are_folded_as_long_as_another_fold_has_one_too() -> None:
    labels = [0] * 10 + [1] * 2
    fold = assign_folds(split_of(labels, list(range(12))), "ab", 5, 0)
    assert len(set(fold[10:])) == 2
    for pixels, k, reason in (
        ([*range(11), 10], 5, "all different training images of class b are in one fold"),
        (list(range(12)), 11, "no class has over 10 different training images"),
        ([0] * 10 + [1, 2], 3, "no class has over 2 different training images"),
    ):
        with pytest.raises(InputError, match=reason):
            assign_folds(split_of(labels, pixels), "ab", k, 0)


def test_leaving_out_leaves_no_trace(home: Home) -> None:
    """Pixels are normalised by the images that remain."""
    data = load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=8)
    train = data.splits["train"]
    is_left_out = np.arange(len(train.labels)) % 3 == 0
    rest = leave_out(data, is_left_out)
    pixels = train.images[np.flatnonzero(~is_left_out)].double() / 255
    assert len(rest.splits["train"].labels) == len(pixels)
    assert rest.mean == pytest.approx([pixels.mean().item()])
    assert rest.std == pytest.approx([pixels.std(correction=0).item()])
    assert leave_out(data, np.zeros(len(train.labels), bool)).mean == data.mean


def test_each_image_is_predicted_by_a_model_of_the_other_folds(folded: Home) -> None:
    record = resolve(folded, "latest")
    settings = read_recorded_settings(folded, record, ResolvedTraining)
    data = load_dataset("digits", None, folded, val_fraction=0.1, seed=0, size=8)
    fold = assign_folds(data.splits["train"], data.classes, 2, settings.seed)
    rest = leave_out(data, fold == 1)
    model = build_tracked_model(settings, rest)
    recipe = make_recipe(settings, rest, model)
    train_epoch(model, recipe, 1)
    held_out = data.splits["train"].rows(np.flatnonzero(fold == 1))
    expected = evaluate(recipe.averaged_model, held_out, "any", recipe.device).to_columns(record.run_id, 1)
    sql = f"select instance_id, label, p_true, probabilities from ({PREDICTED}) where epoch = 1 order by 1"
    ids, labels, p_true, probabilities = zip(*(row for row in rows(folded, sql) if fold[row[0]] == 1), strict=True)
    assert list(ids) == np.flatnonzero(fold == 1).tolist()
    assert list(labels) == held_out.labels.tolist()
    assert list(p_true) == expected["p_true"].tolist()
    assert np.array_equal(np.array(probabilities, np.float32), expected["probabilities"])


def test_predictions_by_folds_are_rows_like_others(folded: Home, tmp_path: Path) -> None:
    record = resolve(folded, "latest")
    [(n,)] = rows(folded, "select count(*) from instances where split = 'train'")
    counts = f"select epoch, count(*), count(previous) from ({PREDICTED}) group by epoch order by epoch"
    assert rows(folded, counts) == [(0, n, 0), (1, n, n)]
    with connect(folded) as connection:
        assert queries.run(connection, "missing_predictions", {"run_id": record.run_id}).rows == []
    assert [kind for (kind,) in rows(folded, "select kind from runs")] == ["train"]  # folds are no runs
    before = rows(folded, PREDICTED)
    copy = Home(tmp_path / "study")
    shutil.copytree(folded.path, copy.path)
    rebuild(copy)
    assert rows(copy, PREDICTED) == before
    assert Path(flow(FlowSettings(split="train_folds"), copy)).name == "flow_train_folds.html"
    prune(PruneSettings(record.run_id, every=9), copy)
    assert rows(copy, PREDICTED) == before


def test_rerun_compares_what_the_training_made(folded: Home, trained_home, tmp_path: Path, capsys) -> None:
    """A run that is repeated has no folds, and does not differ by that."""
    with_folds = resolve(folded, "latest")
    copy = Home(tmp_path / "study")
    shutil.copytree(folded.path, copy.path)
    repeated = resolve(copy, rerun(with_folds, copy, None))
    check(with_folds, repeated, copy)
    assert "identical to run" in capsys.readouterr().err


def test_again_trains_nothing_and_another_number_is_refused(folded: Home, monkeypatch, capsys) -> None:
    monkeypatch.setattr(folding, "train_epoch", lambda *_: pytest.fail("trained again"))
    assert folds(FoldsSettings(k=2), folded) == "train_folds"
    assert "by 2 folds already" in capsys.readouterr().err
    with pytest.raises(InputError, match="has predictions by 2 folds, and they stay; give --k 2"):
        folds(FoldsSettings(k=3), folded)


def test_a_killed_command_goes_on_behind_the_last_finished_fold(
    folded: Home, trained_home, tmp_path: Path, monkeypatch
) -> None:
    home = trained_home(tmp_path, ONE)
    run_id = resolve(home, "latest").run_id
    command = [sys.executable, "-m", "pipelines.cli", "folds", "--k", "2", "--home", str(home.path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    finished = home.run_folder(run_id).parent / "folds_2"
    while not (finished / "fold_1").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(finished) == ["fold_1"]
    assert rows(home, PREDICTED) == []  # all or none
    with monkeypatch.context() as patch:
        patch.setattr(folding, "train_epoch", lambda _, recipe, *__: fill_with_nan(recipe.averaged_model))
        with pytest.raises(DivergedError, match=r"^training of fold 2 diverged in epoch 1 \(logits are not finite\)"):
            folds(FoldsSettings(k=2), home)
    assert os.listdir(finished) == ["fold_1"]
    trained = []
    monkeypatch.setattr(folding, "train_epoch", lambda *values: trained.append(values) or train_epoch(*values))
    folds(FoldsSettings(k=2), home)
    assert len(trained) == 1  # an epoch, of the second fold
    assert not finished.exists()
    assert rows(home, PREDICTED) == rows(folded, PREDICTED)


def test_runs_that_cannot_be_folded_are_refused(folded: Home, tmp_path: Path) -> None:
    copy = Home(tmp_path / "study")
    shutil.copytree(folded.path, copy.path)
    source = resolve(copy, "latest")
    train(TrainSettings(size=8, epochs=1, batch=600, threads=1, from_=source.run_id, name="tuned"), copy)
    with pytest.raises(InputError, match=r"begins from run .* was trained on 1,215 of its 1,215 training images"):
        folds(FoldsSettings("tuned", k=2), copy)
