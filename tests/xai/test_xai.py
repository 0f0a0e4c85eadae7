"""Every method of the registry: shape, purity, and that a map depends on its image alone."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from support.networks import awkward, images
from xai import METHODS, Attribution, MethodInputs
from xai.method import compute_passes_in
from xai.precision import find_difference

MAPS = [name for name in METHODS if name != "ice"]


def explain(method: str, model: nn.Module, inputs: Tensor, targets: Tensor, ids: Tensor | None = None) -> Attribution:
    """With a background and few samples, so that it is quick."""
    background = torch.rand(7, *inputs.shape[1:], generator=torch.Generator().manual_seed(2))
    return METHODS[method].attribute(model, inputs, targets, MethodInputs(ids, background=background, samples=12))


@pytest.mark.parametrize("method", MAPS)
def test_shape_type_and_scores(method: str) -> None:
    model, (inputs, targets) = awkward(), images()
    found = explain(method, model, inputs, targets)
    assert found.maps.shape == (5, 6, 5)
    assert found.maps.dtype == found.scores.dtype == torch.float32
    assert not any(part.requires_grad for part in vars(found).values() if part is not None)
    logits = model.eval()(inputs).gather(1, targets[:, None]).squeeze(1)
    assert torch.allclose(found.scores, logits, atol=1e-5)
    assert METHODS[method].signed or (found.maps >= 0).all()


@pytest.mark.parametrize("method", MAPS)
@pytest.mark.parametrize("training", [True, False])
def test_leaves_no_trace(method: str, training: bool) -> None:
    model = awkward().train(training)
    model[5].eval()  # a mixed mode must come back mixed
    model[6].weight.requires_grad_(False)
    inputs, targets = images()
    before = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    needed, kept = [parameter.requires_grad for parameter in model.parameters()], inputs.clone()
    random = torch.get_rng_state(), np.random.get_state()[1].tolist()
    explain(method, model, inputs, targets)
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == before[1]
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not module._forward_hooks and not module._backward_hooks for module in model.modules())
    assert torch.equal(inputs, kept)
    assert not inputs.requires_grad
    assert inputs.grad is None
    assert torch.equal(torch.get_rng_state(), random[0])
    assert np.random.get_state()[1].tolist() == random[1]


@pytest.mark.parametrize("method", MAPS)
def test_mode_is_restored_after_an_error(method: str) -> None:
    model = awkward().train()
    with pytest.raises(RuntimeError):
        explain(method, model, torch.rand(2, 7, 6, 5), torch.zeros(2, dtype=torch.long))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(not module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("method", MAPS)
def test_a_map_depends_on_its_image_alone(method: str) -> None:
    model, (inputs, targets) = awkward(), images()
    ids = torch.tensor([10, 3, 7, 1, 99])
    together = explain(method, model, inputs, targets, ids).maps
    order = torch.tensor([3, 0, 4, 2, 1])
    again = explain(method, model, inputs[order], targets[order], ids[order]).maps
    assert torch.allclose(again, together[order], atol=1e-5)
    alone = [explain(method, model, inputs[i : i + 1], targets[i : i + 1], ids[i : i + 1]).maps for i in range(5)]
    assert torch.allclose(torch.cat(alone), together, atol=1e-5)


@pytest.mark.parametrize("method", MAPS)
def test_works_under_inference_of_the_caller(method: str) -> None:
    model, (inputs, targets) = awkward(), images()
    with torch.no_grad():
        maps = explain(method, model, inputs, targets).maps
    assert torch.equal(maps, explain(method, model, inputs, targets).maps)


@pytest.mark.parametrize("method", MAPS)
@pytest.mark.parametrize(("channels", "classes", "side"), [(3, 10, 64), (1, 2, 32)])
def test_foreign_model_with_in_place_and_reused_relus(method: str, channels: int, classes: int, side: int) -> None:
    torch.manual_seed(0)
    model = resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    inputs, targets = torch.rand(2, channels, side, side), torch.tensor([0, 1])
    found = explain(method, model, inputs, targets)
    assert found.maps.shape == (2, side, side)
    assert found.maps.isfinite().all()
    assert found.maps.abs().amax() > 0
    assert torch.allclose(found.scores, model.eval()(inputs).diagonal(), atol=1e-4)


@pytest.mark.parametrize("method", [name for name in MAPS if not METHODS[name].looks_at_a_layer])
def test_passes_in_bfloat16_give_nearly_the_same_maps_of_the_same_scores(method: str) -> None:
    model, (inputs, targets) = awkward(), images()
    exact = explain(method, model, inputs, targets)
    types = set()
    hook = model[0].register_forward_hook(lambda _module, _inputs, output: types.add(output.dtype))
    with compute_passes_in(torch.bfloat16):
        found = explain(method, model, inputs, targets)
    hook.remove()
    assert torch.bfloat16 in types
    assert found.maps.dtype == torch.float32
    assert not torch.equal(found.maps, exact.maps)
    assert torch.nn.functional.cosine_similarity(found.maps.flatten(1), exact.maps.flatten(1)).min() > 0.95
    for scores, exact_scores in ((found.scores, exact.scores), (found.baseline_scores, exact.baseline_scores)):
        assert scores is exact_scores is None or torch.allclose(scores, exact_scores, atol=1e-6)
    assert torch.equal(explain(method, model, inputs, targets).maps, exact.maps)


def test_maps_stand_for_others_of_the_same_order_and_sum() -> None:
    maps = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(0))
    exact = Attribution(maps, maps.sum((1, 2)), torch.zeros(3))  # complete
    assert find_difference(exact, exact) is None
    assert find_difference(exact, dataclasses.replace(exact, maps=1.009 * maps)) is None
    assert "changes by 2.0%" in find_difference(exact, dataclasses.replace(exact, maps=1.02 * maps))
    one_other = torch.cat([maps[:2], maps[2:].flip(1, 2)])
    assert "rank correlation" in find_difference(exact, dataclasses.replace(exact, maps=one_other))
    assert "rank correlation" in find_difference(exact, dataclasses.replace(exact, maps=0 * maps))
    without_baseline = Attribution(maps, exact.scores)
    assert find_difference(without_baseline, Attribution(5 * maps, exact.scores)) is None
