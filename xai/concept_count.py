"""How many concepts a factorization should have: of the stable counts, the smallest that serves the model well enough.

A count is stable if different rows lead to the same directions, matched one to one and judged by the worst pair; after
Wu et al. 2016 (staNMF, PNAS 113), who compare starts. Property: of activations made of k concepts, k is the largest
stable count.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from xai.method import NotApplicable
from xai.nmf import Factors, check_factorizable, draw_directions, factorize, run_hals, shuffle_rows

STABLE = 0.85  # chosen on planted factorizations, where 0.8 to 0.98 are as good; see tests/benchmarks/factorization.py
SAMPLES = 5  # of the rows, each with a factorization of its own
SAMPLE_ROWS = 8192  # with 2048 of a trained network, every count above a few looks unstable
STARTS_PER_SAMPLE = 2  # a single one ends in a poor local optimum too often
MAX_ITERATIONS = 80
TOLERANCE = 1e-5  # fall of the error, as a fraction, that ends the iterations
FIDELITY_ROWS = 16384  # on which the factors given to `fidelity` are fitted


@dataclass(frozen=True)
class CountTrial:
    """The result for one count of concepts."""

    count: int
    stability: float  # -1..1; stable from STABLE on
    fidelity: float  # NaN if there is no such measure


@dataclass(frozen=True)
class CountChoice:
    """The chosen count, why, and the whole curve.

    The reason is `target_met` (the smallest stable count that meets it), `largest_stable` (no fidelity was given),
    `fidelity_target_missed` (the largest stable count) or `none_stable` (the most stable one).
    """

    count: int
    reason: str
    trials: tuple[CountTrial, ...]  # ascending


def choose_count(
    activations: Tensor,
    counts: Sequence[int],
    fidelity: Callable[[Factors], float] | None = None,
    target: float = 0.9,
    seed: int = 0,
) -> CountChoice:
    """One of the counts for activations [N, c]; `fidelity` says how much of the model factors keep, more is better.

    The factors that it receives have scores for a sample of rows; `project` gives those of held-out rows.
    """
    counts = sorted(set(counts))
    if not counts:
        raise NotApplicable("no counts to choose from; give some, like range(2, 21)")
    check_factorizable(activations, counts[0])
    check_factorizable(activations, counts[-1])
    sample = _draw_rows(activations, FIDELITY_ROWS, torch.Generator().manual_seed(seed))
    trials = []
    for count in counts:
        kept = math.nan if fidelity is None else float(fidelity(factorize(sample, count, seed)))
        trials.append(CountTrial(count, stability(activations, count, seed), kept))

    stable = [trial for trial in trials if trial.stability >= STABLE]
    if not stable:
        most_stable = max(trials, key=lambda trial: trial.stability)
        return CountChoice(most_stable.count, "none_stable", tuple(trials))
    if fidelity is None or math.isnan(target):
        return CountChoice(stable[-1].count, "largest_stable", tuple(trials))
    for trial in stable:
        if trial.fidelity >= target:
            return CountChoice(trial.count, "target_met", tuple(trials))
    return CountChoice(stable[-1].count, "fidelity_target_missed", tuple(trials))


def stability(activations: Tensor, count: int, seed: int = 0) -> float:
    """How reliably the same concepts come back: the worst matched cosine of two samples, averaged over all pairs.

    `seed` draws the samples' rows and their starts.
    """
    generator = torch.Generator().manual_seed(seed)
    size = max(count, min(SAMPLE_ROWS, len(activations) // 2))
    samples = []
    for _ in range(SAMPLES):
        rows = _draw_rows(activations, size, generator)
        starts = draw_directions(rows, STARTS_PER_SAMPLE, count, generator)
        fits = run_hals(rows, starts, TOLERANCE, MAX_ITERATIONS)
        samples.append(fits.directions[fits.errors.argmin()])
    return mean(matched_cosines(first, second).min().item() for first, second in combinations(samples, 2))


def matched_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of each direction of [k, c] with its partner in the second [k, c], matched for the greatest sum: [k]."""
    cosines = (first @ second.T).cpu()
    return cosines[linear_sum_assignment(cosines.numpy(), maximize=True)]


def _draw_rows(activations: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return activations.detach()[shuffle_rows(activations, generator)[:count]].float()
