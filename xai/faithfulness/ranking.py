"""The order in which pixels are taken: by signed value, most relevant first, as in Deletion and Insertion."""

import torch
from torch import Tensor

from xai.method import DEFAULTS, MethodInputs


def rank_pixels(maps: Tensor, inputs: MethodInputs = DEFAULTS) -> Tensor:
    """Pixels of each map [N, H, W], as indices into the flattened map, the highest value first: [N, P].

    Pixels of equal value, of which occlusion, Grad-CAM and SHAP have many, come in an order drawn from the instance's
    own generator: their position in the image is not evidence, and must not decide.
    """
    permutations = [torch.randperm(maps[0].numel(), generator=inputs.generator(row)) for row in range(len(maps))]
    shuffled = torch.stack(permutations).to(maps.device)  # [N, P]
    order = maps.flatten(1).gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order)


def ranks_in_order(order: Tensor) -> Tensor:
    """The rank of each pixel in the order [N, P], 0 for the first: [N, P]."""
    ranks = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, ranks)
