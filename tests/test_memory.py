"""Sizes of passes: they follow the memory there is, are recorded, and no result depends on what is free."""

import resource
from dataclasses import replace

import pytest
import torch
from conftest import TINY
from torch import nn

from pipelines import memory
from pipelines import train as training
from pipelines.augment import pad
from pipelines.datasets import load
from pipelines.model import build_model
from pipelines.predictions import evaluate
from pipelines.recipe import settle
from pipelines.recorded import recorded_settings
from pipelines.settings import TrainSettings
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home


@pytest.fixture(scope="module")
def digits():
    return load("digits", None, None, val_share=0.1, seed=0, size=32)


def passes(digits, **given) -> TrainSettings:
    settings = settle(TrainSettings(threads=1, device="cpu", precision="float32", **given), digits)
    return memory.settle_passes(settings, digits, build_model("cnn", digits, 0), None)


def test_small_images_get_the_usual_sizes_wherever_they_are_trained(digits) -> None:
    found = passes(digits)
    assert (found.batch, found.evaluation_batch) == (60, 500)
    assert found.memory > 0.1


def test_little_memory_makes_passes_small(digits, capsys) -> None:
    found = passes(digits, memory=0.02)
    assert 20 < found.batch < 30
    assert 20 < found.evaluation_batch < 60
    assert f"{found.batch} images a step, as 60 would take" in capsys.readouterr().err
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
    memory.settle_passes(settle(TrainSettings(threads=1), digits), digits, model, None)
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
    trained = memory._trained_size(TrainSettings(grow="no", device="cpu", precision="float32"), model, images)
    assert trained * 1e9 == pytest.approx(memory.WITH_GRADIENT * 1024 * 4, rel=0.01)
    evaluated = memory._evaluated_size(model, images)
    assert evaluated * 1e9 == pytest.approx(memory.WITHOUT_GRADIENT * 2 * 1024 * 4, rel=0.01)


def test_a_compiled_network_takes_no_more_than_in_training(digits) -> None:
    model = build_model("cnn", digits, 0)
    settings = settle(TrainSettings(threads=1, device="cpu", precision="float32", memory=0.02), digits)
    model.network = torch.jit.trace(model.network, torch.rand(2, 1, 32, 32))
    found = memory.settle_passes(settings, digits, model, None)
    assert found.evaluation_batch == int(0.02 / memory._trained_size(settings, model, torch.rand(2, 1, 32, 32)))


def test_sizes_of_passes_are_recorded_and_kept(study: Home, trained: RunRecord, home: Home) -> None:
    known = recorded_settings(study, trained, TrainSettings)
    assert known.evaluation_batch == 500
    run = training.train(replace(TINY, epochs=1, evaluation_batch=7, memory=0.5), home)
    known = recorded_settings(home, resolve(home, run), TrainSettings)
    assert (known.evaluation_batch, known.memory, known.batch) == (7, 0.5, 128)
    again = training.train(replace(known, name=None, memory=0.01), home, resolve(home, run))
    assert recorded_settings(home, resolve(home, again), TrainSettings).batch == 128


def test_evaluation_in_smaller_passes_gives_the_same_predictions(digits) -> None:
    model = build_model("cnn", digits, 0)
    whole, parts = (evaluate(model, digits.splits["test"], "test", torch.device("cpu"), size) for size in (500, 64))
    torch.testing.assert_close(whole.logits, parts.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_padding_mirrors_as_torch_does(shift: int) -> None:
    images = torch.randint(0, 256, (600, 3, 5, 4), dtype=torch.uint8)
    expected = nn.functional.pad(images.float(), (shift,) * 4, mode="reflect").byte().permute(0, 2, 3, 1)
    assert torch.equal(pad(images, shift), expected)
    assert pad(images, shift).is_contiguous()


def test_padding_takes_little_more_than_its_result() -> None:
    images = torch.zeros(1000, 3, 128, 128, dtype=torch.uint8)  # 49 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    padded = pad(images, 2)
    risen = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert risen < 2 * padded.nbytes
