"""Do the methods point at what decides? On the planted data, where the deciding pixels are known.

    python tests/benchmarks/planted.py [--seeds 0 1 2] [--epochs 8] [--count 200] [--methods ...]

Trains the CNN, then lets every method explain the same test images at the last epoch and at epoch 0. Prints the share
of maps whose maximum lies on the glyph that decides the class, and on the decoy that does not. Of ice, which chooses
the number of concepts itself, these are the maps of the class's own concept: none serves two classes, a class left
without one counts as missed, and which is whose is decided on training images.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from pipelines.common.settings import ExplainSettings, TrainSettings
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.explaining.explain import explain
from pipelines.lifecycle.run_inputs import checkpoint_file
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import build_model
from pipelines.models.predictions import prepare_images
from pipelines.training.train import train
from tracking import commits
from tracking.home import Home, find_home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS, MethodInputs, ice
from xai.cut import cut_model
from xai.pointing import point_inside

CONCEPT_LAYER = "network.features.6"  # the last one, 7x7 places
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
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *CONCEPT_METHODS])
    flags = parser.parse_args()
    print(f"{'method':<22}{'seed':>5}{'glyph':>8}{'decoy':>8}{'untrained':>11}  holds", flush=True)
    for seed in flags.seeds:
        settings = TrainSettings(dataset="planted", epochs=flags.epochs, seed=seed)
        found = pointing(settings, flags.count, flags.methods)
        for method, row in found.items():
            print(
                f"{method:<22}{seed:>5}{row.glyph:>8.1%}{row.decoy:>8.1%}{row.untrained:>11.1%}  {row.holds}",
                flush=True,
            )


def pointing(settings: TrainSettings, count: int, methods: list[str]) -> dict[str, Pointing]:
    """Train one network and look where each method points."""
    with tempfile.TemporaryDirectory() as folder:
        home = find_home(folder)
        run_id = train(settings, home)
        epochs, seed = settings.epochs, settings.seed
        done = commits.read_epochs(home, run_id)
        data = load_dataset("planted", None, Path("."), val_fraction=0.1, seed=seed, size=settings.size)
        model = build_model("cnn", data, seed)
        shares = {}
        for epoch in (0, epochs):
            load_model(model, checkpoint_file(home, done[epoch]))
            for method in methods:
                find = concept_shares if method in CONCEPT_METHODS else map_shares
                shares[method, epoch] = find(method, model, data, count, home, epoch)
    return {method: Pointing(*shares[method, epochs], shares[method, 0][0]) for method in methods}


def map_shares(method: str, model: nn.Module, data: Dataset, count: int, *_) -> tuple[float, float]:
    """Shares of the maps of the labels' scores that point at the glyph, and at the decoy."""
    test, background = data.splits["test"], prepare_images(data.splits["train"].images[:200], torch.device("cpu"))
    images, inputs = prepare_images(test.images[:count], torch.device("cpu")), MethodInputs(background=background)
    parts = [
        METHODS[method].attribute(model, images[rows], test.labels[rows], replace(inputs, ids=rows)).maps
        for rows in torch.arange(count).split(100)
    ]
    glyph, decoy = test.truth[:count].unbind(1)  # [N, 4] each
    return share(torch.cat(parts), glyph), share(torch.cat(parts), decoy)


def concept_shares(
    method: str, model: nn.Module, data: Dataset, count: int, home: Home, epoch: int
) -> tuple[float, float]:
    """The same for each class's own concept on test images, averaged over the classes."""
    settings = ExplainSettings(method=(method,), epochs=str(epoch), count=count, layer=CONCEPT_LAYER)
    [run_id] = explain(settings, home)
    with connect(home) as connection:
        sql = "select vector from concepts where run_id = ? order by concept_id"
        directions = torch.tensor([vector for (vector,) in connection.execute(sql, [run_id]).fetchall()])
    seen, _ = class_shares(model, data, "train", count, directions)
    pairs = linear_sum_assignment(seen.numpy(), maximize=True)
    glyph, decoy = class_shares(model, data, "test", count, directions)
    return tuple(found[pairs].sum().item() / len(data.classes) for found in (glyph, decoy))


def class_shares(model: nn.Module, data: Dataset, split: str, count: int, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of each class's images at whose glyph, and decoy, each concept's map points: [K, k] both."""
    images, parts = (
        prepare_images(data.splits[split].images[:count], torch.device("cpu")),
        cut_model(model, CONCEPT_LAYER),
    )
    labels, truth = data.splits[split].labels[:count], data.splits[split].truth[:count]
    coarse = ice.concept_maps(ice.extract_features(model, parts, images), directions)  # [N, k, h, w]
    maps = nn.functional.interpolate(coarse, images.shape[2:], mode="bilinear").unbind(1)  # k of [N, H, W]
    glyph, decoy = (
        torch.stack([point_inside(one, boxes) for one in maps]).double() for boxes in truth.unbind(1)
    )  # [k, N]
    own = [labels == label for label in range(len(data.classes))]  # [N] each
    return tuple(torch.stack([found[:, rows].mean(1) for rows in own]) for found in (glyph, decoy))


def share(maps: Tensor, boxes: Tensor) -> float:
    return point_inside(maps, boxes).double().mean().item()


if __name__ == "__main__":
    main()
