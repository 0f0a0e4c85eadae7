"""TCAV and its relatives: what a concept does to the classes, in measures that answer different questions.

Kim et al. 2018, arXiv 1711.11279, section 3.3, for the directional derivative; Zhang et al. 2021, arXiv 2006.15417, for
concepts as directions. Property: before global average pooling and a linear layer the gradient is the same for every
image, so tcav_sign is 0 or 1 and says nothing beyond the sign of a weight.

A fraction of signs saturates: where most directions raise a logit, no concept can raise it more often than chance. So
what is tested is the alignment, the cosine of a concept's direction with the class's mean gradient, against directions
that know nothing of concepts: single activations, single channels, and the factors of activations whose channels were
shuffled independently of each other. A concept that is no better than a lucky draw of any of them is not significant.
How lucky a draw must be is counted, not sampled: min-p (Westfall and Young 1993) over all ways to draw as many.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from xai.nmf import draw_directions, run_hals, unit_rows

SIGNIFICANCE_LEVEL = 0.05
NULL_ACTIVATIONS = 32_768
NULL_FACTORIZATIONS = 10  # of as many factors as there are concepts
NULL_ROWS = 2048  # activations per such factorization
NULL_ITERATIONS, NULL_TOLERANCE = 40, 1e-3
GRADIENT_TOLERANCE = 1e-4  # relative spread of a class's gradients below which they are the same for every image


@dataclass(frozen=True)
class Tcav:
    """k concepts, K classes; nothing is known of a class without images, so its values are NaN and not tested."""

    prevalence: Tensor  # [k, K] fraction of the class's images in which the concept is present
    tcav_sign: Tensor  # [k, K] fraction of the class's images whose logit rises along the direction
    tcav_magnitude: Tensor  # [k, K] mean derivative of the logit along the direction
    contribution: Tensor  # [k, K] mean part of the logit that the concept carries
    alignment: Tensor  # [k, K] cosine of the direction with the class's mean gradient, -1..1; of the sign of magnitude
    p_values: Tensor  # [k, K] of the alignment, two-sided, family-wise over all cells with images
    significant: Tensor  # [k, K] p < 0.05
    degenerate: Tensor  # [K] whether the class's gradients do not depend on the image
    images: Tensor  # [K] number per class
    null: str  # what the alignment is compared with

    @property
    def has_images(self) -> Tensor:
        """Whether a class has images, [K]."""
        return self.images > 0


def score_concepts(
    gradients: Tensor, contributions: Tensor, present: Tensor, labels: Tensor, classes: int, directions: Tensor,
    rows: Tensor, seed: int = 0,
) -> Tcav:  # fmt: skip
    """All measures for labels [N] of `classes` classes and directions [k, c].

    For each image's own class: the logit's gradients [N, c] and contributions [N, k]; presence [N, k]. Activations
    `rows` [R, c] make the directions without meaning; `seed` draws them.
    """
    images = torch.bincount(labels, minlength=classes)
    classes_with_images = images.nonzero().flatten().tolist()
    gradients_by_class = [gradients[labels == label] for label in classes_with_images]  # [n, c] each
    derivatives = [class_gradients @ directions.T for class_gradients in gradients_by_class]  # [n, k] each
    mean_gradients = unit_rows(
        torch.stack([class_gradients.mean(0) for class_gradients in gradients_by_class])
    )  # [K, c]
    alignment = directions @ mean_gradients.T
    generator = torch.Generator().manual_seed(seed)
    p_values = correct_by_holm(_p_values_of_images(derivatives))
    null_sizes = []
    for kind, null in NULLS.items():
        null_directions = null.draw(rows, len(directions), generator)
        null_sizes.append(f"{len(null_directions)} {kind}")
        null_alignment = null_directions @ mean_gradients.T
        p_values = p_values.maximum(compare_with_null(alignment, null_alignment, null.unseen))

    def for_all_classes(values: Tensor, missing: float = torch.nan) -> Tensor:
        """Values of the classes with images, on the last axis, among those of all K classes."""
        filled = values.new_full((*values.shape[:-1], classes), missing)
        filled[..., classes_with_images] = values
        return filled

    return Tcav(
        prevalence=for_all_classes(_class_means([present[labels == label].float() for label in classes_with_images])),
        tcav_sign=for_all_classes(_class_means([(values > 0).float() for values in derivatives])),
        tcav_magnitude=for_all_classes(_class_means(derivatives)),
        contribution=for_all_classes(_class_means([contributions[labels == label] for label in classes_with_images])),
        alignment=for_all_classes(alignment),
        p_values=for_all_classes(p_values),
        significant=for_all_classes(p_values < SIGNIFICANCE_LEVEL, False),
        degenerate=for_all_classes(torch.tensor([_are_constant(values) for values in gradients_by_class]), False),
        images=images,
        null=f"any {len(directions)} of {', of '.join(null_sizes)}",
    )


def correct_by_holm(p_values: Tensor) -> Tensor:
    """Family-wise corrected p-values of any shape (Holm 1979)."""
    flat = p_values.flatten()
    order = flat.argsort()
    tests = torch.arange(len(flat), 0, -1, dtype=flat.dtype, device=flat.device)
    corrected = torch.empty_like(flat)
    corrected[order] = (flat[order] * tests).cummax(0).values.clamp_max(1)
    return corrected.view_as(p_values)


def compare_with_null(observed: Tensor, null: Tensor, unseen: int) -> Tensor:
    """Family-wise p-values of alignments [k, K] if the concepts were drawn from a null's, [m, K], both tails.

    Each cell is judged by its own class's null, as classes differ in spread. A null direction is as extreme as a cell
    if it is so in any class; the p-value is the probability that among k null directions, drawn without replacement,
    there is one. Ties count against significance, and so do `unseen` more directions that are as extreme. A tail is
    that of the alignment's own sign: no concept is called one that lowers a logit because it raises it less than
    chance does.
    """
    ascending = null.T.sort(1).values.contiguous()  # [K, m]
    least_fractions = _tail_fractions(null, ascending).amin(1).sort().values  # [m]
    as_extreme = torch.searchsorted(least_fractions, _tail_fractions(observed, ascending).contiguous(), right=True)
    directions = len(null) + unseen
    drawn = min(len(observed), directions)
    none_drawn = stats.hypergeom.logpmf(0, directions, (as_extreme + unseen).cpu().numpy(), drawn)
    return torch.from_numpy(-np.expm1(none_drawn)).to(observed).clamp_min(0)  # rounding may leave less


def _class_means(values_by_class: list[Tensor]) -> Tensor:
    """Mean of each class's values [n, k], [k, K]."""
    return torch.stack([values.mean(0) for values in values_by_class], 1)


def _p_values_of_images(derivatives: list[Tensor]) -> Tensor:
    """Whether the mean derivative of each class's images, [n, k] each, differs from 0 by a t-test: [k, K]."""
    p_values = []
    for values in derivatives:
        count = len(values)
        if count == 1:
            p_values.append(values.new_ones(values.shape[1]))
            continue
        standard_errors = values.std(0) / count**0.5
        statistics = (values.mean(0) / standard_errors).abs().nan_to_num(0, posinf=torch.inf)  # 0 / 0 is not an effect
        p_values.append(torch.from_numpy(2 * stats.t.sf(statistics.cpu().numpy(), count - 1)).to(values))
    return torch.stack(p_values, 1)


def _tail_fractions(values: Tensor, ascending: Tensor) -> Tensor:
    """Fraction of each class's null [K, m] at least as far out as its values [n, K], on the side of their sign."""
    by_class = values.T.contiguous()  # [K, n]
    null_count = ascending.shape[1]
    as_high = null_count - torch.searchsorted(ascending, by_class)
    as_low = torch.searchsorted(ascending, by_class, right=True)
    return (torch.where(by_class > 0, as_high, as_low) / null_count).T


def _draw_activations(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Activations that are not all zero, [m, c]."""
    active = rows.amax(1).nonzero().flatten()
    chosen = torch.randperm(len(active), generator=generator)[:NULL_ACTIVATIONS]
    return unit_rows(rows[active[chosen]])


def _list_channels(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The channels that are ever active, [m, c]."""
    return torch.eye(rows.shape[1], device=rows.device)[rows.amax(0) > 0]


def _factorize_shuffled_channels(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Factors, [m, c], of activations whose channels were shuffled one by one, so that none goes with another."""
    factors = []
    for _ in range(NULL_FACTORIZATIONS):
        sample = rows[torch.randint(len(rows), (max(NULL_ROWS, 4 * count),), generator=generator)]
        orders = torch.rand(sample.shape, generator=generator).argsort(0).to(sample.device)
        shuffled = sample.gather(0, orders)
        starts = draw_directions(shuffled, 1, count, generator)
        factors.append(run_hals(shuffled, starts, NULL_TOLERANCE, NULL_ITERATIONS).directions[0])
    return torch.cat(factors)


@dataclass(frozen=True)
class Null:
    """A kind of directions without meaning."""

    draw: Callable[[Tensor, int, torch.Generator], Tensor]  # from rows [R, c], for k concepts: directions [m, c]
    unseen: int  # 1 where others may be more extreme than all that are drawn, as in any sample (Phipson and Smyth 2010)


# there are no other channels; of factors, the drawn stand for all, as more extreme ones would take many factorizations
NULLS = {
    "single activations": Null(_draw_activations, unseen=1),
    "single channels": Null(_list_channels, unseen=0),
    "factors of activations with shuffled channels": Null(_factorize_shuffled_channels, unseen=0),
}


def _are_constant(gradients: Tensor) -> bool:
    """Whether gradients [n, c] are the same for all of two or more images."""
    spread = (gradients - gradients.mean(0)).norm()
    return len(gradients) > 1 and bool(spread <= GRADIENT_TOLERANCE * gradients.norm())
