"""Part of a split becomes another split, with the same fraction of every class in both."""

import numpy as np

from pipelines.data.raw import Split


def split_off(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """What remains and what is split off; each class gives `fraction` of its images, rounded, but at least one."""
    random = np.random.default_rng(seed)
    labels = split.labels.numpy()
    is_split_off = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(len(rows) * fraction)), len(rows) - 1)
        is_split_off[random.permutation(rows)[:count]] = True
    return split.rows(np.flatnonzero(~is_split_off)), split.rows(np.flatnonzero(is_split_off))
