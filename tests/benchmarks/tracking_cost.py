"""What does remembering cost beside the training it remembers?

    python tests/benchmarks/tracking_cost.py --data FOLDER_OF_CIFAR10 [--epochs 3] [--dataset cifar10] [--size 32]

The same epochs, once with and once without tracking, in turn (A B A B ...), so that a machine whose speed drifts
slows both alike. Prints the paired ratio, and the time spent in tracking itself, which noise does not touch. Commits
are waited for, though a training makes them in the background.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace

from pipelines.common.settings import TrainSettings
from pipelines.lifecycle.epoch_commit import commit_staged
from pipelines.lifecycle.start import commit_start, instance_columns
from pipelines.models import hardware
from pipelines.models.networks import build_model
from pipelines.training import train as training
from pipelines.training.recipe import make_recipe, resolve_settings
from tracking import runs
from tracking.home import Home, find_home


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--size", type=int)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = find_home(folder)
        settings = TrainSettings(
            dataset=flags.dataset, data=flags.data, size=flags.size, progressive_resizing="no", epochs=flags.epochs
        )
        data = training.load_data(settings, home)
        settings = resolve_settings(settings, data)
        hardware.prepare_device(settings)
        pairs = {name: prepare(settings, data, home, name) for name in ("with", "without")}
        report([measure(pairs, epoch) for epoch in range(1, flags.epochs + 1)])


def prepare(settings: TrainSettings, data, home: Home, name: str) -> training.Training:
    model = build_model(settings.model, data, settings.seed)
    recipe = make_recipe(replace(settings, name=name), data, model)
    settings = recipe.settings
    run = runs.start_run(home, runs.new_record("train", name, settings.params()), {}, "")
    made = training.Training(settings, data, model, recipe, run)
    runs.log_record(run)
    commit_start(run, "train", made.settings, instance_columns(run.run_id, data), data.classes)
    return made


def measure(pairs: dict[str, training.Training], epoch: int) -> tuple[float, float, float]:
    """Seconds of an epoch with tracking, without it, and of its tracking alone."""
    began = time.perf_counter()
    predictions, metrics = training._compute_epoch(pairs["with"], epoch)
    computed = time.perf_counter()
    commit_staged(training._stage_epoch(pairs["with"], epoch, predictions, metrics))
    tracked = time.perf_counter()
    training._compute_epoch(pairs["without"], epoch)
    return tracked - began, time.perf_counter() - tracked, tracked - computed


def report(times: list[tuple[float, float, float]]) -> None:
    for epoch, (tracked, plain, tracking) in enumerate(times, 1):
        print(f"epoch {epoch}: with {tracked:.1f} s, without {plain:.1f} s, ratio {tracked / plain:.3f}; "
              f"tracking {tracking:.2f} s, {tracking / (tracked - tracking):.2%} of the epoch")  # fmt: skip
    print(f"median ratio {statistics.median(a / b for a, b, _ in times):.3f}; "
          f"median share of tracking {statistics.median(c / (a - c) for a, _, c in times):.2%}")  # fmt: skip


if __name__ == "__main__":
    main()
