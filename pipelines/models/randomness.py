"""Seeds for the random number generators that networks draw from."""

import random
import zlib

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (processor and GPUs); `seed` is in 0..2**32 - 1."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def epoch_seed(seed: int, epoch: int) -> int:
    """A separate seed for each epoch, so that an epoch can be repeated without the ones before it."""
    return zlib.crc32(f"{seed} {epoch}".encode())
