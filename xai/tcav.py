"""TCAV and its relatives: what a concept does to the classes, in four measures that answer four questions.

Kim et al. 2018, arXiv 1711.11279, section 3.3, for the directional derivative; Zhang et al. 2021, arXiv 2006.15417, for
concepts as directions. Property: before global average pooling and a linear layer the gradient is the same for every
image, so tcav_sign is 0 or 1 and says nothing beyond the sign of a weight.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SIGNIFICANCE_LEVEL = 0.05
ROWS_PER_DIRECTION = 50  # activation rows that are averaged to one random direction
DIRECTIONS_PER_CELL = 50  # random directions; Holm needs 20 per cell to get below the level at all
DIRECTIONS_PER_CHUNK = 4096  # random directions in memory at a time
GRADIENT_TOLERANCE = 1e-4  # relative spread of a class's gradients below which they are the same for every image


@dataclass(frozen=True)
class Tcav:
    """k concepts, K classes; nothing is known of a class without images, so its values are NaN and not tested."""

    prevalence: Tensor  # [k, K] fraction of the class's images in which the concept is present
    tcav_sign: Tensor  # [k, K] fraction of the class's images whose logit rises along the direction
    tcav_magnitude: Tensor  # [k, K] mean derivative of the logit along the direction
    contribution: Tensor  # [k, K] mean part of the logit that the concept carries
    p_values: Tensor  # [k, K] of tcav_sign against the null, two-sided, Holm corrected over all cells with images
    significant: Tensor  # [k, K] p < 0.05
    degenerate: Tensor  # [K] whether the class's gradients do not depend on the image
    images: Tensor  # [K] number per class
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

    For each image's own class: the logit's gradients [N, c] and contributions [N, k]; presence [N, k]. Activations
    `rows` [R, c] make the random directions of the null.
    """
    images = torch.bincount(labels, minlength=classes)
    classes_with_images = images.nonzero().flatten().tolist()
    gradients_by_class = [gradients[labels == label] for label in classes_with_images]  # [n, c] each
    derivatives = [class_gradients @ directions.T for class_gradients in gradients_by_class]  # [n, k] each
    tcav_sign = _class_means([(values > 0).float() for values in derivatives])
    null_count = DIRECTIONS_PER_CELL * len(directions) * len(classes_with_images)
    null = _random_tcav_signs(gradients_by_class, rows, null_count, seed)
    p_values = correct_by_holm(_p_values(tcav_sign, null))

    def for_all_classes(values: Tensor, missing: float = torch.nan) -> Tensor:
        """Values of the classes with images, on the last axis, among those of all K classes."""
        filled = values.new_full((*values.shape[:-1], classes), missing)
        return filled.index_copy(-1, torch.tensor(classes_with_images), values)

    return Tcav(
        prevalence=for_all_classes(_class_means([present[labels == label].float() for label in classes_with_images])),
        tcav_sign=for_all_classes(tcav_sign),
        tcav_magnitude=for_all_classes(_class_means(derivatives)),
        contribution=for_all_classes(_class_means([contributions[labels == label] for label in classes_with_images])),
        p_values=for_all_classes(p_values),
        significant=for_all_classes(p_values < SIGNIFICANCE_LEVEL, False),
        degenerate=for_all_classes(torch.tensor([_are_constant(values) for values in gradients_by_class]), False),
        images=images,
        null=f"tcav_sign of {null_count} directions, each the mean of {ROWS_PER_DIRECTION} random activations of the "
        "layer",
    )


def correct_by_holm(p_values: Tensor) -> Tensor:
    """Family-wise corrected p-values of any shape (Holm 1979)."""
    flat = p_values.flatten()
    order = flat.argsort()
    tests = torch.arange(len(flat), 0, -1, dtype=flat.dtype)
    corrected = torch.empty_like(flat)
    corrected[order] = (flat[order] * tests).cummax(0).values.clamp_max(1)
    return corrected.view_as(p_values)


def _class_means(values_by_class: list[Tensor]) -> Tensor:
    """Mean of each class's values [n, k], [k, K]."""
    return torch.stack([values.mean(0) for values in values_by_class], 1)


def _random_tcav_signs(gradients_by_class: list[Tensor], rows: Tensor, count: int, seed: int) -> Tensor:
    """tcav_sign of random directions, [count, K]."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for chunk in torch.arange(count).split(DIRECTIONS_PER_CHUNK):
        drawn = torch.randint(len(rows), (len(chunk), ROWS_PER_DIRECTION), generator=generator)
        # [d, c]; summed one row per direction at a time, which takes little memory
        directions = sum((rows[column] for column in drawn.T), rows.new_zeros(())) / ROWS_PER_DIRECTION
        signs = [(gradients @ directions.T > 0).float() for gradients in gradients_by_class]
        parts.append(_class_means(signs))  # [d, K]
    return torch.cat(parts)


def _p_values(observed: Tensor, null: Tensor) -> Tensor:
    """Fraction of the null [R, K] at least as far from its median as the observed [k, K], which counts itself: [k, K].

    Ties count against significance.
    """
    median = null.median(0).values  # [K]
    null_distances = (null - median).abs().sort(0).values.T.contiguous()  # [K, R], ascending
    distances = (observed - median).abs().T.contiguous()  # [K, k]
    nearer = torch.searchsorted(null_distances, distances - 1e-6)  # [K, k]
    return ((null.shape[0] - nearer + 1) / (null.shape[0] + 1)).T


def _are_constant(gradients: Tensor) -> bool:
    """Whether gradients [n, c] are the same for all of two or more images."""
    spread = (gradients - gradients.mean(0)).norm()
    return len(gradients) > 1 and bool(spread <= GRADIENT_TOLERANCE * gradients.norm())
