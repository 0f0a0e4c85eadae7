"""Partition SHAP: Owen values of an image's rectangles, halved further where the score depends on them.

Owen 1977, doi 10.1007/978-3-642-45494-3_7: Shapley values of players that join in nested groups; the budgeted search
of shap's PartitionExplainer, at its default batch of 10 and with its tree of pixels. Property: a map sums to the score
minus the score of the blurred image; with enough budget to reach every pixel of a linear model it is w (x - blurred).
"""

from collections.abc import Generator, Sequence
from heapq import heappop, heappush
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xai.gradient import exact_scores, target_scores
from xai.method import (
    DEFAULTS,
    DEVELOPERS_AND_USERS,
    LEAVES_PARTS_OUT,
    MAX_PASS_SIZE,
    Attribution,
    Card,
    Method,
    MethodInputs,
)

SAMPLES = 500
# Evaluations per image between two choices of what to halve; the values depend on it, so it is fixed
EVALUATIONS_PER_STEP = 10

# Standard deviation of the blur as a fraction of the longer side. The box of 128 pixels in shap's examples deviates by
# a sixth of their 224, which leaves an object's silhouette, and covers small images whole, which leaves one colour. A
# quarter leaves little more than where which colours are, at any size.
BLUR_FRACTION = 1 / 4


class Box(NamedTuple):
    """A rectangle of pixels: a group of players."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def halves(self) -> tuple["Box", "Box"]:
        """Its two parts across the longer side (the height, if equal); the first has the odd row or column."""
        top, bottom, left, right = self
        if bottom - top >= right - left:
            middle = (top + bottom + 1) // 2
            return Box(top, middle, left, right), Box(middle, bottom, left, right)
        middle = (left + right + 1) // 2
        return Box(top, bottom, left, middle), Box(top, bottom, middle, right)


Coalition = tuple[Box, ...]  # the pixels shown; all others are blurred


class Joining(NamedTuple):
    """A box that joins a coalition, with the weight that this context has in the box's Owen value."""

    box: Box
    context: Coalition
    before: float  # score of the context alone
    after: float  # score of the context and the box
    weight: float

    @property
    def credit(self) -> float:
        return (self.after - self.before) * self.weight

    @property
    def coalitions(self) -> tuple[Coalition, ...]:
        """What must be evaluated to halve it."""
        return tuple((*self.context, half) for half in self.box.halves)

    def halve(self, first_score: float, second_score: float) -> tuple["Joining", ...]:
        """Each half joining before and after the other, given the scores of `coalitions`."""
        first, second = self.box.halves
        weight = self.weight / 2
        return (
            Joining(first, self.context, self.before, first_score, weight),
            Joining(second, self.context, self.before, second_score, weight),
            Joining(first, (*self.context, second), second_score, self.after, weight),
            Joining(second, (*self.context, first), first_score, self.after, weight),
        )


QueueEntry = tuple[float, int, Joining]  # largest credit first, then in order of arrival


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Owen values of the pixels, uniform within boxes that the budget did not halve: [N, H, W], signed, in logits.

    Hidden pixels are blurred; the blurred image is the baseline. Images are searched side by side to share passes.
    """
    samples = inputs.samples or SAMPLES
    group_size = MAX_PASS_SIZE // EVALUATIONS_PER_STEP
    groups = zip(images.split(group_size), targets.split(group_size), strict=True)
    return Attribution.concatenate([_attribute_group(model, *group, samples) for group in groups])


def blur(images: Tensor) -> Tensor:
    """Images [N, C, H, W] under a Gaussian that is cut off at their edges and sums to one there."""
    deviation = BLUR_FRACTION * max(images.shape[2:])
    down, across = (_gaussian_matrix(side, deviation).to(images) for side in images.shape[2:])
    return down @ images @ across.T


def _gaussian_matrix(side: int, deviation: float) -> Tensor:
    """Weights [side, side] of each pixel (columns) in each blurred pixel (rows)."""
    positions = torch.arange(side, dtype=torch.double) / deviation
    return torch.softmax(-(positions[:, None] - positions).square() / 2, dim=1)


def _attribute_group(model: nn.Module, images: Tensor, targets: Tensor, samples: int) -> Attribution:
    """The maps of a few images, with one pass for the next coalitions of all of them."""
    blurred = blur(images)
    scores = target_scores(model, images, targets)
    baseline_scores = target_scores(model, blurred, targets)
    maps = np.zeros((len(images), *images.shape[2:]))
    starts = zip(maps, baseline_scores.tolist(), scores.tolist(), strict=True)
    searches = [_search(*start, budget=samples - 2) for start in starts]  # the two scores took one evaluation each
    requests = [next(search) for search in searches]
    while any(requests):
        results = iter(_evaluate(model, images, blurred, targets, requests))
        requests = [
            search.send([*islice(results, len(request))]) for search, request in zip(searches, requests, strict=True)
        ]
    return Attribution(
        torch.from_numpy(maps).to(scores),
        exact_scores(model, images, targets, scores),
        exact_scores(model, blurred, targets, baseline_scores),
    )


def _search(
    credits: np.ndarray, before: float, after: float, budget: int
) -> Generator[list[Coalition], list[float], None]:
    """Fills one image's map [H, W]: yields the coalitions to evaluate next, and is sent their scores."""
    queue: list[QueueEntry] = []
    order = count()
    height, width = credits.shape

    def add(joining: Joining) -> None:
        """Queues it if it can be halved; equal credits are taken in order, for the same map every time."""
        if joining.box.area == 1:
            _spread(joining, credits)
        else:
            heappush(queue, (-abs(joining.credit), next(order), joining))

    add(Joining(Box(0, height, 0, width), (), before, after, 1.0))
    while queue and budget > 0:
        halvings = (min(EVALUATIONS_PER_STEP, budget) + 1) // 2
        chosen = [heappop(queue)[-1] for _ in range(min(len(queue), halvings))]
        scores = iter((yield [coalition for joining in chosen for coalition in joining.coalitions]))
        for joining in chosen:
            for part in joining.halve(next(scores), next(scores)):
                add(part)
        budget -= 2 * len(chosen)
    for *_, joining in queue:
        _spread(joining, credits)
    while True:  # nothing more to evaluate, however long the other images take
        yield []


def _spread(joining: Joining, credits: np.ndarray) -> None:
    top, bottom, left, right = joining.box
    credits[top:bottom, left:right] += joining.credit / joining.box.area


def _evaluate(
    model: nn.Module, images: Tensor, blurred: Tensor, targets: Tensor, requests: Sequence[list[Coalition]]
) -> list[float]:
    """Target logits of every image's coalitions, image after image."""
    owners = torch.tensor([row for row, request in enumerate(requests) for _ in request], device=images.device)
    coalitions = [coalition for request in requests for coalition in request]
    masks = np.zeros((len(coalitions), *images.shape[2:]), dtype=bool)  # true where pixels are shown
    for mask, boxes in zip(masks, coalitions, strict=True):
        for top, bottom, left, right in boxes:
            mask[top:bottom, left:right] = True
    shown = torch.from_numpy(masks).to(images.device)[:, None]
    inputs = torch.where(shown, images[owners], blurred[owners])  # [rows, C, H, W]
    return target_scores(model, inputs, targets[owners]).tolist()


partition_shap = attribute  # its name in earlier versions

METHOD = Method(
    "shap",
    attribute,
    signed=True,
    targets=("predicted", "label"),
    takes_samples=True,
    summary="Owen values of rectangles, others blurred, of the predicted and the true class",
    cited="Owen 1977, shap",
    card=Card(
        name="SHAP",
        source="Owen 1977, doi 10.1007/978-3-642-45494-3_7; Lundberg and Lee 2017, arXiv 1705.07874",
        why="interpretability: a fair share of the score for every region, for and against",
        who=DEVELOPERS_AND_USERS,
        what="signed Owen values, in logits, of rectangles against the blurred image, for predicted and true class",
        how="attribution without gradients: 500 partly blurred images; rectangles are halved where the score changes",
        when="after training, at any stored epoch",
        where="any image classifier",
        limits="Not pixel by pixel: 500 passes give a few dozen regions; depends on the blur that hides a region. "
        + LEAVES_PARTS_OUT,
        use="evidence for and against a class, by region",
        beware="regions are rectangles",
        in_print="Partition SHAP",
    ),
)
