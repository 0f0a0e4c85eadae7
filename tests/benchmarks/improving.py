"""Does continuing on what a model gets wrong help its weak classes more than continuing without?

    python tests/benchmarks/improving.py --data FOLDER_OF_CIFAR10 [--epochs 3] [--seeds 0-2] [--ways ...]
    python tests/benchmarks/improving.py --home HOME --run RUN    from the best epoch of a run there

Trains a network, unless it is given one, and continues from its best epoch in several ways, as `study improve` does:
beside a control that sees as many images again, but any. Prints the accuracy on the test images, of the weakest classes
on val and of all: before, of the controls and of the improved runs, the difference of these two, and its interval over
images and seeds; the intervals of both hold together with 95 %. What is there already is not trained again.
"""

import argparse
import tempfile

from pipelines.common.settings import ImproveSettings, TrainSettings
from pipelines.improving.improve import improve
from pipelines.improving.verdict import Gain, measure_gains
from pipelines.training.train import train
from tracking import catalogue
from tracking.home import find_home

WAYS: dict[str, dict] = {
    "plain": {},
    "mix": {"augment": ("mix",)},
    "colour-cutout": {"augment": ("colour", "cutout")},
    "wrong": {"where": "predicted <> label"},
}
SOURCE_EPOCHS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data", help="where it is")
    parser.add_argument("--size", type=int, help="of the images; default: theirs")
    parser.add_argument("--home", help="study home; default: one that goes when the program ends")
    parser.add_argument("--run", help="run to continue, with --home; default: one that is trained first")
    parser.add_argument("--epochs", type=int, default=3, help="of each continued training")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_gains(flags, flags.home or f"{folder}/study")


def print_gains(flags: argparse.Namespace, place: str) -> None:
    """One row per way and scope."""
    home = find_home(place)
    made = TrainSettings(dataset=flags.dataset, data=flags.data, size=flags.size, epochs=SOURCE_EPOCHS)
    source = catalogue.resolve(home, flags.run or train(made, home))
    print("\n| seen again | test images of | n | before | control | improved | change | interval | p |")
    print("|---|---|---|---|---|---|---|---|---|")
    for way in flags.ways:
        name = f"{source.name}-{way}"
        improve(
            ImproveSettings(run=source.run_id, epochs=flags.epochs, seeds=flags.seeds, name=name, **WAYS[way]), home
        )
        improved, controls = (catalogue.resolve_all(home, group) for group in (name, f"{name}-control"))
        ids = [run.run_id for run in improved]
        weak_classes = tuple(improved[0].params["weak_classes"])
        first_epoch = improved[0].params["first_epoch"]
        gains = measure_gains(home, [run.run_id for run in controls], None, ids, weak_classes)
        before = measure_gains(home, [source.run_id], first_epoch, ids, weak_classes)
        for scope, gain in gains.items():
            classes = ", ".join(weak_classes) if scope == "weak" else "all classes"
            print_row(way, classes, gain, before[scope].accuracy)


def print_row(way: str, classes: str, gain: Gain, before: float) -> None:
    interval = f"{100 * gain.change_low:+.2f} to {100 * gain.change_high:+.2f}"
    print(
        f"| {way} | {classes} | {gain.n:,} | {before:.2%} | {gain.accuracy:.2%} | {gain.other_accuracy:.2%} "
        f"| {100 * gain.change:+.2f} | {interval} | {gain.p_value:.3f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
