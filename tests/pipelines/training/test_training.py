"""Training: what it remembers is true, repeatable, and survives being stopped at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.common.settings import ResumeSettings, TrainSettings
from pipelines.data.datasets import load_dataset
from pipelines.lifecycle.run_inputs import checkpoint_file
from pipelines.models.checkpoints import load_model
from pipelines.models.image_sizes import plan_image_scales
from pipelines.models.networks import build_model
from pipelines.models.predictions import Predictions, evaluate
from pipelines.resuming import resume
from pipelines.training import train as training
from pipelines.training.augment import choose_flips, crop_images
from pipelines.training.averaging import update_average
from pipelines.training.optimizers import one_cycle_factor, orthogonalize
from pipelines.training.recipe import resolve_settings
from support.homes import TINY, predictions
from support.interruption import stopped_at_step
from support.places import ROOT
from tracking import commits, display, mlflow_client, runs
from tracking.catalogue import RunRecord, resolve
from tracking.errors import DivergedError, InputError
from tracking.home import Home
from tracking.reading import connect


def digits(home: Home):
    return load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=8)


def test_epoch_zero_is_the_untrained_network(study: Home, trained: RunRecord) -> None:
    model = build_model("cnn", digits(study), seed=0)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    load_model(model, checkpoint_file(study, commits.read_epochs(study, trained.run_id)[0]))
    assert all(torch.equal(value, fresh[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("epoch", [0, 3])
def test_predictions_are_those_of_the_checkpoint(study: Home, trained: RunRecord, epoch: int) -> None:
    data = digits(study)
    model = build_model("cnn", data, seed=5)  # other weights, to be replaced
    load_model(model, checkpoint_file(study, commits.read_epochs(study, trained.run_id)[epoch]))
    torch.set_num_threads(1)
    again = evaluate(model, data.splits["test"], "test", torch.device("cpu")).to_columns(trained.run_id, epoch)
    stored = [row for row in predictions(study, trained.run_id) if row[:2] == (epoch, "test")]
    assert [row[3] for row in stored] == again["predicted"].tolist()
    assert np.array_equal(np.array([row[7] for row in stored], np.float32), np.stack(again["probabilities"]))


def test_every_instance_is_predicted_once_at_every_epoch(study: Home, trained: RunRecord) -> None:
    seen: dict[tuple[int, str], list[int]] = {}
    for epoch, split, instance, *_ in predictions(study, trained.run_id):
        seen.setdefault((epoch, split), []).append(instance)
    counts = {"val": 137, "test": 445, "train_seen": 1215}
    expected = {(e, s) for e in range(4) for s in counts} - {(0, "train_seen")}
    assert set(seen) == expected
    assert all(ids == list(range(counts[split])) for (_, split), ids in seen.items())


def test_it_learns(study: Home, trained: RunRecord) -> None:
    accuracies = [commit.metrics["test_accuracy"] for commit in commits.read_epochs(study, trained.run_id)]
    assert accuracies[0] < 0.3
    assert accuracies[-1] > 0.5  # after 27 steps


def test_metrics_are_those_of_the_rows(study: Home, trained: RunRecord) -> None:
    sql = "select epoch, avg((predicted = label)::int) from predictions where run_id = ? and split = ? group by all"
    with connect(study) as connection:
        for split in ("val", "test", "train_seen"):
            for epoch, accuracy in connection.execute(sql, [trained.run_id, split]).fetchall():
                metric = commits.read_epochs(study, trained.run_id)[epoch].metrics[f"{split}_accuracy"]
                assert metric == pytest.approx(accuracy, abs=1e-12)


def test_mlflow_has_metrics_models_figures_and_children(study: Home, trained: RunRecord) -> None:
    client = mlflow_client.connect(study)
    history = client.get_metric_history(trained.run_id, "test_accuracy")
    assert sorted(point.step for point in history) == [0, 1, 2, 3]
    models = client.search_logged_models([runs.experiment_id(study)])
    assert sorted(model.name for model in models) == [f"epoch_{epoch:04d}-digits-cnn-0" for epoch in range(4)]
    folder = study.run_folder(trained.run_id)
    assert (folder / "figures" / "learning_curves.png").stat().st_size > 10_000
    assert len(list((folder / "images").glob("confusion_test+step+*.png"))) == 4
    [child] = client.search_runs([runs.experiment_id(study)], f"tags.mlflow.parentRunId = '{trained.run_id}'")
    assert child.data.tags["study.method"] == "saliency"
    assert client.get_run(trained.run_id).inputs.dataset_inputs[0].dataset.name == "digits"


def test_same_seed_same_bits_other_seed_other_bits(home: Home, tmp_path: Path, trained_home) -> None:
    once = training.replace(TINY, epochs=1)
    first = trained_home(tmp_path / "first", once)
    again = training.train(once, home)
    assert predictions(home, again) == predictions(first, resolve(first, "latest").run_id)
    other = training.train(training.replace(once, seed=1), home)
    assert predictions(home, other)[0] != predictions(home, again)[0]


def test_stopped_training_resumes_to_the_same_bits(home: Home, study: Home, trained: RunRecord) -> None:
    with stopped_at_step(14):
        training.train(TINY, home)
    record = resolve(home, "latest")
    assert record.status == "KILLED"
    assert len(commits.read_epochs(home, record.run_id)) == 2
    assert training.resume(resolve(home, "latest"), home) == record.run_id
    assert predictions(home, record.run_id) == predictions(study, trained.run_id)
    assert resolve(home, "latest").status == "FINISHED"
    with pytest.raises(InputError, match="nothing to resume"):
        training.resume(resolve(home, "latest"), home)


def test_crash_right_after_a_commit_loses_no_metric_and_no_picture(home: Home, monkeypatch) -> None:
    drawn: list[np.ndarray] = []

    def log_and_crash(run: runs.Run, image: np.ndarray, key: str, step: int) -> None:
        if step == 1:
            drawn.append(image)
            if len(drawn) == 1:
                raise SystemError("power cut")
        log_image(run, image, key, step)

    log_image = display.log_image
    monkeypatch.setattr(display, "log_image", log_and_crash)
    with pytest.raises(SystemError):
        training.train(training.replace(TINY, epochs=2), home)
    assert [commit.epoch for commit in commits.read_epochs(home, resolve(home, "latest").run_id)] == [0, 1]
    run_id = training.resume(resolve(home, "latest"), home)
    history = mlflow_client.connect(home).get_metric_history(run_id, "test_accuracy")
    assert sorted(point.step for point in history) == [0, 1, 2]
    assert sorted(display.list_images(home, run_id)) == [("confusion_test", epoch) for epoch in range(3)]
    assert len(drawn) == 2
    assert np.array_equal(*drawn)


def test_kill_in_the_middle_resumes_to_the_same_bits(home: Home, study: Home, trained: RunRecord) -> None:
    flags = ["--size", "8", "--epochs", "3", "--batch", "128", "--threads", "1", "--home", str(home.path)]
    process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", "train", *flags], cwd=ROOT, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(home.artifacts.glob("*/artifacts/commits/epoch_0001.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    run_id = resolve(home, "latest").run_id
    os.kill(process.pid, signal.SIGSTOP)  # alive, but no further
    assert resolve(home, "latest").status == "RUNNING"
    with pytest.raises(InputError, match=f"is being written by process {process.pid} on .*; wait for it to finish"):
        resume(ResumeSettings(run_id), home)
    process.kill()
    process.wait()
    assert resolve(home, "latest").status == "KILLED"
    runs.experiment_id.cache_clear()
    runs.experiment_id(home)  # as the next command that writes asks for it
    assert mlflow_client.connect(home).get_run(run_id).info.status == "KILLED"
    assert len(commits.read_epochs(home, run_id)) < 4
    resume(ResumeSettings(run_id), home)
    assert predictions(home, run_id) == predictions(study, trained.run_id)


def test_diverging_training_fails_with_a_line(home: Home) -> None:
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        training.train(training.replace(TINY, optimizer="sgd", lr=100.0, epochs=1), home)
    assert resolve(home, "latest").status == "FAILED"


def test_several_processes_that_do_not_know_each_other_do_not_make_the_same_run_each(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match="one of 2 processes"):
        training.train(TINY, home)
    assert not home.artifacts.exists()


def test_resume_refuses_other_data(home: Home, study: Home, trained: RunRecord) -> None:
    settings = training.read_recorded_settings(study, trained, TrainSettings)
    with pytest.raises(InputError, match="digest"):
        training.load_data(training.replace(settings, size=9), study, trained)


def test_config_holds_every_setting_decided(study: Home, trained: RunRecord) -> None:
    config = json.loads((study.run_folder(trained.run_id) / "config.json").read_text())
    assert "auto" not in config["settings"].values()
    assert config["settings"]["lr"] == 0.1
    assert config["settings"]["flip"] == "no"


def test_changed_checkpoint_is_refused(copy: Home, trained: RunRecord) -> None:
    home = copy
    last = commits.read_epochs(home, trained.run_id)[-1]
    file = checkpoint_file(home, last)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="changed after it was committed"):
        checkpoint_file(home, last)


@pytest.mark.parametrize("factory", ["torchvision.models:resnet18", "support.networks:flat"])
def test_own_models(home: Home, factory: str) -> None:
    settings = resolve_settings(training.replace(TINY, model=factory, epochs=1), digits(home))
    assert settings.optimizer == "adam"
    if factory.endswith("resnet18"):  # takes three channels, digits have one
        with pytest.raises(InputError, match="does not take images"):
            build_model(factory, digits(home), 0)
    else:
        assert resolve(home, training.train(settings, home)).status == "FINISHED"


def test_prediction_columns_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    rows = Predictions("test", torch.arange(2), torch.tensor([0, 0]), logits).to_columns("r", 4)
    e = np.exp([2.0, 1.0])
    assert rows["predicted"].tolist() == [0, 1]
    assert rows["margin"].tolist() == [2.0, -1.0]
    assert rows["p_true"] == pytest.approx([e[0] / (e[0] + 2), 1 / (1 + 2 * e[1])])
    assert rows["p_predicted"] == pytest.approx([e[0] / (e[0] + 2), e[1] / (1 + 2 * e[1])])
    assert rows["p_sq"][0] == pytest.approx((e[0] ** 2 + 2) / (e[0] + 2) ** 2)


def test_augmentation_moves_and_mirrors_whole_images() -> None:
    image = torch.arange(2 * 5 * 6).view(1, 2, 5, 6).byte()
    random = torch.Generator().manual_seed(0)
    whole = torch.nn.functional.pad(image.float(), (2, 2, 2, 2), mode="reflect")[0].byte()
    places = [whole[:, y : y + 5, x : x + 6] for y in range(5) for x in range(5)]
    seen = set()
    for turned in (False, True) * 40:
        moved = crop_images(image, torch.tensor([0]), 2, torch.tensor([turned]), random)[0]
        moved = moved.flip(2) if turned else moved
        seen |= {number for number, place in enumerate(places) if torch.equal(moved, place)}
    assert len(seen) > 15
    assert torch.equal(crop_images(image, torch.tensor([0]), 0, None, random), image)


def test_every_image_is_mirrored_at_every_other_epoch() -> None:
    epochs_ = torch.stack([choose_flips(1000, 3, epoch) for epoch in range(1, 5)])
    assert 400 < epochs_[0].sum() < 600
    assert torch.equal(epochs_[0], ~epochs_[1])
    assert torch.equal(epochs_[:2], epochs_[2:])
    assert not torch.equal(choose_flips(1000, 4, 1), epochs_[0])


def test_the_mean_follows_the_weights_and_forgets_the_untrained_ones() -> None:
    model, mean = (torch.nn.BatchNorm1d(2) for _ in range(2))
    for value in mean.parameters():
        value.data.fill_(1000)
    for step in range(1, 201):
        model.weight.data.fill_(step % 2)  # jumps between 0 and 1
        model.num_batches_tracked.fill_(step)
        update_average(mean, model, 0.98, step)
    assert mean.weight.tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert mean.num_batches_tracked == 200
    update_average(mean, model, 0.0, 201)
    assert torch.equal(mean.weight, model.weight)


def test_the_model_kept_is_the_mean(home: Home, study: Home, trained: RunRecord) -> None:
    plain = training.train(training.replace(TINY, ema_decay=0.0), home)
    weights = []
    for place, run_id in ((home, plain), (study, trained.run_id)):
        model = build_model("cnn", digits(home), 0)
        load_model(model, checkpoint_file(place, commits.read_epochs(place, run_id)[1]))
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert not torch.allclose(*weights, atol=1e-3)


def test_one_cycle_rises_once_and_ends_at_zero() -> None:
    rates = [one_cycle_factor(step / 1000) for step in range(1001)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1)
    assert rates[-1] == 0
    assert all(np.diff(rates[: top + 1]) > 0)
    assert all(np.diff(rates[top:]) < 0)


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 37])
def test_images_grow_and_end_at_three_quarters(epochs: int) -> None:
    found = plan_image_scales(training.replace(TINY, epochs=epochs, progressive_resizing="yes"))
    assert len(found) == epochs
    assert found == sorted(found)
    assert found[-1] == 0.75
    assert plan_image_scales(training.replace(TINY, epochs=epochs, progressive_resizing="no")) == [1.0] * epochs


def test_one_cycle_spans_all_epochs(home: Home) -> None:
    data = digits(home)
    recipe = training.make_recipe(resolve_settings(TINY, data), data, build_model("cnn", data, 0))
    rates = [recipe.learning_rate(step + 1) for step in range(recipe.steps_per_epoch * TINY.epochs)]
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert int(np.argmax(rates)) < recipe.steps_per_epoch
    assert rates[-1] == 0


def test_growing_images_are_part_of_the_checkpoint(home: Home) -> None:
    growing = training.replace(TINY, size=16, epochs=2, batch=256, progressive_resizing="yes")
    run_id = training.train(growing, home)
    data = load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=16)
    scales = []
    for commit in commits.read_epochs(home, run_id):
        model = build_model("cnn", data, 0)
        load_model(model, checkpoint_file(home, commit))
        scales.append(model.normalise.scale.item())
        again = evaluate(model, data.splits["test"], "test", torch.device("cpu"))
        assert again.accuracy == pytest.approx(commit.metrics["test_accuracy"], abs=1e-12)
    assert scales == [1.0, 0.5, 0.75]


def test_orthogonal_pulls_singular_values_together_and_keeps_directions() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(16, 40) @ torch.diag(torch.linspace(0.3, 3, 40))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    after = u.T @ orthogonalize(matrix) @ v.T  # diagonal: Newton-Schulz only changes singular values
    values = after.diagonal()
    assert (after - torch.diag(values)).abs().max() < 1e-3
    assert values.max() / values.min() < 0.5 * s.max() / s.min()


def test_batches_differ_by_one_image_at_most(home: Home) -> None:
    data = digits(home)
    settings, model = resolve_settings(training.replace(TINY, batch=None), data), build_model("cnn", data, 0)
    recipe = training.make_recipe(settings, data, model)
    sizes = {len(part) for part in torch.arange(len(recipe.labels)).tensor_split(recipe.steps_per_epoch)}
    assert recipe.steps_per_epoch >= 20
    assert max(sizes) - min(sizes) <= 1


def test_files_are_written_by_name_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keeps file names"):
        runs.log_file(None, tmp_path / "a.txt", "folder/b.txt")
