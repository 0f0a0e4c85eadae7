"""Predictions that a training loop made on the way, and the data set that says which image is which."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from pipelines.common.splits import TRAIN_SEEN
from pipelines.models.predictions import Predictions
from tracking.errors import InputError


class WithIds(TorchDataset):
    """A data set whose items end in their position: (image, label, id). Shuffling and workers do not change it."""

    def __init__(self, data_set: Any) -> None:
        self.data_set = data_set

    def __len__(self) -> int:
        return len(self.data_set)

    def __getitem__(self, position: int) -> tuple:
        return *self.data_set[position], position


class SeenBatches:
    """Training batches of one epoch as they went by."""

    def __init__(self, labels: Tensor, class_count: int) -> None:
        self.labels = labels  # [N], of the training set
        self.class_count = class_count
        self._batches: list[tuple[Tensor, Tensor]] = []  # ids [B], logits [B, K]

    def add(self, ids: Any, logits: Tensor, labels: Any = None) -> None:
        """Raises InputError unless these are IDs of the training set, with its labels, and logits of its classes."""
        known_ids = as_ids(ids, len(self.labels), "train")
        check_shape(logits, (len(known_ids), self.class_count), "seen")
        if labels is not None:
            given = torch.as_tensor(labels).cpu()
            check = given.shape == known_ids.shape and not given.is_floating_point()  # mixed labels are none
            different = (given != self.labels[known_ids]).nonzero().flatten() if check else given.new_empty(0)
            if len(different):
                row = int(different[0])
                raise InputError(
                    f"seen: image {int(known_ids[row])} of train has label {int(self.labels[known_ids[row]])}, the "
                    f"batch says {int(given[row])}; ids are positions in the training set that was given to record "
                    "(run.with_ids(train_set) yields them)"
                )
        self._batches.append((known_ids, logits.detach().clone()))  # not moved: that would wait for the GPU

    def __bool__(self) -> bool:
        """Whether a batch went by since `clear`."""
        return bool(self._batches)

    def extend(self, ids: Tensor, logits: Tensor) -> None:
        """Take what another process has seen, and checked."""
        if len(ids):
            self._batches.append((ids, logits))

    def join(self) -> tuple[Tensor, Tensor]:
        """IDs [B] and logits [B, K], on the processor, of all batches since `clear`."""
        batches = self._batches or [(torch.empty(0, dtype=torch.long), torch.empty(0, self.class_count))]
        return torch.cat([ids for ids, _ in batches]), torch.cat([logits.float().cpu() for _, logits in batches])

    def clear(self) -> None:
        """Begin another epoch."""
        self._batches = []

    def to_predictions(self) -> Predictions | None:
        """The images that went by, ascending by ID; of an image that came twice, the last. None without any."""
        if not self._batches:
            return None
        ids, logits = self.join()
        last_row = torch.full((len(self.labels),), -1)
        for row, instance in enumerate(ids.tolist()):
            last_row[instance] = row
        instances = (last_row >= 0).nonzero().flatten()
        return Predictions(TRAIN_SEEN, instances, self.labels[instances], logits[last_row[instances]])


def as_ids(ids: Any, count: int, split: str) -> Tensor:
    """Instance IDs [B] on the processor. Raises InputError unless all are in 0..count-1."""
    try:
        known = torch.as_tensor(ids).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"ids of {split} are of {type(ids).__name__}; give whole numbers [B]") from None
    if known.ndim != 1 or known.is_floating_point() or known.is_complex():
        raise InputError(f"ids of {split} have shape {tuple(known.shape)} and {known.dtype}; give whole numbers [B]")
    if len(known) and (known.min() < 0 or known.max() >= count):
        raise InputError(f"ids of {split} are {int(known.min())} to {int(known.max())}; there are 0 to {count - 1}")
    return known.long()


def check_shape(logits: Any, shape: tuple[int, int], what: str) -> None:
    """Raise InputError unless `logits` are a tensor of this shape (images, classes)."""
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        found = tuple(logits.shape) if hasattr(logits, "shape") else type(logits).__name__
        raise InputError(f"{what}: logits are {found}; needed is a tensor of {shape[0]} images and {shape[1]} classes")
