"""What each method computes, against facts that hold exactly on small awkward models."""

import pytest
import torch
from torch import Tensor, nn

from support.networks import Pooled, awkward, images
from xai import (
    METHODS,
    Attribution,
    MethodInputs,
    NotApplicable,
    expected_gradients,
    grad_cam,
    integrated_gradients,
    occlusion,
    saliency,
    smooth_grad,
)
from xai.cut import cut_model, last_layer, spatial_layers
from xai.occlusion import occlusion_windows
from xai.spatial_axes import observe_layers

WEIGHTS = torch.randn(4, 2, 6, 5, generator=torch.Generator().manual_seed(3))
BACKGROUND = torch.rand(9, 2, 6, 5, generator=torch.Generator().manual_seed(4))
GIVEN = MethodInputs(background=BACKGROUND)


def linear() -> nn.Module:
    """Flattened image to four logits, with biases."""
    layer = nn.Linear(60, 4)
    layer.weight.data = WEIGHTS.flatten(1)
    return nn.Sequential(nn.Flatten(), layer)


class Quadratic(nn.Module):
    """Logit k is the sum of w_k x^2: its gradient 2 w x is linear on every straight way."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("kchw,nchw->nk", WEIGHTS, images.square())


@pytest.mark.parametrize("method", [saliency, smooth_grad])
def test_gradient_of_a_linear_model_is_its_largest_weight(method) -> None:
    inputs, targets = images()
    assert torch.allclose(method.attribute(linear(), inputs, targets).maps, WEIGHTS.abs().amax(1)[targets], atol=1e-5)


def test_saliency_is_the_limit_of_differences() -> None:
    model, (inputs, targets) = awkward().double().eval(), images(1)
    inputs, step = inputs.double(), 1e-6
    found = torch.zeros(2, 6, 5, dtype=torch.double)
    for place in torch.cartesian_prod(*(torch.arange(size) for size in (2, 6, 5))):
        moved = inputs.clone()
        moved[0, place[0], place[1], place[2]] += step
        with torch.no_grad():
            found[tuple(place)] = ((model(moved) - model(inputs))[0, targets[0]] / step).abs()
    assert torch.allclose(found.amax(0), saliency.attribute(model, inputs, targets).maps[0], atol=1e-5)


def test_smooth_grad_is_the_gradient_of_a_quadratic_up_to_the_noise_of_its_samples() -> None:
    inputs, targets = images()
    exact = (2 * WEIGHTS[targets] * inputs).abs().amax(1)
    found = smooth_grad.attribute(Quadratic(), inputs, targets, MethodInputs(samples=4000)).maps
    error = 2 * WEIGHTS.abs().amax() * 0.1 / 4000**0.5
    assert (found - exact).abs().amax() < 5 * error


def test_integrated_gradients_of_linear_and_quadratic_models_are_exact() -> None:
    inputs, targets = images()
    baseline = BACKGROUND.mean((0, 2, 3))[:, None, None]
    found = integrated_gradients.attribute(linear(), inputs, targets, GIVEN)
    assert torch.allclose(found.maps, (WEIGHTS[targets] * (inputs - baseline)).sum(1), atol=1e-5)
    assert found.completeness_gaps.abs().amax() < 1e-4
    found = integrated_gradients.attribute(Quadratic(), inputs, targets, GIVEN)  # the trapezoid rule is exact for 2 w x
    assert torch.allclose(found.maps, (WEIGHTS[targets] * (inputs**2 - baseline**2)).sum(1), atol=1e-4)


def test_integrated_gradients_doubles_its_steps_until_the_gap_is_small() -> None:
    model, (inputs, targets) = awkward(), images()
    found = integrated_gradients.attribute(model, inputs, targets, MethodInputs(samples=3))
    rise = (found.scores - found.baseline_scores).abs()
    coarse = [_trapezoid(model, image, target, 3) for image, target in zip(inputs, targets, strict=True)]
    gaps = (torch.stack(coarse) - (found.scores - found.baseline_scores)).abs()
    assert (gaps > 0.01 * rise).any()  # three steps are not enough
    assert (found.completeness_gaps.abs() <= gaps + 1e-6).all()
    assert (found.completeness_gaps.abs() <= 0.01 * rise).float().mean() > (gaps <= 0.01 * rise).float().mean()


def _trapezoid(model: nn.Module, image: Tensor, target: Tensor, steps: int) -> Tensor:
    """Sum of the map by numpy's textbook rule."""
    points = (0.5 + torch.linspace(0, 1, steps + 1)[:, None, None, None] * (image - 0.5)).requires_grad_()
    score = model.eval()(points)[:, target].sum()
    gradient = torch.autograd.grad(score, points)[0]
    return (torch.trapezoid(gradient, dx=1 / steps, dim=0) * (image - 0.5)).sum()


def test_completeness_is_within_one_percent_on_a_trained_kind_of_model() -> None:
    model, (inputs, targets) = awkward(), images(40)
    found = integrated_gradients.attribute(model, inputs, targets, GIVEN)
    rise = (found.scores - found.baseline_scores).abs()
    assert (found.completeness_gaps.abs() <= 0.01 * rise).float().mean() > 0.9


def test_expected_gradients_of_a_linear_model_average_over_the_background() -> None:
    inputs, targets = images()
    found = expected_gradients.attribute(linear(), inputs, targets, MethodInputs(background=BACKGROUND, samples=18))
    # eighteen draws without replacement take each of nine backgrounds twice, so nothing is left to chance
    assert torch.allclose(found.maps, (WEIGHTS[targets] * (inputs - BACKGROUND.mean(0))).sum(1), atol=1e-5)
    assert found.completeness_gaps.abs().amax() < 1e-4


def test_expected_gradients_of_a_quadratic_are_within_their_sampling_error() -> None:
    inputs, targets = images()
    exact = (WEIGHTS[targets] * (inputs**2 - BACKGROUND.square().mean(0))).sum(1)
    few, many = (MethodInputs(background=BACKGROUND, samples=samples) for samples in (36, 3600))
    errors = [
        (expected_gradients.attribute(Quadratic(), inputs, targets, drawn).maps - exact).std() for drawn in (few, many)
    ]
    assert errors[1] < errors[0] / 4  # ten times less is expected
    assert errors[1] < 0.02 * exact.std()


def test_other_seeds_and_instances_draw_other_noise() -> None:
    model, (inputs, targets) = awkward(), images(2)
    same = inputs[:1].expand(2, -1, -1, -1)
    for method in ("smooth_grad", "expected_gradients"):
        explain = METHODS[method].attribute
        first = explain(model, same, targets[:1].expand(2), MethodInputs(samples=3, background=BACKGROUND)).maps
        assert not torch.allclose(first[0], first[1])
        other = explain(model, same, targets[:1].expand(2), MethodInputs(samples=3, background=BACKGROUND, seed=1)).maps
        assert not torch.allclose(first, other)


def test_grad_cam_is_the_class_activation_map_before_average_pooling() -> None:
    model, (inputs, targets) = Pooled(), images()
    features = model.features(inputs)  # [N, 6, 3, 2]
    cam = torch.einsum("nkhw,nk->nhw", features, model.classify.weight[targets]).relu() / 6  # mean over 6 positions
    expected = nn.functional.interpolate(cam[:, None], (6, 5), mode="bilinear").squeeze(1)
    assert torch.allclose(grad_cam.attribute(model, inputs, targets).maps, expected, atol=1e-6)


def test_grad_cam_at_a_named_layer_and_where_nothing_speaks_for_the_class() -> None:
    model, (inputs, targets) = Pooled(), images()
    fine = grad_cam.attribute(model, inputs, targets, MethodInputs(layer="features.1")).maps
    assert not torch.allclose(fine, grad_cam.attribute(model, inputs, targets).maps)
    model.classify.weight.data.abs_().neg_()
    assert (grad_cam.attribute(model, inputs, targets).maps == 0).all()


def test_occlusion_of_a_linear_model_is_the_weight_under_its_windows() -> None:
    inputs, targets = images()
    baseline = BACKGROUND.mean((0, 2, 3))[:, None, None]
    parts = (WEIGHTS[targets] * (inputs - baseline)).sum(1)  # [N, H, W]
    masks = occlusion_windows(6, 5).float()
    expected = torch.einsum("nm,mhw->nhw", torch.einsum("nhw,mhw->nm", parts, masks), masks) / masks.sum(0)
    assert torch.allclose(occlusion.attribute(linear(), inputs, targets, GIVEN).maps, expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 5), (6, 5, 1), (33, 20, 6), (1, 1, 1), (64, 64, 11)])
def test_windows_cover_every_pixel_and_end_at_the_edges(height: int, width: int, size: int) -> None:
    masks = occlusion_windows(height, width)
    assert masks.any(0).all()
    assert {int(rows) for rows in masks.any(2).sum(1)} == {size}
    assert masks[0, 0, 0]
    assert masks[-1, -1, -1]
    assert len(masks.flatten(1).unique(dim=0)) == len(masks)


def test_a_cut_model_computes_the_same() -> None:
    model, (inputs, _) = awkward().eval(), images()
    for layer in spatial_layers(observe_layers(model, inputs)):
        parts = cut_model(model, layer)
        assert torch.equal(parts.head(parts.body(inputs)), model(inputs))
    assert last_layer(model, inputs) == "4"


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.twice = nn.Conv2d(2, 2, 1), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return (self.twice(self.twice(self.inner(images))) + images).mean((2, 3))


class Branching(Around):
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images).mean((2, 3)) if images.sum() > 0 else images.mean((2, 3))


@pytest.mark.parametrize(("model", "layer", "reason"), [
    (Around(), "inner", "goes around layer 'inner'"),
    (Around(), "twice", "uses layer 'twice' 2 times"),
    (Around(), "nonsense", "no layer 'nonsense'; there are: inner, twice"),
    (Branching(), "inner", "its steps depend on the data"),
])  # fmt: skip
def test_refuses_where_a_model_cannot_be_cut(model: nn.Module, layer: str, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        cut_model(model, layer)


def test_refuses_a_model_without_spatial_output() -> None:
    with pytest.raises(NotApplicable, match=r"no layer whose output is \[N, channels, height, width\]"):
        grad_cam.attribute(linear(), *images())


def test_attributions_joined_and_replaced() -> None:
    first, second = (saliency.attribute(linear(), *images(count)) for count in (2, 3))
    joined = Attribution.concatenate([first, second])
    assert torch.equal(joined.maps, torch.cat([first.maps, second.maps]))
    assert joined.baseline_scores is None
    assert joined.completeness_gaps is None
    rows = torch.tensor([True, False, False, True, True])
    other = integrated_gradients.attribute(linear(), *images(5))
    part = Attribution(-second.maps, -second.scores)
    replaced = joined.replace_rows(rows, part)
    assert torch.equal(replaced.maps[rows], -second.maps)
    assert torch.equal(replaced.scores[~rows], joined.scores[~rows])
    assert other.replace_rows(rows, Attribution(-other.maps[rows], other.scores[rows], other.baseline_scores[rows]))
