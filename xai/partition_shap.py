"""Partition SHAP: Owen values of an image's rectangles, halved further and further where the score depends on them.

Owen 1977, doi 10.1007/978-3-642-45494-3_7: Shapley values of players that join in nested groups; the budgeted search
of shap's PartitionExplainer, at its default batch of 10 and with its tree of pixels. Property: a map sums to the score
minus the score of the blurred image; with budget enough to reach every pixel of a linear model it is w (x - blurred).
"""

from collections.abc import Generator, Sequence
from heapq import heappop, heappush
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xai.gradient import target_scores
from xai.method import DEFAULTS, DEVELOPERS_AND_USERS, MAX_PASS_SIZE, Attribution, Card, Method, MethodInputs

SAMPLES = 500
EVALUATIONS_PER_STEP = (
    10  # evaluations an image between two choices of what to halve; the values depend on it, so it is fixed
)

# Deviation of the blur as a share of the longer side. The box of 128 pixels in shap's examples deviates by a sixth of
# their 224, which leaves an object's silhouette, and covers small images whole, which leaves one colour. A quarter
# leaves little more than where which colours are, at any size.
BLUR = 1 / 4


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
        """Its two parts across the longer side, the height if both are equal; the first has the odd row or column."""
        top, bottom, left, right = self
        if bottom - top >= right - left:
            middle = (top + bottom + 1) // 2
            return Box(top, middle, left, right), Box(middle, bottom, left, right)
        middle = (left + right + 1) // 2
        return Box(top, bottom, left, middle), Box(top, bottom, middle, right)


Coalition = tuple[Box, ...]  # the pixels shown; all others are blurred


class Joining(NamedTuple):
    """A box that joins a coalition, and the share of its Owen value that this context is."""

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

    def halved(self, first: float, second: float) -> tuple["Joining", ...]:
        """Each half joining before and after the other, given the scores of `coalitions`."""
        (one, other), weight = self.box.halves, self.weight / 2
        return (
            Joining(one, self.context, self.before, first, weight),
            Joining(other, self.context, self.before, second, weight),
            Joining(one, (*self.context, other), second, self.after, weight),
            Joining(other, (*self.context, one), first, self.after, weight),
        )


Queued = tuple[float, int, Joining]  # by credit, then by order


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """Owen values of the pixels, evenly over boxes the budget did not halve: [N, H, W], signed, in logits.

    Hidden pixels are blurred, which is the baseline. Images search side by side, so that they share passes.
    """
    groups = zip(
        images.split(MAX_PASS_SIZE // EVALUATIONS_PER_STEP),
        targets.split(MAX_PASS_SIZE // EVALUATIONS_PER_STEP),
        strict=True,
    )
    return Attribution.concatenate([_together(model, *group, inputs.samples or SAMPLES) for group in groups])


def blur(images: Tensor) -> Tensor:
    """Images [N, C, H, W] under a Gaussian that ends, and sums to one, at their edges."""
    deviation = BLUR * max(images.shape[2:])
    down, across = (_gaussian(side, deviation).to(images) for side in images.shape[2:])
    return down @ images @ across.T


def _gaussian(side: int, deviation: float) -> Tensor:
    """Weights [side, side] of every pixel (columns) in every blurred one (rows)."""
    places = torch.arange(side, dtype=torch.double) / deviation
    return torch.softmax(-(places[:, None] - places).square() / 2, dim=1)


def _together(model: nn.Module, images: Tensor, targets: Tensor, samples: int) -> Attribution:
    """The maps of a few images, one pass for the next coalitions of all."""
    hidden = blur(images)
    scores, baseline_scores = (target_scores(model, shown, targets) for shown in (images, hidden))
    maps = np.zeros((len(images), *images.shape[2:]))
    starts = zip(maps, baseline_scores.tolist(), scores.tolist(), strict=True)
    searches = [_search(*start, budget=samples - 2) for start in starts]  # the two scores took an evaluation each
    asked = [next(search) for search in searches]
    while any(asked):
        found = iter(_evaluate(model, images, hidden, targets, asked))
        asked = [search.send([*islice(found, len(ask))]) for search, ask in zip(searches, asked, strict=True)]
    return Attribution(torch.from_numpy(maps).to(scores), scores, baseline_scores)


def _search(
    credits: np.ndarray, before: float, after: float, budget: int
) -> Generator[list[Coalition], list[float], None]:
    """Fill one image's map [H, W]: yields the coalitions to evaluate next, is sent their scores."""
    queue: list[Queued] = []
    order, (height, width) = count(), credits.shape
    _add(Joining(Box(0, height, 0, width), (), before, after, 1.0), queue, order, credits)
    while queue and budget > 0:
        chosen = [heappop(queue)[-1] for _ in range(min(len(queue), (min(EVALUATIONS_PER_STEP, budget) + 1) // 2))]
        scores = iter((yield [coalition for joining in chosen for coalition in joining.coalitions]))
        for joining in chosen:
            for part in joining.halved(next(scores), next(scores)):
                _add(part, queue, order, credits)
        budget -= 2 * len(chosen)
    for *_, joining in queue:
        _spread(joining, credits)
    while True:  # nothing more to ask, however long the others take
        yield []


def _add(joining: Joining, queue: list[Queued], order: count, credits: np.ndarray) -> None:
    """Queue what can be halved, largest credit first; ties go by order, for the same map every time."""
    if joining.box.area == 1:
        _spread(joining, credits)
    else:
        heappush(queue, (-abs(joining.credit), next(order), joining))


def _spread(joining: Joining, credits: np.ndarray) -> None:
    top, bottom, left, right = joining.box
    credits[top:bottom, left:right] += joining.credit / joining.box.area


def _evaluate(
    model: nn.Module, images: Tensor, hidden: Tensor, targets: Tensor, asked: Sequence[list[Coalition]]
) -> list[float]:
    """Target logits of every image's coalitions, one image's after the other's."""
    owners = torch.tensor([row for row, ask in enumerate(asked) for _ in ask], device=images.device)
    masks = _masks([coalition for ask in asked for coalition in ask], images.shape[2:]).to(images.device)
    shown = torch.where(masks[:, None], images[owners], hidden[owners])  # [rows, C, H, W]
    return target_scores(model, shown, targets[owners]).tolist()


def _masks(coalitions: Sequence[Coalition], size: Sequence[int]) -> Tensor:
    """Masks [rows, H, W], true where pixels are shown."""
    masks = np.zeros((len(coalitions), *size), dtype=bool)
    for mask, boxes in zip(masks, coalitions, strict=True):
        for top, bottom, left, right in boxes:
            mask[top:bottom, left:right] = True
    return torch.from_numpy(masks)


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
        what="signed Owen values, in logits, of rectangles against the blurred image, of predicted and true class",
        how="attribution without gradients: 500 partly blurred images; rectangles are halved where the score changes",
        when="after training, at any stored epoch",
        where="any image classifier",
        limits="Not pixel by pixel: 500 passes give some dozens of regions; depends on the blur that hides a region.",
    ),
)
