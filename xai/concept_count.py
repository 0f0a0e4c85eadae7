"""How many concepts a factorization should have: as few as serve the model well enough, of the counts that are stable.

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
PARTS = 5  # samples of rows, each with a factorization of its own
PART_ROWS = 8192  # 2048 of a trained network make every count above a few look unstable
STARTS = 2  # of each part's factorization; a single one ends in a poor local optimum too often
MOST, TOLERANCE = 80, 1e-5  # its iterations, and the fall of the error that ends them
ROWS = 16384  # on which the factors given to `fidelity` are fit


@dataclass(frozen=True)
class CountTrial:
    """What came of one count of concepts."""

    count: int
    stability: float  # -1..1; STABLE and more is stable
    fidelity: float  # NaN if there is no such measure


@dataclass(frozen=True)
class CountChoice:
    """The chosen count, why, and the whole curve.

    The reason is `target_met` (the smallest stable count that does), `largest_stable` (no fidelity was given),
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
    """One of the counts for activations [N, c]; `fidelity` tells how much of the model factors keep, more is better.

    The factors it is given have the scores of a sample of rows; `project` makes those of held-out ones.
    """
    counts = sorted(set(counts))
    if not counts:
        raise NotApplicable("no counts to choose from; give some, like range(2, 21)")
    check_factorizable(activations, counts[0])
    check_factorizable(activations, counts[-1])
    sample = _rows(activations, ROWS, torch.Generator().manual_seed(seed))
    trials = []
    for count in counts:
        kept = math.nan if fidelity is None else float(fidelity(factorize(sample, count, seed)))
        trials.append(CountTrial(count, stability(activations, count, seed), kept))
    return _choice(tuple(trials), math.nan if fidelity is None else target)


def stability(activations: Tensor, count: int, seed: int = 0) -> float:
    """How surely the same concepts come back: of each two parts the worst matched cosine, averaged over all pairs.

    `seed` draws the parts' rows and their starts.
    """
    generator = torch.Generator().manual_seed(seed)
    size = max(count, min(PART_ROWS, len(activations) // 2))
    parts = [_directions(_rows(activations, size, generator), count, generator) for _ in range(PARTS)]
    return mean(matched_cosines(one, other).min().item() for one, other in combinations(parts, 2))


def matched_cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each direction of a [k, c] with its partner in b [k, c], matched for the greatest sum: [k]."""
    cosines = (a @ b.T).cpu()
    return cosines[linear_sum_assignment(cosines.numpy(), maximize=True)]


def _rows(activations: Tensor, most: int, generator: torch.Generator) -> Tensor:
    return activations.detach()[shuffle_rows(activations, generator)[:most]].float()


def _directions(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    done = run_hals(rows, draw_directions(rows, STARTS, count, generator), TOLERANCE, MOST)
    return done.directions[done.errors.argmin()]


def _choice(trials: tuple[CountTrial, ...], target: float) -> CountChoice:
    stable = [trial for trial in trials if trial.stability >= STABLE]
    if not stable:
        return CountChoice(max(trials, key=lambda trial: trial.stability).count, "none_stable", trials)
    if math.isnan(target):
        return CountChoice(stable[-1].count, "largest_stable", trials)
    for trial in stable:
        if trial.fidelity >= target:
            return CountChoice(trial.count, "target_met", trials)
    return CountChoice(stable[-1].count, "fidelity_target_missed", trials)
