"""TCAV and its relatives: what a concept does to the classes, four measures that answer four questions.

Kim et al. 2018, arXiv 1711.11279, section 3.3, for the directional derivative; Zhang et al. 2021, arXiv 2006.15417, for
concepts as directions. Property: before global average pooling and a linear layer the gradient is the same for every
image, so tcav_sign is 0 or 1 and says nothing beyond the sign of a weight.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SIGNIFICANCE_LEVEL = 0.05
ROWS_PER_DIRECTION = 50  # activation rows that make one random direction
DIRECTIONS_PER_CELL = 50  # random directions for each cell; Holm needs 20 to get under the level at all
DIRECTIONS_PER_CHUNK = 4096  # random directions at a time
GRADIENT_TOLERANCE = 1e-4  # relative spread of a class's gradients under which they are the same for every image


@dataclass(frozen=True)
class Tcav:
    """k concepts, K classes; of a class without an image nothing is known, so its figures are NaN and no test."""

    prevalence: Tensor  # [k, K] share of the class's images with the concept present
    tcav_sign: Tensor  # [k, K] share of the class's images whose logit rises along the direction
    tcav_magnitude: Tensor  # [k, K] mean derivative of the logit along the direction
    contribution: Tensor  # [k, K] mean part of the logit the concept carries
    p_values: Tensor  # [k, K] of tcav_sign against the null, two-sided, Holm corrected over all cells with images
    significant: Tensor  # [k, K] p under 0.05
    degenerate: Tensor  # [K] whether the class's gradients do not depend on the image
    images: Tensor  # [K] of each class
    null: str  # what tcav_sign is compared with

    @property
    def has_images(self) -> Tensor:
        """Whether a class has images, [K]."""
        return self.images > 0


def score_concepts(
    gradients: Tensor, contributions: Tensor, present: Tensor, labels: Tensor, classes: int, directions: Tensor,
    rows: Tensor, seed: int = 0,
) -> Tcav:  # fmt: skip
    """All measures for labels [N] of `classes` classes and directions [k, c].

    Of each image's own class: the logit's gradients [N, c], contributions [N, k]; presence [N, k]. `rows` [R, c] are
    activations from which the null's directions are made.
    """
    images = torch.bincount(labels, minlength=classes)
    seen = images.nonzero().flatten().tolist()
    own = [gradients[labels == k] for k in seen]  # of each class with images, [n, c]
    derivatives = [found @ directions.T for found in own]  # [n, k] each
    sign, count = (
        _by_class([(values > 0).float() for values in derivatives]),
        DIRECTIONS_PER_CELL * len(directions) * len(seen),
    )
    p_values = correct_by_holm(_p_values(sign, _null_signs(own, rows, count, seed)))

    def of_all(values: Tensor, otherwise: float = torch.nan) -> Tensor:
        """Values of the classes with images, [..., seen], among those of all, [..., K]."""
        return values.new_full((*values.shape[:-1], classes), otherwise).index_copy(-1, torch.tensor(seen), values)

    return Tcav(
        prevalence=of_all(_by_class([present[labels == k].float() for k in seen])),
        tcav_sign=of_all(sign),
        tcav_magnitude=of_all(_by_class(derivatives)),
        contribution=of_all(_by_class([contributions[labels == k] for k in seen])),
        p_values=of_all(p_values),
        significant=of_all(p_values < SIGNIFICANCE_LEVEL, False),
        degenerate=of_all(torch.tensor([_same(found) for found in own]), False),
        images=images,
        null=f"tcav_sign of {count} directions, each the mean of {ROWS_PER_DIRECTION} random activations of the layer",
    )


def correct_by_holm(p_values: Tensor) -> Tensor:
    """Family-wise corrected p-values of any shape (Holm 1979)."""
    flat = p_values.flatten()
    order = flat.argsort()
    tests = torch.arange(len(flat), 0, -1, dtype=flat.dtype)
    corrected = torch.empty_like(flat)
    corrected[order] = (flat[order] * tests).cummax(0).values.clamp_max(1)
    return corrected.view_as(p_values)


def _by_class(values: list[Tensor]) -> Tensor:
    """Mean over each class's images, [k, K]."""
    return torch.stack([found.mean(0) for found in values], 1)


def _null_signs(own: list[Tensor], rows: Tensor, count: int, seed: int) -> Tensor:
    """tcav_sign of random directions, [count, K]."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for some in torch.arange(count).split(DIRECTIONS_PER_CHUNK):
        drawn = torch.randint(len(rows), (len(some), ROWS_PER_DIRECTION), generator=generator)
        # [d, c]; a row at a time takes little memory
        directions = sum((rows[column] for column in drawn.T), rows.new_zeros(())) / ROWS_PER_DIRECTION
        signs = [(found @ directions.T > 0).float() for found in own]
        parts.append(_by_class(signs))  # [d, K]
    return torch.cat(parts)


def _p_values(found: Tensor, null: Tensor) -> Tensor:
    """Share of the null [R, K] at least as far from its median as found [k, K], itself counted: ties speak against."""
    middle = null.median(0).values  # [K]
    far = (null - middle).abs().sort(0).values.T.contiguous()  # [K, R], ascending
    under = torch.searchsorted(far, (found - middle).abs().T.contiguous() - 1e-6)  # [K, k] nearer than found
    return ((null.shape[0] - under + 1) / (null.shape[0] + 1)).T


def _same(gradients: Tensor) -> bool:
    """Whether gradients [n, c] are the same for all of two images or more."""
    spread = (gradients - gradients.mean(0)).norm()
    return len(gradients) > 1 and bool(spread <= GRADIENT_TOLERANCE * gradients.norm())
