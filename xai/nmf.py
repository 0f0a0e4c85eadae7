"""Non-negative matrix factorization: activations V as non-negative scores S of k concepts times directions P, V ~ S P.

HALS (Cichocki and Phan 2009, algorithm 2) with two sweeps for each product with V (Gillis and Glineur 2012, arXiv
1107.5194) and extrapolation (Ang and Gillis 2019, arXiv 1805.06604). V enters an iteration through the products P V'
and S' V alone; all else is as thin as S. Property: |V - S P|^2 never rises from one iteration to the next, and where
each of k concepts is alone in some row, S and P are those concepts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xai.method import NotApplicable

STARTS = 8  # local optima lie some percent apart in error; the best of a few starts avoids the bad ones
SAMPLE, SAMPLE_MOST = 2048, 25  # rows and iterations in which all starts compete,
LARGER, LARGER_MOST = 8192, 30  # then those
KEPT = 3  # best; all rows then need few iterations
MOST = 200  # on all rows
SWEEPS = 2  # over the concepts for each product with V
ROWS = 16384  # rows projected at a time
SMALL = 0.01  # error, as a share of V's energy, under which gains need not be as fine
FLOOR = 1e-7  # of V's energy: what float32 products cannot tell from no gain


@dataclass(frozen=True)
class Factors:
    """N rows as sums of k concepts, the one with most energy |S_k|^2 first: V ~ scores @ directions."""

    scores: Tensor  # S [N, k], >= 0
    directions: Tensor  # P [k, c], >= 0, rows of norm 1


class Fit(NamedTuple):
    """R factorizations of the same activations."""

    scores: Tensor  # [R, k, N]
    directions: Tensor  # [R, k, c], rows of norm 1
    errors: Tensor  # |V - S P|^2, [R]


def factorize(activations: Tensor, count: int, seed: int = 0, *, tolerance: float = 1e-4) -> Factors:
    """Factors of activations [N, c] with `count` concepts.

    `seed` draws samples of rows and, for each start, `count` rows as directions. The starts compete on a small
    sample, the best of them on a larger one, and the winner goes on with all rows until an iteration lowers the
    squared error by less than `tolerance` of it.
    """
    check_factorizable(activations, count)
    activations, generator = activations.detach().float(), torch.Generator().manual_seed(seed)
    rows = shuffle_rows(activations, generator)
    sample = activations[rows[: max(SAMPLE, 4 * count)]]
    directions = torch.cat([nndsvd(sample, count)[None], draw_directions(sample, STARTS, count, generator)])
    directions = _best(run_hals(sample, directions, tolerance / 10, SAMPLE_MOST), KEPT)
    directions = _best(run_hals(activations[rows[:LARGER]], directions, tolerance / 10, LARGER_MOST), 1)
    last = run_hals(activations, directions, tolerance)
    order = last.scores[0].square().sum(1).argsort(descending=True)
    return Factors(last.scores[0, order].T.contiguous(), last.directions[0, order])


def _best(done: Fit, count: int) -> Tensor:
    return done.directions[done.errors.argsort()[:count]]


def nndsvd(sample: Tensor, count: int) -> Tensor:
    """Directions [k, c] from the leading singular vectors, of each the signs that explain more.

    Boutsidis and Gallopoulos 2008; the right singular vectors are eigenvectors of the small V' V.
    """
    right = torch.linalg.eigh((sample.T @ sample).double()).eigenvectors[:, -count:].flip(1).float()  # [c, k]
    left = sample @ right  # [n, k]
    sides = torch.stack([right.clamp_min(0), (-right).clamp_min(0)])  # [2, c, k]
    weights = torch.stack([left.clamp_min(0), (-left).clamp_min(0)]).norm(dim=1) * sides.norm(dim=1)  # [2, k]
    return _unit(torch.where(weights[0] >= weights[1], sides[0], sides[1]).T)


def project(activations: Tensor, directions: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Scores [N, k] >= 0 of rows [N, c] that fit each row best with the directions as they are."""
    activations, directions = activations.detach().float(), directions.detach()
    gram = (directions @ directions.T)[None]
    parts = [_project(directions @ rows.T, gram, tolerance) for rows in activations.split(ROWS)]
    return torch.cat(parts, dim=1).T.contiguous()


def check_factorizable(activations: Tensor, count: int) -> None:
    """Raises NotApplicable where no factorization into `count` concepts is possible."""
    if activations.ndim != 2 or not activations.numel():
        raise NotApplicable(f"activations must be [N, c] with a row at least, they are {list(activations.shape)}")
    if not 1 <= count <= min(activations.shape):
        shape, limit = list(activations.shape), min(activations.shape)
        raise NotApplicable(f"activations {shape} allow 1 to {limit} concepts, not {count}")
    least, most = (value.item() for value in activations.aminmax())
    if not (least > -torch.inf and most < torch.inf):  # also true of NaN
        raise NotApplicable(
            "activations hold NaN or infinite values; look for them in the model's layers before this one"
        )
    if least < 0:
        raise NotApplicable(
            f"activations must not be negative, the least is {least:.3g}; take a layer that ends in a ReLU"
        )
    if most == 0:
        raise NotApplicable("activations are all zero; take another layer or other images")


def shuffle_rows(activations: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of the rows in random order [N], those with nothing in them last."""
    rows = torch.randperm(len(activations), generator=generator).to(activations.device)
    return rows[(activations.amax(1) == 0)[rows].int().argsort(stable=True)]


def draw_directions(sample: Tensor, starts: int, count: int, generator: torch.Generator) -> Tensor:
    """Rows of the sample [n, c] as directions [R, k, c], drawn by energy, as rows near zero say little."""
    energies = sample.square().sum(1).cpu() + 1e-30  # never fewer rows to draw than concepts
    rows = torch.multinomial(energies.expand(starts, -1), count, generator=generator)  # [R, k]
    return _unit(sample[rows.to(sample.device)])


def run_hals(activations: Tensor, directions: Tensor, tolerance: float, most: int = MOST) -> Fit:
    """HALS from R starts [R, k, c] at once, each until its error falls by less than `tolerance` in an iteration."""
    energy = torch.linalg.vector_norm(activations, dim=1).double().square().sum()
    scores = activations.new_zeros(*directions.shape[:2], len(activations))
    kept = Fit(scores, directions, energy.expand(len(directions)))
    ahead, step = directions, activations.new_full((len(directions),), 0.5)
    settled = torch.zeros_like(step, dtype=torch.bool)
    for _ in range(most):
        new = _iterate(activations, kept.scores, ahead, energy)
        gain = kept.errors - new.errors  # [R]
        better = gain >= 0
        settled |= (better & (gain <= tolerance * (new.errors + SMALL * energy))) | (gain.abs() <= FLOOR * energy)
        # the directions move on as they did, by ever more of it; a start that gets worse goes back and dares less
        step = torch.where(better, (step * 1.1).clamp_max(1), step / 2)
        onward = (new.directions + step[:, None, None] * (new.directions - kept.directions)).clamp_min(0)
        ahead = _choose(better, onward, kept.directions)
        kept = Fit(*(_choose(better, *pair) for pair in zip(new, kept, strict=True)))
        if settled.all():
            break
    return kept


def _iterate(activations: Tensor, scores: Tensor, directions: Tensor, energy: Tensor) -> Fit:
    """One iteration: new scores, then new directions for them."""
    starts = directions.flatten(0, 1)  # all starts share the products with V
    scores = _sweep(scores, (starts @ activations.T).view_as(scores), directions @ directions.mT, SWEEPS)
    gram, linear = scores @ scores.mT, (scores.flatten(0, 1) @ activations).view_as(directions)
    directions = _sweep(directions, linear, gram, SWEEPS)
    exact = directions.double()  # the error is a small difference of large sums
    errors = energy + (gram * (exact @ exact.mT) - 2 * (linear * exact).sum(2).diag_embed()).sum((1, 2))
    lengths = directions.norm(dim=2, keepdim=True)
    scores, directions = scores * lengths, directions / lengths.clamp_min(1e-30)
    for start, concept in (lengths[..., 0] * gram.diagonal(dim1=1, dim2=2) == 0).nonzero().tolist():
        _revive(activations, scores[start], directions[start], concept)
    return Fit(scores, directions, errors)


def _sweep(factor: Tensor, linear: Tensor, gram: Tensor, times: int) -> Tensor:
    """Coordinate descent on <F, gram F> / 2 - <linear, F>: each row of F [R, k, m] gets its best value >= 0 in turn.

    Rows without curvature stay as they are.
    """
    curvature = gram.diagonal(dim1=1, dim2=2)[..., None]  # [R, k, 1]
    scale = torch.where(curvature > 1e-12 * curvature.amax(1, keepdim=True), 1 / curvature, 0)
    linear, others = linear * scale, torch.eye(gram.shape[1]).to(gram) - gram * scale
    factor = factor.clone()
    for _ in range(times):
        for row in range(factor.shape[1]):
            best = torch.baddbmm(linear[:, row, None], others[:, row, None], factor)  # [R, 1, m]
            factor[:, row] = best[:, 0].clamp_(min=0)
    return factor


def _revive(activations: Tensor, scores: Tensor, directions: Tensor, concept: int) -> None:
    """Points a concept that no row uses at what the worst explained row lacks; the error stays as it is."""
    lacking = (activations - scores.T @ directions).clamp_min(0)  # [N, c]
    worst = lacking.square().sum(1).argmax()
    scores[concept] = 0
    directions[concept] = _unit(lacking[worst] if lacking[worst].any() else activations[worst])


def _project(linear: Tensor, gram: Tensor, tolerance: float) -> Tensor:
    """Scores [k, n] from P V' [k, n] and P P' [1, k, k], once a sweep changes none by more than the tolerance."""
    scores = torch.zeros_like(linear)[None]
    for _ in range(1000):
        before, scores = scores, _sweep(scores, linear[None], gram, SWEEPS)
        if (scores - before).abs().max() <= tolerance * scores.max():
            break
    return scores[0]


def _choose(new: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """By start: `yes` where new [R], else `no`."""
    return torch.where(new.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-30)
