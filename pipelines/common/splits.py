"""Names of splits that the training images have in table `predictions`, besides `train` itself."""

TRAIN_SEEN = "train_seen"  # as the network saw them during an epoch
TRAIN_FOLDS = "train_folds"  # by models that were trained on other images, see `study folds`


def stored_split(split: str) -> str:
    """The split of table `instances` that a split of predictions is about."""
    return "train" if split in (TRAIN_SEEN, TRAIN_FOLDS) else split
