"""shap's own partition explainer, called as its documentation does, behind our blur: what ours is compared with."""

import itertools
from unittest.mock import patch

import numpy as np
import torch
from shap.explainers import PartitionExplainer
from shap.maskers import Image
from torch import Tensor, nn

from xai.gradient import target_scores
from xai.partition_shap import blur


class Blur:
    """What shap needs to know to hide pixels as we do; a player is a pixel with all its channels."""

    immutable_outputs = True

    def __init__(self, height: int, width: int) -> None:
        self.clustering, self.shape = Image(np.zeros((height, width, 1))).clustering, (1, height * width)

    def mask_shapes(self, image: np.ndarray) -> list[tuple[int, ...]]:
        return [self.shape[1:]]

    def __call__(self, mask: np.ndarray, image: np.ndarray) -> np.ndarray:
        shown, hidden = image
        return np.where(mask.reshape(shown.shape[1:]), shown, hidden)[None]


def shap_maps(model: nn.Module, images: Tensor, targets: Tensor, samples: int) -> Tensor:
    """Maps [N, H, W] of the library, one image at a time as it does; ties go by order, not at random."""
    size, maps = images.shape[2:], []
    pairs = torch.stack([images, blur(images)], dim=1).numpy()  # [N, 2, C, H, W]
    for pair, target in zip(pairs, targets, strict=True):

        def score(rows: np.ndarray, target: Tensor = target) -> np.ndarray:
            return target_scores(model, torch.from_numpy(rows), target.expand(len(rows))).numpy()

        explain = PartitionExplainer(score, Blur(*size))
        with patch.object(np.random, "randn", itertools.count().__next__):
            found = explain(pair[None], max_evals=samples, silent=True)
        maps.append(found.values.reshape(size))
    return torch.from_numpy(np.stack(maps))
