"""Exponential moving average (EMA) of a network's weights: the network that each epoch ends with.

Polyak and Juditsky 1992; in the exponential form of Tarvainen and Valpola 2017, 1703.01780. At a high learning rate
the average is many percentage points more accurate than the current weights, which keep oscillating.
"""

import torch
from torch import nn


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `averaged` towards the weights and buffers of `model` after training step 1, 2, ...

    The decay rises from 0.1 to `decay`, so that the untrained network is forgotten quickly.
    """
    # not torch's AveragedModel: it copies the weights at step 1, averages integer buffers, and adds keys to checkpoints
    weight = 1 - min(decay, step / (step + 9))
    averaged_tensors = (*averaged.parameters(), *averaged.buffers())  # a tied weight comes once
    current_tensors = (*model.parameters(), *model.buffers())
    for average, current in zip(averaged_tensors, current_tensors, strict=True):
        if average.is_floating_point() or average.is_complex():
            average.lerp_(current, weight)
        else:
            average.copy_(current)
