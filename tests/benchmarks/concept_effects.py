"""How often does TCAV call an effect beyond chance where none is, and how often does it find one that is there?

    python tests/benchmarks/concept_effects.py [--networks 12] [--sets 1000] [--backgrounds FOLDER_OF_CIFAR10]

Each network learns to tell glyphs at random places, so what decides is known. With --backgrounds the glyphs lie on
photographs, else on noise. Four kinds of directions have no meaning: single activations, single channels, concepts of
activations whose channels are shuffled, and concepts of the network before training. Those of the trained network
have one; they are found and their number is chosen as `study explain` does it.

A concept shows a class's glyph if its map points there in most of the class's images, and is at least half as strong
there as in any class. A class is found if a concept that shows its glyph raises its logit beyond chance. A mark is
wrong if a concept lowers the logit of a class whose glyph it shows, or raises that of another class than those; both
levels are family-wise: that of the column `significant`, and the report's. Takes about 40 minutes on one core.
"""

import argparse
import copy
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.data.datasets import load_dataset
from pipelines.explaining.concepts.concept_set import list_counts, required_agreement
from pipelines.models.networks import cnn
from pipelines.reporting.criteria import VERDICTS
from tracking.home import Home
from xai import ice
from xai.concept_count import choose_count
from xai.cut import Cut, cut_model
from xai.nmf import factorize
from xai.pointing import point_inside
from xai.tcav import NULLS, SIGNIFICANCE_LEVEL, Tcav, score_concepts

LAYER = "features.6.2"  # the last one of feature maps
IMAGES, HELD_OUT, FITTING = 2000, 200, 500
MAX_EPOCHS, ACCURACY = 12, 0.99  # of training
FACTORIZED_ROWS = 8000  # for directions without meaning
LEVELS = (SIGNIFICANCE_LEVEL, VERDICTS["concepts"].level)


@dataclass(frozen=True)
class Glyphs:
    """Images [N, 3, S, S] of K glyphs at random places, which one each shows [N], and where [N, 4]."""

    images: Tensor
    labels: Tensor
    boxes: Tensor  # top, left, height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    parser.add_argument("--sets", type=int, default=1000, help="of directions without meaning, per kind")
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--backgrounds", help="where CIFAR-10 is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photographs = None
    if arguments.backgrounds:
        data = load_dataset("cifar10", arguments.backgrounds, Home(Path("study")), val_fraction=0.1, seed=0, size=None)
        photographs = data.splits["test"].images[: IMAGES + HELD_OUT] / 255
    tried: Counter[str] = Counter()
    claimed: Counter[tuple[str, float]] = Counter()  # by kind of directions and level
    marks: Counter[tuple[str, float]] = Counter()  # by kind of mark and level
    for seed in range(arguments.first, arguments.first + arguments.networks):
        glyphs, held_out = draw_glyphs(seed, arguments.side, photographs)
        untrained, trained, accuracy = train(glyphs, held_out, seed)
        for kind, directions, layer in nothing_there(trained, untrained, glyphs, held_out, arguments, seed):
            found = layer.measure(directions, seed)
            tried[kind] += 1
            for level in LEVELS:
                claimed[kind, level] += bool((found.p_values < level).any())
        layer = Layer.of(trained, glyphs, held_out)
        directions = layer.find_concepts(seed)
        found, shows = layer.measure(directions, seed), layer.shows_glyph(directions)
        tried["what decides"] += layer.classes
        for level in LEVELS:
            raised, lowered = (
                (found.p_values < level) & is_so for is_so in (found.tcav_magnitude > 0, found.tcav_magnitude < 0)
            )
            claimed["what decides", level] += int((raised & shows).any(0).sum())
            for name, these in mark_kinds(raised, lowered, shows).items():
                marks[name, level] += int(these.sum())
        print(
            f"network {seed}: {layer.classes} classes, {accuracy:.1%} correct; {len(directions)} concepts show the "
            f"glyphs of {shows.any(0).sum()}; lowest p-value of each: {lowest_p_values(found, shows)}",
            flush=True,
        )
    head = " | ".join(f"at {level:.0%}" for level in LEVELS)
    print(f"\n| directions | sets, or classes | {head} |\n|---|---|---|---|")
    for kind, count in tried.items():
        print(f"| {kind} | {count:,} | {' | '.join(f'{claimed[kind, level] / count:.1%}' for level in LEVELS)} |")
    print(f"\n| marks | {head} |\n|---|---|---|")
    for name in dict.fromkeys(name for name, _ in marks):
        print(f"| {name} | {' | '.join(str(marks[name, level]) for level in LEVELS)} |")


def lowest_p_values(found: Tcav, shows: Tensor) -> str:
    """Of each class's concepts that show its glyph and raise its logit; 1 where there is none."""
    p_values = torch.where(shows & (found.tcav_magnitude > 0), found.p_values, 1).amin(0)
    return ", ".join(f"{p_value:.3f}" for p_value in p_values.tolist())


def mark_kinds(raised: Tensor, lowered: Tensor, shows: Tensor) -> dict[str, Tensor]:
    """Which marks are right and which wrong, [k, K] each, of concepts that show glyphs as in `shows` [k, K]."""
    shows_another = shows.any(1, keepdim=True) & ~shows
    shows_none = ~shows.any(1, keepdim=True).expand_as(shows)
    return {
        "raises the class whose glyph it shows (right)": raised & shows,
        "lowers another class (right)": lowered & shows_another,
        "lowers the class whose glyph it shows (wrong)": lowered & shows,
        "raises another class (wrong)": raised & shows_another,
        "shows no glyph": (raised | lowered) & shows_none,
    }


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
    boxes = torch.cat([torch.tensor(places), torch.full((count, 2), size)], 1)
    return (
        Glyphs(images[:IMAGES], labels[:IMAGES], boxes[:IMAGES]),
        Glyphs(images[IMAGES:], labels[IMAGES:], boxes[IMAGES:]),
    )


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
    """A network's layer, seen through fitting images and held-out ones."""

    model: nn.Module
    parts: Cut
    rows: Tensor  # [R, c], of the fitting images
    weighted_rows: Tensor  # [R, c], by how much the decision hangs on them
    held_out: Glyphs
    features: Tensor  # [N, c, h, w], held out
    gradients: Tensor  # [N, c]

    @classmethod
    def of(cls, model: nn.Module, glyphs: Glyphs, held_out: Glyphs) -> "Layer":
        parts = cut_model(model, LAYER)
        fitting = ice.extract_features(model, parts, glyphs.images[:FITTING])
        weights = ice.position_weights(model, parts, fitting).flatten()[:, None]
        rows = ice.flatten_positions(fitting)
        features = ice.extract_features(model, parts, held_out.images)
        no_directions = torch.zeros(1, rows.shape[1])
        no_maps = torch.zeros(len(features), 1, *features.shape[2:])
        gradients, _ = ice.concept_sensitivities(model, parts, features, no_maps, no_directions, held_out.labels)
        return cls(model, parts, rows, rows * weights, held_out, features, gradients)

    @property
    def classes(self) -> int:
        return int(self.held_out.labels.max()) + 1

    def find_concepts(self, seed: int) -> Tensor:
        """The concepts that `study explain` would find, [k, c], if the held-out images chose their number."""
        logits = ice.head_logits(self.model, self.parts, self.features)
        directions: dict[int, Tensor] = {}

        def keep_answers(count: int) -> float:
            directions[count] = factorize(self.weighted_rows, count, seed).directions
            keep = ice.keep_concepts(directions[count])
            kept = ice.reconstructed_logits(self.model, self.parts, self.features, keep)
            return ice.fidelity(logits, kept).agreement

        counts = list_counts(self.classes, min(self.weighted_rows.shape))
        return directions[choose_count(counts, keep_answers, required_agreement(len(logits))).count]

    def measure(self, directions: Tensor, seed: int) -> Tcav:
        labels = self.held_out.labels
        nothing = torch.zeros(len(labels), len(directions))
        return score_concepts(self.gradients, nothing, nothing > 0, labels, self.classes, directions, self.rows, seed)

    def shows_glyph(self, directions: Tensor) -> Tensor:
        """Whether each concept shows each class's glyph, [k, K]: its map points there and is strong there."""
        maps = ice.concept_maps(self.features, directions)  # [N, k, h, w]
        side = self.held_out.images.shape[2]
        margin = side // maps.shape[2] // 2  # half of a map's position, in pixels
        boxes = self.held_out.boxes + torch.tensor([-margin, -margin, 2 * margin, 2 * margin])
        pointing, strength = [], []
        for large in nn.functional.interpolate(maps, (side, side), mode="bilinear").unbind(1):
            pointing.append(self._class_means(point_inside(large, boxes).float()))
            strength.append(self._class_means(large.amax((1, 2))))
        points_there, strengths = torch.stack(pointing), torch.stack(strength)  # [k, K]
        return (points_there > 0.5) & (strengths >= strengths.amax(1, keepdim=True) / 2)

    def _class_means(self, values: Tensor) -> Tensor:
        """Mean of the values [N] of each class's images, [K]."""
        return torch.stack([values[self.held_out.labels == label].mean() for label in range(self.classes)])


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
            drawn = NULLS[kind].draw(layer.rows, count, generator)
            yield kind, drawn[torch.randperm(len(drawn), generator=generator)[:count]], layer
        sample = layer.rows[torch.randperm(len(layer.rows), generator=generator)[:FACTORIZED_ROWS]]
        orders = torch.rand(sample.shape, generator=generator).argsort(0)
        yield "concepts of shuffled channels", factorize(sample.gather(0, orders), count, number).directions, layer
        rows = random_layer.weighted_rows
        rows = rows[torch.randperm(len(rows), generator=generator)[:FACTORIZED_ROWS]]
        yield "concepts of the untrained network", factorize(rows, count, number).directions, random_layer


if __name__ == "__main__":
    main()
