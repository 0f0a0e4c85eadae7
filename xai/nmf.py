"""Non-negative matrix factorization: activations V as non-negative scores S of k concepts times directions P, V ~ S P.

HALS (Cichocki and Phan 2009, algorithm 2) with two sweeps per product with V (Gillis and Glineur 2012, arXiv 1107.5194)
and extrapolation (Ang and Gillis 2019, arXiv 1805.06604). V enters an iteration only through the products P V' and
S' V; all else is as thin as S. Property: |V - S P|^2 never rises from one iteration to the next, and where each of k
concepts is alone in some row, S and P are those concepts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xai.method import NotApplicable

STARTS = 8  # local optima differ by a few percent in error; the best of a few starts avoids the bad ones
# all starts compete on a small sample of rows, the finalists on a larger one; all rows then need few iterations
SAMPLE_ROWS = 2048
SAMPLE_ITERATIONS = 25
FINALISTS = 3
LARGER_SAMPLE_ROWS = 8192
LARGER_SAMPLE_ITERATIONS = 30
MAX_ITERATIONS = 200  # on all rows
SWEEPS = 2  # over the concepts, per product with V
PROJECTED_ROWS = 16384  # at a time
MAX_PROJECTION_SWEEPS = 1000
SMALL_ERROR = 0.01  # as a fraction of V's energy; below it, gains are judged more coarsely
ENERGY_FLOOR = 1e-7  # of V's energy: a gain that float32 products cannot tell from none


@dataclass(frozen=True)
class Factors:
    """N rows as sums of k concepts, in descending order of energy |S_k|^2: V ~ scores @ directions."""

    scores: Tensor  # S [N, k], >= 0
    directions: Tensor  # P [k, c], >= 0, rows of norm 1


class Fit(NamedTuple):
    """R factorizations of the same activations."""

    scores: Tensor  # [R, k, N]
    directions: Tensor  # [R, k, c], rows of norm 1
    errors: Tensor  # |V - S P|^2, [R]


def factorize(activations: Tensor, count: int, seed: int = 0, *, tolerance: float = 1e-4) -> Factors:
    """Factors of activations [N, c] with `count` concepts.

    `seed` draws the samples of rows and, for each start, `count` rows as directions. The starts compete on a small
    sample, the best of them on a larger one, and the winner continues with all rows until an iteration lowers the
    squared error by less than `tolerance` of it. Raises NotApplicable if that is impossible.
    """
    check_factorizable(activations, count)
    activations = activations.detach().float()
    generator = torch.Generator().manual_seed(seed)
    rows = shuffle_rows(activations, generator)
    sample = activations[rows[: max(SAMPLE_ROWS, 4 * count)]]
    larger_sample = activations[rows[:LARGER_SAMPLE_ROWS]]

    starts = torch.cat([nndsvd(sample, count)[None], draw_directions(sample, STARTS, count, generator)])
    fits = run_hals(sample, starts, tolerance / 10, SAMPLE_ITERATIONS)
    finalists = fits.directions[fits.errors.argsort()[:FINALISTS]]
    fits = run_hals(larger_sample, finalists, tolerance / 10, LARGER_SAMPLE_ITERATIONS)
    winner = fits.directions[fits.errors.argsort()[:1]]
    [scores], [directions], _ = run_hals(activations, winner, tolerance)

    order = scores.square().sum(1).argsort(descending=True)
    return Factors(scores[order].T.contiguous(), directions[order])


def nndsvd(sample: Tensor, count: int) -> Tensor:
    """Directions [k, c] from the leading singular vectors: of each, the positive or negative part that explains more.

    Boutsidis and Gallopoulos 2008; the right singular vectors are eigenvectors of the small V' V.
    """
    eigenvectors = torch.linalg.eigh((sample.T @ sample).double()).eigenvectors
    right = eigenvectors[:, -count:].flip(1).float()  # [c, k]
    left = sample @ right  # [n, k]
    right_parts = torch.stack([right.clamp_min(0), (-right).clamp_min(0)])  # [2, c, k]: positive, negative
    left_parts = torch.stack([left.clamp_min(0), (-left).clamp_min(0)])  # [2, n, k]
    weights = left_parts.norm(dim=1) * right_parts.norm(dim=1)  # [2, k]
    return unit_rows(torch.where(weights[0] >= weights[1], right_parts[0], right_parts[1]).T)


def project(activations: Tensor, directions: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Scores [N, k] >= 0 that fit each row of [N, c] best with these directions.

    Sweeps end once one changes no score by more than `tolerance` of the largest.
    """
    directions = directions.detach()
    gram = (directions @ directions.T)[None]
    parts = []
    for rows in activations.detach().float().split(PROJECTED_ROWS):
        linear = (directions @ rows.T)[None]
        scores = torch.zeros_like(linear)
        for _ in range(MAX_PROJECTION_SWEEPS):
            before = scores
            scores = _sweep(scores, linear, gram, SWEEPS)
            if (scores - before).abs().max() <= tolerance * scores.max():
                break
        parts.append(scores[0])
    return torch.cat(parts, dim=1).T.contiguous()


def check_factorizable(activations: Tensor, count: int) -> None:
    """Raises NotApplicable if no factorization into `count` concepts is possible."""
    if activations.ndim != 2 or not activations.numel():
        raise NotApplicable(f"activations must be [N, c] with at least one row; they are {list(activations.shape)}")
    if not 1 <= count <= min(activations.shape):
        limit = min(activations.shape)
        raise NotApplicable(f"activations {list(activations.shape)} allow 1 to {limit} concepts, not {count}")
    lowest, highest = (value.item() for value in activations.aminmax())
    if not (lowest > -torch.inf and highest < torch.inf):  # also true for NaN
        raise NotApplicable("activations contain NaN or infinite values; look for them in the layers before this one")
    if lowest < 0:
        raise NotApplicable(
            f"activations must not be negative, but the lowest is {lowest:.3g}; use a layer that ends in a ReLU"
        )
    if highest == 0:
        raise NotApplicable("activations are all zero; use another layer or other images")


def shuffle_rows(activations: Tensor, generator: torch.Generator) -> Tensor:
    """Row numbers in random order [N], with the rows that are all zero last."""
    rows = torch.randperm(len(activations), generator=generator).to(activations.device)
    is_zero = activations.amax(1) == 0
    return rows[is_zero[rows].int().argsort(stable=True)]


def draw_directions(sample: Tensor, starts: int, count: int, generator: torch.Generator) -> Tensor:
    """Rows of the sample [n, c] as directions [R, k, c], drawn by energy, as rows near zero tell little."""
    energies = sample.square().sum(1).cpu() + 1e-30  # so that there are never fewer rows to draw than concepts
    rows = torch.multinomial(energies.expand(starts, -1), count, generator=generator)  # [R, k]
    return unit_rows(sample[rows.to(sample.device)])


def run_hals(activations: Tensor, directions: Tensor, tolerance: float, max_iterations: int = MAX_ITERATIONS) -> Fit:
    """HALS from R starts [R, k, c] at once, until an iteration lowers every error by less than `tolerance` of it."""
    energy = torch.linalg.vector_norm(activations, dim=1).double().square().sum()
    scores = activations.new_zeros(*directions.shape[:2], len(activations))
    best = Fit(scores, directions, energy.expand(len(directions)))
    extrapolated = directions
    step = activations.new_full((len(directions),), 0.5)
    converged = torch.zeros_like(step, dtype=torch.bool)
    for _ in range(max_iterations):
        new = _iterate(activations, best.scores, extrapolated, energy)
        gain = best.errors - new.errors  # [R]
        improved = gain >= 0
        small_gain = gain <= tolerance * (new.errors + SMALL_ERROR * energy)
        converged |= (improved & small_gain) | (gain.abs() <= ENERGY_FLOOR * energy)
        # directions move on as they last did, further each time; a start that got worse goes back, with half the step
        step = torch.where(improved, (step * 1.1).clamp_max(1), step / 2)
        further = (new.directions + step[:, None, None] * (new.directions - best.directions)).clamp_min(0)
        extrapolated = _where_start(improved, further, best.directions)
        best = Fit(*(_where_start(improved, *pair) for pair in zip(new, best, strict=True)))
        if converged.all():
            break
    return best


def _iterate(activations: Tensor, scores: Tensor, directions: Tensor, energy: Tensor) -> Fit:
    """One iteration: new scores, then new directions for them."""
    all_directions = directions.flatten(0, 1)  # so that all starts share the products with V
    linear = (all_directions @ activations.T).view_as(scores)
    scores = _sweep(scores, linear, directions @ directions.mT, SWEEPS)

    linear = (scores.flatten(0, 1) @ activations).view_as(directions)
    gram = scores @ scores.mT
    directions = _sweep(directions, linear, gram, SWEEPS)

    exact = directions.double()  # the error is a small difference of large sums
    errors = energy + (gram * (exact @ exact.mT) - 2 * (linear * exact).sum(2).diag_embed()).sum((1, 2))
    lengths = directions.norm(dim=2, keepdim=True)
    scores, directions = scores * lengths, directions / lengths.clamp_min(1e-30)
    unused = lengths[..., 0] * gram.diagonal(dim1=1, dim2=2) == 0
    for start, concept in unused.nonzero().tolist():  # point it at what the worst explained row lacks
        residual = (activations - scores[start].T @ directions[start]).clamp_min(0)  # [N, c]
        worst = residual.square().sum(1).argmax()
        scores[start, concept] = 0  # so that the error is unchanged
        directions[start, concept] = unit_rows(residual[worst] if residual[worst].any() else activations[worst])
    return Fit(scores, directions, errors)


def _sweep(factor: Tensor, linear: Tensor, gram: Tensor, times: int) -> Tensor:
    """Coordinate descent on <F, gram F> / 2 - <linear, F>: each row of F [R, k, m] gets its best value >= 0 in turn.

    Rows without curvature stay as they are.
    """
    curvature = gram.diagonal(dim1=1, dim2=2)[..., None]  # [R, k, 1]
    scale = torch.where(curvature > 1e-12 * curvature.amax(1, keepdim=True), 1 / curvature, 0)
    linear = linear * scale
    others = torch.eye(gram.shape[1]).to(gram) - gram * scale
    factor = factor.clone()
    for _ in range(times):
        for row in range(factor.shape[1]):
            best = torch.baddbmm(linear[:, row, None], others[:, row, None], factor)  # [R, 1, m]
            factor[:, row] = best[:, 0].clamp_(min=0)
    return factor


def _where_start(condition: Tensor, values: Tensor, others: Tensor) -> Tensor:
    """`values` of the starts for which the condition [R] holds, else `others`."""
    return torch.where(condition.view(-1, *[1] * (values.ndim - 1)), values, others)


def unit_rows(rows: Tensor) -> Tensor:
    """Rows [..., c] scaled to norm 1; rows of zeros stay so."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-30)
