"""How many concepts a factorization needs, and which of its concepts come back from other images.

The count is the smallest whose concepts keep enough of what the model does, as users of a factorization must be able to
trust it. Stability is a property of single concepts: of a real network, some come back at every count and others at
none, so no count is stable as a whole. It is measured on disjoint halves of the images, after the split-half
replication of factor analysis. Property: of activations made of k concepts, those k are stable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from xai.method import NotApplicable
from xai.nmf import draw_directions, run_hals, shuffle_rows

STABLE = 0.9  # chosen on planted factorizations; see tests/benchmarks/factorization.py
SPLITS = 5  # of the images into halves, each factorized on its own
HALF_ROWS = 8192  # of a half; with 2048 of a trained network, more than a few concepts look unstable
STARTS_PER_HALF = 2  # a single one ends in a poor local optimum too often
MAX_ITERATIONS = 80
TOLERANCE = 1e-5  # fall of the error, as a fraction, that ends the iterations


@dataclass(frozen=True)
class CountTrial:
    """The result for one count of concepts."""

    count: int
    fidelity: float


@dataclass(frozen=True)
class CountChoice:
    """The chosen count, whether it reaches the required fidelity, and all that were tried."""

    count: int
    reached: bool  # if not, it is the one with the highest fidelity
    trials: tuple[CountTrial, ...]  # ascending


def choose_count(counts: Sequence[int], fidelity: Callable[[int], float], required: float) -> CountChoice:
    """The smallest of the counts whose fidelity is at least the required one, else the one of highest fidelity.

    Fidelity rises with the count but for chance, so only few counts are tried: further and further apart until one
    reaches it, then by bisection.
    """
    counts = sorted(set(counts))
    if not counts:
        raise NotApplicable("no counts to choose from; give some, like range(2, 21)")
    measured: dict[int, float] = {}

    def reaches(position: int) -> bool:
        measured[counts[position]] = fidelity(counts[position])
        return measured[counts[position]] >= required

    below, position, last = -1, 0, len(counts) - 1
    while not (reached := reaches(position)) and position < last:
        below, position = position, min(2 * position + 1, last)
    while reached and position - below > 1:
        middle = (below + position) // 2
        if reaches(middle):
            position = middle
        else:
            below = middle

    trials = tuple(CountTrial(count, measured[count]) for count in sorted(measured))
    chosen = counts[position] if reached else max(trials, key=lambda trial: trial.fidelity).count
    return CountChoice(chosen, reached, trials)


def measure_stability(activations: Tensor, directions: Tensor, seed: int = 0) -> Tensor:
    """How alike each direction of [k, c] comes back from other images, [k], at most 1; stable from STABLE on.

    The images of activations [N, p, c], p positions each, are split into halves, and each half is factorized from
    starts of its own. A concept's cosine is the least among its counterparts in both halves and itself; stability is
    the mean over the splits. `seed` draws them. NaN if half of the images have too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    cosines = []
    for _ in range(SPLITS):
        halves = torch.randperm(len(activations), generator=generator).to(activations.device).chunk(2)
        if len(halves) < 2 or len(halves[1]) * activations.shape[1] < len(directions):
            return torch.full((len(directions),), torch.nan)
        first, second = (_counterparts(activations[half].flatten(0, 1), directions, generator) for half in halves)
        pairs = ((first, second), (first, directions), (second, directions))
        cosines.append(torch.stack([(one * other).sum(1) for one, other in pairs]).amin(0))
    return torch.stack(cosines).mean(0).cpu()


def match(directions: Tensor, others: Tensor) -> Tensor:
    """For each direction of [k, c] its partner among as many others, for the greatest sum of cosines: [k]."""
    _, partners = linear_sum_assignment((directions @ others.T).cpu().numpy(), maximize=True)
    return torch.from_numpy(partners).to(directions.device)


def _counterparts(rows: Tensor, directions: Tensor, generator: torch.Generator) -> Tensor:
    """Directions of rows [R, c] alone, each in the place of the one of `directions` [k, c] that it is most like."""
    sample = rows[shuffle_rows(rows, generator)[:HALF_ROWS]].float()
    starts = draw_directions(sample, STARTS_PER_HALF, len(directions), generator)
    fits = run_hals(sample, starts, TOLERANCE, MAX_ITERATIONS)
    found = fits.directions[fits.errors.argmin()]
    return found[match(directions, found)]
