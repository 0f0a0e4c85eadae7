"""Logits and their gradients with respect to the image, leaving the model as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xai.method import NotApplicable, compute_passes_in, pass_size, pass_type

GRADIENT_FREE = "methods that need none: occlusion, shap"
LOGIT_TOLERANCE = 1e-4  # difference of logits, as a fraction of the largest, that is rounding
# the same between batches of different sizes on a GPU, which computes convolutions in TF32, with 10 bits of mantissa
GPU_LOGIT_TOLERANCE = 1e-2


def score_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each image's target logit [N, C, H, W], and that logit [N].

    Raises NotApplicable if no gradient reaches the image.
    """
    inputs = images.detach().clone().requires_grad_()
    with frozen(model), torch.enable_grad():
        try:
            scores = _run_pass(model, inputs).gather(1, targets[:, None]).squeeze(1)  # [N]
            gradient = gradient_of(scores.sum(), inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            all_scores(model, inputs.detach())  # an error that has nothing to do with gradients is raised again here
            reason = str(error).splitlines()[0]
            raise NotApplicable(f"the model cannot be differentiated ({reason}); {GRADIENT_FREE}") from None
    if gradient is None:
        raise NotApplicable(
            "no gradient reaches the image, as when a part of the model runs under torch.no_grad(), or detaches or "
            f"rounds its output; {GRADIENT_FREE}"
        )
    return gradient, scores.detach()


def gradient_of(total: Tensor, inputs: Tensor) -> Tensor | None:
    """Gradient of a sum with respect to the inputs it was computed from; None if it does not depend on them."""
    if not total.requires_grad:
        return None
    return torch.autograd.grad(total, inputs, allow_unused=True)[0]


def check_deterministic(model: nn.Module, images: Tensor) -> None:
    """Raises NotApplicable if the logits of images [N, C, H, W] are not a function of each image alone."""
    if reason := find_nondeterminism(model, images):
        raise NotApplicable(reason)


def find_nondeterminism(model: nn.Module, images: Tensor) -> str | None:
    """What besides the image decides logits of images [N, C, H, W] in evaluation, and what to do; None if nothing."""
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    with frozen(model), torch.no_grad():
        first = model(images)
        second = model(images)
        alone = model(images[:1])
        changed = [name for name, buffer in model.named_buffers() if not nearly_equal(buffer, buffers[name], 0)]
        for name in changed:
            model.get_buffer(name).copy_(buffers[name])

    if changed:
        return f"the model changes {changed[0]} when it predicts, so its logits depend on what it saw before"
    if not nearly_equal(second, first, LOGIT_TOLERANCE):
        return (
            "evaluated twice on the same images, the model gives different logits; dropout or other randomness is "
            "active, which must depend on self.training"
        )
    if not nearly_equal(alone, first[:1], LOGIT_TOLERANCE if images.device.type == "cpu" else GPU_LOGIT_TOLERANCE):
        return (
            "evaluated on one image alone, the model gives other logits than in a batch; batch statistics must be used "
            "in training only"
        )
    return None


def nearly_equal(values: Tensor, others: Tensor, tolerance: float) -> bool:
    """Whether values differ by at most a fraction of the largest of the others; NaN equals NaN."""
    if values.shape != others.shape:
        return False
    largest = others.abs().nan_to_num(posinf=0).amax().item() if others.numel() else 0
    return torch.allclose(values.double(), others.double(), rtol=0, atol=tolerance * largest, equal_nan=True)


def all_scores(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of each image, [N, K]."""
    with frozen(model), torch.no_grad():
        return torch.cat([_run_pass(model, part) for part in split_into_passes(images)])


def target_scores(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The target logit of each image, [N]."""
    return all_scores(model, images).gather(1, targets[:, None]).squeeze(1)


def exact_scores(model: nn.Module, images: Tensor, targets: Tensor, computed: Tensor | None = None) -> Tensor:
    """The target logit of each image in float32, [N]; those that passes `computed` already, if they are in float32."""
    if computed is not None and pass_type() is torch.float32:
        return computed
    with compute_passes_in(torch.float32):
        return target_scores(model, images, targets)


def _run_pass(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of each image, [N, K]."""
    if pass_type() is torch.float32:
        return model(images)
    with torch.autocast(images.device.type, pass_type()):
        return model(images).float()


def split_into_passes(rows: Tensor) -> tuple[Tensor, ...]:
    """The rows in parts of about equal size, at most `pass_size()` each."""
    parts = -(-len(rows) // pass_size())  # rounded up
    return rows.chunk(max(1, parts))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without parameter gradients during the block; afterwards everything is restored."""
    modes = [(module, module.training) for module in model.modules()]
    requirements = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in requirements:
            parameter.requires_grad_(requires_grad)
