"""Rows of table `predictions` from logits."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.data.raw import Split

EVALUATION_BATCH = 500  # images a pass in evaluation at the most, and in runs that recorded no number


@dataclass(frozen=True)
class Predictions:
    """What a model says of the instances of one split, N rows, K classes."""

    split: str
    instance_id: Tensor  # [N]
    label: Tensor  # [N], -1 where it is unknown; accuracy and loss need them all
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
        count, label = len(self.logits), self.label.clamp_min(0)[:, None]  # what follows from class 0 becomes null
        probabilities = self.logits.softmax(1)  # [N, K]
        predicted = self.logits.argmax(1)
        own = self.logits.gather(1, label).squeeze(1)
        others = self.logits.scatter(1, label, -torch.inf).amax(1)
        clean = self.split != "train_seen"
        return {
            "run_id": [run_id] * count,
            "epoch": np.full(count, epoch, np.int32),
            "split": [self.split] * count,
            "instance_id": self.instance_id.numpy().astype(np.int32),
            "label": self._where_known(self.label.int()),
            "predicted": predicted.numpy().astype(np.int32),
            "p_true": self._where_known(probabilities.gather(1, label).squeeze(1)),
            "p_predicted": probabilities.amax(1).numpy(),
            "margin": self._where_known(own - others),
            "p_sq": probabilities.square().sum(1).numpy(),
            "probabilities": list(probabilities.numpy()) if clean else [None] * count,
        }

    def _where_known(self, values: Tensor) -> np.ndarray:
        """The values [N], masked where the label is unknown."""
        unknown = (self.label < 0).numpy()
        return np.ma.array(values.numpy(), mask=unknown) if unknown.any() else values.numpy()


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, name: str, device: torch.device, batch: int | None = None) -> Predictions:
    """Predictions for every image of a split, in float32, in evaluation mode, `batch` images a pass."""
    model.eval()
    logits = [
        model(prepare_images(images, device)).float().cpu() for images in split.images.split(batch or EVALUATION_BATCH)
    ]
    ids = torch.arange(len(split.labels))
    return Predictions(name, ids, split.labels, torch.cat(logits))


def prepare_images(images: Tensor, device: torch.device) -> Tensor:
    """Stored images, uint8, as the model takes them: float32 in 0..1."""
    return images.to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
