"""Partition SHAP against facts that hold exactly, and against the library whose algorithm it is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.peers import shap_maps
from support.networks import awkward, images
from xai import MethodInputs, partition_shap
from xai.gradient import target_scores
from xai.method import MAX_PASS_SIZE
from xai.partition_shap import EVALUATIONS_PER_STEP, Box, blur

EVERY = MethodInputs(samples=100_000)  # more than there are coalitions


class Score(nn.Module):
    """A model of two logits: a function of the images [N, C, H, W] and its negative."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        scores = self.function(inputs)
        return torch.stack([scores, -scores], dim=1)


def small_cnn(channels: int) -> nn.Module:
    """Smooth, so that no two credits are equal but for rounding, and rough enough to make the search choose."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, stride=2), nn.GELU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3), nn.Tanh(), nn.Linear(3, 4),
    )  # fmt: skip


def random_images(count: int, channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, channels, height, width, generator=generator), torch.arange(count) % 4


@pytest.mark.parametrize(("channels", "height", "width"), [(2, 6, 5), (1, 1, 7), (3, 4, 4), (1, 1, 1)])
def test_a_linear_model_gets_weight_times_distance_from_the_blur(channels: int, height: int, width: int) -> None:
    inputs, targets = random_images(3, channels, height, width)
    layer = nn.Linear(inputs[0].numel(), 4)
    found = partition_shap.attribute(nn.Sequential(nn.Flatten(), layer), inputs, targets, EVERY)
    weights = layer.weight.detach().view(4, *inputs.shape[1:])[targets]
    assert torch.allclose(found.maps, (weights * (inputs - blur(inputs))).sum(1), atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 3, 11, 12, 13, 60, None])
def test_maps_are_complete_whatever_the_budget(samples: int | None) -> None:
    model, (inputs, targets) = awkward().eval(), images()
    found = partition_shap.attribute(model, inputs, targets, MethodInputs(samples=samples))
    assert torch.allclose(found.scores, target_scores(model, inputs, targets), atol=1e-6)
    assert torch.allclose(found.baseline_scores, target_scores(model, blur(inputs), targets), atol=1e-6)
    assert found.completeness_gaps.abs().amax() < 1e-5


def test_two_pixels_have_their_shapley_values() -> None:
    inputs = torch.tensor([0.2, 0.9]).view(1, 1, 1, 2)
    found = partition_shap.attribute(Score(lambda rows: rows[:, 0, 0].prod(1)), inputs, torch.tensor([0]))
    (x, y), (a, b) = inputs.flatten(), blur(inputs).flatten()
    expected = torch.stack([(x - a) * (y + b) / 2, (y - b) * (x + a) / 2])
    assert torch.allclose(found.maps.flatten(), expected, atol=1e-6)


def test_a_budget_without_evaluations_spreads_the_difference_evenly() -> None:
    model, (inputs, targets) = awkward().eval(), images()
    found = partition_shap.attribute(model, inputs, targets, MethodInputs(samples=1))
    even = (found.scores - found.baseline_scores).view(-1, 1, 1) / 30
    assert torch.allclose(found.maps, even.expand(5, 6, 5), atol=1e-6)


@pytest.mark.parametrize("samples", [3, 4, 40, 91, 500])
@pytest.mark.parametrize(("channels", "height", "width"), [(2, 6, 5), (1, 9, 13), (3, 16, 16)])
def test_equals_the_library(channels: int, height: int, width: int, samples: int) -> None:
    model, (inputs, targets) = small_cnn(channels), random_images(4, channels, height, width)
    found = partition_shap.attribute(model, inputs, targets, MethodInputs(samples=samples))
    assert torch.allclose(found.maps.double(), shap_maps(model, inputs, targets, samples), atol=1e-5)
    assert found.maps.abs().amax() > 1e-4 or samples < 40


def test_equals_the_library_in_double_precision_to_its_precision() -> None:
    model, (inputs, targets) = small_cnn(3).double(), random_images(2, 3, 11, 7)
    found = partition_shap.attribute(model, inputs.double(), targets)
    assert found.maps.dtype == found.scores.dtype == torch.double
    assert torch.allclose(found.maps, shap_maps(model, inputs.double(), targets, 500), atol=1e-13)


def test_a_map_depends_on_its_image_alone() -> None:
    count = MAX_PASS_SIZE // EVALUATIONS_PER_STEP + 3  # more than search side by side
    model, (inputs, targets) = small_cnn(3), random_images(count, 3, 8, 8)
    together, order = partition_shap.attribute(model, inputs, targets).maps, torch.arange(count).flip(0)
    again = partition_shap.attribute(model, inputs[order], targets[order]).maps
    assert torch.allclose(again, together[order], atol=1e-5)
    alone = [partition_shap.attribute(model, inputs[i : i + 1], targets[i : i + 1]).maps for i in range(count)]
    assert torch.allclose(torch.cat(alone), together, atol=1e-5)


def test_images_that_finish_early_wait_for_the_others() -> None:
    inputs, targets = random_images(3, 1, 4, 4)
    inputs[1] = 0.5  # nothing tells its pixels apart, so it halves them in another order
    model = small_cnn(1)
    together = partition_shap.attribute(model, inputs, targets, EVERY)
    alone = [partition_shap.attribute(model, inputs[i : i + 1], targets[i : i + 1], EVERY).maps for i in range(3)]
    assert torch.allclose(torch.cat(alone), together.maps, atol=1e-5)
    assert together.completeness_gaps.abs().amax() < 1e-5


def test_no_pass_is_larger_than_allowed_and_the_budget_is_kept() -> None:
    rows = []
    count = MAX_PASS_SIZE // EVALUATIONS_PER_STEP

    def score(inputs: Tensor) -> Tensor:
        rows.append(len(inputs))
        return inputs.square().sum((1, 2, 3))

    inputs, targets = random_images(count, 1, 16, 16)
    partition_shap.attribute(Score(score), inputs, targets % 2, MethodInputs(samples=100))
    assert max(rows) <= MAX_PASS_SIZE
    assert sum(rows) == 100 * count


def test_symmetric_pixels_get_the_same() -> None:
    inputs, _ = random_images(2, 1, 4, 4)
    inputs = (inputs + inputs.flip(3)) / 2
    model = Score(lambda rows: rows.sum((1, 2, 3)).square() + rows.amax((1, 2, 3)))
    maps = partition_shap.attribute(model, inputs, torch.tensor([0, 1]), EVERY).maps
    assert torch.allclose(maps, maps.flip(2), atol=1e-5)


def test_pixels_that_do_not_matter_get_nothing() -> None:
    model, (inputs, targets) = Score(lambda rows: rows[:, 0, :3, :2].exp().prod(1).sum(1)), random_images(2, 2, 6, 5)
    maps = partition_shap.attribute(model, inputs, targets, EVERY).maps
    assert maps[:, 3:].abs().amax() < 1e-6
    assert maps[:, :, 2:].abs().amax() < 1e-6
    assert maps[:, :3, :2].abs().amin() > 1e-6


def test_a_model_that_sees_nothing_has_empty_maps() -> None:
    inputs, targets = random_images(2, 3, 6, 5)
    found = partition_shap.attribute(Score(lambda rows: torch.full((len(rows),), 3.0)), inputs, targets)
    assert not found.maps.any()
    assert torch.equal(found.scores, found.baseline_scores)


def test_ties_are_not_broken_at_random() -> None:
    inputs, targets = torch.zeros(1, 1, 8, 8), torch.tensor([0])
    inputs[..., ::2] = 1
    model, state = Score(lambda rows: rows.square().sum((1, 2, 3))), np.random.get_state()
    first = partition_shap.attribute(model, inputs, targets, MethodInputs(samples=20)).maps
    assert np.random.get_state()[1].tolist() == state[1].tolist()
    assert torch.equal(first, partition_shap.attribute(model, inputs, targets, MethodInputs(samples=20)).maps)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (6, 5), (3, 40)])
def test_blur_keeps_constant_images_and_contracts_all_others(height: int, width: int) -> None:
    inputs, _ = random_images(3, 3, height, width)
    assert torch.allclose(blur(torch.full_like(inputs, 0.3)), torch.full_like(inputs, 0.3), atol=1e-6)
    assert (blur(inputs).amax((2, 3)) <= inputs.amax((2, 3)) + 1e-6).all()
    assert (blur(inputs).amin((2, 3)) >= inputs.amin((2, 3)) - 1e-6).all()
    assert torch.allclose(blur(inputs).flip(2, 3), blur(inputs.flip(2, 3)), atol=1e-6)


def test_blur_leaves_little_of_fine_and_more_of_coarse_patterns() -> None:
    fine, coarse = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    fine[..., ::2], coarse[..., 16:] = 1, 1
    assert blur(fine)[..., 8:24].std() < 0.01
    assert blur(coarse)[..., 0].mean() < 0.2 < 0.8 < blur(coarse)[..., -1].mean()


def test_halves_share_the_box_and_go_across_its_longer_side() -> None:
    assert Box(1, 6, 2, 7).halves == (Box(1, 4, 2, 7), Box(4, 6, 2, 7))
    assert Box(0, 2, 0, 3).halves == (Box(0, 2, 0, 2), Box(0, 2, 2, 3))
    assert sum(half.area for half in Box(3, 10, 1, 20).halves) == Box(3, 10, 1, 20).area
