"""Grad-CAM: where the last feature maps that speak for the class are strong.

Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2. Property: before global average pooling and a linear
layer it is ReLU of the class activation map.
"""

import torch
from torch import Tensor, nn

from xai.cut import cut, last_layer
from xai.gradient import frozen
from xai.method import NOTHING, Attribution, Given


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, given: Given = NOTHING) -> Attribution:
    """ReLU of the layer's maps weighted by their mean gradients, brought to the image's size: [N, H, W], 0 or more.

    A map is all zero where no feature map speaks for the class on balance.
    """
    parts = cut(model, given.layer or last_layer(model, images))
    with frozen(model), torch.enable_grad():
        features = parts.body(images).detach().requires_grad_()  # [N, c, h, w]
        scores = parts.head(features).gather(1, targets[:, None]).squeeze(1)  # [N]
        (gradient,) = torch.autograd.grad(scores.sum(), features)
        weights = gradient.mean(dim=(2, 3), keepdim=True)  # [N, c, 1, 1]
        coarse = (weights * features).sum(1, keepdim=True).relu().detach()  # [N, 1, h, w]
    maps = nn.functional.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)
    return Attribution(maps.squeeze(1), scores.detach())
