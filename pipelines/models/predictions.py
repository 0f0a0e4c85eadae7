"""Rows of table `predictions` from logits."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pipelines.common.splits import TRAIN_SEEN
from pipelines.data.raw import Split

LOGITS_AT_ONCE = 1 << 20  # that are turned into probabilities at a time
EVALUATION_BATCH = 500  # images per evaluation pass: the maximum, and what runs that recorded no number had


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for instances of one split: N rows, K classes."""

    split: str
    instance_id: Tensor  # [N]
    label: Tensor  # [N], -1 where unknown; accuracy and loss need every label
    logits: Tensor  # [N, K]

    @property
    def accuracy(self) -> float:
        return (self.logits.argmax(1) == self.label).double().mean().item()

    @property
    def loss(self) -> float:
        """Mean cross entropy in nats."""
        parts = [
            nn.functional.cross_entropy(self.logits[rows], self.label[rows]).item() * len(self.label[rows])
            for rows in self._parts()
        ]
        return math.fsum(parts) / len(self.label) if parts else math.nan

    def to_columns(self, run_id: str, epoch: int, kept: int | None = None) -> dict[str, Any]:
        """Columns of table `predictions`; with probabilities of the `kept` likeliest classes, by default of all.

        There are none in split train_seen. Little more memory is needed than for the result.
        """
        count, class_count = self.logits.shape
        if self.split == TRAIN_SEEN:
            kept = 0
        elif kept is None or kept >= class_count:
            kept = class_count
        has_all = kept == class_count
        label = self.label.clamp_min(0)[:, None]  # unknown labels read class 0, and their values become null below
        predicted = torch.empty(count, dtype=torch.int32)
        p_true, p_predicted, margin, p_sq = (torch.empty(count) for _ in range(4))
        top_classes = torch.empty(count, 0 if has_all else kept, dtype=torch.int32)
        kept_probabilities = torch.empty(count, kept)
        for rows in self._parts():
            logits = self.logits[rows]  # [n, K]
            probabilities = logits.softmax(1)
            predicted[rows] = logits.argmax(1).int()
            p_true[rows] = probabilities.gather(1, label[rows]).squeeze(1)
            p_predicted[rows] = probabilities.amax(1)
            largest_other_logits = logits.scatter(1, label[rows], -torch.inf).amax(1)
            margin[rows] = logits.gather(1, label[rows]).squeeze(1) - largest_other_logits
            p_sq[rows] = probabilities.square().sum(1)
            if not has_all:
                top_classes[rows] = top = find_likeliest(logits, kept)  # [n, kept]
                probabilities = probabilities.gather(1, top)
            kept_probabilities[rows] = probabilities
        has_top = 0 < kept < class_count
        no_probabilities = pa.nulls(count, pa.large_list(pa.float32()))
        return {
            "run_id": [run_id] * count,
            "epoch": np.full(count, epoch, np.int32),
            "split": [self.split] * count,
            "instance_id": self.instance_id.numpy().astype(np.int32),
            "label": self._mask_unknown(self.label.int()),
            "predicted": predicted.numpy(),
            "p_true": self._mask_unknown(p_true),
            "p_predicted": p_predicted.numpy(),
            "margin": self._mask_unknown(margin),
            "p_sq": p_sq.numpy(),
            "probabilities": kept_probabilities.numpy() if has_all else no_probabilities,
            "top_classes": top_classes.numpy() if has_top else pa.nulls(count, pa.large_list(pa.int32())),
            "top_probabilities": kept_probabilities.numpy() if has_top else no_probabilities,
        }

    def _parts(self) -> Iterator[slice]:
        """Rows that are worked on at a time."""
        count, class_count = self.logits.shape
        step = max(1, LOGITS_AT_ONCE // class_count)
        for start in range(0, count, step):
            yield slice(start, start + step)

    def _mask_unknown(self, values: Tensor) -> np.ndarray:
        """The values [N], masked where the label is unknown."""
        unknown = (self.label < 0).numpy()
        return np.ma.array(values.numpy(), mask=unknown) if unknown.any() else values.numpy()


def find_likeliest(logits: Tensor, count: int) -> Tensor:
    """Classes [N, count] of the largest logits [N, K], the largest first, at a tie the class with the lower number."""
    # topk leaves open which of equals it takes. Floats as integers keep their order, once the bits of negative ones are
    # inverted; below these 32 bits stands the class, so that no two are equal
    bits = (logits.float() + 0.0).view(torch.int32)  # + 0.0, as -0.0 is another number as bits
    order = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    classes = torch.arange(logits.shape[1])
    return (order * 2**32 - classes).topk(count).indices


def measure(predictions: Iterable[Predictions]) -> dict[str, float]:
    """Accuracy and loss of each split, by the names that they have in every run."""
    metrics = {}
    for part in predictions:
        metrics[f"{part.split}_accuracy"] = part.accuracy
        metrics[f"{part.split}_loss"] = part.loss
    return metrics


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    name: str,
    device: torch.device,
    batch: int | None = None,
    share: slice = slice(None),
) -> Predictions:
    """Predictions for every image of a split, in float32 and evaluation mode, `batch` images per pass.

    Of passes that several processes share out, only `share`: each has the same bits whichever process makes it.
    """
    model.eval()
    ids = torch.arange(len(split.labels))
    size = batch or EVALUATION_BATCH
    starts = range(0, len(ids), size)[share]
    if not starts:  # there are fewer passes than processes
        return Predictions(name, ids[:0], split.labels[:0], torch.empty(0))
    ids = torch.cat([ids[start : start + size] for start in starts])
    all_logits = torch.empty(0)
    done = 0
    for start in starts:
        logits = model(prepare_images(split.images[start : start + size], device)).float().cpu()
        if not done:
            all_logits = torch.empty(len(ids), *logits.shape[1:])  # [N, K]
        all_logits[done : done + len(logits)] = logits
        done += len(logits)
    return Predictions(name, ids, split.labels[ids], all_logits)


def prepare_images(images: Tensor, device: torch.device) -> Tensor:
    """Stored images, uint8, as the model takes them: float32 in 0..1, channels-last, on the device."""
    # the layout first, while a pixel is one byte
    return images.to(device).contiguous(memory_format=torch.channels_last).float().div_(255)
