"""Attribution maps as rows of table `attributions`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from xai import Attribution


@dataclass(frozen=True)
class AttributionBatch:
    """Maps of one method at one epoch for one kind of target; N instances, K classes."""

    method: str
    epoch: int
    split: str
    instances: np.ndarray  # [N]
    sampled: np.ndarray  # [N] whether each belongs to a random sample
    kind: str  # predicted, label, or a class
    targets: Tensor  # [N]
    logits: Tensor  # [N, K]
    attribution: Attribution  # of N maps

    @classmethod
    def concatenate(cls, parts: Sequence["AttributionBatch"]) -> "AttributionBatch":
        """One batch of the instances of several."""
        return replace(
            parts[0],
            instances=np.concatenate([part.instances for part in parts]),
            sampled=np.concatenate([part.sampled for part in parts]),
            targets=torch.cat([part.targets for part in parts]),
            logits=torch.cat([part.logits for part in parts]),
            attribution=Attribution.concatenate([part.attribution for part in parts]),
        )

    def columns(self, run_id: str, source_run_id: str) -> dict:
        """Columns of table `attributions`, and the full maps with their height and width."""
        attribution = self.attribution
        count, height, width = attribution.maps.shape
        map8 = nn.functional.adaptive_avg_pool2d(attribution.maps[:, None], 8)  # [N, 1, 8, 8]
        baseline_scores = attribution.baseline_scores
        gaps = attribution.completeness_gaps
        return {
            "run_id": [run_id] * count,
            "source_run_id": [source_run_id] * count,
            "epoch": np.full(count, self.epoch, np.int32),
            "method": [self.method] * count,
            "split": [self.split] * count,
            "instance_id": self.instances.astype(np.int32),
            "target": self.targets.numpy().astype(np.int32),
            "target_kind": [target_kind(self.kind)] * count,
            "score": attribution.scores.numpy(),
            "baseline_score": [None] * count if baseline_scores is None else baseline_scores.numpy(),
            "delta": [None] * count if gaps is None else gaps.numpy(),
            "map8": map8.flatten(1).numpy(),
            "sampled": self.sampled,
            "height": np.full(count, height, np.int32),
            "width": np.full(count, width, np.int32),
            "map": attribution.maps.flatten(1).numpy(),
        }


def target_kind(target: str) -> str:
    """The kind of a target in the tables: predicted, label or class."""
    return target if target in ("predicted", "label") else "class"
