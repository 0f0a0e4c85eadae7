"""Do the methods point at what decides? On the planted data, where the deciding pixels are known.

    python tests/benchmarks/planted.py [--seeds 0 1 2] [--epochs 6] [--count 200] [--methods ...]

Trains the CNN, then lets every method explain the same test images at the last epoch and at epoch 0. Prints the share
of maps whose maximum lies on the glyph that decides the class, and on the decoy that does not.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.checkpoints import load_model
from pipelines.datasets import Dataset, load
from pipelines.model import build_model
from pipelines.predictions import to_model
from pipelines.recorded import checkpoint
from pipelines.settings import TrainSettings
from pipelines.train import train
from tracking import commits
from tracking.home import find_home
from xai import METHODS, Given
from xai.pointing import hits

GLYPH, DECOY, UNTRAINED = 0.80, 0.05, 0.30  # at least, at most, at most


@dataclass(frozen=True)
class Pointing:
    """Shares of maps that point at the glyph and at the decoy, trained, and at the glyph untrained."""

    glyph: float
    decoy: float
    untrained: float

    @property
    def holds(self) -> bool:
        return self.glyph >= GLYPH and self.decoy <= DECOY and self.untrained <= UNTRAINED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--methods", nargs="+", default=[name for name in METHODS if name != "ice"])
    flags = parser.parse_args()
    print(f"{'method':<22}{'seed':>5}{'glyph':>8}{'decoy':>8}{'untrained':>11}  holds", flush=True)
    for seed in flags.seeds:
        found = pointing(seed, flags.epochs, flags.count, flags.methods)
        for method, row in found.items():
            print(
                f"{method:<22}{seed:>5}{row.glyph:>8.1%}{row.decoy:>8.1%}{row.untrained:>11.1%}  {row.holds}",
                flush=True,
            )


def pointing(seed: int, epochs: int, count: int, methods: list[str]) -> dict[str, Pointing]:
    """Train one network and look where each method points."""
    with tempfile.TemporaryDirectory() as folder:
        home = find_home(folder)
        run_id = train(TrainSettings(dataset="planted", epochs=epochs, seed=seed), home)
        done = commits.epochs(home, run_id)
        data = load("planted", None, Path("."), val_share=0.1, seed=seed, size=None)
        model = build_model("cnn", data, seed)
        maps = {}
        for epoch in (0, epochs):
            load_model(model, checkpoint(home, done[epoch]))
            maps[epoch] = {method: explained(method, model, data, count) for method in methods}
    glyph, decoy = data.splits["test"].truth[:count].unbind(1)  # [N, 4] each
    return {
        method: Pointing(
            share(maps[epochs][method], glyph), share(maps[epochs][method], decoy), share(maps[0][method], glyph)
        )
        for method in methods
    }


def explained(method: str, model: nn.Module, data: Dataset, count: int) -> Tensor:
    """Maps of the labels' scores for the first test images, [N, H, W]."""
    test, background = data.splits["test"], to_model(data.splits["train"].images[:200], torch.device("cpu"))
    images = to_model(test.images[:count], torch.device("cpu"))
    parts = [
        METHODS[method].explain(model, images[rows], test.labels[rows], Given(rows, background=background)).maps
        for rows in torch.arange(count).split(100)
    ]
    return torch.cat(parts)


def share(maps: Tensor, boxes: Tensor) -> float:
    return hits(maps, boxes).float().mean().item()


if __name__ == "__main__":
    main()
