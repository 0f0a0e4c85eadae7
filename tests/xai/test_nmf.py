"""Factorization and the number of concepts: what is found of planted concepts, and how it compares."""

import math

import pytest
import torch
from scipy.optimize import nnls
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF
from torch import Tensor

from xai.concept_count import choose_count, matched_cosines, stability
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
def test_chooses_the_planted_count(count: int, seed: int) -> None:
    activations, _ = planted(count, rows=400, noise=0.1, seed=seed)
    choice = choose_count(activations, [count + 2, count + 1, count, count - 1, count])
    assert (choice.count, choice.reason) == (count, "largest_stable")
    assert [trial.count for trial in choice.trials] == [count - 1, count, count + 1, count + 2]
    assert all(math.isnan(trial.fidelity) for trial in choice.trials)
    assert choice.trials[1].stability > 0.95


def test_the_seed_alone_decides_stability() -> None:
    activations, _ = planted(3, noise=0.3)
    state = torch.get_rng_state()
    assert stability(activations, 4, seed=1) == stability(activations, 4, seed=1) != stability(activations, 4, seed=2)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("target", "stable", "expected"),
    [
        (0.35, (3, 4, 5), (4, "target_met")),
        (0.2, (3, 4, 5), (3, "target_met")),
        (0.9, (3, 4), (4, "fidelity_target_missed")),
        (0.45, (3, 4), (4, "fidelity_target_missed")),  # 5 would meet it, but is not stable
        (0.35, (), (5, "none_stable")),
    ],
)
def test_the_smallest_stable_count_that_meets_the_target(
    monkeypatch: pytest.MonkeyPatch, target: float, stable: tuple[int, ...], expected: tuple[int, str]
) -> None:
    stabilities = {count: 0.9 if count in stable else count / 10 for count in (3, 4, 5)}
    monkeypatch.setattr("xai.concept_count.stability", lambda activations, count, seed: stabilities[count])
    choice = choose_count(digits(), (3, 4, 5), lambda factors: len(factors.directions) / 10, target)
    assert (choice.count, choice.reason) == expected
    assert [trial.fidelity for trial in choice.trials] == [0.3, 0.4, 0.5]


@pytest.mark.parametrize(("counts", "message"), [((), "no counts"), ((0, 2), "not 0"), ((2, 30), "not 30")])
def test_refuses_counts_that_cannot_be(counts: tuple[int, ...], message: str) -> None:
    with pytest.raises(NotApplicable, match=message):
        choose_count(digits(), counts)


def test_matching_undoes_a_permutation() -> None:
    _, directions = planted(6)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    assert torch.allclose(matched_cosines(directions, directions[order]), torch.ones(6))
    changed = directions.clone()
    changed[2] = torch.eye(20)[19]
    cosines = matched_cosines(directions, changed[order])
    assert cosines[2] == pytest.approx(float(directions[2, 19]))
    assert torch.allclose(cosines[[0, 1, 3, 4, 5]], torch.ones(5))


def test_matching_seeks_the_greatest_sum() -> None:
    one, other = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    assert torch.allclose(matched_cosines(one, other), torch.tensor([0.8, 0.96]))  # greedy: 0.6 and 1
