"""What the processes of one training exchange: gradients, weights, predictions. In one process, nothing happens."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from pipelines.common.ranks import lost_reported, rank, world
from pipelines.models.predictions import Predictions


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        total = values.clone()
        with lost_reported():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        # every process's loss depends on the total, and so the gradient of the sum of losses is the sum of theirs
        return add_up(gradient)


def add_up(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients flow back into each of them."""
    return _Sum.apply(values)


@torch.no_grad()
def add_up_gradients(model: nn.Module) -> None:
    """Replace every gradient by its sum over all processes, in one operation.

    A parameter that a process did not use counts as zero there; one that none has used keeps no gradient.
    """
    if world() == 1:
        return
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    is_used = torch.tensor([weight.grad is not None for weight in weights], device=weights[0].device)
    parts = [(torch.zeros_like(weight) if weight.grad is None else weight.grad).reshape(-1) for weight in weights]
    total = add_up(torch.cat([*parts, is_used.to(parts[0].dtype)]))
    *sums, use_counts = total.split([*(part.numel() for part in parts), len(weights)])
    for weight, gradient, count in zip(weights, sums, use_counts.tolist(), strict=True):
        if count:
            weight.grad = torch.empty_like(weight).copy_(gradient.view(weight.shape))


@torch.no_grad()
def copy_from_leader(model: nn.Module) -> None:
    """Give the model the weights and buffers that it has in rank 0."""
    if world() == 1:
        return
    for tensor in (*model.parameters(), *model.buffers()):
        copied = tensor.detach().clone(memory_format=torch.contiguous_format)
        with lost_reported():
            distributed.broadcast(copied, 0)
        tensor.copy_(copied)


def copy_object_from_leader(value: Any) -> Any:
    """What rank 0 gives, in every process; it may be large, unlike what `ranks.tell` says."""
    values = [value]
    with lost_reported():
        distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
    return values[0]


def gather_predictions(part: Predictions, labels: Tensor) -> Predictions:
    """In rank 0 the predictions that all processes have made, in the order of instances; elsewhere the part given.

    `labels` are those of all instances predicted, in their order; each of these was predicted once.
    """
    if world() == 1:
        return part
    ids, logits = (torch.cat(list(_gather(values))) for values in (part.instance_id, part.logits))
    if rank():
        return part
    ids, places = ids.sort()
    return Predictions(part.split, ids, labels, logits[places])


def _gather(values: Tensor) -> Iterator[Tensor]:
    """In rank 0 the tensors of all processes, which may differ in length; elsewhere its own. On the processor."""
    yield values
    count = torch.tensor(len(values))
    counts = [torch.zeros_like(count) for _ in range(world())]
    with lost_reported():
        distributed.all_gather(counts, count)
        if rank() and len(values):
            distributed.send(values.contiguous(), 0)
    if rank() == 0:
        for other, length in enumerate(map(int, counts)):
            if other and length:
                received = values.new_empty(length, *values.shape[1:])
                with lost_reported():
                    distributed.recv(received, other)
                yield received
