"""What concepts do to classes: measures by hand, no effect where there is none, and effects where they were planted."""

from dataclasses import dataclass
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from support.networks import Pooled
from xai import ice
from xai.cut import cut_model
from xai.nmf import factorize
from xai.tcav import NULLS, Tcav, compare_with_null, correct_by_holm, score_concepts

CHANNELS, CLASSES, SCENES = 48, 4, 6


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Layer:
    """A layer in which each class has a pattern of channels that decides it, among scenes that decide nothing."""

    rows: Tensor  # [R, c]
    patterns: Tensor  # [K, c]
    gradients: Tensor  # [N, c]
    labels: Tensor  # [N]


def planted_layer(seed: int) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    # of eight channels each
    sources = torch.zeros(CLASSES + SCENES, CHANNELS)
    for source in sources:
        source[torch.randperm(CHANNELS, generator=generator)[:8]] = 0.5 + torch.rand(8, generator=generator)
    sources = unit(sources)
    strengths = torch.rand(4000, len(sources), generator=generator) ** 3  # a few per position
    strengths *= torch.rand(strengths.shape, generator=generator) < torch.tensor([0.03] * CLASSES + [0.3] * SCENES)
    noise = 0.5 * torch.rand(4000, CHANNELS, generator=generator).square()
    rows = (strengths + (strengths > 0)) @ sources + noise
    labels = torch.arange(120) % CLASSES
    # on top of the class's pattern: what raises every logit, and each image's own
    common = 0.3 * unit(torch.rand(CHANNELS, generator=generator))
    own = 0.1 * torch.randn(120, CHANNELS, generator=generator)
    patterns = sources[:CLASSES]
    return Layer(rows, patterns, patterns[labels] + common + own, labels)


def measured(layer: Layer, directions: Tensor, seed: int = 0) -> Tcav:
    nothing = torch.zeros(len(layer.labels), len(directions))
    return score_concepts(
        layer.gradients, nothing, nothing > 0, layer.labels, CLASSES, directions, layer.rows, seed=seed
    )


def test_measures_by_hand() -> None:
    labels, directions = torch.tensor([0, 0, 0, 2]), torch.eye(2)
    gradients = torch.tensor([[1.0, -1.0], [3.0, 2.0], [-1.0, 5.0], [0.0, 1.0]])
    contributions = torch.tensor([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0], [-1.0, -2.0]])
    present = torch.tensor([[True, False], [True, False], [False, False], [False, True]])
    found = score_concepts(gradients, contributions, present, labels, 3, directions, torch.rand(60, 2))
    none = torch.nan  # of a class without images nothing is known
    expected = {
        "prevalence": [[2 / 3, none, 0], [0, none, 1]],
        "tcav_sign": [[2 / 3, none, 0], [2 / 3, none, 1]],
        "tcav_magnitude": [[1.0, none, 0], [2, none, 1]],
        "contribution": [[3.0, none, -1], [1, none, -2]],
        "alignment": [[1 / 5**0.5, none, 0], [2 / 5**0.5, none, 1]],
    }
    for name, values in expected.items():
        assert torch.allclose(getattr(found, name), torch.tensor(values), equal_nan=True)
    assert found.images.tolist() == [3, 0, 1]
    assert found.p_values[:, 1].isnan().all()
    assert not found.significant[:, 1].any()
    assert not found.degenerate[1]


def test_classes_without_images_are_no_test() -> None:
    layer = planted_layer(0)
    directions = factorize(layer.rows, 6).directions
    none = torch.zeros(len(layer.labels), 6)
    alone = score_concepts(layer.gradients, none, none > 0, layer.labels, 4, directions, layer.rows)
    among = score_concepts(layer.gradients, none, none > 0, layer.labels * 3, 12, directions, layer.rows)
    assert torch.equal(among.p_values[:, ::3], alone.p_values)
    assert among.p_values.isnan().sum() == 6 * 8


def test_concepts_that_decide_are_found_with_the_right_sign() -> None:
    raised = 0
    for seed in range(5):
        layer = planted_layer(seed)
        directions = factorize(layer.rows, CLASSES + SCENES, seed).directions
        found = measured(layer, directions, seed)
        deciding = (directions @ layer.patterns.T).argmax(0)  # the concept of each class
        own = found.significant[deciding, range(CLASSES)]
        assert (found.tcav_magnitude[deciding, range(CLASSES)][own] > 0).all()
        raised += int(own.sum())
    assert raised >= 0.8 * 5 * CLASSES


@pytest.mark.parametrize("kind", NULLS)
def test_directions_without_meaning_are_seldom_significant(kind: str) -> None:
    families = 0
    for seed in range(20):
        layer = planted_layer(seed % 5)
        generator = torch.Generator().manual_seed(100 + seed)
        drawn = NULLS[kind].draw(layer.rows, 6, generator)
        directions = drawn[torch.randperm(len(drawn), generator=generator)[:6]]
        families += bool(measured(layer, directions, seed).significant.any())
    assert families <= 4  # at a family-wise level of 5 % more come in 0.3 % of such tests


def test_concepts_mean_nothing_to_gradients_without_structure() -> None:
    """As in an untrained network: all logits rise along about the same direction, whatever the image."""
    families = 0
    for seed in range(10):
        layer = planted_layer(seed)
        generator = torch.Generator().manual_seed(seed)
        gradients = torch.randn(CLASSES, CHANNELS, generator=generator)[layer.labels] + 0.5
        random_layer = Layer(layer.rows, layer.patterns, gradients, layer.labels)
        families += bool(measured(random_layer, factorize(layer.rows, 8, seed).directions, seed).significant.any())
    assert families <= 3


def test_what_raises_a_logit_less_than_chance_does_not_lower_it() -> None:
    """Where every direction raises a logit, one that raises it less is no sign against the class."""
    layer = planted_layer(0)
    everywhere = Layer(layer.rows, layer.patterns, layer.gradients.abs() + 0.2, layer.labels)
    found = measured(everywhere, factorize(layer.rows, CLASSES + SCENES).directions)
    assert (found.tcav_sign == 1).all()
    assert (found.tcav_magnitude[found.significant] > 0).all()


def test_few_images_prove_nothing_by_their_scatter() -> None:
    """A mean over two images that differ is not told from 0, however well it fits the direction by luck."""
    layer = planted_layer(0)
    scattered = 5 * torch.randn(8, CHANNELS, generator=torch.Generator().manual_seed(0))
    few = Layer(layer.rows, layer.patterns, scattered, torch.arange(8) % CLASSES)
    directions = unit(scattered[:4].clamp_min(0))
    assert not measured(few, directions).significant.any()


def test_a_linear_head_is_found_out() -> None:
    model = Pooled().eval()
    parts = cut_model(model, "features")
    found = ice.extract_features(model, parts, torch.rand(40, 2, 6, 5, generator=torch.Generator().manual_seed(1)))
    directions, labels = torch.eye(6), torch.arange(40) % 4
    gradients, contributions = ice.concept_sensitivities(
        model, parts, found, ice.concept_maps(found, directions), directions, labels
    )
    rows = ice.flatten_positions(found)
    result = score_concepts(gradients, contributions, contributions > 0, labels, 4, directions, rows)
    assert result.degenerate.all()
    assert set(result.tcav_sign.unique().tolist()) <= {0, 1}


def test_holm_by_hand() -> None:
    found = correct_by_holm(torch.tensor([[0.01, 0.04], [0.03, 0.005]]))
    assert torch.allclose(found, torch.tensor([[0.03, 0.06], [0.06, 0.02]]))
    assert torch.equal(correct_by_holm(torch.tensor([0.9, 0.8])), torch.tensor([1.0, 1.0]))


def test_null_counts_all_draws() -> None:
    """The fraction of pairs of null directions with one that is as extreme in some class, by that class's tail."""
    null = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    observed = torch.cat([null[:1], torch.tensor([[9.0, -9.0, 0.3]])])
    found = compare_with_null(observed, null, unseen=0)

    def extremity(value: float, label: int) -> int:
        """How many null directions are as far out; the fewer, the more extreme."""
        others = null[:, label]
        return int((others >= value).sum() if value > 0 else (others <= value).sum())

    most_extreme = [min(extremity(value, label) for label, value in enumerate(one)) for one in null.tolist()]
    for (concept, label), value in zip(product(range(2), range(3)), observed.flatten().tolist(), strict=True):
        limit = extremity(value, label)
        hits = [any(most_extreme[one] <= limit for one in pair) for pair in combinations(range(7), 2)]
        assert found[concept, label].item() == pytest.approx(sum(hits) / len(hits), abs=1e-6)
    assert found[1, 0].item() == pytest.approx(0, abs=1e-6)
    assert compare_with_null(observed, null, unseen=1)[1, 0].item() == pytest.approx(2 / 8)


def test_more_concepts_than_a_null_has_are_no_better_than_all_of_it() -> None:
    null = torch.tensor([[0.5], [0.1]])
    found = compare_with_null(torch.tensor([[0.9], [0.3], [0.05]]), null, unseen=0)
    assert found.flatten().tolist() == pytest.approx([0, 1, 1], abs=1e-6)


def test_same_seed_same_null() -> None:
    layer = planted_layer(0)
    directions = factorize(layer.rows, 6).directions
    first, second = (measured(layer, directions, seed) for seed in (0, 0))
    assert torch.equal(first.p_values, second.p_values)
    assert first.null.startswith("any 6 of 4000 single activations, of 48 single channels, of 60 factors")
