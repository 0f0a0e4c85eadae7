"""Every explanation method: what it computes, and that it leaves no trace."""

import copy

import pytest
import torch
from torch import Tensor, nn

from xai import METHODS
from xai.saliency import saliency


def awkward(seed: int = 0) -> nn.Module:
    """A tiny model with what trips methods up: flatten head, biases, batch norm, dropout, two input channels."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(3 * 3 * 2, 4),
    )  # fmt: skip
    model(torch.rand(64, 2, 6, 5))  # running statistics away from their start
    return model


def images(count: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 2, 6, 5, generator=generator), torch.arange(count) % 4


@pytest.mark.parametrize("method", METHODS)
def test_shape_and_type(method: str) -> None:
    maps = METHODS[method](awkward(), *images())
    assert maps.shape == (5, 6, 5)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_leaves_no_trace(method: str, training: bool) -> None:
    model = awkward().train(training)
    model[5].eval()  # a mixed mode must come back mixed
    model[6].weight.requires_grad_(False)
    inputs, targets = images()
    before = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    needed, kept = [parameter.requires_grad for parameter in model.parameters()], inputs.clone()
    METHODS[method](model, inputs, targets)
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == before[1]
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not module._forward_hooks and not module._backward_hooks for module in model.modules())
    assert torch.equal(inputs, kept)
    assert not inputs.requires_grad
    assert inputs.grad is None


@pytest.mark.parametrize("method", METHODS)
def test_mode_is_restored_after_an_error(method: str) -> None:
    model = awkward().train()
    with pytest.raises(RuntimeError):
        METHODS[method](model, torch.rand(2, 7, 6, 5), torch.zeros(2, dtype=torch.long))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_map_depends_on_its_image_alone(method: str) -> None:
    model, (inputs, targets) = awkward(), images()
    together = METHODS[method](model, inputs, targets)
    order = torch.tensor([3, 0, 4, 2, 1])
    assert torch.allclose(METHODS[method](model, inputs[order], targets[order]), together[order], atol=1e-6)
    alone = torch.cat([METHODS[method](model, inputs[i : i + 1], targets[i : i + 1]) for i in range(5)])
    assert torch.allclose(alone, together, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_works_under_inference_of_the_caller(method: str) -> None:
    model, (inputs, targets) = awkward(), images()
    with torch.no_grad():
        maps = METHODS[method](model, inputs, targets)
    assert torch.equal(maps, METHODS[method](model, inputs, targets))


def test_saliency_of_a_linear_model_is_its_largest_weight() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(2 * 6 * 5, 4)
    inputs, targets = images()
    expected = linear.weight.view(4, 2, 6, 5).abs().amax(1)[targets]
    assert torch.equal(saliency(nn.Sequential(nn.Flatten(), linear), inputs, targets), expected)


def test_saliency_is_the_limit_of_differences() -> None:
    model, (inputs, targets) = awkward().double().eval(), images(1)
    inputs, step = inputs.double(), 1e-6
    found = torch.zeros(2, 6, 5, dtype=torch.double)
    for place in torch.cartesian_prod(*(torch.arange(size) for size in (2, 6, 5))):
        moved = inputs.clone()
        moved[0, place[0], place[1], place[2]] += step
        with torch.no_grad():
            found[tuple(place)] = ((model(moved) - model(inputs))[0, targets[0]] / step).abs()
    assert torch.allclose(found.amax(0), saliency(model, inputs, targets)[0], atol=1e-5)
