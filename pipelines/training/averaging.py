"""The running mean of a network's weights: the network that an epoch ends with.

Polyak and Juditsky 1992; in the exponential form of Tarvainen and Valpola 2017, 1703.01780. At a high learning rate
it is better by many points of accuracy than the weights of the moment, which keep jumping about.
"""

import torch
from torch import nn


@torch.no_grad()
def update_average(mean: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `mean` towards the weights and statistics of `model` after training step 1, 2, ...

    Early means forget faster, so that they are not held back by the untrained network.
    """
    share = 1 - min(decay, step / (step + 9))
    # each once, also those that have two names
    tensors = zip((*mean.parameters(), *mean.buffers()), (*model.parameters(), *model.buffers()), strict=True)
    for old, new in tensors:
        if old.is_floating_point() or old.is_complex():
            old.lerp_(new, share)
        else:
            old.copy_(new)
