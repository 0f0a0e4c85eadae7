"""Rows of table `predictions` from logits."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.data.raw import Split

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
        return nn.functional.cross_entropy(self.logits, self.label).item()

    def to_columns(self, run_id: str, epoch: int) -> dict[str, np.ndarray | list]:
        """Columns of table `predictions`; probabilities only for clean evaluations."""
        count = len(self.logits)
        label = self.label.clamp_min(0)[:, None]  # unknown labels read class 0, and their values become null below
        probabilities = self.logits.softmax(1)  # [N, K]
        label_logits = self.logits.gather(1, label).squeeze(1)
        largest_other_logits = self.logits.scatter(1, label, -torch.inf).amax(1)
        is_clean = self.split != "train_seen"
        return {
            "run_id": [run_id] * count,
            "epoch": np.full(count, epoch, np.int32),
            "split": [self.split] * count,
            "instance_id": self.instance_id.numpy().astype(np.int32),
            "label": self._mask_unknown(self.label.int()),
            "predicted": self.logits.argmax(1).numpy().astype(np.int32),
            "p_true": self._mask_unknown(probabilities.gather(1, label).squeeze(1)),
            "p_predicted": probabilities.amax(1).numpy(),
            "margin": self._mask_unknown(label_logits - largest_other_logits),
            "p_sq": probabilities.square().sum(1).numpy(),
            "probabilities": probabilities.numpy() if is_clean else [None] * count,
        }

    def _mask_unknown(self, values: Tensor) -> np.ndarray:
        """The values [N], masked where the label is unknown."""
        unknown = (self.label < 0).numpy()
        return np.ma.array(values.numpy(), mask=unknown) if unknown.any() else values.numpy()


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

    Of passes that several processes share out, only `share`: each is then the same to the last bit, whoever makes it.
    """
    model.eval()
    ids = torch.arange(len(split.labels))
    size = batch or EVALUATION_BATCH
    starts = range(0, len(ids), size)[share]
    if not starts:  # there are fewer passes than processes
        return Predictions(name, ids[:0], split.labels[:0], torch.empty(0))
    batch_logits = []
    for start in starts:
        logits = model(prepare_images(split.images[start : start + size], device))
        batch_logits.append(logits.float().cpu())
    ids = torch.cat([ids[start : start + size] for start in starts])
    return Predictions(name, ids, split.labels[ids], torch.cat(batch_logits))


def prepare_images(images: Tensor, device: torch.device) -> Tensor:
    """Stored images, uint8, as the model takes them: float32 in 0..1, channels-last, on the device."""
    # the layout first, while a pixel is one byte
    return images.to(device).contiguous(memory_format=torch.channels_last).float().div_(255)
