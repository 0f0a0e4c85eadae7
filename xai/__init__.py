"""Explaining: tensors in, tensors out. N images, C channels, H x W pixels, K classes."""

from xai.expected_gradients import expected_gradients
from xai.grad_cam import grad_cam
from xai.integrated_gradients import integrated_gradients
from xai.method import Attribution, Given, Method, Refusal
from xai.occlusion import occlusion
from xai.partition_shap import partition_shap
from xai.references import REFERENCES
from xai.saliency import saliency
from xai.smooth_grad import smooth_grad

METHODS = {
    "saliency": Method(saliency, signed=False),
    "smooth_grad": Method(smooth_grad, signed=False, takes_samples=True),
    "integrated_gradients": Method(integrated_gradients, signed=True, takes_samples=True),
    "grad_cam": Method(grad_cam, signed=False, looks_at_a_layer=True),
    "occlusion": Method(occlusion, signed=True),
    "expected_gradients": Method(expected_gradients, signed=True, takes_samples=True),
    "shap": Method(partition_shap, signed=True, targets=("predicted", "label"), takes_samples=True),
}
# methods that explain the model as a whole, by directions of a layer instead of a map per image
CONCEPT_METHODS = ("ice",)

__all__ = ["CONCEPT_METHODS", "METHODS", "REFERENCES", "Attribution", "Given", "Method", "Refusal"]
