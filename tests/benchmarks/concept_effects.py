"""How often does TCAV call an effect beyond chance where none is, and how often does it find one that is there?

    python tests/benchmarks/concept_effects.py [--networks 12] [--sets 1000] [--backgrounds FOLDER_OF_CIFAR10]

Each network learns to tell glyphs at random places, so what decides is known. With --backgrounds the glyphs lie on
photographs, else on noise. Four kinds of directions have no meaning: single activations, single channels, concepts of
activations whose channels are shuffled, and concepts of the network before training. Those of the trained network
have one: an effect is found if a class has a concept that raises its logit beyond chance. There are as few concepts as
keep 90 % of the network's answers. Takes about 40 minutes on one core.
"""

import argparse
import copy
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.data.datasets import load_dataset
from pipelines.models.networks import cnn
from xai import ice
from xai.cut import Cut, cut_model
from xai.nmf import factorize, project
from xai.tcav import NULL_SETS, NULLS, SIGNIFICANCE_LEVEL, Tcav, score_concepts

LAYER = "features.6.2"  # the last one of feature maps
IMAGES, HELD_OUT, FITTING = 2000, 200, 500
COUNTS, KEPT = (*range(2, 11), 12, 15, 20), 0.9
MAX_EPOCHS, ACCURACY = 12, 0.99  # of training
SHUFFLED_ROWS = 8000


@dataclass(frozen=True)
class Glyphs:
    """Images [N, 3, S, S] of K glyphs at random places, and which one each shows [N]."""

    images: Tensor
    labels: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--sets", type=int, default=1000, help="of directions without meaning, per kind")
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--backgrounds", help="where CIFAR-10 is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photographs = None
    if arguments.backgrounds:
        data = load_dataset("cifar10", arguments.backgrounds, Path(), val_fraction=0.1, seed=0, size=None)
        photographs = data.splits["test"].images[: IMAGES + HELD_OUT] / 255
    claims: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for seed in range(arguments.networks):
        glyphs, held_out = draw_glyphs(seed, arguments.side, photographs)
        untrained, trained, accuracy = train(glyphs, held_out, seed)
        for kind, directions, layer in nothing_there(trained, untrained, glyphs, held_out, arguments, seed):
            found = layer.measure(directions, seed)
            claims[kind] += bool(found.significant.any())
            tried[kind] += 1
        layer = Layer.of(trained, glyphs, held_out)
        count = next((count for count in COUNTS if layer.kept(count) >= KEPT), COUNTS[-1])
        found = layer.measure(factorize(layer.rows, count, seed).directions, seed)
        raised = (found.significant & (found.tcav_magnitude > 0)).any(0)
        claims["what decides"] += int(raised.sum())
        tried["what decides"] += len(raised)
        classes = f"{len(raised)} classes, {accuracy:.1%} correct"
        print(f"network {seed}: {classes}, {count} concepts, {raised.sum()} effects found", flush=True)
    print(f"\n| directions | sets, or classes | beyond chance at {SIGNIFICANCE_LEVEL:.0%} |\n|---|---|---|")
    for kind, count in tried.items():
        print(f"| {kind} | {count:,} | {claims[kind] / count:.1%} |")


def draw_glyphs(seed: int, side: int, photographs: Tensor | None) -> tuple[Glyphs, Glyphs]:
    """Images to train on, and held-out ones; classes, size and colour of the glyphs depend on the seed."""
    generator = torch.Generator().manual_seed(seed)
    classes, size = 3 + seed % 4, 4 + seed % 3
    shapes = torch.rand(classes, 3 if seed % 2 else 1, size, size, generator=generator).round().expand(-1, 3, -1, -1)
    count = IMAGES + HELD_OUT
    images = 0.7 * torch.rand(count, 3, side, side, generator=generator) if photographs is None else photographs.clone()
    labels = torch.randint(classes, (count,), generator=generator)
    places = torch.randint(images.shape[2] - size + 1, (count, 2), generator=generator).tolist()
    for image, label, (top, left) in zip(images, labels, places, strict=True):
        image[:, top : top + size, left : left + size] = shapes[label]
    images = (images - images.mean()) / images.std()
    return Glyphs(images[:IMAGES], labels[:IMAGES]), Glyphs(images[IMAGES:], labels[IMAGES:])


def train(glyphs: Glyphs, held_out: Glyphs, seed: int) -> tuple[nn.Module, nn.Module, float]:
    """A network before and after it has learned the glyphs, and its accuracy."""
    torch.manual_seed(seed)
    model = cnn(int(glyphs.labels.max()) + 1, tuple(glyphs.images.shape[1:]))
    untrained = copy.deepcopy(model).eval()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    accuracy = 0.0
    for _ in range(MAX_EPOCHS):
        model.train()
        for rows in torch.randperm(len(glyphs.labels)).split(64):
            loss = nn.functional.cross_entropy(model(glyphs.images[rows]), glyphs.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(held_out.images).argmax(1) == held_out.labels).float().mean().item()
        if accuracy >= ACCURACY:
            break
    return untrained, model, accuracy


@dataclass(frozen=True)
class Layer:
    """A network's layer, seen through its fitting rows and the gradients of held-out images."""

    parts: Cut
    rows: Tensor  # [R, c]
    features: Tensor  # [N, c, h, w], held out
    gradients: Tensor  # [N, c]
    labels: Tensor  # [N]

    @classmethod
    def of(cls, model: nn.Module, glyphs: Glyphs, held_out: Glyphs) -> "Layer":
        parts = cut_model(model, LAYER)
        rows = ice.flatten_positions(ice.extract_features(model, parts, glyphs.images[:FITTING]))
        features = ice.extract_features(model, parts, held_out.images)
        no_directions = torch.zeros(1, rows.shape[1])
        no_maps = torch.zeros(len(features), 1, *features.shape[2:])
        gradients, _ = ice.concept_sensitivities(model, parts, features, no_maps, no_directions, held_out.labels)
        return cls(parts, rows, features, gradients, held_out.labels)

    def kept(self, count: int) -> float:
        """Fraction of held-out answers that the network keeps given so many concepts alone."""
        directions = factorize(self.rows, count).directions
        rows = project(ice.flatten_positions(self.features), directions) @ directions
        with torch.no_grad():
            answers = self.parts.head(self.features).argmax(1)
            kept = self.parts.head(ice.unflatten_positions(rows, self.features)).argmax(1)
        return (answers == kept).float().mean().item()

    def measure(self, directions: Tensor, seed: int) -> Tcav:
        nothing = torch.zeros(len(self.labels), len(directions))
        classes = int(self.labels.max()) + 1
        return score_concepts(self.gradients, nothing, nothing > 0, self.labels, classes, directions, self.rows, seed)


def nothing_there(
    trained: nn.Module, untrained: nn.Module, glyphs: Glyphs, held_out: Glyphs, arguments: argparse.Namespace, seed: int
):  # fmt: skip
    """Kinds of directions without meaning, with the layer they are in: (kind, directions, layer)."""
    layer, random_layer = Layer.of(trained, glyphs, held_out), Layer.of(untrained, glyphs, held_out)
    generator = torch.Generator().manual_seed(1000 + seed)
    sets = -(-arguments.sets // arguments.networks)
    counts = torch.randint(3, 13, (sets,), generator=generator).tolist()
    for number, count in enumerate(counts):
        for kind in ("single activations", "single channels"):
            yield kind, NULLS[kind](layer.rows, count, generator)[number % NULL_SETS], layer
        sample = layer.rows[torch.randperm(len(layer.rows), generator=generator)[:SHUFFLED_ROWS]]
        orders = torch.rand(sample.shape, generator=generator).argsort(0)
        yield "concepts of shuffled channels", factorize(sample.gather(0, orders), count, number).directions, layer
        rows = random_layer.rows[torch.randperm(len(random_layer.rows), generator=generator)[:SHUFFLED_ROWS]]
        yield "concepts of the untrained network", factorize(rows, count, number).directions, random_layer


if __name__ == "__main__":
    main()
