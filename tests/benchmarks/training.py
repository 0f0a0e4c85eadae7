"""How fast does the default recipe reach an accuracy, beside a plain baseline on the same machine in the same run?

    python tests/benchmarks/training.py --data FOLDER_OF_CIFAR10 [--baseline-until 0.75] [--skip-baseline] [--epochs 10]

Prints seconds until the test accuracy is first seen at each target, counting training and evaluation, and for the
recipe tracking too; data loading is left out of both. Takes about 45 minutes on two cores.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from pipelines.common.settings import TrainSettings
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.models.networks import normalise_by_statistics
from pipelines.models.predictions import evaluate, prepare_images
from pipelines.models.preprocessing import Preprocess
from pipelines.training.train import train
from tracking import commits
from tracking.home import Home, find_home

TARGETS = (0.75, 0.8259, 0.85, 0.87, 0.88, 0.89, 0.90)
Curve = list[tuple[float, float]]  # seconds from the start, test accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--baseline-until", type=float, default=0.75)
    parser.add_argument("--skip-baseline", action="store_true")
    parser.add_argument("--epochs", type=int, default=TrainSettings.epochs, help="of the recipe")
    parser.add_argument("--home", help="study home that keeps the recipe's run; default: a temporary one")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        curves = {"recipe": recipe(flags.data, flags.epochs, find_home(flags.home or folder))}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory with the recipe: {peak:.2f} GiB", flush=True)
    if not flags.skip_baseline:
        curves["baseline"] = baseline(flags.data, flags.baseline_until)
    report(curves)


def recipe(data: str, epochs: int, home: Home) -> Curve:
    """The default training with all its tracking."""
    run_id = train(TrainSettings(dataset="cifar10", data=data, epochs=epochs), home)
    done = commits.read_epochs(home, run_id)
    began = done[0].time_ms / 1000 - done[0].metrics["seconds"]
    return [(commit.time_ms / 1000 - began, commit.metrics["test_accuracy"]) for commit in done]


def baseline(path: str, until: float) -> Curve:
    """Adam 1e-3, batch 128, float32, no augmentation, no schedule, evaluated after each epoch."""
    data = load_dataset("cifar10", path, Home(Path("study")), val_fraction=0.1, seed=0, size=None)
    model = baseline_model(data)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve: Curve = []
    began = time.perf_counter()
    while not curve or curve[-1][1] < until:
        baseline_epoch(model, optimizer, data)
        accuracy = evaluate(model, data.splits["test"], "test", torch.device("cpu")).accuracy
        curve.append((time.perf_counter() - began, accuracy))
        print(f"baseline epoch {len(curve)}: {curve[-1][0]:.0f} s, test {accuracy:.2%}", flush=True)
    return curve


def baseline_model(data: Dataset) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [Preprocess(normalise_by_statistics(data), data.image_shape)]
    channels = 3
    for width, dropout in ((32, 0.2), (64, 0.3), (128, 0.4)):
        for entering in (channels, width):
            layers += [nn.Conv2d(entering, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))


def baseline_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, data: Dataset) -> None:
    model.train()
    images, labels = data.splits["train"].images, data.splits["train"].labels
    for rows in torch.randperm(len(labels)).split(128):
        loss = nn.functional.cross_entropy(model(prepare_images(images[rows], torch.device("cpu"))), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def report(curves: dict[str, Curve]) -> None:
    """Seconds until each target, and how many times sooner the recipe is."""
    print(f"\n{'test accuracy':>14}  " + "  ".join(f"{name:>10}" for name in curves) + "  sooner by")
    for target in TARGETS:
        times = [
            next((seconds for seconds, accuracy in curve if accuracy >= target), None) for curve in curves.values()
        ]
        cells = "  ".join(f"{seconds:>8.0f} s" if seconds else f"{'-':>10}" for seconds in times)
        ratio = f"{times[1] / times[0]:.1f} times" if len(times) > 1 and all(times) else "-"
        print(f"{target:>14.2%}  {cells}  {ratio}")
    for name, curve in curves.items():
        print(f"{name}: {curve[-1][1]:.2%} after {len(curve)} evaluations, {curve[-1][0]:.0f} s")


if __name__ == "__main__":
    main()
