"""Insertion and Deletion: how the class's probability follows the pixels a map holds relevant.

Petsiuk, Das, Saenko 2018, arXiv 1806.07421, section 3.3, with the blurred image as what is not there in both. Property:
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

    By `order` [N, P] the pixels come into the blurred image (insertion) or are blurred away (deletion), in equal
    steps, at most one a pixel. Both ends of the curve count; the area is that of trapezoids over the share of pixels.
    An image takes 2 * steps inputs. In memory at a time are PASS inputs or one image's, whatever is more: 77 MB for
    images of 3 x 224 x 224.
    """
    pixels = order.shape[1]
    steps = min(steps, pixels)
    counts = torch.arange(steps + 1, device=images.device) * pixels // steps
    group = max(1, MAX_PASS_SIZE // (2 * steps))
    parts = zip(images.split(group), targets.split(group), ranks_in_order(order).split(group), strict=True)
    curves = [_curves(model, some, explained, places, counts) for some, explained, places in parts]
    areas = torch.trapezoid(torch.cat(curves), counts / pixels)  # [N, 2]
    return areas[:, 0], areas[:, 1]


def _curves(model: nn.Module, images: Tensor, targets: Tensor, places: Tensor, counts: Tensor) -> Tensor:
    """Probabilities of a few images at each count of pixels, insertion's and deletion's: [n, 2, counts]."""
    first = places[:, None] < counts[1:-1, None]  # [n, steps - 1, P]
    first = first.unflatten(2, images.shape[2:])[:, :, None]
    image, blurred = images[:, None], blur(images)[:, None]
    # insertion ends with the image where deletion starts, and the other way round
    inputs = torch.cat([blurred, torch.where(first, image, blurred), image, torch.where(first, blurred, image)], 1)
    found = _probabilities(model, inputs.flatten(0, 1), targets.repeat_interleave(inputs.shape[1]))
    found = found.view(len(images), -1)  # [n, 2 * steps]
    end = len(counts)
    deletion = torch.cat([found[:, end - 1 :], found[:, :1]], 1)
    return torch.stack([found[:, :end], deletion], 1)


def _probabilities(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return all_scores(model, inputs).softmax(1).gather(1, targets[:, None]).squeeze(1)
