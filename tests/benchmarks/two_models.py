"""How often are two models, or two groups of seeds, called different where they are not, and where they are?

    python tests/benchmarks/two_models.py [--pairs 1000] [--asked 200] [--images 500]

Predictions are made up: images differ in how hard they are, and runs in how good they are, which has a standard
deviation in log odds of a right answer. The first table has the fraction of `--pairs` pairs whose accuracies macro
score_changes calls different at 0.05: runs of one recipe; recipes that are good at other images, and equally accurate;
and recipes of which one is better, with the fraction of intervals that miss by how much. The second one asks the
questions about `--asked` pairs of one recipe, of 10 classes: how often any of their rows has a verdict.
"""

import argparse

import duckdb
import numpy as np
import pyarrow as pa
from made_tables import open_tables

import queries

CLASSES = 10
SIZES = ((1, 1), (2, 2), (3, 3), (5, 5), (3, 5))
BETTER = 0.3  # in log odds
# spread of the runs, what the recipes differ by on an image (standard deviation), and how much better the other one is
MODELS = {
    "one recipe": (0.0, 0.0, 0.0),
    "with good and bad seeds": (0.2, 0.0, 0.0),
    "at other images": (0.1, 1.5, 0.0),
    "one better": (0.05, 0.5, BETTER),
}
TESTED = "select p_value <= 0.05, change_low, change_high from score_changes('scores', 1, 0.05)"
VERDICTS = {
    "fixed_and_broken": lambda row: row["verdict"] != "no difference shown",
    "improvement_by_class": lambda row: row["verdict"] not in (None, "no difference shown"),
    "churn": lambda row: bool(row["is_more"]),
    "calibration_change": lambda row: row["verdict"] not in (None, "no difference shown"),
}


def draw_chances(
    draw: np.random.Generator, pairs: int, images: int, sizes: tuple[int, int], model: tuple[float, float, float]
) -> np.ndarray:
    """Probabilities of a right answer [pairs, runs, images]."""
    spread, apart, better = model
    is_other = (np.arange(sum(sizes)) >= sizes[0])[:, None]
    image = draw.logistic(1.5, 2, (pairs, 1, images))
    taste = draw.normal(0, apart, (pairs, 1, images)) * np.where(is_other, 0.5, -0.5)
    run = draw.normal(0, spread, (pairs, sum(sizes), 1))
    return 1 / (1 + np.exp(-(image + taste + run + better * is_other)))


def measure(pairs: int, images: int, sizes: tuple[int, int], model: tuple[float, float, float]) -> tuple[float, float]:
    """Fractions of the pairs that are called different, and whose interval misses the mean difference."""
    draw = np.random.default_rng(22)
    chances = draw_chances(draw, pairs, images, sizes, model)
    pair, run, image = np.nonzero(draw.random(chances.shape) < chances)
    columns = {"hypothesis": pair, "run_id": run, "is_other": run >= sizes[0], "instance_id": image}
    constants = {"images": images, "seeds": sizes[0], "other_seeds": sizes[1], "score": 1}
    connection = open_tables()
    connection.register(
        "scores", pa.table(columns | {key: np.full(len(run), value) for key, value in constants.items()})
    )
    called, low, high = connection.execute(TESTED).fetchnumpy().values()
    change = chances[:, sizes[0] :].mean() - chances[:, : sizes[0]].mean() if model[2] else 0
    return called.mean(), ((low > change) | (high < change)).mean()


def add_predictions(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    label: np.ndarray,
    chances: np.ndarray,
    draw: np.random.Generator,
) -> None:
    """A run's predictions; wrong ones are one of two classes, and probabilities are those of a right answer."""
    wrong = (label + draw.integers(1, 3, len(label))) % CLASSES
    rows = {
        "run_id": [run_id] * len(label),
        "epoch": np.ones(len(label), np.int32),
        "split": ["test"] * len(label),
        "instance_id": np.arange(len(label)),
        "label": label,
        "predicted": np.where(draw.random(len(label)) < chances, label, wrong),
        "p_true": chances,
        "p_predicted": np.maximum(chances, 1 - chances),
        "p_sq": chances**2 + (1 - chances) ** 2,
    }
    connection.register("rows", pa.table(rows))
    connection.execute("insert into predictions by name from rows")


def ask(pairs: int, images: int, sizes: tuple[int, int]) -> list[float]:
    """The fraction of pairs of one recipe of which any row of a question has a verdict, by question."""
    draw = np.random.default_rng(23)
    counts = dict.fromkeys(VERDICTS, 0)
    names = [f"r{number}" for number in range(sum(sizes))]
    groups = {"run_id": ",".join(names[: sizes[0]]), "other_run_id": ",".join(names[sizes[0] :])}
    connection = open_tables()
    for _ in range(pairs):
        connection.execute("delete from predictions")
        [chances] = draw_chances(draw, 1, images, sizes, MODELS["with good and bad seeds"])
        label = draw.integers(0, CLASSES, images)
        for name, of_run in zip(names, chances, strict=True):
            add_predictions(connection, name, label, of_run, draw)
        for question, has_verdict in VERDICTS.items():
            counts[question] += any(map(has_verdict, queries.run(connection, question, groups).dicts))
    return [count / pairs for count in counts.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--asked", type=int, default=200)
    parser.add_argument("--images", type=int, default=500)
    flags = parser.parse_args()
    print("| runs |", " | ".join([*MODELS, "its interval misses"]), "|")
    print("|---" * (len(MODELS) + 2), "|", sep="")
    for sizes in SIZES:
        rates = [measure(flags.pairs, flags.images, sizes, model) for model in MODELS.values()]
        cells = [f"{called:.3f}" for called, _ in rates] + [f"{rates[-1][1]:.3f}"]
        print(f"| {sizes[0]} and {sizes[1]} |", " | ".join(cells), "|", flush=True)
    print()
    print("| runs |", " | ".join(f"`{question}`" for question in VERDICTS), "|")
    print("|---" * (len(VERDICTS) + 1), "|", sep="")
    for sizes in SIZES:
        rates = ask(flags.asked, flags.images, sizes)
        print(f"| {sizes[0]} and {sizes[1]} |", " | ".join(f"{rate:.3f}" for rate in rates), "|", flush=True)


if __name__ == "__main__":
    main()
