"""The random number generators that networks draw from: their seeds and states."""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (processor and GPUs); `seed` is in 0..2**32 - 1."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def head_seed(seed: int) -> int:
    """A separate seed for a new head: from that of the network, it would begin as the head of the source began."""
    return zlib.crc32(f"{seed} head".encode())


def epoch_seed(seed: int, epoch: int) -> int:
    """A separate seed for each epoch, so that an epoch can be repeated without the ones before it."""
    return zlib.crc32(f"{seed} {epoch}".encode())


def read_generators() -> dict[str, Any]:
    """The state of the global random number generators of Python, NumPy and torch."""
    kind, words, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [kind, [int(word) for word in words], *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Bring the random number generators into a state that `read_generators` gave."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, words, *rest = state["numpy"]
    np.random.set_state((kind, np.array(words, np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def keeping_generators() -> Iterator[None]:
    """The random number generators are afterwards as they were before."""
    state = read_generators()
    try:
        yield
    finally:
        set_generators(state)
