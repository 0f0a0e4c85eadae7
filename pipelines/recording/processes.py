"""Distributed training: the process of rank 0 writes, and the others hand it what they have seen.

They talk through the store of their process group, never by a collective operation that one of them might miss. So
rank 0 alone may record, or all of them; and every wait has an end.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import torch.distributed as distributed
from safetensors.torch import load, save
from torch import Tensor, nn

from pipelines.common.ranks import open_store
from tracking.errors import InputError, RunError
from tracking.home import LAUNCHED, lead_processes

PATIENCE = timedelta(seconds=120)  # with another process, unless the timeout of the process group is shorter
CHUNK = 1 << 22  # bytes under one key; torch's own store takes 8 MiB
ALIKE = "call the same in every process, or record in rank 0 alone"

_numbers = count()


@dataclass(frozen=True)
class Beginning:
    """How a run begins, as rank 0 tells the others; or why it does not."""

    run_id: str = ""
    next_epoch: int = 1
    class_count: int = 0
    brings_state: bool = False  # whether the weights and states of a resumed run follow
    error: str | None = None


class Channel:
    """What the processes of a training tell each other of a recording."""

    def __init__(self, store: distributed.Store, rank: int, size: int) -> None:
        self.rank = rank
        self._others = range(1, size)
        self._store = store
        self._timeout: timedelta = store.timeout  # type: ignore[attr-defined]  # which torch's stubs lack
        self._patience = min(PATIENCE, self._timeout)

    def arrive(self) -> None:
        """Say that this process has called `record`."""
        self._store.set(f"arrived/{self.rank}", "")

    def begin(self, beginning: Beginning, labels: Tensor | None = None) -> None:
        """Tell the others how the run begins, and the labels [N] of the training images."""
        if labels is not None:
            self._send("labels", {"labels": labels.clone()})
        self._store.set("beginning", json.dumps(asdict(beginning)))

    def follow(self) -> tuple[Beginning, Tensor]:
        """How the run begins, and the labels [N]. Raises InputError if rank 0 begins none."""
        with _lost_reported():
            self.arrive()
            if not self._wait("arrived/0", self._patience):
                raise InputError(f"rank 0 has not called record within {_seconds(self._patience)}; {ALIKE}")
            if not self._wait("beginning", self._timeout):
                raise InputError(
                    f"rank 0 has not begun the run within {_seconds(self._timeout)}, the timeout of "
                    "init_process_group; raise it if the pictures take longer to read"
                )
            beginning = Beginning(**json.loads(self._store.get("beginning")))
            if beginning.error is not None:
                raise InputError(f"rank 0 could not begin: {beginning.error}")
            return beginning, self._receive("labels")["labels"]

    def wait_for_all(self) -> None:
        """Wait until every process has called `record`. Raises InputError if one does not."""
        for rank in self._others:
            if not self._wait(f"arrived/{rank}", self._patience):
                raise InputError(
                    f"rank {rank} has not called record within {_seconds(self._patience)}; to resume, every process "
                    "calls it, as each needs the weights"
                )

    def share(self, value: Any) -> Any:
        """Rank 0's value, in every process; a collective operation, after `wait_for_all` and `follow`."""
        values = [value]
        with _lost_reported():
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def announce(self) -> None:
        """Say that this process sees batches, which it will hand in."""
        self._store.set(f"sees/{self.rank}", "")

    def hand_in(self, epoch: int, ids: Tensor, logits: Tensor) -> None:
        """Leave what this process has seen in an epoch for rank 0: IDs [B] and logits [B, K]."""
        with _lost_reported():
            self._send(f"seen/{epoch}/{self.rank}", {"ids": ids, "logits": logits})

    def collect(self, epoch: int, *, is_seeing: bool) -> list[tuple[Tensor, Tensor]]:
        """What the others have handed in of an epoch: of those that record too, if they or this one (`is_seeing`) see.

        Raises RunError if one of them does not come.
        """
        parts = []
        for rank in self._others:
            if not self._store.check([f"arrived/{rank}"]) or not (is_seeing or self._store.check([f"sees/{rank}"])):
                continue
            key = f"seen/{epoch}/{rank}"
            if not self._wait(key, self._patience):
                raise RunError(
                    f"rank {rank} has not called epoch within {_seconds(self._patience)}, so what it has seen of epoch "
                    f"{epoch} is missing; {ALIKE}"
                )
            part = self._receive(key)
            parts.append((part["ids"], part["logits"]))
            self._delete(key)
        return parts

    def _send(self, key: str, tensors: dict[str, Tensor]) -> None:
        content = save(tensors)
        starts = range(0, len(content), CHUNK)
        for number, start in enumerate(starts):
            self._store.set(f"{key}/{number}", content[start : start + CHUNK])  # type: ignore[arg-type]  # takes bytes too
        self._store.set(key, str(len(starts)))  # last, so that a process that waits for it finds the rest

    def _receive(self, key: str) -> dict[str, Tensor]:
        return load(b"".join(self._store.get(f"{key}/{number}") for number in range(int(self._store.get(key)))))

    def _delete(self, key: str) -> None:
        for number in range(int(self._store.get(key))):
            self._store.delete_key(f"{key}/{number}")
        self._store.delete_key(key)

    def _wait(self, key: str, patience: timedelta) -> bool:
        """Whether a key comes within the time."""
        try:
            self._store.wait([key], patience)
        except distributed.DistStoreError:
            return False
        return True


def open_channel() -> Channel | None:
    """The way to the other processes of this training; None if there are none.

    Rank 0 may write from now on. Raises InputError in a process that others were launched beside, before they know each
    other.
    """
    if distributed.is_available() and distributed.is_initialized():
        if distributed.get_world_size() == 1:
            return None
        if distributed.get_rank() == 0:
            lead_processes()
        own = open_store(f"xai-study/{next(_numbers)}")  # the n-th recording of every process
        return Channel(own, distributed.get_rank(), distributed.get_world_size())
    for size, rank in LAUNCHED.items():
        if rank in os.environ and os.environ.get(size, "1") != "1":
            raise InputError(
                f"this is one of {os.environ[size]} processes ({size}), which do not know each other yet; call record "
                "after torch.distributed.init_process_group"
            )
    return None


def check_whole(model: nn.Module) -> None:
    """Raise InputError on a model whose weights are spread over the processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    is_wrapped = any(isinstance(module, FullyShardedDataParallel) for module in model.modules())
    if is_wrapped or any(isinstance(weight, DTensor) for weight in model.parameters()):
        raise InputError(
            "the model's weights are spread over the processes (FSDP), and a checkpoint needs them whole; use "
            "DistributedDataParallel"
        )


@contextmanager
def telling_errors(channel: Channel | None) -> Iterator[None]:
    """An error of rank 0 inside, before the run has begun, ends the others' waiting."""
    if channel:
        channel.arrive()
    try:
        yield
    except BaseException as error:
        if channel:
            channel.begin(Beginning(error=str(error) or type(error).__name__))
        raise


@contextmanager
def _lost_reported() -> Iterator[None]:
    """A connection that breaks, as when rank 0 was killed, becomes a RunError."""
    try:
        yield
    except (InputError, RunError):
        raise
    except RuntimeError as error:  # torch's own errors of connections are of this class, or a child
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"the connection to rank 0, which writes the run, is lost: {reason}") from None


def _seconds(time: timedelta) -> str:
    return f"{time.total_seconds():g} s"
