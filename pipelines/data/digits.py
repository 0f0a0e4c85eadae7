"""digits: the 1,797 real handwritten digits that scikit-learn brings along. Needs no network.

E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part, 8x8 pixels, 17 levels).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from pipelines.data.raw import Options, Raw, Split


def load_digits(path: str | None, home_data: Path, options: Options) -> Raw:
    """Grey images [N, 1, 32, 32], upsampled; every fourth image of a class is for testing."""
    from sklearn.datasets import load_digits as bundled

    digits = bundled()
    small = torch.from_numpy(digits.images).float()[:, None] / 16  # [N, 1, 8, 8]
    size = options.size or 32
    images = functional.interpolate(small, (size, size), mode="bilinear").mul(255).round().byte()
    labels = torch.from_numpy(digits.target).long()
    everything = Split(images, labels, tuple(f"digits/{row:04d}" for row in range(len(labels))))
    for_test = _every_fourth(digits.target)
    train, test = everything.rows(np.flatnonzero(~for_test)), everything.rows(np.flatnonzero(for_test))
    return Raw(tuple("0123456789"), train, test, flips=False, shrinks=True)


def _every_fourth(labels: np.ndarray) -> np.ndarray:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[3::4]] = True
    return chosen
