"""Factorization and the number of concepts: what is found of planted concepts, and how it compares."""

import pytest
import torch
from scipy.optimize import nnls
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF
from torch import Tensor

from xai.concept_count import STABLE, choose_count, match, measure_stability
from xai.method import NotApplicable
from xai.nmf import Factors, draw_directions, factorize, project, run_hals


def planted(
    count: int, rows: int = 600, channels: int = 20, noise: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Activations [N, c] and the directions [k, c] they are made of; each has a channel and some row for itself."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.rand(count, channels, generator=generator) ** 4
    directions[:, :count] = torch.eye(count)
    directions /= directions.norm(dim=1, keepdim=True)
    scores = torch.rand(rows, count, generator=generator) * (torch.rand(rows, count, generator=generator) < 0.3)
    scores[:count] = torch.eye(count)
    activations = scores @ directions
    activations += noise * activations.std() * torch.randn(rows, channels, generator=generator)
    return activations.clamp_min(0), directions


def digits() -> Tensor:
    """What random filters with a ReLU see in handwritten digits, [N, c]: correlated and sparse."""
    images = torch.from_numpy(load_digits().images[:100]).float()[:, None] / 16
    filters = torch.randn(24, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.conv2d(images, filters).relu().permute(0, 2, 3, 1).flatten(0, 2)


def error(activations: Tensor, factors: Factors) -> float:
    return (activations.double() - factors.scores.double() @ factors.directions.double()).square().sum().item()


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_finds_the_concepts_that_a_factorization_was_made_of(count: int, seed: int) -> None:
    activations, directions = planted(count)
    factors = factorize(activations, count, seed, tolerance=1e-6)
    assert error(activations, factors) < 1e-4 * activations.square().sum()
    assert (directions @ factors.directions.T).amax(1).min() > 0.998


@pytest.mark.parametrize("activations", [digits(), planted(4, noise=0.3)[0]], ids=["digits", "planted"])
def test_factors_are_of_their_kind(activations: Tensor) -> None:
    before = activations.clone().requires_grad_()
    factors = factorize(before, 7)
    assert factors.scores.shape == (len(activations), 7)
    assert factors.directions.shape == (7, activations.shape[1])
    assert factors.scores.min() >= 0
    assert factors.directions.min() >= 0
    assert torch.allclose(factors.directions.norm(dim=1), torch.ones(7))
    energies = factors.scores.square().sum(0)
    assert (energies.diff() <= 0).all()
    assert not factors.scores.requires_grad
    assert torch.equal(before, activations)


@pytest.mark.parametrize("activations", [digits(), planted(4, noise=0.3)[0]], ids=["digits", "planted"])
def test_the_error_never_rises(activations: Tensor) -> None:
    directions = draw_directions(activations, 3, 5, torch.Generator().manual_seed(0))
    errors = torch.stack(
        [run_hals(activations, directions, 0, most).errors for most in range(1, 16)]
    )  # [iterations, R]
    assert (errors.diff(dim=0) <= 0).all()
    assert (errors[-1] < 0.8 * errors[0]).all()


def test_the_error_is_that_of_the_factors() -> None:
    activations = digits()
    done = run_hals(activations, draw_directions(activations, 3, 5, torch.Generator().manual_seed(0)), 1e-4, 11)
    actual = (activations - done.scores.mT @ done.directions).square().sum((1, 2))
    assert torch.allclose(done.errors.float(), actual, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Maximum number of iterations")
@pytest.mark.parametrize("count", [2, 5, 10])
def test_is_no_worse_than_scikit_learn(count: int) -> None:
    activations = digits()
    peer = NMF(count, tol=1e-4, max_iter=200).fit(activations.numpy())
    assert max(error(activations, factorize(activations, count, seed)) for seed in range(3)) <= (
        1.005 * peer.reconstruction_err_**2
    )


def test_the_seed_alone_decides() -> None:
    activations = digits()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = factorize(activations, 5, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    other = factorize(activations, 5, seed=3)
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.directions, other.directions)
    assert not torch.equal(one.directions, factorize(activations, 5, seed=4).directions)


def test_order_of_rows_and_unit_of_activations_do_not_matter() -> None:
    activations, _ = planted(4, noise=0.05)
    order = torch.randperm(len(activations), generator=torch.Generator().manual_seed(0))
    plain, other = factorize(activations, 4, tolerance=1e-6), factorize(activations[order] * 1000, 4, tolerance=1e-6)
    assert torch.allclose(plain.directions, other.directions, atol=0.02)
    assert torch.allclose(plain.scores[order] * 1000, other.scores, atol=20)


def test_more_concepts_than_there_are_leaves_none_broken() -> None:
    activations, _ = planted(2)
    factors = factorize(activations, 6)
    assert torch.isfinite(factors.scores).all()
    assert torch.allclose(factors.directions.norm(dim=1), torch.ones(6))
    assert error(activations, factors) < 1e-3 * activations.square().sum()


def test_rows_with_nothing_in_them_change_nothing() -> None:
    activations, directions = planted(3, rows=30)
    sparse = torch.zeros(40_000, activations.shape[1])
    sparse[torch.randperm(40_000, generator=torch.Generator().manual_seed(0))[:30]] = activations
    factors = factorize(sparse, 3)
    assert error(sparse, factors) < 1e-3 * sparse.square().sum()
    assert (directions @ factors.directions.T).amax(1).min() > 0.99


def test_few_rows_and_repeated_rows() -> None:
    activations = torch.eye(3).repeat(2, 1)
    factors = factorize(activations, 3)
    assert torch.allclose(factors.scores @ factors.directions, activations, atol=1e-3)


def test_projection_is_non_negative_least_squares() -> None:
    activations = digits()
    directions = factorize(activations[:2000], 6).directions
    rows = activations[2000:2100]
    exact = torch.stack(
        [torch.from_numpy(nnls(directions.T.double().numpy(), row.double().numpy())[0]) for row in rows]
    )
    scores = project(rows, directions)
    assert torch.allclose(scores, exact.float(), atol=1e-3)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(project(rows[order], directions), scores[order], atol=1e-4)


@pytest.mark.parametrize(
    ("activations", "count", "message"),
    [
        (-torch.eye(4), 2, "negative"),
        (torch.zeros(4, 4), 2, "all zero"),
        (torch.full((4, 4), torch.nan), 2, "NaN"),
        (torch.full((4, 4), torch.inf), 2, "NaN or infinite"),
        (torch.eye(4), 0, "1 to 4"),
        (torch.ones(3, 4), 4, "1 to 3"),
        (torch.ones(2, 3, 4), 1, r"\[N, c\]"),
        (torch.ones(0, 4), 1, r"\[N, c\]"),
    ],
)
def test_refuses_what_has_no_factorization(activations: Tensor, count: int, message: str) -> None:
    with pytest.raises(NotApplicable, match=message) as error:
        factorize(activations, count)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("count", "seed"), [(3, 0), (5, 1), (6, 2)])
def test_planted_concepts_are_stable_and_those_of_noise_are_not(count: int, seed: int) -> None:
    activations, directions = planted(count, rows=400, noise=0.1, seed=seed)
    found = factorize(activations, count, seed).directions
    assert measure_stability(activations[:, None], found, seed).min() > 0.98
    too_many = factorize(activations, count + 2, seed).directions
    stability = measure_stability(activations[:, None], too_many, seed)
    is_planted = (too_many @ directions.T).amax(1) > 0.9
    assert is_planted.sum() == count
    assert stability[~is_planted].max() < min(STABLE, stability[is_planted].min())


def test_a_direction_that_no_image_leads_to_is_unstable() -> None:
    activations, directions = planted(3, rows=400)
    foreign = torch.zeros(1, directions.shape[1])
    foreign[0, -1] = 1
    stability = measure_stability(activations.view(100, 4, -1), torch.cat([directions, foreign]))
    assert stability[:3].min() > STABLE > stability[3]


def test_the_seed_alone_decides_stability() -> None:
    activations, directions = planted(3, noise=0.3)
    state = torch.get_rng_state()
    first, again, other = (measure_stability(activations[:, None], directions, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_tell_nothing_of_stability(images: int) -> None:
    activations, directions = planted(3, rows=6)
    assert measure_stability(activations[: 2 * images].view(images, 2, -1), directions).isnan().all()


@pytest.mark.parametrize("smallest", [*range(1, 16), 40])
def test_the_smallest_count_that_reaches_it_in_few_trials(smallest: int) -> None:
    counts = (*range(1, 11), 12, 15, 20, 25, 30, 40)
    choice = choose_count(counts, lambda count: float(count >= smallest), 1)
    assert (choice.count, choice.reached) == (min(count for count in counts if count >= smallest), True)
    assert len(choice.trials) <= 8
    assert all(trial.fidelity == (trial.count >= smallest) for trial in choice.trials)


def test_the_best_count_where_none_reaches_it() -> None:
    choice = choose_count((2, 3, 4, 5), lambda count: {2: 0.3, 3: 0.6, 5: 0.6}[count], 0.9)
    assert (choice.count, choice.reached) == (3, False)
    assert [trial.count for trial in choice.trials] == [2, 3, 5]


def test_refuses_to_choose_from_no_counts() -> None:
    with pytest.raises(NotApplicable, match="no counts"):
        choose_count((), lambda count: 1.0, 0.9)


def test_matching_undoes_a_permutation() -> None:
    _, directions = planted(6)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    assert torch.equal(order[match(directions, directions[order])], torch.arange(6))


def test_matching_seeks_the_greatest_sum() -> None:
    one, other = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.tensor([[0.6, 0.8], [0.8, 0.6]])
    assert match(one, other).tolist() == [1, 0]  # greedily the second would take the same one: 0.6 and 1
