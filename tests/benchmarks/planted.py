"""Do the methods point at what decides? On the planted data, where the deciding pixels are known.

    python tests/benchmarks/planted.py [--seeds 0 1 2] [--epochs 8] [--count 200] [--methods ...]
    python tests/benchmarks/planted.py --pair    two glyphs decide together

Trains the CNN, then lets every method explain the same test images at the last epoch and at epoch 0. Prints the share
of maps whose maximum lies on the glyph that decides the class, and on the decoy that does not. Of ice, which chooses
the number of concepts itself, these are the maps of the class's own concept: none serves two classes, a class left
without one counts as missed, and which is whose is decided on training images.

With two glyphs it prints the share of maps whose maximum lies on either, that cover both (each has half of an equal
share or more of what lies in the two), that point at one and leave the other out, and the mean share of a map that
lies in the two. Of ice these are the places at which its concepts raise or lower the label's logit.
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
from xai.pointing import covers_all_parts, fraction_inside, point_inside

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


@dataclass(frozen=True)
class Covering:
    """Shares of maps that point at a part, that cover all parts, and that point at one and leave another out."""

    pointing: float
    covering: float
    leaving_out: float
    inside: float  # mean share of a map's magnitude in the parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *CONCEPT_METHODS])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--pair", action="store_true", help="two glyphs that decide together")
    flags = parser.parse_args()
    if flags.pair:
        return print_covering(flags)
    print(f"{'method':<22}{'seed':>5}{'glyph':>8}{'decoy':>8}{'untrained':>11}  holds", flush=True)
    for seed in flags.seeds:
        settings = TrainSettings(dataset="planted", epochs=flags.epochs, seed=seed, threads=flags.threads)
        found = pointing(settings, flags.count, flags.methods)
        for method, row in found.items():
            print(
                f"{method:<22}{seed:>5}{row.glyph:>8.1%}{row.decoy:>8.1%}{row.untrained:>11.1%}  {row.holds}",
                flush=True,
            )


def print_covering(flags: argparse.Namespace) -> None:
    heads = ("pointing", "covering", "leaving out", "inside")
    print(f"{'method':<22}{'seed':>5}" + "".join(f"{head:>13}" for head in heads), flush=True)
    for seed in flags.seeds:
        settings = TrainSettings(dataset="planted:pair", epochs=flags.epochs, seed=seed, threads=flags.threads)
        with tempfile.TemporaryDirectory() as folder:
            home = find_home(folder)
            model, data, _ = train_network(settings, home)
            images = prepare_images(data.splits["test"].images[: flags.count], torch.device("cpu"))
            with torch.no_grad():
                answers = model(images).argmax(1)
            accuracy = (answers == data.splits["test"].labels[: flags.count]).double().mean().item()
            print(f"seed {seed}: accuracy {accuracy:.1%}", flush=True)
            for method in flags.methods:
                maps = contribution_maps if method in CONCEPT_METHODS else label_maps
                row = covering(maps(method, model, data, flags.count, home), data.splits["test"].truth[: flags.count])
                values = (row.pointing, row.covering, row.leaving_out, row.inside)
                print(f"{method:<22}{seed:>5}" + "".join(f"{value:>13.1%}" for value in values), flush=True)


def train_network(settings: TrainSettings, home: Home) -> tuple[nn.Module, Dataset, dict[int, Path]]:
    """The network after its last epoch, its data, and its checkpoints by epoch."""
    done = commits.read_epochs(home, train(settings, home))
    data = load_dataset(
        settings.dataset, None, Home(Path("study")), val_fraction=0.1, seed=settings.seed, size=settings.size
    )
    model = build_model("cnn", data, settings.seed)
    checkpoints = {commit.epoch: checkpoint_file(home, commit) for commit in done}
    load_model(model, checkpoints[settings.epochs])
    return model, data, checkpoints


def covering(maps: Tensor, truth: Tensor) -> Covering:
    """How maps [N, H, W] lie to the parts: all boxes of the truth [N, P + 1, 4] but the last, which is the decoy."""
    parts = truth[:, :-1]
    points = torch.stack([point_inside(maps, boxes) for boxes in parts.unbind(1)]).any(0)
    shares = fraction_inside(maps, parts)
    covers = covers_all_parts(shares)
    means = [values.double().mean().item() for values in (points, covers, points & ~covers)]
    return Covering(*means, shares.sum(1).nanmean().item())


def contribution_maps(method: str, model: nn.Module, data: Dataset, count: int, home: Home) -> Tensor:
    """Where the concepts contribute to the label's logit: strength times derivative along the direction, [N, H, W]."""
    explain(ExplainSettings(method=(method,), count=count, layer=CONCEPT_LAYER), home)
    with connect(home) as connection:
        vectors = connection.execute("select vector from concepts order by concept_id").fetchall()
    directions = torch.tensor([vector for (vector,) in vectors])
    test, parts = data.splits["test"], cut_model(model, CONCEPT_LAYER)
    images = prepare_images(test.images[:count], torch.device("cpu"))
    features = ice.extract_features(model, parts, images).requires_grad_()
    scores = parts.head(features).gather(1, test.labels[:count, None])
    [gradients] = torch.autograd.grad(scores.sum(), features)
    strengths = ice.concept_maps(features.detach(), directions)
    coarse = torch.einsum("nchw,kc,nkhw->nhw", gradients, directions, strengths)
    return nn.functional.interpolate(coarse[:, None], images.shape[2:], mode="bilinear")[:, 0]


def pointing(settings: TrainSettings, count: int, methods: list[str]) -> dict[str, Pointing]:
    """Train one network and look where each method points."""
    with tempfile.TemporaryDirectory() as folder:
        home = find_home(folder)
        model, data, checkpoints = train_network(settings, home)
        epochs = settings.epochs
        shares = {}
        for epoch in (0, epochs):
            load_model(model, checkpoints[epoch])
            for method in methods:
                find = concept_shares if method in CONCEPT_METHODS else map_shares
                shares[method, epoch] = find(method, model, data, count, home, epoch)
    return {method: Pointing(*shares[method, epochs], shares[method, 0][0]) for method in methods}


def map_shares(method: str, model: nn.Module, data: Dataset, count: int, *_) -> tuple[float, float]:
    """Shares of the maps of the labels' scores that point at the glyph, and at the decoy."""
    maps = label_maps(method, model, data, count)
    glyph, decoy = data.splits["test"].truth[:count].unbind(1)  # [N, 4] each
    return share(maps, glyph), share(maps, decoy)


def label_maps(method: str, model: nn.Module, data: Dataset, count: int, *_) -> Tensor:
    """Maps [N, H, W] of the labels' scores."""
    test, background = data.splits["test"], prepare_images(data.splits["train"].images[:200], torch.device("cpu"))
    images, inputs = prepare_images(test.images[:count], torch.device("cpu")), MethodInputs(background=background)
    return torch.cat([
        METHODS[method].attribute(model, images[rows], test.labels[rows], replace(inputs, ids=rows)).maps
        for rows in torch.arange(count).split(100)
    ])  # fmt: skip


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
