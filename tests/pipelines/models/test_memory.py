"""Sizes of passes: they follow the memory there is, are recorded, and no result depends on what is free."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines.common.settings import CompareSettings, ExplainSettings, ResolvedTraining, TrainSettings
from pipelines.data.datasets import load_dataset
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from pipelines.models import memory
from pipelines.models.networks import build_model
from pipelines.models.predictions import evaluate
from pipelines.predicting.predict import compute_logits_from
from pipelines.training import train as training
from pipelines.training.augment import crop_images
from pipelines.training.recipe import resolve_settings
from support.commands import said
from support.homes import TINY
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home
from xai import METHODS, MethodInputs
from xai.method import MAX_PASS_SIZE, limit_pass_size, pass_size


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", None, Home(Path()), val_fraction=0.1, seed=0, size=32)


def passes(digits, **given) -> ResolvedTraining:
    settings = resolve_settings(TrainSettings(threads=1, device="cpu", precision="float32", **given), digits)
    return memory.resolve_pass_sizes(settings, digits, build_model("cnn", digits, 0))


def test_small_images_get_the_usual_sizes_wherever_they_are_trained(digits) -> None:
    found = passes(digits)
    assert (found.batch, found.evaluation_batch) == (60, 500)
    assert found.memory > 0.1


def test_little_memory_makes_passes_small(digits, capsys) -> None:
    found = passes(digits, memory=0.02)
    assert 20 < found.batch < 30
    assert 20 < found.evaluation_batch < 60
    assert f"{found.batch} images per step, as 60 would take" in capsys.readouterr().err
    less = passes(digits, memory=0.01)
    assert less.batch == pytest.approx(found.batch / 2, abs=1)
    assert less.evaluation_batch == pytest.approx(found.evaluation_batch / 2, abs=1)


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(digits) -> None:
    most = passes(digits, memory=0.02).batch
    with pytest.raises(InputError, match=rf"--batch 500 takes about 0\.\d GB .* give --batch {most} or less"):
        passes(digits, memory=0.02, batch=500)
    assert passes(digits, memory=0.02, batch=most).batch == most


def test_what_is_measured_leaves_model_and_randomness_alone(digits) -> None:
    model = build_model("cnn", digits, 0)
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    memory.resolve_pass_sizes(resolve_settings(TrainSettings(threads=1), digits), digits, model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_a_linear_network_keeps_is_counted_exactly(digits) -> None:
    """It keeps its input alone for the gradient of its weights."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 7))
    model = nn.Sequential()
    model.normalise = build_model("cnn", digits, 0).normalise
    model.network = network
    images = torch.rand(2, 1, 32, 32)
    trained = memory._training_size(
        TrainSettings(progressive_resizing="no", device="cpu", precision="float32"), model, images
    )
    assert trained * 1e9 == pytest.approx(memory.WITH_GRADIENT * 1024 * 4, rel=0.01)
    evaluated = memory._evaluation_size(model, images)
    assert evaluated * 1e9 == pytest.approx(memory.WITHOUT_GRADIENT * memory.INPUT_COPIES * 1024 * 4, rel=0.01)


def test_a_compiled_network_takes_no_more_than_in_training(digits) -> None:
    model = build_model("cnn", digits, 0)
    settings = resolve_settings(TrainSettings(threads=1, device="cpu", precision="float32", memory=0.02), digits)
    model.network = torch.jit.trace(model.network, torch.rand(2, 1, 32, 32))
    found = memory.resolve_pass_sizes(settings, digits, model)
    assert found.evaluation_batch == int(0.02 / memory._training_size(settings, model, torch.rand(2, 1, 32, 32)))


def test_sizes_of_passes_are_recorded_and_kept(study: Home, trained: RunRecord, home: Home) -> None:
    known = read_recorded_settings(study, trained, TrainSettings)
    assert known.evaluation_batch == 500
    run = training.train(replace(TINY, epochs=1, evaluation_batch=7, memory=0.5), home)
    known = read_recorded_settings(home, resolve(home, run), ResolvedTraining)
    assert (known.evaluation_batch, known.memory, known.batch) == (7, 0.5, 128)
    again = training.train(replace(known, name=None, memory=0.01), home, resolve(home, run))
    assert read_recorded_settings(home, resolve(home, again), TrainSettings).batch == 128


def test_evaluation_in_smaller_passes_gives_the_same_predictions(digits) -> None:
    model = build_model("cnn", digits, 0)
    whole, parts = (evaluate(model, digits.splits["test"], "test", torch.device("cpu"), size) for size in (500, 64))
    torch.testing.assert_close(whole.logits, parts.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_shifts_mirror_at_the_edge_as_torch_pads(shift: int, channels: int) -> None:
    images = torch.randint(0, 256, (60, channels, 5, 4), dtype=torch.uint8)
    rows, flipped = torch.randperm(60)[:40], torch.rand(40) < 0.5
    padded = nn.functional.pad(images[rows].float(), (shift,) * 4, mode="reflect").byte()
    offsets = torch.randint(0, 2 * shift + 1, (2, 40, 1), generator=torch.Generator().manual_seed(7))
    parts = [padded[row, :, y : y + 5, x : x + 4] for row, (y, x) in enumerate(offsets.flatten(1).T.tolist())]
    expected = torch.stack([part.flip(2) if turned else part for part, turned in zip(parts, flipped, strict=True)])
    got = crop_images(images, rows, shift, flipped, torch.Generator().manual_seed(7))
    assert torch.equal(got, expected)
    assert got.permute(0, 2, 3, 1).stride() == (20 * channels, 4 * channels, channels, 1)


def test_shifting_a_batch_takes_no_copy_of_all_images() -> None:
    images = torch.ones(1000, 3, 128, 128, dtype=torch.uint8)  # 49 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    crop_images(images, torch.arange(10), 2, None, torch.Generator())
    risen = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert risen < images.nbytes / 5


def conv(side: int = 16) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * side * side, 5))
    return network.eval(), torch.rand(150, 3, side, side)


@pytest.mark.parametrize("name", METHODS)
def test_no_pass_of_a_method_is_larger_than_what_fits_and_maps_stay_the_same(name: str) -> None:
    model, images = conv()
    few, given = images[:3], MethodInputs(background=images[3:], samples=20)
    whole = METHODS[name].attribute(model, few, torch.tensor([0, 1, 2]), given)
    sizes: list[int] = []
    model[0].register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    with limit_pass_size(8):
        parts = METHODS[name].attribute(model, few, torch.tensor([0, 1, 2]), given)
    assert max(sizes, default=0) <= 8
    torch.testing.assert_close(parts.maps, whole.maps, atol=1e-5, rtol=1e-4)
    assert pass_size() == MAX_PASS_SIZE


def test_passes_never_grow_beyond_what_they_are_without_a_limit() -> None:
    with limit_pass_size(10_000):
        assert pass_size() == MAX_PASS_SIZE
        with limit_pass_size(5):
            assert pass_size() == 5
    assert pass_size() == MAX_PASS_SIZE


def test_what_a_pass_that_explains_takes_is_counted(digits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 7))
    images = torch.rand(2, 1, 32, 32)
    one = memory.WITH_GRADIENT * 1024 * 4 / 1e9  # at least the image itself
    assert memory.count_fitting_images(network, images, 9.5 * one) == 9
    with pytest.raises(InputError, match=r"explaining takes .* GB per image, more than --memory"):
        memory.count_fitting_images(network, images, one / 2)
    assert memory.count_fitting_images(build_model("cnn", digits, 0), images, 2) > 1000


def test_explaining_and_comparing_record_their_memory_and_repeat_exactly(copy: Home, capsys) -> None:
    """At 8 pixels an image of the cnn takes about 0.1 MB."""
    with_little = ("--memory", "0.01", "--batch", "1000")
    command = ("explain", "latest", "--method", "integrated_gradients", "--count", "3", *with_little)
    assert said(capsys, copy, *command)[0] == 0
    known = read_recorded_settings(copy, resolve(copy, "latest", ("explain",)), ExplainSettings)
    assert known.memory == 0.01
    assert 8 <= known.batch < 1000
    assert said(capsys, copy, "rerun", resolve(copy, "latest", ("explain",)).run_id, "--check")[0] == 0
    assert (
        said(
            capsys, copy, "compare", "latest", "--memory", "0.02", "--method", "saliency", "--randomization-count", "0"
        )[0]
        == 0
    )
    assert read_recorded_settings(copy, resolve(copy, "latest", ("compare",)), CompareSettings).memory == 0.02


def test_new_images_are_evaluated_in_passes_that_fit(digits) -> None:
    model, images = build_model("cnn", digits, 0), digits.splits["test"].images[:40]
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    whole = compute_logits_from(model, images, 0, torch.device("cpu"))
    with limit_pass_size(7):
        assert torch.allclose(compute_logits_from(model, images, 9, torch.device("cpu")), whole[9:], atol=1e-5)
    assert sizes == [32, 32] + [7] * 5


def test_resolved_settings_record_what_the_given_ones_would(digits) -> None:
    given = TrainSettings(threads=1, device="cpu", precision="float32", lr=0.5, batch=64)
    resolved = memory.resolve_pass_sizes(resolve_settings(given, digits), digits, build_model("cnn", digits, 0))
    assert type(resolved) is ResolvedTraining
    assert list(resolved.params()) == list(given.params())
    assert (resolved.lr, resolved.batch) == (0.5, 64)
    assert type(resolve_settings(resolved, digits)) is ResolvedTraining  # done again, it keeps its sizes
    with pytest.raises(InputError, match="batch is 1"):
        replace(resolved, batch=1)


def test_a_record_without_a_size_of_passes_is_refused(study: Home, trained: RunRecord, monkeypatch) -> None:
    config = read_recorded_config(study, trained)
    config["settings"]["batch"] = None
    monkeypatch.setattr("pipelines.lifecycle.run_inputs.read_recorded_config", lambda home, run: config)
    with pytest.raises(InputError, match="recorded no batch; restore"):
        read_recorded_settings(study, trained, ResolvedTraining)
    assert read_recorded_settings(study, trained, TrainSettings).batch is None
