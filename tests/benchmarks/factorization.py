"""Is the factorization as good as scikit-learn's and sooner done, and does stability tell planted concepts from others?

    python tests/benchmarks/factorization.py [--data FOLDER_OF_CIFAR10] [--parts solver stability]

With --data the solver is also measured on a CNN's activations. Seconds are processor seconds of one thread, so they
hold on a busy machine too. Takes about 25 minutes on one core.
"""

import argparse
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.decomposition import NMF
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pipelines.data.datasets import load_dataset
from tracking.home import Home
from xai.concept_count import STABLE, measure_stability
from xai.nmf import Factors, factorize

ROWS = 64_000
CHANNELS = (64, 128, 256)
COUNTS = (10, 20)
PLANTED_ROWS = 12_000
SETTINGS = 40
PLANTED, SPURIOUS = 0.9, 0.8  # cosine with a planted direction, at least and at most; between them it is neither


@dataclass(frozen=True)
class Planted:
    """A factorization to find again; none of these was used to make the rule or its threshold."""

    concepts: int
    channels: int
    noise: float  # deviation, in units of the activations' deviation or, if relative, of each activation
    relative: bool
    overlap: float  # size of what concepts share channels in
    density: float  # share of rows that have a concept
    strengths: float  # of the strongest concept over the weakest
    seed: int

    def make(self, rows: int) -> tuple[Tensor, Tensor]:
        """Activations [N, c] and directions [k, c]."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = self.concepts, self.channels
        directions = torch.rand(shape, generator=generator)
        directions *= torch.rand(shape, generator=generator) < max(0.15, 1.5 / self.concepts)
        shared = torch.rand(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.5)
        directions = nn.functional.normalize(directions + self.overlap / 2 * shared)
        scores = torch.empty(rows, self.concepts).exponential_(generator=generator)
        scores *= torch.rand(scores.shape, generator=generator) < self.density
        scores *= self.strengths ** -torch.linspace(0, 1, self.concepts)
        clean = scores @ directions
        noise = self.noise * torch.randn(clean.shape, generator=generator)
        return (clean * (1 + noise) if self.relative else clean + clean.std() * noise).clamp_min(0), directions


def settings(count: int) -> list[Planted]:
    """Planted factorizations of all kinds, always the same."""
    pick = random.Random("validation").choice
    return [
        Planted(
            concepts=pick((3, 5, 6, 8, 9, 10, 12)),
            channels=pick((28, 40, 80, 160)),
            noise=pick((0.03, 0.15, 0.3, 0.45)),
            relative=pick((False, True)),
            overlap=pick((0.0, 0.3, 0.6, 0.9)),
            density=pick((0.12, 0.25, 0.35, 0.6)),
            strengths=pick((1, 1.5, 3, 5)),
            seed=5000 + row,
        )
        for row in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of CIFAR-10, for a CNN's activations")
    parser.add_argument("--parts", nargs="+", default=["solver", "stability"])
    flags = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of the libraries behind numpy, whose waiting threads would count as the peer's seconds
    warnings.filterwarnings("ignore", module="sklearn")  # that it has not converged in its 200 iterations
    if "solver" in flags.parts:
        solver(flags.data)
    if "stability" in flags.parts:
        stability()


def solver(data: str | None) -> None:
    """Squared error over scikit-learn's, the worst of three seeds, and seconds of both, here the median."""
    print(f"{'activations':>18} {'k':>3} {'sklearn':>9} {'here':>9} {'sooner':>7} {'error / sklearn':>16}")
    for name, activations in kinds(data):
        for count in COUNTS:
            peer, model = seconds(lambda a=activations, k=count: NMF(k).fit(a.numpy()))
            ours = [seconds(lambda a=activations, k=count, s=s: factorize(a, k, s)) for s in range(3)]
            here = sorted(done for done, _ in ours)[1]
            ratio = max(error(activations, factors) for _, factors in ours) / model.reconstruction_err_**2
            label = f"{name} {activations.shape[1]}"
            print(
                f"{label:>18} {count:>3} {peer:>7.2f} s {here:>7.2f} s {peer / here:>7.1f} {ratio:>16.4f}", flush=True
            )


def kinds(data: str | None):
    """Names and activations [64k, c]."""
    for channels in CHANNELS:
        yield "planted", Planted(15, channels, 0.3, False, 0.5, 0.3, 2, 0).make(ROWS)[0]
        if data:
            yield "CNN", cnn_activations(data, channels)


def cnn_activations(path: str, channels: int) -> Tensor:
    """Last ReLU of a small CNN after three epochs of 10,000 images, on 1,000 others: [64k, c]."""
    data = load_dataset("cifar10", path, Home(Path("study")), val_fraction=0.1, seed=0, size=None)
    torch.manual_seed(0)
    convolutions = []
    for entering, leaving in ((3, 24), (24, 48), (48, channels)):
        convolutions += [
            nn.Conv2d(entering, leaving, 3, padding=1),
            nn.BatchNorm2d(leaving),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    body = nn.Sequential(*convolutions[:-1])
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    optimizer, train = torch.optim.Adam(model.parameters(), lr=2e-3), data.splits["train"]
    for rows in torch.cat([torch.randperm(10_000) for _ in range(3)]).split(128):
        loss = nn.functional.cross_entropy(model(train.images[rows].float() / 255 - 0.5), train.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        maps = body.eval()(data.splits["val"].images[: ROWS // 64].float() / 255 - 0.5)
    return maps.permute(0, 2, 3, 1).flatten(0, 2).contiguous()


def stability() -> None:
    """Stability of planted and of spurious concepts, of factorizations with too few, right and too many of them."""
    found: list[tuple[str, Tensor, Tensor]] = []  # size, cosines with the planted directions, stability
    print(f"{'planted':>8} {'fitted':>7} {'near a planted one':>19} {'stable':>7} {'stable of the near':>19}")
    for planted in settings(SETTINGS):
        activations, directions = planted.make(PLANTED_ROWS)
        k = planted.concepts
        for count, size in ((k - 1, "too few"), (k, "right"), (k + 3, "too many"), (2 * k, "twice as many")):
            if not 2 <= count <= planted.channels:
                continue
            fitted = factorize(activations, count).directions
            near = (fitted @ directions.T).amax(1)
            steady = measure_stability(activations[:, None], fitted)
            found.append((size, near, steady))
            stable, planted_again = steady >= STABLE, near >= PLANTED
            print(f"{k:>8} {count:>7} {planted_again.sum():>19} {stable.sum():>7} {(stable & planted_again).sum():>19}",
                  flush=True)  # fmt: skip
    for size in ("right", "too many", "twice as many", "all"):
        parts = [(near, steady) for own, near, steady in found if size in (own, "all")]
        report(size, *(torch.cat(values) for values in zip(*parts, strict=True)))


def report(size: str, near: Tensor, steady: Tensor) -> None:
    """How well stability tells planted directions from spurious ones."""
    planted, spurious = steady[near >= PLANTED], steady[near < SPURIOUS]
    higher = (planted[:, None] > spurious).double() + (planted[:, None] == spurious).double() / 2
    print(f"{size}: {len(planted)} planted, {len(spurious)} spurious; AUROC {higher.mean():.3f}; stable: "
          f"{(planted >= STABLE).double().mean():.1%} of planted, {(spurious >= STABLE).double().mean():.1%} of "
          "spurious ones", flush=True)  # fmt: skip


def error(activations: Tensor, factors: Factors) -> float:
    parts = zip(activations.split(8192), factors.scores.split(8192), strict=True)
    return sum((rows - scores @ factors.directions).double().square().sum().item() for rows, scores in parts)


def seconds(call: Callable) -> tuple[float, object]:
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


if __name__ == "__main__":
    main()
