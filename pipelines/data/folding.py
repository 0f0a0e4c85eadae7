"""Folds of the training images, of which each is left out once."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedKFold

from pipelines.common.wording import plural
from pipelines.data.names import format_names
from pipelines.data.raw import Split
from tracking.errors import InputError


def assign_folds(train: Split, classes: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Fold of each training image, [N] in 0..count - 1: about the same fraction of every class in each, by `seed`.

    Images of the same pixels are in one fold, even if their labels differ: a model that has seen one of them has
    seen all. Raises InputError if no class has `count` different images, or all those of a class are in one fold, so
    that the model that is asked about them has never seen the class.
    """
    labels = train.labels.numpy()
    _, first, content = np.unique(np.array(train.pixel_digests()), return_index=True, return_inverse=True)
    most = np.bincount(labels[first]).max()
    if count > most:
        raise InputError(f"--k is {count}, and no class has over {plural(int(most), 'different training image')}")
    fold_of_content = np.empty(len(first), np.int32)
    folds = StratifiedKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer images than folds is in some of them alone
        for number, (_, held_out) in enumerate(folds.split(first, labels[first])):
            fold_of_content[held_out] = number
    fold = fold_of_content[content]
    unseen = [name for label, name in enumerate(classes) if len(np.unique(fold[labels == label])) == 1]
    if unseen:
        raise InputError(
            f"all different training images of class {format_names(unseen)} are in one fold, so no model can be asked "
            "about them that has seen others of the class; add some, and train again"
        )
    return fold
