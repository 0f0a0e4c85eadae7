"""The generators that networks draw from."""

import random
import zlib

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Start Python's, NumPy's and torch's global generators (processor and GPUs) from `seed`, in 0..2**32 - 1."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of its own for every epoch, so that an epoch can be repeated without the ones before."""
    return zlib.crc32(f"{seed} {epoch}".encode())
