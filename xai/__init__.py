"""Explaining: tensors in, tensors out. N images, C channels, H x W pixels, K classes."""

from xai.saliency import saliency

METHODS = {
    "saliency": saliency,
}
