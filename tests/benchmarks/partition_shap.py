"""What does partition SHAP cost beside shap's own loop and beside the forward passes alone?

    python tests/benchmarks/partition_shap.py [--count 12] [--rounds 2] [--samples 500]

Explains random images with an untrained CNN, one thread; the two and the passes take turns, so that a machine whose
speed drifts slows all alike. Prints processor time an image, which other programs hardly touch, and how far the maps
are apart.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from shap.explainers import PartitionExplainer
from shap.maskers import Image
from torch import Tensor, nn

from pipelines.model import Normalise, cnn
from xai import Given
from xai.gradient import target_scores
from xai.partition_shap import blurred, partition_shap

BATCHES = (10, 32, 64, 128)  # of which the quickest is the limit
ROWS = 640  # images of a measurement of passes, a multiple of every batch size


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
    pairs = torch.stack([images, blurred(images)], dim=1).numpy()  # [N, 2, C, H, W]
    for pair, target in zip(pairs, targets, strict=True):

        def score(rows: np.ndarray, target: Tensor = target) -> np.ndarray:
            return target_scores(model, torch.from_numpy(rows), target.expand(len(rows))).numpy()

        explain = PartitionExplainer(score, Blur(*size))
        with patch.object(np.random, "randn", itertools.count().__next__):
            found = explain(pair[None], max_evals=samples, silent=True)
        maps.append(found.values.reshape(size))
    return torch.from_numpy(np.stack(maps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=500)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    model, images, targets = example(flags.count)
    ours = lambda: partition_shap(model, images, targets, Given(samples=flags.samples)).maps  # noqa: E731
    theirs = lambda: shap_maps(model, images, targets, flags.samples)  # noqa: E731
    tasks = {"ours": (ours, flags.count), "shap": (theirs, flags.count)}
    tasks |= {f"passes of {size}": (passes(model, size), ROWS / flags.samples) for size in BATCHES}
    report(tasks, flags.rounds)
    found, known = ours(), theirs()
    print(f"largest value {known.abs().amax():.1e}, largest difference {(found - known).abs().amax():.1e}")


def example(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(Normalise(torch.full((3,), 0.5), torch.full((3,), 0.25)), cnn(10, (3, 32, 32)))
    return model.eval().to(memory_format=torch.channels_last), torch.rand(count, 3, 32, 32), torch.arange(count) % 10


def passes(model: nn.Module, size: int) -> Callable[[], None]:
    """The model alone on ROWS images, `size` at a time."""
    inputs, targets = torch.rand(size, 3, 32, 32), torch.arange(size) % 10

    def run() -> None:
        for _ in range(ROWS // size):
            target_scores(model, inputs, targets)

    return run


def report(tasks: dict[str, tuple[Callable, float]], rounds: int) -> None:
    """Least processor time an image of each task, which does the work of so many images."""
    spent = {name: [] for name in tasks}
    for _ in range(rounds + 1):  # the first one warms up
        for name, (task, images) in tasks.items():
            began = time.process_time()
            task()
            spent[name].append((time.process_time() - began) / images)
    best = {name: min(times[1:]) for name, times in spent.items()}
    for name, seconds in best.items():
        print(f"{name:<15}{seconds * 1000:>8.1f} ms an image")
    limit = min(seconds for name, seconds in best.items() if "passes" in name)
    print(f"shap / ours {best['shap'] / best['ours']:.2f}, ours / quickest passes {best['ours'] / limit:.3f}")


if __name__ == "__main__":
    main()
