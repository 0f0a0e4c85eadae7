"""Scores and their gradients with respect to the image, without a trace left in the model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xai.method import NotApplicable, pass_size

GRADIENT_FREE = "methods that need none: occlusion, shap"
LOGIT_TOLERANCE = 1e-4  # difference of logits, as a share of the largest, that is rounding
GPU_LOGIT_TOLERANCE = (
    1e-2  # that batches of other sizes may make on a GPU, which computes convolutions in TF32, of 10 bits of mantissa
)


def score_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each image's target logit [N, C, H, W], and that logit [N].

    Raises NotApplicable where there is no gradient.
    """
    inputs = images.detach().clone().requires_grad_()
    with frozen(model), torch.enable_grad():
        try:
            scores = model(inputs).gather(1, targets[:, None]).squeeze(1)  # [N]
            gradient = gradient_of(scores.sum(), inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            all_scores(model, inputs.detach())  # a fault that has nothing to do with gradients comes again
            raise NotApplicable(
                f"the model cannot be differentiated ({str(error).splitlines()[0]}); {GRADIENT_FREE}"
            ) from None
    if gradient is None:
        raise NotApplicable(
            "no gradient reaches the image, as when a part of the model runs under torch.no_grad(), or detaches or "
            f"rounds what it passes on; {GRADIENT_FREE}"
        )
    return gradient, scores.detach()


def gradient_of(total: Tensor, inputs: Tensor) -> Tensor | None:
    """Gradient of a sum with respect to what it was computed from; None if none leads there."""
    return torch.autograd.grad(total, inputs, allow_unused=True)[0] if total.requires_grad else None


def check_deterministic(model: nn.Module, images: Tensor) -> None:
    """Raises NotApplicable if the logits of an image depend on more than the image: chance, memory, other images."""
    if reason := find_nondeterminism(model, images):
        raise NotApplicable(reason)


def find_nondeterminism(model: nn.Module, images: Tensor) -> str | None:
    """What beside the image decides logits of images [N, C, H, W] in evaluation, and what to do; None if nothing."""
    kept = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    with frozen(model), torch.no_grad():
        first, again, alone = model(images), model(images), model(images[:1])
        changed = [name for name, buffer in model.named_buffers() if not nearly_equal(buffer, kept[name], 0)]
        for name in changed:
            model.get_buffer(name).copy_(kept[name])
    if changed:
        return f"the model changes {changed[0]} when it predicts, so its logits depend on what it saw before"
    if not nearly_equal(again, first, LOGIT_TOLERANCE):
        return (
            "evaluated twice on the same images, the model gives other logits; dropout or other randomness is active, "
            "which must depend on self.training"
        )
    if not nearly_equal(alone, first[:1], LOGIT_TOLERANCE if images.device.type == "cpu" else GPU_LOGIT_TOLERANCE):
        return (
            "evaluated on one image alone, the model gives other logits than in a batch; statistics of the batch must "
            "be used in training alone"
        )
    return None


def nearly_equal(values: Tensor, others: Tensor, tolerance: float) -> bool:
    """Whether values differ by at most a share of the largest of the others; NaN is the same as NaN."""
    if values.shape != others.shape:
        return False
    largest = others.abs().nan_to_num(posinf=0).amax().item() if others.numel() else 0
    return torch.allclose(values.double(), others.double(), rtol=0, atol=tolerance * largest, equal_nan=True)


def all_scores(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of each image, [N, K]."""
    with frozen(model), torch.no_grad():
        return torch.cat([model(part) for part in split_into_passes(images)])


def target_scores(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The target logit of each image, [N]."""
    return all_scores(model, images).gather(1, targets[:, None]).squeeze(1)


def split_into_passes(rows: Tensor) -> tuple[Tensor, ...]:
    """The rows in parts of at most `pass_size()`, all about as large."""
    return rows.chunk(max(1, -(-len(rows) // pass_size())))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients of parameters inside; everything as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    needed = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, need in needed:
            parameter.requires_grad_(need)
