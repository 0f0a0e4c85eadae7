"""Concepts and what they do to classes, against facts that hold exactly."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from support.networks import Pooled, awkward, images
from xai import NotApplicable, ice
from xai.cut import cut_model, last_layer
from xai.nmf import factorize


def pooled() -> tuple[nn.Module, object, Tensor]:
    """A model with global average pooling and a linear head, cut at its features, and 40 images."""
    model = Pooled().eval()
    return model, cut_model(model, "features"), torch.rand(40, 2, 6, 5, generator=torch.Generator().manual_seed(1))


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def test_concept_maps_and_their_rows_fit_together() -> None:
    model, parts, inputs = pooled()
    found = ice.extract_features(model, parts, inputs)
    assert torch.equal(ice.unflatten_positions(ice.flatten_positions(found), found), found)
    maps = ice.concept_maps(found, torch.eye(6))  # every channel is a concept
    assert torch.allclose(maps, found, atol=1e-5)


def test_a_logit_is_the_sum_of_its_concepts_the_residual_and_the_bias() -> None:
    model, parts, inputs = pooled()
    found = ice.extract_features(model, parts, inputs)
    directions = unit(torch.rand(3, 6, generator=torch.Generator().manual_seed(0)))
    maps, targets = ice.concept_maps(found, directions), torch.arange(40) % 4
    gradients, carried = ice.concept_sensitivities(model, parts, found, maps, directions, targets)
    assert torch.allclose(gradients, model.classify.weight[targets], atol=1e-6)  # summed over positions
    rest = found - ice.unflatten_positions(ice.flatten_positions(maps) @ directions, found)
    residual = (rest.mean((2, 3)) * model.classify.weight[targets]).sum(1)
    logits = model(inputs).gather(1, targets[:, None]).squeeze(1)
    assert torch.allclose(carried.sum(1) + residual + model.classify.bias[targets], logits, atol=1e-4)


def test_sensitivities_are_the_limit_of_differences_at_all_positions() -> None:
    model, (inputs, targets) = awkward().double().eval(), images()
    parts, inputs = cut_model(model, "2"), inputs.double()
    found = ice.extract_features(model, parts, inputs)
    direction, step = unit(torch.rand(1, 3).double()), 1e-6
    gradients, _ = ice.concept_sensitivities(model, parts, found, torch.zeros(5, 1, 6, 5).double(), direction, targets)
    moved = [ice.head_logits(model, parts, found + sign * step * direction.view(1, 3, 1, 1)) for sign in (1, -1)]
    differences = ((moved[0] - moved[1]) / (2 * step)).gather(1, targets[:, None]).squeeze(1)
    assert torch.allclose(gradients @ direction[0], differences, atol=1e-6)


def test_nothing_is_lost_when_every_channel_is_a_concept() -> None:
    model, parts, inputs = pooled()
    found = ice.extract_features(model, parts, inputs)
    logits = ice.head_logits(model, parts, found)
    assert torch.allclose(logits, model(inputs), atol=1e-6)
    rows = ice.flatten_positions(found)
    for reconstruct in (
        ice.keep_concepts(factorize(rows, 6).directions), ice.OTHER_REDUCERS["pca"](rows, 6, 0)
    ):  # fmt: skip
        kept = ice.fidelity(logits, ice.reconstructed_logits(model, parts, found, reconstruct))
        assert kept.ice_error < 0.05
        assert kept.agreement == 1


def test_no_linear_reducer_reconstructs_better_than_pca() -> None:
    model, parts, inputs = pooled()
    rows = ice.flatten_positions(ice.extract_features(model, parts, inputs))
    reducers = {name: reducer(rows, 2, 0) for name, reducer in ice.OTHER_REDUCERS.items()}
    reducers["nmf"] = ice.keep_concepts(factorize(rows, 2).directions)
    errors = {name: (reconstruct(rows) - rows).square().sum().item() for name, reconstruct in reducers.items()}
    assert min(errors, key=errors.get) == "pca"


def test_positions_weigh_by_what_the_head_reads() -> None:
    model, parts, inputs = pooled()
    found = ice.extract_features(model, parts, inputs)
    weights = ice.position_weights(model, parts, found)
    first, second = model(inputs).topk(2).indices.T
    gradients = (model.classify.weight[first] - model.classify.weight[second])[
        :, :, None, None
    ]  # a mean reads all alike
    expected = (gradients * (found > 0)).norm(dim=1)
    assert torch.allclose(weights, expected / expected.mean(), atol=1e-5)
    body, classify = nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU()), nn.Linear(6, 4)
    model = nn.Sequential(body, nn.AdaptiveMaxPool2d(1), nn.Flatten(), classify).eval()
    parts = cut_model(model, "0")
    found = ice.extract_features(model, parts, inputs)
    is_read = ((found == found.amax((2, 3), keepdim=True)) & (found > 0)).any(1)
    weights = ice.position_weights(model, parts, found)
    assert (weights > 0)[is_read].any()
    assert not (weights > 0)[~is_read].any()
    nn.init.zeros_(classify.weight)
    assert torch.equal(ice.position_weights(model, parts, found), torch.ones(40, 6, 5))  # a constant model


def test_weighted_positions_keep_more_of_the_answers_of_a_head_that_takes_maxima() -> None:
    """Five strong patterns that never decide cover most positions; three weak ones, each at one position, decide."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.eye(8)
    background = torch.randint(5, (300, 4, 4), generator=generator)
    features = 3 * patterns[background]  # [N, h, w, c]
    labels = torch.arange(300) % 3
    features[torch.arange(300), labels, 3] = patterns[5 + labels]
    features = features.permute(0, 3, 1, 2).contiguous()
    classify = nn.Linear(8, 3)
    with torch.no_grad():
        classify.weight.copy_(patterns[5:])
        classify.bias.zero_()
    model = nn.Sequential(nn.Identity(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), classify).eval()
    parts = cut_model(model, "0")
    logits = ice.head_logits(model, parts, features)
    rows = ice.flatten_positions(features)
    weights = ice.position_weights(model, parts, features).flatten()[:, None]
    kept = [ice.fidelity(logits, ice.reconstructed_logits(model, parts, features, ice.keep_concepts(found))).agreement
            for found in (factorize(rows, 3).directions, factorize(rows * weights, 3).directions)]  # fmt: skip
    assert kept[0] < 0.6
    assert kept[1] == 1


def test_fidelity_by_hand() -> None:
    logits, others = torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([[1.0, 0.0], [4.0, 3.5]])
    kept = ice.fidelity(logits, others)
    assert kept.ice_error == pytest.approx((1 + 0.5) / 2 / 2.5)
    assert kept.agreement == 0.5
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits.numpy(), others.numpy()))
    assert kept.divergence == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-5)
    assert ice.fidelity(logits, logits) == ice.Fidelity(0, 1, 0)


def test_thresholds_split_low_from_high_scores() -> None:
    scores = torch.tensor([[0.1, 5, 0], [0.2, 5, 0], [0.15, 5, 0], [3.0, 5, 0], [3.2, 5, 7]])
    found = ice.otsu_thresholds(scores)
    assert 0.2 < found[0] < 3
    assert found[1] == torch.inf  # the same everywhere: there is no high group
    assert 0 < found[2] < 7
    assert torch.equal((scores >= found).sum(0), torch.tensor([2, 0, 1]))


def test_keys_tell_directions_apart_and_forgive_noise() -> None:
    directions = unit(torch.rand(20, 64, generator=torch.Generator().manual_seed(0)))
    keys = [ice.concept_key(direction) for direction in directions]
    assert len(set(keys)) == 20
    assert ice.concept_key(directions[0].clone()) == keys[0]
    assert all(len(key) == 16 for key in keys)


def test_match_pairs_the_same_directions_whatever_their_order() -> None:
    old = unit(torch.rand(5, 12, generator=torch.Generator().manual_seed(0)).square())
    order = torch.tensor([3, 0, 4, 1])
    new = unit(old[order] + 0.01)
    assert sorted((i, j) for i, j, _ in ice.match_directions(old, new)) == sorted(
        (int(i), j) for j, i in enumerate(order)
    )
    assert ice.match_directions(old[:1], unit(torch.eye(12)[:1]), min_cosine=0.9999) == []


@pytest.mark.parametrize(("layer", "message"), [
    ("0", r"layer '0' has negative activations, .*; layers without: 2, 3, 4"),
    ("6", r"returns \[8, 4\]; ice needs \[images, channels, height, width\]"),
])  # fmt: skip
def test_refuses_layers_that_cannot_be_factorized(layer: str, message: str) -> None:
    model = awkward()
    with pytest.raises(NotApplicable, match=message):
        ice.extract_features(model, cut_model(model, layer), images(8)[0])


def test_leaves_no_trace() -> None:
    model, (inputs, targets) = awkward().train(), images()
    before, kept = copy.deepcopy(model.state_dict()), inputs.clone()
    parts = cut_model(model, "2")
    found = ice.extract_features(model, parts, inputs)
    directions = unit(torch.rand(2, 3))
    ice.concept_sensitivities(model, parts, found, ice.concept_maps(found, directions), directions, targets)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.equal(inputs, kept)


@pytest.mark.parametrize(("channels", "classes", "side"), [(3, 10, 64), (1, 2, 64)])
def test_foreign_model_with_in_place_and_reused_relus(channels: int, classes: int, side: int) -> None:
    torch.manual_seed(0)
    model = resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    inputs, targets = torch.rand(6, channels, side, side), torch.arange(6) % 2
    layer = last_layer(model, inputs)
    assert layer == "layer4"
    parts = cut_model(model, layer)
    found = ice.extract_features(model, parts, inputs)  # [6, 512, 2, 2]
    assert torch.allclose(ice.head_logits(model, parts, found), model.eval()(inputs), atol=1e-4)
    directions = factorize(ice.flatten_positions(found), 3).directions
    gradients, carried = ice.concept_sensitivities(
        model, parts, found, ice.concept_maps(found, directions), directions, targets
    )
    weights = model.fc.weight[targets]  # pooled over four positions, whose gradients sum to the weight
    assert torch.allclose(gradients, weights, atol=1e-6)
    assert carried.shape == (6, 3)
