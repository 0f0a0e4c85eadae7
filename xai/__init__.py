"""Explaining: tensors in, tensors out. N images, C channels, H x W pixels, K classes."""

from xai import (
    expected_gradients,
    grad_cam,
    ice,
    integrated_gradients,
    occlusion,
    partition_shap,
    references,
    saliency,
    smooth_grad,
)
from xai.method import Attribution, Method, MethodInputs, NotApplicable

# by the name that --method takes; a new method is a module and a line here
METHODS = {
    method.name: method
    for method in (
        saliency.METHOD,
        smooth_grad.METHOD,
        integrated_gradients.METHOD,
        grad_cam.METHOD,
        occlusion.METHOD,
        expected_gradients.METHOD,
        partition_shap.METHOD,
    )
}
CONCEPT_METHODS = {method.name: method for method in (ice.METHOD,)}
REFERENCES = references.REFERENCES

__all__ = ["CONCEPT_METHODS", "METHODS", "REFERENCES", "Attribution", "Method", "MethodInputs", "NotApplicable"]
