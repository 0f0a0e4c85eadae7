"""The images that `study compare` alters to find patches that decide a class, and the model that sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.data.stored_images import Images
from pipelines.models.predictions import prepare_images
from xai.gradient import all_scores
from xai.shortcuts import Window, make_gain, predict_pasted

SCAN_COUNT = 16  # images on which a class's place is chosen
DONOR_COUNT = 64  # training images of a class, of which those predicted correctly give patches
POOL_FACTOR = 8  # images that are predicted, per image that a class needs


@dataclass(frozen=True)
class Material:
    """The images that are altered, and the model, with the weights of the epoch compared."""

    model: nn.Module
    device: torch.device
    images: Mapping[str, Images]  # by split, uint8
    labels: Mapping[str, Tensor]
    split: str  # whose images patches are pasted into
    rows: np.ndarray  # [N] a sample of it
    predicted: np.ndarray  # [N]
    donors: dict[int, np.ndarray]  # by class, training images that are predicted correctly
    held_out: dict[int, np.ndarray]  # by class, validation images that are predicted correctly; none without any

    def make_gain(self, rows: np.ndarray, donors: np.ndarray) -> Callable[[Window], float]:
        """A function of a window: the mean rise of the donors' classes, as it is pasted into images."""
        classes = self.labels["train"][donors].to(self.device)
        return make_gain(self.model, self.prepare(self.split, rows), self.prepare("train", donors), classes)

    def predict_pasted(self, split: str, rows: np.ndarray, donors: np.ndarray, places: Sequence[Window]) -> list[int]:
        """The class predicted of images of a split with patches of training images."""
        images, donor_images = self.prepare(split, rows), self.prepare("train", donors)
        return predict_pasted(self.model, images, donor_images, places).tolist()

    def choose_donors(self, predicted: np.ndarray, random: np.random.Generator, besides: int | None) -> np.ndarray:
        """A training image of a random class for each image: not the class predicted if possible, nor `besides`."""
        classes = [class_id for class_id in self.donors if class_id != besides]
        chosen = []
        for class_id in predicted.tolist():
            donor_class = random.choice([rival for rival in classes if rival != class_id] or classes)
            chosen.append(random.choice(self.donors[donor_class]))
        return np.array(chosen)

    def prepare(self, split: str, rows: np.ndarray) -> Tensor:
        """Images of a split as the model takes them, [N, C, H, W]."""
        return prepare_images(self.images[split][rows], self.device)


def collect_material(
    model: nn.Module,
    device: torch.device,
    images: Mapping[str, Images],
    labels: Mapping[str, Tensor],
    compared: str,
    count: int,
    random: np.random.Generator,
) -> Material:
    """A sample of every split's images, and what is predicted of them; `count` images per class are to be tried."""

    def predict(split: str, rows: np.ndarray) -> np.ndarray:
        return all_scores(model, prepare_images(images[split][rows], device)).argmax(1).cpu().numpy()

    def sample_correct(split: str, per_class: int) -> dict[int, np.ndarray]:
        known = labels[split].numpy()
        correct = {}
        for label in np.unique(known).tolist():
            rows = random.permutation(np.flatnonzero(known == label))[:per_class]
            correct[label] = rows[predict(split, rows) == label]
        return {label: rows for label, rows in correct.items() if len(rows)}

    has_val = "val" in labels  # not every recorded loop, nor every folder of checkpoints, has validation images
    split = "val" if has_val and len(labels["val"]) >= 2 * (SCAN_COUNT + count) else compared
    rows = random.permutation(len(labels[split]))[: POOL_FACTOR * count]
    return Material(
        model=model,
        device=device,
        images=images,
        labels=labels,
        split=split,
        rows=rows,
        predicted=predict(split, rows),
        donors=sample_correct("train", DONOR_COUNT),
        held_out=sample_correct("val", count) if has_val else {},
    )
