"""The processes of a training, which torchrun starts together: rank 0 leads and writes, the others follow it.

What rank 0 decides goes through the store of their process group, as one numbered message after the other: no process
then waits in a collective operation for one that has ended. Only tensors go through collective operations.
"""

import os
import pickle
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tracking.errors import InputError, RunError
from tracking.home import lead_processes

if TYPE_CHECKING:  # the command line imports this module, and torch takes seconds
    from torch.distributed import Store

TIMEOUT = timedelta(hours=1)  # of a collective operation: one process may compute that long while another waits
POLL = 0.02  # seconds between two looks for a message
PATIENCE = 10.0  # seconds in which rank 0 says why it ends
FAREWELL = 3.0  # seconds in which the others end as it does


class LostProcess(RunError):
    """Another process of the training has ended."""


class LeaderEnded(RunError):
    """Rank 0 has ended with an exit code, and has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"rank 0 has ended with exit code {code}")
        self.code = code


@dataclass
class _Membership:
    """This process among those of its training."""

    rank: int
    world: int
    store: "Store"
    messages: int = 0  # of rank 0, so far

    def message_key(self) -> str:
        self.messages += 1
        return f"message/{self.messages}"


_membership: _Membership | None = None


def rank() -> int:
    """The number of this process among those of its training; 0 leads and writes."""
    return _membership.rank if _membership else 0


def world() -> int:
    """The number of processes of this training."""
    return _membership.world if _membership else 1


def share(of: int | None = None) -> slice:
    """Which of the images of a batch, or of the passes of an evaluation, are this process's, or those of rank `of`."""
    return slice(rank() if of is None else of, None, world())


def local_world() -> int:
    """The number of processes of this training on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world())) if _membership else 1


def was_launched() -> bool:
    """Whether torchrun, or a launcher of its kind, started this program as several processes."""
    size = os.environ.get("WORLD_SIZE", "")
    return size.isdigit() and int(size) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def is_follower() -> bool:
    """Whether this is one of several processes, and not that of rank 0."""
    return was_launched() and os.environ["RANK"] != "0"


def join() -> None:
    """Find the other processes, if there are any. Raises InputError if that fails."""
    global _membership
    if not was_launched():
        return
    import torch
    import torch.distributed as distributed

    has_nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if has_nccl else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the processes that torchrun started do not find each other: {reason}") from None
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)  # from now on `cuda` is this process's own GPU
    _membership = _Membership(distributed.get_rank(), distributed.get_world_size(), open_store("xai-study"))
    if rank() == 0:
        lead_processes()


def open_store(name: str) -> "Store":
    """A part of the store that the processes of the process group share, for messages of one kind."""
    import torch.distributed as distributed

    # private, as torch has no public function for it; the tests on two processes say if it is gone
    return distributed.PrefixStore(name, distributed.distributed_c10d._get_default_store())


def tell(message: Any) -> None:
    """Rank 0 sends a small message, which every other process hears."""
    if _membership and world() > 1:
        _membership.store.set(_membership.message_key(), pickle.dumps(message))  # type: ignore[arg-type]


def hear() -> Any:
    """The next message of rank 0. Raises LeaderEnded if no more will come."""
    assert _membership
    key = _membership.message_key()
    with lost_reported():
        while not _membership.store.check([key]):  # not `wait`, in which no signal is handled
            time.sleep(POLL)
        message = pickle.loads(_membership.store.get(key))
    if isinstance(message, LeaderEnded):
        raise message
    return message


def report(problem: str | None) -> None:
    """Tell rank 0 that this process is ready for what it heard last, or why it cannot take part."""
    assert _membership
    _membership.store.set(f"report/{_membership.messages}/{rank()}", problem or "")


def collect_reports() -> None:
    """Wait until every other process is ready for what it was told. Raises InputError if one cannot take part."""
    assert _membership
    for other in range(1, world()):
        key = f"report/{_membership.messages}/{other}"
        with lost_reported():
            while not _membership.store.check([key]):
                time.sleep(POLL)
            problem = _membership.store.get(key).decode()
        if problem:
            raise InputError(f"rank {other}: {problem}")


def leave(code: int) -> None:
    """This process ends with an exit code: rank 0 tells the others, and waits until they have ended as it does."""
    global _membership
    if not _membership:
        return
    import torch.distributed as distributed

    membership, _membership = _membership, None
    store = membership.store
    with suppress(RuntimeError):  # the store is lost too
        if membership.rank == 0:
            store.set(membership.message_key(), pickle.dumps(LeaderEnded(code)))  # type: ignore[arg-type]
        if code:
            distributed.destroy_process_group()  # wakes those that wait in a collective operation
        if membership.rank:
            store.set(f"left/{membership.rank}", "")
            return
        keys = [f"left/{other}" for other in range(1, membership.world)]
        deadline = time.monotonic() + FAREWELL
        while not store.check(keys) and time.monotonic() < deadline:
            time.sleep(POLL)


@contextmanager
def lost_reported() -> Iterator[None]:
    """A connection that breaks becomes LeaderEnded, if rank 0 has said that it ends, else LostProcess.

    For blocks that do nothing but communicate: torch's own errors of connections are RuntimeErrors like others.
    """
    try:
        yield
    except RunError:
        raise
    except RuntimeError as error:
        if rank() and (code := _await_end()) is not None:
            raise LeaderEnded(code) from None
        reason = re.sub(r"^\[[^]]*\] |\. .*", "", " ".join(str(error).split()))  # without the place in torch's code
        raise LostProcess(f"another process of this training has ended ({reason[:120]}); torchrun says which") from None


def _await_end() -> int | None:
    """The exit code with which rank 0 ends, if it says so within a moment."""
    assert _membership
    deadline = time.monotonic() + PATIENCE
    with suppress(RuntimeError):
        while time.monotonic() < deadline:
            key = f"message/{_membership.messages + 1}"
            if not _membership.store.check([key]):
                time.sleep(POLL)
                continue
            message = pickle.loads(_membership.store.get(key))
            if isinstance(message, LeaderEnded):
                return message.code
            _membership.messages += 1
    return None
