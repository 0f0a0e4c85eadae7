"""What is mathematically true of the measures of maps, beside naive loops of their definitions."""

import contextlib
import copy
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor, nn

from support import networks
from support.networks import images
from xai import METHODS, REFERENCES, MethodInputs, NotApplicable
from xai.faithfulness.curves import insertion_and_deletion
from xai.faithfulness.filters import blur
from xai.faithfulness.measures import measure
from xai.faithfulness.randomization import Stage, cascade_stages, randomization_similarity, randomized
from xai.faithfulness.ranking import rank_pixels, ranks_in_order
from xai.faithfulness.regions import find_object, fraction_on_mask
from xai.faithfulness.road import NOISE_DEVIATION, classify_imputed, impute, impute_with_noise
from xai.faithfulness.similarity import spearman
from xai.gradient import frozen
from xai.method import MAX_PASS_SIZE

NAMES = {
    "insertion", "deletion", "road_gap", "share_object",
    *(f"road_{order}_{share}" for order in ("morf", "lerf") for share in (10, 30, 50, 70)),
}  # fmt: skip


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def awkward(seed: int = 0) -> nn.Module:
    """The awkward network, confident enough to differ."""
    model = networks.awkward(seed)
    model[6].weight.data *= 5
    return model


def maps(count: int = 5) -> Tensor:
    """Signed, with ties."""
    return torch.randint(-3, 4, (count, 6, 5), generator=random(2)).float()


class Sum(nn.Module):
    """Two classes, of which the first has as probability the mean of the image's weighted pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)  # [H, W], not negative, with sum 1

    def forward(self, images: Tensor) -> Tensor:
        first = (images.mean(1) * self.weights).sum((1, 2)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([first, 1 - first], 1).log()


class Watching(nn.Module):
    """Class 1 if one pixel is bright, else class 0."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column

    def forward(self, images: Tensor) -> Tensor:
        bright = images[:, :, self.row, self.column].mean(1)
        return torch.stack([1 - bright, bright], 1)


def test_random_reference_is_uniform_and_of_the_instance_alone() -> None:
    inputs = torch.rand(40, 1, 8, 8, generator=random())
    given, targets = MethodInputs(torch.arange(100, 140)), torch.zeros(40, dtype=torch.long)
    model = Sum(torch.full((8, 8), 1 / 64))
    found = REFERENCES["random"].attribute(model, inputs, targets, given).maps
    assert stats.kstest(found.flatten().numpy(), "uniform").pvalue > 0.01
    assert len(found.flatten(1).unique(dim=0)) == 40
    alone = REFERENCES["random"].attribute(model, inputs[7:8], targets[:1], MethodInputs(torch.tensor([107])))
    assert torch.equal(alone.maps[0], found[7])
    assert torch.equal(alone.scores, model(inputs[7:8])[:, 0])
    other = REFERENCES["random"].attribute(model, inputs, targets, MethodInputs(torch.arange(100, 140), seed=1)).maps
    assert not torch.equal(other, found)


def test_edge_reference_is_scipys_sobel_magnitude() -> None:
    inputs, targets = images()
    found = REFERENCES["edge"].attribute(awkward(), inputs, targets, MethodInputs()).maps
    grey = inputs.mean(1).numpy()
    expected = np.stack([np.hypot(*(ndimage.sobel(one, axis, mode="mirror") for axis in (0, 1))) for one in grey])
    assert np.allclose(found, expected, atol=1e-5)


def test_edges_of_a_ramp_and_of_a_single_pixel() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 4, 5)
    found = (
        REFERENCES["edge"]
        .attribute(Sum(torch.full((4, 5), 1 / 20)), ramp / 8, torch.tensor([0]), MethodInputs())
        .maps[0]
    )
    assert torch.allclose(found[:, 1:-1], torch.ones(4, 3), atol=1e-6)  # 8 x slope
    assert found[:, [0, -1]].abs().amax() < 1e-6  # reflected, so even across the edge
    one = (
        REFERENCES["edge"]
        .attribute(Sum(torch.ones(1, 1)), torch.rand(1, 3, 1, 1), torch.tensor([0]), MethodInputs())
        .maps
    )
    assert (one == 0).all()


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (33, 20), (7, 64)])
def test_blur_is_scipys_gaussian(size: tuple[int, int]) -> None:
    inputs = torch.rand(2, 3, *size, generator=random())
    deviation = max(size) / 8
    expected = ndimage.gaussian_filter(inputs.double().numpy(), (0, 0, deviation, deviation), mode="mirror")
    assert np.allclose(blur(inputs), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (224, 7)])
def test_a_blurred_constant_stays(size: tuple[int, int]) -> None:
    assert torch.allclose(blur(torch.full((1, 3, *size), 0.3)), torch.tensor(0.3), atol=1e-6)


def test_ranking_goes_down_in_signed_value_and_shuffles_ties() -> None:
    given = MethodInputs(torch.arange(5))
    order = rank_pixels(maps(), given)
    values = maps().flatten(1).gather(1, order)
    assert (values.diff(dim=1) <= 0).all()
    assert torch.equal(order.sort(1).values, torch.arange(30).expand(5, -1))
    assert torch.equal(ranks_in_order(order).gather(1, order), torch.arange(30).expand(5, -1))
    assert torch.equal(rank_pixels(maps(), given), order)
    assert torch.equal(rank_pixels(maps()[3:4], MethodInputs(torch.tensor([3])))[0], order[3])
    assert not torch.equal(rank_pixels(maps(), MethodInputs(torch.arange(5), seed=1)), order)


def test_ties_are_in_no_order_of_place() -> None:
    order = rank_pixels(torch.zeros(400, 4, 4), MethodInputs(torch.arange(400)))
    assert stats.chisquare(order[:, 0].bincount(minlength=16)).pvalue > 0.001
    assert stats.chisquare(order[:, -1].bincount(minlength=16)).pvalue > 0.001


def naive_curve(model: nn.Module, start: np.ndarray, end: np.ndarray, target: int, order: list[int], steps: int):
    """Area under the probability while pixels of `end` [C, H, W] replace those of `start`, one after the other."""
    shares, found, current = [], [], start.copy()
    for step in range(steps + 1):
        count = step * len(order) // steps
        for pixel in order[:count]:
            row, column = divmod(pixel, start.shape[2])
            current[:, row, column] = end[:, row, column]
        with torch.no_grad():
            logits = model(torch.from_numpy(current[None]).float())[0].double().numpy()
        found.append(np.exp(logits[target]) / np.exp(logits).sum())
        shares.append(count / len(order))
    return sum((shares[i + 1] - shares[i]) * (found[i] + found[i + 1]) / 2 for i in range(steps))


@pytest.mark.parametrize("steps", [1, 7, 30, 64])
def test_insertion_and_deletion_are_the_naive_loops(steps: int) -> None:
    model, (inputs, targets), order = awkward().eval(), images(), rank_pixels(maps())
    insertion, deletion = insertion_and_deletion(model, inputs, targets, order, steps)
    for row, image in enumerate(inputs.numpy()):
        blur = ndimage.gaussian_filter(image, (0, 6 / 8, 6 / 8), mode="mirror")
        given = int(targets[row]), order[row].tolist(), min(steps, 30)
        assert insertion[row].item() == pytest.approx(naive_curve(model, blur, image, *given), abs=1e-5)
        assert deletion[row].item() == pytest.approx(naive_curve(model, image, blur, *given), abs=1e-5)


def test_no_order_has_a_higher_insertion_or_lower_deletion_than_the_true_one() -> None:
    weights, image = torch.tensor([[0.1, 0.4], [0.3, 0.2]]), torch.tensor([[[[0.9, 0.2], [0.8, 0.4]]]])
    true = rank_pixels((image - blur(image)).squeeze(1) * weights)
    orders = torch.tensor(list(permutations(range(4))))  # [24, 4]
    given = image.expand(24, -1, -1, -1), torch.zeros(24, dtype=torch.long)
    insertion, deletion = insertion_and_deletion(Sum(weights), *given, orders)
    best, least = insertion_and_deletion(Sum(weights), image, torch.tensor([0]), true)
    assert best[0] == pytest.approx(insertion.max().item(), abs=1e-6)
    assert least[0] == pytest.approx(deletion.min().item(), abs=1e-6)
    assert orders[insertion.argmax()].tolist() == true[0].tolist()


def test_deletion_is_insertion_backwards() -> None:
    model, (inputs, targets), order = awkward(), images(), rank_pixels(maps())
    _, deletion = insertion_and_deletion(model, inputs, targets, order, 30)
    backwards, _ = insertion_and_deletion(model, inputs, targets, order.flip(1), 30)
    assert torch.allclose(deletion, backwards, atol=1e-6)


def test_areas_of_a_model_that_sees_nothing_and_of_a_single_pixel() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 4))
    model[1].weight.data.zero_()
    inputs, targets = images()
    expected = model[1].bias.softmax(0)[targets]
    for found in insertion_and_deletion(model, inputs, targets, rank_pixels(maps())):
        assert torch.allclose(found, expected, atol=1e-6)
    one = torch.tensor([[[[0.7]]]])
    for found in insertion_and_deletion(
        Sum(torch.ones(1, 1)), one, torch.tensor([0]), rank_pixels(torch.ones(1, 1, 1))
    ):
        assert found.item() == pytest.approx(0.7, abs=1e-6)


def naive_imputation(image: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The equations of Rong et al. one by one, solved densely."""
    height, width = gone.shape
    matrix, right = np.eye(height * width), image.reshape(len(image), -1).T.copy()
    for row, column in zip(*np.nonzero(gone), strict=True):
        here, total = row * width + column, 0
        right[here] = 0
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                inside = 0 <= row + down < height and 0 <= column + across < width
                if inside and (down or across):
                    weight = 1 / 6 if down == 0 or across == 0 else 1 / 12
                    matrix[here, here + down * width + across] = -weight
                    total += weight
        matrix[here, here] = total
    return np.linalg.solve(matrix, right).T.reshape(image.shape)


def test_imputation_solves_the_equations() -> None:
    inputs = torch.rand(3, 2, 9, 6, generator=random())
    removed = torch.rand(3, 5, 9, 6, generator=random(1)) < torch.tensor([0.0, 0.1, 0.5, 0.9, 0.98])[:, None, None]
    removed[..., 4, 2] = False
    removed[0, 3, :5, :] = True  # a hole as wide as the image
    found = impute(inputs, removed)
    for row in range(3):
        for column in range(5):
            expected = naive_imputation(inputs[row].double().numpy(), removed[row, column].numpy())
            assert np.allclose(found[row, column], expected, atol=1e-4)
    assert torch.equal(found.where(~removed[:, :, None], 0), inputs[:, None].where(~removed[:, :, None], 0))
    alone = impute(inputs[1:2], removed[1:2, 2:3])
    assert torch.allclose(alone[0, 0], found[1, 2], atol=1e-6)


def test_imputation_of_what_is_even_or_even_in_slope() -> None:
    removed = torch.zeros(1, 1, 7, 8, dtype=torch.bool)
    removed[..., 1:6, 2:7] = True
    assert torch.allclose(impute(torch.full((1, 3, 7, 8), 0.4), removed), torch.tensor(0.4), atol=1e-6)
    ramp = torch.arange(8).expand(1, 1, 7, 8) / 8
    assert torch.allclose(impute(ramp, removed)[0], ramp, atol=1e-5)
    one = torch.zeros(1, 1, 3, 3)
    one[..., 0, 1] = 1
    centre = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    centre[..., 1, 1] = True
    assert impute(one, centre)[0, 0, 0, 1, 1].item() == pytest.approx(1 / 6, abs=1e-6)


def test_road_finds_the_pixel_that_decides() -> None:
    inputs = torch.full((3, 1, 5, 4), 0.2)
    inputs[..., 3, 1] = 0.9
    order = rank_pixels(inputs.squeeze(1))
    most, least = classify_imputed(Watching(3, 1), inputs, torch.tensor([1, 1, 0]), order)
    assert most.dtype == torch.bool
    assert most.tolist() == [[False] * 4, [False] * 4, [True] * 4]
    assert least.tolist() == [[True] * 4, [True] * 4, [False] * 4]
    assert classify_imputed(Watching(3, 1), inputs, torch.tensor([1, 1, 0]), order, fractions=(0.0,))[0].tolist() == [
        [1],
        [1],
        [0],
    ]


def test_road_is_the_naive_loop_but_for_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(classify_imputed.__globals__, "NOISE_DEVIATION", 0.0)
    model, (inputs, _), order = awkward().eval(), images(40), rank_pixels(maps(40))
    targets = model(inputs).argmax(1)
    found = torch.stack(classify_imputed(model, inputs, targets, order), 2)  # [N, 4, 2]
    for row, image in enumerate(inputs.double().numpy()):
        for column, count in enumerate((3, 9, 15, 21)):
            for side, pixels in enumerate((order[row, :count], order[row, -count:])):
                gone = np.zeros(30, dtype=bool)
                gone[pixels.numpy()] = True
                replaced = torch.from_numpy(naive_imputation(image, gone.reshape(6, 5))).float()
                assert found[row, column, side] == (model(replaced[None]).argmax() == targets[row])
    assert 0.1 < found.float().mean() < 0.9  # both happen, or nothing was compared


def test_road_of_a_single_pixel_leaves_it() -> None:
    inputs = torch.tensor([0.1, 0.9]).view(2, 1, 1, 1)
    most, least = classify_imputed(Watching(0, 0), inputs, torch.tensor([0, 1]), torch.zeros(2, 1, dtype=torch.long))
    assert most.all()
    assert least.all()


def test_noise_is_the_instances_own_and_on_imputed_pixels_only() -> None:
    removed = torch.zeros(3, 2, 30, 30, dtype=torch.bool)
    removed[..., 5:, :] = True

    def noise(*seeds: int) -> Tensor:
        inputs = torch.full((len(seeds), 3, 30, 30), 0.4)
        return impute_with_noise(inputs, removed[: len(seeds)], [random(seed) for seed in seeds]) - 0.4

    found = noise(0, 1, 2)  # [3, 2, 3, 30, 30]
    assert found[..., :5, :].abs().amax() < 1e-6
    assert torch.allclose(
        found[..., 5:, :].flatten(3).std(3), torch.tensor(NOISE_DEVIATION), rtol=0.1
    )  # every channel by itself
    assert np.abs(np.corrcoef(found[..., 5:, :].flatten(3).flatten(0, 2)) - np.eye(18)).max() < 0.2
    assert torch.allclose(noise(1)[0], found[1], atol=1e-6)


class Awkward(nn.Module):
    """Layers named against the order they are done in, one used twice, one shared, one never, and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(4, 3)
        self.twice = nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.first = nn.Conv2d(2, 2, 3, padding=1)
        self.shared = nn.Conv2d(2, 2, 1)
        self.shared.weight = self.twice.weight
        self.plain = nn.BatchNorm2d(2, affine=False)
        self.never = nn.Linear(2, 2)
        self.register_buffer("mean", torch.rand(2, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        found = self.norm(self.twice(self.first(images - self.mean))).relu()
        found = self.shared(self.twice(self.plain(found)).relu())
        return self.output(nn.functional.adaptive_avg_pool2d(found, (2, 1)).flatten(1))


def used(seed: int, factory: Callable[[], nn.Module] = Awkward) -> nn.Module:
    torch.manual_seed(seed)
    model = factory()
    model(torch.rand(64, 2, 6, 5))
    return model


def test_stages_go_from_the_output_down_in_the_order_layers_are_done() -> None:
    found = cascade_stages(used(0), images()[0])
    assert [stage.name for stage in found] == ["output", "shared", "twice", "first"]
    assert found[0].modules == ("output",)
    assert found[1].modules == ("shared", "output")
    # the last use of a layer counts; the normalisations come with the layers before them
    assert found[2].modules == ("twice", "shared", "output")
    assert found[3].modules == ("first", "norm", "plain", "never", "twice", "shared", "output")


def test_stages_are_spread_evenly_and_few_layers_give_few() -> None:
    deep = nn.Sequential(*(nn.Conv2d(2, 2, 1) for _ in range(10)), nn.Flatten(), nn.Linear(60, 2))
    assert [len(stage.modules) for stage in cascade_stages(deep, images()[0])] == [1, 4, 8, 11]
    assert [stage.name for stage in cascade_stages(awkward(), images()[0])] == ["6", "0"]
    assert cascade_stages(nn.Linear(5, 2), images()[0]) == (Stage("Linear", ("",)),)
    with pytest.raises(NotApplicable, match="no parameters"):
        cascade_stages(Watching(0, 0), images()[0])


def test_attention_is_randomized_with_its_projection() -> None:
    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.attention, self.output = nn.Linear(2, 4), nn.MultiheadAttention(4, 2), nn.Linear(4, 3)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.embed(images.flatten(2).permute(2, 0, 1))  # [P, N, 4]
            return self.output(self.attention(tokens, tokens, tokens)[0].mean(0))

    found = cascade_stages(Attentive(), images()[0])
    assert found[1].modules == ("attention", "attention.out_proj", "output")


def state(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    return [name for name in first if torch.equal(first[name], second[name])]


@pytest.mark.parametrize("factory", [Awkward, awkward, lambda: nn.Sequential(nn.Flatten(), nn.Linear(60, 3))])
def test_randomized_weights_are_fresh_inside_and_exactly_restored(factory: Callable[[], nn.Module]) -> None:
    model, fresh = used(0, factory).train(), used(1, factory)
    before, other = state(model), state(fresh)
    for stage in cascade_stages(model, images()[0]):
        touched = {name for name in before if name.rpartition(".")[0] in stage.modules}
        with contextlib.suppress(KeyError), randomized(model, fresh, stage) as inside:
            assert inside is model
            assert touched <= {*same(state(model), other)}
            raise KeyError("an explanation that fails")
        assert same(state(model), before) == [*before]
        assert same(state(fresh), other) == [*other]
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_everything_randomized_is_the_fresh_model_behind_the_same_normalisation() -> None:
    model, fresh = used(0), used(1)
    fresh.mean.copy_(model.mean)
    inputs, _ = images()
    *_, everything = cascade_stages(model, inputs)
    with randomized(model, fresh, everything), frozen(model):
        inside = model(inputs)
    assert torch.equal(inside, fresh.eval()(inputs))
    assert not torch.allclose(inside, model.eval()(inputs))


def test_refuses_another_architecture() -> None:
    with pytest.raises(NotApplicable, match="no layer '6' of this shape"):
        randomized(awkward(), nn.Sequential(nn.Linear(2, 2)), Stage("6", ("6",))).__enter__()


def test_what_ignores_the_model_survives_randomization_and_what_does_not_is_seen() -> None:
    model, fresh, (inputs, targets) = awkward(0), awkward(1), images()
    found = cascade_stages(model, inputs)

    def of(method) -> dict[str, Tensor]:
        def explain(one: nn.Module) -> Tensor:
            return method.attribute(one, inputs, targets, MethodInputs()).maps

        return randomization_similarity(model, fresh, found, explain, explain(model))

    edge, occlusion = of(REFERENCES["edge"]), of(METHODS["occlusion"])
    assert {*edge} == {f"{kind}/{name}" for kind in ("randomized", "randomized_signed") for name in ("6", "0")}
    assert all(torch.allclose(values, torch.ones(5)) for values in edge.values())
    assert all((values < 0.9).all() for values in occlusion.values())


def test_signed_similarity_sees_a_change_of_sign_that_the_other_does_not() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3, bias=False))
    fresh = copy.deepcopy(model)
    fresh[1].weight.data.neg_()
    inputs, targets = images()

    def explain(one: nn.Module) -> Tensor:
        return METHODS["integrated_gradients"].attribute(one, inputs, targets % 3, MethodInputs()).maps

    found = randomization_similarity(model, fresh, cascade_stages(model, inputs), explain, explain(model))
    assert (found["randomized/1"] > 0.99).all()
    assert (found["randomized_signed/1"] < -0.99).all()


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_spearman_is_scipys(levels: int) -> None:
    first, second = (torch.randint(levels, (20, 97), generator=random(seed)).float() for seed in (0, 1))
    expected = [stats.spearmanr(*pair).statistic for pair in zip(first.numpy(), second.numpy(), strict=True)]
    assert np.allclose(spearman(first, second), expected, atol=1e-6)
    assert torch.allclose(spearman(first, first), torch.ones(20))
    assert torch.allclose(spearman(first, -first.square()), -torch.ones(20))


def test_spearman_of_a_constant_is_nan() -> None:
    values = torch.stack([torch.arange(7.0), torch.full((7,), 0.1)])
    assert spearman(values, values.flip(0)).isnan().all()
    assert spearman(values, values).isnan().tolist() == [False, True]
    assert spearman(torch.tensor([[0.0, 1.0]]), torch.tensor([[-0.0, 0.0]])).isnan().all()
    assert spearman(torch.ones(1, 1), torch.ones(1, 1)).isnan().all()


def disc(side: int, row: float, column: float, radius: float) -> Tensor:
    places = torch.arange(side)
    return (places[:, None] - row) ** 2 + (places - column) ** 2 <= radius**2


def on_ground(mask: Tensor, colour: tuple[float, ...]) -> Tensor:
    """That colour on a grey ground, both a little noisy."""
    colours = torch.tensor(colour)[:, None, None]
    ground = torch.full((len(colour), 1, 1), 0.5)
    return torch.where(mask, colours, ground) + 0.03 * torch.randn(len(colour), *mask.shape, generator=random())


@pytest.mark.parametrize("mask", [disc(32, 15, 12, 8), disc(32, 30, 16, 9), disc(64, 20, 40, 15)])
@pytest.mark.parametrize("colour", [(0.9, 0.4, 0.5), (0.1, 0.1, 0.1), (0.8,)])
def test_an_object_of_another_colour_is_found_also_at_an_edge(mask: Tensor, colour: tuple[float, ...]) -> None:
    found = find_object(on_ground(mask, colour)[None])[0]
    assert (found & mask).sum() / (found | mask).sum() > 0.75


def test_holes_of_an_object_belong_to_it() -> None:
    whole, hole = disc(32, 15, 15, 11), disc(32, 15, 15, 4)
    found = find_object(on_ground(whole & ~hole, (0.9, 0.2, 0.5))[None])[0]
    assert found[hole].all()


def test_where_nothing_stands_out_there_is_no_region() -> None:
    even, noise = torch.full((2, 3, 32, 32), 0.3), torch.rand(2, 3, 32, 32, generator=random())
    assert not find_object(even).any()
    assert not find_object(noise).any()
    assert not find_object(torch.rand(2, 3, 1, 1)).any()
    assert not find_object(even + 0.01 * (noise - 0.5)).any()


def test_regions_do_not_depend_on_their_batch() -> None:
    batch = torch.stack([on_ground(disc(32, 15, 8 + step, 6), (0.9, 0.2, 0.5)) for step in range(4)])
    assert torch.equal(find_object(batch)[2:3], find_object(batch[2:3]))


def test_share_on_a_mask() -> None:
    mask = torch.zeros(4, 2, 5, dtype=torch.bool)
    mask[0, 0, :3] = True
    mask[1] = True
    mask[3, 1, 1] = True
    values = torch.ones(4, 2, 5)
    values[0, 0] = -1  # absolute values count
    values[3] = 0
    share = fraction_on_mask(values, mask)
    assert share[0] == pytest.approx(0.3)
    assert share[1:].isnan().all()  # everything, nothing, and a map of zero


def test_measures_have_their_names_and_ranges() -> None:
    inputs = torch.stack([on_ground(disc(8, 4, 3, 2), (0.9, 0.1)) for _ in range(3)])
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 3))
    found = measure(model, inputs, torch.arange(3), inputs.mean(1))
    assert {*found} == NAMES
    assert all(values.shape == (3,) and values.dtype == torch.float32 for values in found.values())
    assert all(((values >= 0) & (values <= 1)).all() for name, values in found.items() if name != "road_gap")
    lerf, morf = (sum(found[f"road_{order}_{share}"] for share in (10, 30, 50, 70)) / 4 for order in ("lerf", "morf"))
    assert torch.allclose(found["road_gap"], lerf - morf)


def test_the_true_map_has_the_largest_gap_and_its_opposite_the_smallest() -> None:
    inputs = torch.full((1, 1, 8, 8), 0.2)
    inputs[..., 3, 1] = 0.9
    true = inputs.squeeze(1)
    for values, gap in ((true, 1), (-true, -1)):
        assert measure(Watching(3, 1), inputs, torch.tensor([1]), values)["road_gap"].tolist() == [gap]


def test_noise_follows_the_instance_and_not_its_place_in_the_batch() -> None:
    inputs, targets = torch.full((60, 1, 4, 4), 0.5), torch.ones(60, dtype=torch.long)
    order = torch.arange(16).expand(60, -1)  # imputes pixel 0, of which nothing but the noise decides
    most, _ = classify_imputed(Watching(0, 0), inputs, targets, order, MethodInputs(torch.arange(60)))
    assert 0.3 < most.float().mean() < 0.7
    back, _ = classify_imputed(Watching(0, 0), inputs, targets, order, MethodInputs(torch.arange(60).flip(0)))
    assert torch.equal(back.flip(0), most)
    values = torch.linspace(1, 0, 16).view(4, 4).expand(60, -1, -1)
    found = measure(Watching(0, 0), inputs, targets, values, MethodInputs(torch.arange(60).flip(0)))
    assert torch.equal(found["road_morf_50"], back[:, 2].float())


def test_measures_do_not_depend_on_their_batch() -> None:
    model, (inputs, _), given = awkward(), images(40), MethodInputs(torch.arange(40))
    targets = model.eval()(inputs).argmax(1)
    found = measure(model, inputs, targets, maps(40), given)
    rows = [3, 38]
    alone = measure(model, inputs[rows], targets[rows], maps(40)[rows], MethodInputs(torch.tensor(rows)))
    for name, values in found.items():
        assert torch.allclose(alone[name], values[rows], atol=1e-5, equal_nan=True), name


def test_measures_leave_no_trace_and_are_the_same_again() -> None:
    model, (inputs, targets), values = awkward().train(), images(), maps()
    model[5].eval()
    model[6].weight.requires_grad_(False)
    before, modes, kept = (
        state(model),
        [module.training for module in model.modules()],
        (inputs.clone(), values.clone()),
    )
    randomness = torch.get_rng_state(), np.random.get_state()[1].tolist()
    found = measure(model, inputs, targets, values)
    again = measure(model, inputs, targets, values)
    assert all(torch.equal(found[name].nan_to_num(-1), again[name].nan_to_num(-1)) for name in NAMES)
    assert same(state(model), before) == [*before]
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == [True] * 4 + [False, True]
    assert torch.equal(inputs, kept[0])
    assert torch.equal(values, kept[1])
    assert torch.equal(torch.get_rng_state(), randomness[0])
    assert np.random.get_state()[1].tolist() == randomness[1]
    assert not any(values.requires_grad or values.is_inference() for values in found.values())


def test_no_pass_is_larger_than_allowed() -> None:
    sizes = []
    model = awkward()
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    measure(model, *images(40), maps(40))
    assert max(sizes) <= MAX_PASS_SIZE
    assert sum(sizes) == 40 * (2 * 30 + 8)
