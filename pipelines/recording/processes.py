"""Distributed training: one process writes, the others hand it what they have seen."""

from typing import Any

import torch.distributed as distributed

from tracking.home import lead_processes


def is_leader() -> bool:
    """Whether this process is the one that writes: rank 0, or the only one. It may write from now on."""
    if _count() == 1:
        return True
    if distributed.get_rank() == 0:
        lead_processes()
        return True
    return False


def broadcast(value: Any) -> Any:
    """The leader's value, in every process. Every process has to call it."""
    if _count() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gather(items: list[Any]) -> list[Any]:
    """The items of all processes at the leader, of this one elsewhere. Every process has to call it."""
    if _count() == 1:
        return items
    gathered: list[list[Any] | None] | None = [None] * _count() if distributed.get_rank() == 0 else None
    distributed.gather_object(items, gathered, dst=0)
    return [item for part in gathered or [items] for item in part or []]


def _count() -> int:
    is_distributed = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if is_distributed else 1
