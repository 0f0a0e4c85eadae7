"""Grad-CAM: where the last feature maps that support the class are strong.

Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2. Property: before global average pooling and a linear
layer it is ReLU of the class activation map.
"""

import torch
from torch import Tensor, nn

from xai.cut import choose_layer, cut_model
from xai.gradient import frozen, gradient_of
from xai.method import (
    DEFAULTS,
    DEVELOPERS_AND_USERS,
    LEAVES_PARTS_OUT,
    Attribution,
    Card,
    Layer,
    Method,
    MethodInputs,
    NotApplicable,
    enlarge_maps,
)


def attribute(model: nn.Module, images: Tensor, targets: Tensor, inputs: MethodInputs = DEFAULTS) -> Attribution:
    """ReLU of the layer's feature maps weighted by their mean gradients, at the image's size: [N, H, W], 0 or more.

    A map is all zero if, on balance, no feature map supports the class. Raises NotApplicable if the layer is unfit.
    """
    layer = inputs.layer if isinstance(inputs.layer, Layer) else choose_layer(model, images, inputs.layer)
    parts = cut_model(model, layer)
    with frozen(model), torch.enable_grad():
        features = parts.body(images).detach().requires_grad_()  # [N, c, h, w]
        scores = parts.head(features).gather(1, targets[:, None]).squeeze(1)  # [N]
        gradient = gradient_of(scores.sum(), features)
        if gradient is None:
            raise NotApplicable(f"no gradient reaches layer {layer.name!r}; name a later one, or use occlusion or shap")
        weights = gradient.mean(dim=(2, 3), keepdim=True)  # [N, c, 1, 1]
        coarse = (weights * features).sum(1).relu().detach()  # [N, h, w]
    height, width = images.shape[2:]
    return Attribution(enlarge_maps(coarse, (height, width), inputs.seen), scores.detach())


grad_cam = attribute  # its name in earlier versions

METHOD = Method(
    "grad_cam",
    attribute,
    signed=False,
    looks_at_a_layer=True,
    summary="where the last feature maps that support the class are strong",
    cited="Selvaraju 2017",
    card=Card(
        name="Grad-CAM",
        source="Selvaraju et al. 2017, arXiv 1610.02391",
        why="interpretability: where the late features that support the class are",
        who=DEVELOPERS_AND_USERS,
        what="the last feature maps, weighted by their mean gradient; only what supports the class",
        how="attribution: one forward pass and one backward through the head, then upsampled to the image's size",
        when="after training, at any stored epoch",
        where="convolutional networks",
        limits="As coarse as the layer it uses; zero everywhere if no feature map supports the class. "
        + LEAVES_PARTS_OUT,
        use="where a class is supported, at a glance",
        beware="as coarse as its layer",
    ),
)
