"""Does training without the labels that look wrong beat training with them?

    python tests/benchmarks/noisy_training.py [--dataset digits] [--size 8] [--seeds 0 1 2] [--epochs 10] [--noise 0.1]
    python tests/benchmarks/noisy_training.py --dataset cifar10 --data FOLDER --train 5000 --test 2000 --size 16
    python tests/benchmarks/noisy_training.py --settings '{"label_smoothing": 0, "random_shift": 0}'

For each seed, changes the labels of a fraction of the training images, each to any other class, and does what a user
would: `study train`, `study folds`, `study verdict` with the labels that are suspected, and `study train` again, with
the same settings and seed, and `--verdicts leave-out` or `apply`. Test labels are right. Suspects are taken unseen,
which nobody should do, or as a reviewer leaves them who looks at the first fifth of the list and is never mistaken.

Prints, for each source of suspects, how many are left out or relabelled, their precision and recall, and the test
accuracy beside that of training with all labels as they are, its control: the mean gain over seeds with Student's
interval of the pairs, and the interval of fixed_and_broken, which counts seeds and images as drawn at random. The table
is printed after each seed.
"""

import argparse
import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from label_noise import choose_images, find_confidently, make_parser, plant_noise
from PIL import Image
from scipy.stats import sem, t

import pipelines
import queries
from pipelines.data.datasets import Dataset, load_dataset
from tracking.home import Home, find_home
from tracking.reading import connect

TENTH, FIFTH = 0.1, 0.2  # of the training images: how many are wrong, and how many a reviewer looks at


@dataclass(frozen=True)
class Study:
    """A training run with wrong labels, and predictions of its training images out of sample."""

    home: Home
    run_id: str
    given: dict[int, str]  # labels by instance_id
    truth: dict[int, str]

    @property
    def wrong(self) -> set[int]:
        return {instance_id for instance_id, label in self.truth.items() if label != self.given[instance_id]}

    def ask_suspects(self, split: str) -> list[dict]:
        """Rows of label_suspects, the least supported label first."""
        with connect(self.home, run_ids=[self.run_id]) as connection:
            values = {"run_id": self.run_id, "split": split, "limit": "1000000"}
            return queries.run(connection, "label_suspects", values).dicts


@dataclass(frozen=True)
class Outcome:
    """A training beside that with all labels as they are."""

    run_id: str
    control_id: str
    changed: int  # images left out or relabelled
    precision: float
    recall: float


def main() -> None:
    parser = make_parser(__doc__, [0, 1, 2])
    parser.add_argument("--noise", type=float, default=0.1, help="fraction of the training labels that is wrong")
    parser.add_argument("--leave-out", nargs="*", default=list(SOURCES), choices=list(SOURCES), metavar="SOURCE")
    parser.add_argument("--apply", nargs="*", default=list(RELABELLED), choices=list(SOURCES), metavar="SOURCE")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help='JSON, like {"label_smoothing": 0}, of all trainings'
    )
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory() as folder:
        home = find_home(str(Path(folder, "home")))
        whole = load_dataset(flags.dataset, flags.data, home, val_fraction=0.1, seed=0, size=flags.size)
        outcomes: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for seed in flags.seeds:
            data = choose_images(whole, flags.train, flags.test, 0)
            table = write_table(data, Path(folder), flags.noise, seed)
            for name, outcome in compare(home, table, seed, flags):
                outcomes[name].append(outcome)
            print_table(home, outcomes)


def write_table(data: Dataset, folder: Path, noise: float, seed: int) -> Path:
    """A table of images, some of them to learn from with a wrong label, and the right labels beside."""
    table = folder / f"labels_{seed}.csv"
    random = np.random.default_rng(seed)
    rows = []
    for name in ("train", "test"):
        split = data.splits[name]
        truth = split.labels.numpy()
        beliefs = np.empty((len(truth), len(data.classes)))  # only its shape counts
        given = plant_noise(f"symmetric:{noise}", truth, beliefs, random) if name == "train" else truth
        for number, (label, right) in enumerate(zip(given, truth, strict=True)):
            path = Path("pictures", f"{name}_{number}.png")
            if not (folder / path).exists():
                (folder / path).parent.mkdir(exist_ok=True)
                pixels = split.images[number : number + 1][0].permute(1, 2, 0).numpy()  # [H, W, C]
                Image.fromarray(pixels.squeeze()).save(folder / path)
            rows.append((path.as_posix(), data.classes[label], name, data.classes[right]))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "truth"), *rows])
    return table


def compare(home: Home, table: Path, seed: int, flags: argparse.Namespace) -> Iterator[tuple[tuple[str, str], Outcome]]:
    """Trainings with each source's suspects changed in each way, named by both."""

    def train(verdicts: str) -> str:
        return pipelines.train(
            dataset="csv", data=str(table), epochs=flags.epochs, seed=seed, verdicts=verdicts, threads=flags.threads,
            home=home.path, **flags.settings,
        )  # fmt: skip

    control_id = train("ignore")
    if any(source.endswith("folds") for source in (*flags.leave_out, *flags.apply)):
        pipelines.folds(control_id, home=home.path)
    study = read_study(home, control_id, table)
    for source, find_suspects in SOURCES.items():
        changes = [
            change for change, chosen in (("leave-out", flags.leave_out), ("apply", flags.apply)) if source in chosen
        ]
        suspects = find_suspects(study) if changes else {}
        found = len(study.wrong & suspects.keys())
        for change in changes if suspects else ():
            give_verdicts(study, suspects, "label_wrong", source)
            run_id = train(change)
            give_verdicts(study, suspects, "withdrawn", source)  # or other seeds' trainings would take them too
            outcome = Outcome(run_id, control_id, len(suspects), found / len(suspects), found / len(study.wrong))
            print(f"seed {seed}: {source}, {change}, {ask_outcome(home, [outcome])['change']:+.3f}", flush=True)
            yield (source, change), outcome


def read_study(home: Home, run_id: str, table: Path) -> Study:
    with table.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    with connect(home, run_ids=[run_id]) as connection:
        sources = connection.execute(
            "select instance_id, source from instances where run_id = ? and split = 'train'", [run_id]
        ).fetchall()
    labels = {instance_id: rows[source] for instance_id, source in sources}
    given, truth = ({number: row[column] for number, row in labels.items()} for column in ("label", "truth"))
    return Study(home, run_id, given, truth)


def give_verdicts(study: Study, suspects: dict[int, str | None], verdict: str, who: str) -> None:
    """The same verdict on all suspects, with the class that they may be instead."""
    new_labels = suspects if verdict == "label_wrong" else {}
    rows = [("train", number, verdict, new_labels.get(number)) for number in suspects]
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        csv.writer(file).writerows([("split", "instance_id", "verdict", "new_label"), *rows])
        file.flush()
        pipelines.verdict(study.run_id, file.name, who=who, home=study.home.path)


def take_contradicted(study: Study, split: str) -> dict[int, str | None]:
    """Labels that the model contradicts: those that instances_to_check calls suspect."""
    return {row["instance_id"]: row["suggested_name"] for row in study.ask_suspects(split) if row["aum"] < 0}


def take_first(study: Study, split: str, fraction: float) -> dict[int, str | None]:
    """The labels supported least."""
    rows = study.ask_suspects(split)
    return {row["instance_id"]: row["suggested_name"] for row in rows[: round(fraction * len(rows))]}


def take_confident(study: Study, split: str) -> dict[int, str | None]:
    """Confident learning (Northcutt 2021), out of sample alone, as train_seen has no probabilities of all classes."""
    with connect(study.home, run_ids=[study.run_id]) as connection:
        rows = connection.execute(
            "select instance_id, any_value(label), list(probabilities) from full_predictions "
            "where run_id = $run_id and split = $split and epoch > "
            "(select max(epoch) / 2 from predictions where run_id = $run_id and split = $split) "
            "group by instance_id order by instance_id",
            {"run_id": study.run_id, "split": split},
        ).fetchall()
    labels = np.array([label for _, label, _ in rows])
    is_found = find_confidently(np.array([probabilities for *_, probabilities in rows]).mean(1), labels)
    suggested = take_first(study, split, 1)
    return {number: suggested[number] for (number, *_), found in zip(rows, is_found, strict=True) if found}


def review(study: Study, suspects: Collection[int]) -> dict[int, str | None]:
    """What a reviewer who is never mistaken says of suspects."""
    return {number: study.truth[number] for number in sorted(study.wrong & set(suspects))}


SOURCES: dict[str, Callable[[Study], dict[int, str | None]]] = {
    "contradicted:train_seen": lambda study: take_contradicted(study, "train_seen"),
    "contradicted:train_folds": lambda study: take_contradicted(study, "train_folds"),
    "confident-learning:train_folds": lambda study: take_confident(study, "train_folds"),
    "first-tenth:train_seen": lambda study: take_first(study, "train_seen", TENTH),
    "first-tenth:train_folds": lambda study: take_first(study, "train_folds", TENTH),
    "first-fifth-reviewed:train_seen": lambda study: review(study, take_first(study, "train_seen", FIFTH)),
    "all-wrong": lambda study: review(study, study.truth),
}
SAID = {"A is more accurate": "worse", "B is more accurate": "better", "no difference shown": "no difference shown"}
RELABELLED = ("confident-learning:train_folds", "first-fifth-reviewed:train_seen", "all-wrong")


def ask_outcome(home: Home, found: list[Outcome]) -> dict:
    """The row of fixed_and_broken: trainings with all labels as they are beside trainings with changed ones."""
    control_ids, run_ids = [one.control_id for one in found], [one.run_id for one in found]
    with connect(home, run_ids=control_ids + run_ids) as connection:
        values = {"run_id": ",".join(control_ids), "other_run_id": ",".join(run_ids)}
        [row] = queries.run(connection, "fixed_and_broken", values).dicts
    return row


def print_table(home: Home, outcomes: dict[tuple[str, str], list[Outcome]]) -> None:
    """A row for each source and change, means over seeds; gains are in percentage points."""
    print("\n| suspects | verdicts | images | precision | recall | control | accuracy | gain, pairs of seeds "
          "| seeds and images | |")  # fmt: skip
    print("|---" * 10, "|", sep="")
    for (source, change), found in outcomes.items():
        means = [np.mean([getattr(one, name) for one in found]) for name in ("changed", "precision", "recall")]
        gains = 100 * np.array([ask_outcome(home, [one])["change"] for one in found])
        half = t.ppf(0.975, len(gains) - 1) * sem(gains) if len(gains) > 1 else None
        crossed = ask_outcome(home, found)
        low, high = (100 * crossed[key] for key in ("change_low", "change_high"))
        ends = "" if half is None else f" ({gains.mean() - half:.1f} to {gains.mean() + half:.1f})"
        print(f"| {source} | {change} | {means[0]:,.0f} | {means[1]:.2f} | {means[2]:.2f} | {crossed['accuracy']:.1%} "
              f"| {crossed['other_accuracy']:.1%} | {gains.mean():+.1f}{ends} | {low:.1f} to {high:.1f} "
              f"| {SAID[crossed['verdict']]} |")  # fmt: skip


if __name__ == "__main__":
    main()
