"""digits: the 1,797 real handwritten digits that come with scikit-learn. Needs no network.

E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part, 8x8 pixels, 17 levels).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from pipelines.data.raw import LoadOptions, RawDataset, Split


def load_digits(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Grey images [N, 1, 32, 32], upsampled; every fourth image of each class is a test image."""
    from sklearn import datasets

    digits = datasets.load_digits()
    small_images = torch.from_numpy(digits.images).float()[:, None] / 16  # [N, 1, 8, 8]
    size = options.size or 32
    images = functional.interpolate(small_images, (size, size), mode="bilinear").mul(255).round().byte()
    labels = torch.from_numpy(digits.target).long()
    sources = tuple(f"digits/{row:04d}" for row in range(len(labels)))
    all_digits = Split(images, labels, sources)

    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        rows = np.flatnonzero(digits.target == label)
        is_test[rows[3::4]] = True
    train = all_digits.rows(np.flatnonzero(~is_test))
    test = all_digits.rows(np.flatnonzero(is_test))
    return RawDataset(tuple("0123456789"), train, test, flips=False, shrinks=True)
