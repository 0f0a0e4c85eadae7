"""Insertion and Deletion: how the class's probability follows the pixels that a map ranks as relevant.

Petsiuk, Das, Saenko 2018, arXiv 1806.07421, section 3.3, with the blurred image as the absent state in both. Property:
for a model whose probability is linear in each pixel's presence, no order has a higher insertion than the true one.
"""

import torch
from torch import Tensor, nn

from xai.faithfulness.filters import blur
from xai.faithfulness.ranking import ranks_in_order
from xai.gradient import all_scores
from xai.method import MAX_PASS_SIZE

STEPS = 32


def insertion_and_deletion(
    model: nn.Module, images: Tensor, targets: Tensor, order: Tensor, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """Areas under the target's softmax probability, [N] each in 0..1.

    In the order `order` [N, P], pixels are inserted into the blurred image (insertion) or blurred away (deletion), in
    equal steps of at least one pixel. Both ends of the curve count; the area is by the trapezoid rule over the fraction
    of pixels. An image takes 2 * steps inputs. MAX_PASS_SIZE inputs or those of one image, whichever is more, are in
    memory at a time: 77 MB for images of 3 x 224 x 224.
    """
    pixels = order.shape[1]
    steps = min(steps, pixels)
    counts = torch.arange(steps + 1, device=images.device) * pixels // steps
    group_size = max(1, MAX_PASS_SIZE // (2 * steps))
    groups = zip(
        images.split(group_size), targets.split(group_size), ranks_in_order(order).split(group_size), strict=True
    )
    curves = torch.cat([_probability_curves(model, *group, counts) for group in groups])  # [N, 2, counts]
    areas = torch.trapezoid(curves, counts / pixels)  # [N, 2]
    return areas[:, 0], areas[:, 1]


def _probability_curves(model: nn.Module, images: Tensor, targets: Tensor, ranks: Tensor, counts: Tensor) -> Tensor:
    """Probabilities of a few images at each count of pixels, for insertion and deletion: [n, 2, counts]."""
    most_relevant = ranks[:, None] < counts[1:-1, None]  # [n, steps - 1, P]
    most_relevant = most_relevant.unflatten(2, images.shape[2:])[:, :, None]
    original = images[:, None]
    blurred = blur(images)[:, None]
    inserted = torch.where(most_relevant, original, blurred)
    deleted = torch.where(most_relevant, blurred, original)
    # insertion ends with the original, where deletion starts, and deletion ends with the blurred image
    inputs = torch.cat([blurred, inserted, original, deleted], 1)  # [n, 2 * steps, C, H, W]
    logits = all_scores(model, inputs.flatten(0, 1))
    explained = targets.repeat_interleave(inputs.shape[1])
    probabilities = logits.softmax(1).gather(1, explained[:, None]).squeeze(1).view(len(images), -1)  # [n, 2 * steps]
    insertion = probabilities[:, : len(counts)]
    deletion = torch.cat([probabilities[:, len(counts) - 1 :], probabilities[:, :1]], 1)
    return torch.stack([insertion, deletion], 1)
