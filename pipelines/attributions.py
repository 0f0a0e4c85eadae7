"""Rows of table `attributions` from maps."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Explained:
    """Maps of one method at one epoch; N instances, K classes."""

    method: str
    epoch: int
    split: str
    instances: np.ndarray  # [N]
    targets: Tensor  # [N]
    logits: Tensor  # [N, K]
    maps: Tensor  # [N, H, W]

    @property
    def scores(self) -> Tensor:
        return self.logits.gather(1, self.targets[:, None]).squeeze(1)

    def columns(self, run_id: str, source_run_id: str, target: str) -> dict:
        """Columns of table `attributions`, and the full maps."""
        count, height, width = self.maps.shape
        map8 = nn.functional.adaptive_avg_pool2d(self.maps[:, None], 8)  # [N, 1, 8, 8]
        return {
            "run_id": [run_id] * count,
            "source_run_id": [source_run_id] * count,
            "epoch": np.full(count, self.epoch, np.int32),
            "method": [self.method] * count,
            "split": [self.split] * count,
            "instance_id": self.instances.astype(np.int32),
            "target": self.targets.numpy().astype(np.int32),
            "target_kind": [target if target in ("predicted", "label") else "class"] * count,
            "score": self.scores.numpy(),
            "baseline_score": [None] * count,
            "delta": [None] * count,
            "map8": map8.flatten(1).numpy(),
            "height": np.full(count, height, np.int32),
            "width": np.full(count, width, np.int32),
            "map": self.maps.flatten(1).numpy(),
        }
