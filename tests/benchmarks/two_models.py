"""How often are two models, or two groups of seeds, called different where they are not, and where they are?

    python tests/benchmarks/two_models.py [--pairs 1000] [--asked 200] [--images 500] [--tables accuracy maps ...]

Predictions are made up: images differ in how hard they are, and runs in how good they are, which has a standard
deviation in log odds of a right answer. Table `accuracy` has the fraction of `--pairs` pairs whose accuracies macro
score_changes calls different at 0.05: runs of one recipe; recipes that are good at other images, and equally accurate;
and recipes of which one is better, with the fraction of intervals that miss by how much.

Table `maps` has the fraction of `--pairs` pairs whose maps of 40 images by two methods macro regrouping_tests, behind
explanation_change, calls different at 0.05. Maps are what all runs see in an image, what a run sees in every image, and
noise, more in bad seeds; another recipe sees something else as well.

Table `questions` asks every question of the page that `study diff` makes about `--asked` pairs of one recipe, of 10
classes, each at 0.05: how often any row has a verdict. Table `page` does so at the levels of the page, with how often
any of its parts has one. Of two single runs, "one recipe" means two models that are equally good, and false are matches
of concepts that are not the same, and lacks of a match of those that are.
"""

import argparse
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import pyarrow as pa
from made_tables import add, add_run, open_tables
from scipy.special import expit, logit
from scipy.stats import rankdata

import queries
from pipelines.diffing.criteria import SAME_CONCEPT, VERDICTS

TABLES = ("accuracy", "maps", "questions", "page")
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
CONFIDENCE = 0.5  # standard deviation of how sure a run is of an image, in log odds
METHODS, EXPLAINED, PLACES = ("saliency", "grad_cam"), 40, 64
MAP_SIZES = ((3, 3), (4, 4), (5, 5), (3, 5))
CONCEPTS = (0.69, 0.71, 0.69, 0.71, 0.0)  # rank correlations of concepts of the same number in two models
SCORED = 300  # images, by concepts
# deviations of what a run sees in every image, of how noisy its maps are (in logs), and of what its recipe sees
MAPS = {
    "one recipe": (0.3, 0.0, 0.0),
    "with good and bad seeds": (0.5, 0.7, 0.0),
    "another recipe": (0.3, 0.3, 0.5),
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
    return expit(image + taste + run + better * is_other)


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
) -> np.ndarray:
    """A run's predictions, which are returned [images]; wrong ones are one of two classes, and confidence varies."""
    wrong = (label + draw.integers(1, 3, len(label))) % CLASSES
    predicted = np.where(draw.random(len(label)) < chances, label, wrong)
    p_true = expit(logit(chances) + draw.normal(0, CONFIDENCE, len(label)))
    add(connection, "predictions", len(label), run_id=run_id, epoch=1, split="test",
        instance_id=np.arange(len(label)), label=label, predicted=predicted, p_true=p_true,
        p_predicted=np.maximum(p_true, 1 - p_true), p_sq=p_true**2 + (1 - p_true) ** 2)  # fmt: skip
    return predicted


def draw_maps(draw: np.random.Generator, sizes: tuple[int, int], model: tuple[float, float, float]) -> np.ndarray:
    """Maps of the first images [methods, runs, EXPLAINED, PLACES]."""
    own, spread, apart = model
    noise = np.exp(draw.normal(0, spread, (sum(sizes), 1, 1)))
    shape = (len(METHODS), EXPLAINED, PLACES)
    seen = draw.normal(size=shape)
    seen_by_recipe = [seen + apart * draw.normal(size=shape) for _ in sizes]
    seen_by_run = np.repeat(seen_by_recipe, sizes, 0).swapaxes(0, 1)
    shared = own * draw.normal(size=(len(METHODS), sum(sizes), 1, PLACES))
    return seen_by_run + shared + noise * draw.normal(size=seen_by_run.shape)


def add_maps(connection: duckdb.DuckDBPyConnection, run_id: str, maps: np.ndarray, predicted: np.ndarray) -> None:
    """A run's maps [methods, EXPLAINED, PLACES] of the classes that it predicts."""
    for method, of_method in zip(METHODS, maps, strict=True):
        classes = predicted[: len(of_method)]
        add(connection, "attributions", len(classes), run_id=f"{run_id} explained", source_run_id=run_id, epoch=1,
            method=method, split="test", instance_id=np.arange(len(classes)), target=classes,
            target_kind="predicted", score=1.0, map8=of_method[: len(classes)].astype(np.float32))  # fmt: skip


def add_concepts(connection: duckdb.DuckDBPyConnection, names: tuple[str, str], draw: np.random.Generator) -> None:
    """Concepts of two runs with their scores of images, those of one number correlated as CONCEPTS says."""
    for number, correlation in enumerate(CONCEPTS):
        together = 2 * np.sin(np.pi * correlation / 6)  # Pearson's of normal scores with this rank correlation
        scores = draw.multivariate_normal([0, 0], [[1, together], [together, 1]], SCORED)
        for run_id, column in zip(names, scores.T, strict=True):
            place = {"run_id": f"{run_id} explained", "epoch": 1, "concept_id": number}
            add(connection, "concepts", 1, **place, source_run_id=run_id, layer="layer", concept_key="key",
                vector=[[1.0]], threshold=0.5, description=str(number))  # fmt: skip
            add(connection, "concept_scores", SCORED, **place, split="test", instance_id=np.arange(SCORED),
                score=column, present=column > 0)  # fmt: skip


def is_false_status(row: dict) -> bool:
    """Whether what a row of concept_change says of a concept is false."""
    number = row["other_concept_id"] if row["concept_id"] is None else row["concept_id"]
    is_shared = CONCEPTS[number] >= SAME_CONCEPT and row["other_concept_id"] == number
    return row["status"] != "unclear" and (row["status"] == "matched") != is_shared


STATEMENTS: dict[str, Callable[[dict], bool]] = {  # by part of the page: whether a row says what is false of one recipe
    "accuracy": lambda row: row["verdict"] not in (None, "no difference shown"),
    "classes": lambda row: row["verdict"] not in (None, "no difference shown"),
    "calibration": lambda row: row["verdict"] not in (None, "no difference shown"),
    "churn": lambda row: bool(row["is_more"]),
    "explanations": lambda row: bool(row["is_changed"]),
    "concepts": is_false_status,
}


def make_pairs(
    pairs: int, images: int, sizes: tuple[int, int], models: tuple[tuple, tuple], seed: int
) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, str]]]:
    """Tables of one pair after the other, with what questions take to mean it; of predictions and of maps, a model."""
    draw = np.random.default_rng(seed)
    names = [f"r{number}" for number in range(sum(sizes))]
    groups = names[: sizes[0]], names[sizes[0] :]
    connection = open_tables()
    for run_id in names:
        add_run(connection, run_id, "train")
        add_run(connection, f"{run_id} explained", "explain", run_id)
    for _ in range(pairs):
        for table in ("predictions", "attributions", "concepts", "concept_scores"):
            connection.execute(f"delete from {table}")
        [chances] = draw_chances(draw, 1, images, sizes, models[0])
        label = draw.integers(0, CLASSES, images)
        predicted = {
            name: add_predictions(connection, name, label, of_run, draw)
            for name, of_run in zip(names, chances, strict=True)
        }
        maps = draw_maps(draw, sizes, models[1])
        for place, run_id in enumerate(names):
            add_maps(connection, run_id, maps[:, place], predicted[run_id])
        if len(names) == 2:
            add_concepts(connection, (names[0], names[1]), draw)
        yield connection, {"run_id": ",".join(groups[0]), "other_run_id": ",".join(groups[1])}


def state(connection: duckdb.DuckDBPyConnection, groups: dict[str, str], part: str, level: float) -> bool:
    """Whether a part of the page states any difference."""
    rows = queries.run(connection, VERDICTS[part].question, groups | {"level": str(level)}).dicts
    return any(map(STATEMENTS[part], rows))


def measure_maps(pairs: int, sizes: tuple[int, int], model: tuple[float, float, float]) -> float:
    """The fraction of pairs whose maps are said to differ by more than those of seeds do, at 0.05.

    Similarities are those of explanation_change, of maps of images that both runs predict alike, if right.
    """
    draw = np.random.default_rng(24)
    connection = open_tables()
    members, others = np.triu_indices(sum(sizes), 1)
    tested = f"select bool_or(p_adjusted <= 0.05) from regrouping_tests('pairs', {sizes[0]}, {sum(sizes)})"
    differ = []
    for _ in range(pairs):
        [chances] = draw_chances(draw, 1, EXPLAINED, sizes, MODELS["with good and bad seeds"])
        is_right = draw.random(chances.shape) < chances  # [runs, images]
        ranks = rankdata(np.abs(draw_maps(draw, sizes, model)), axis=-1)
        ranks = (ranks - ranks.mean(-1, keepdims=True)) / ranks.std(-1, keepdims=True)
        correlations = (ranks[:, members] * ranks[:, others]).mean(-1)  # [methods, pairs, images]
        counts = is_right[members] & is_right[others]
        similarities = np.where(counts, correlations, 0).sum(-1) / counts.sum(-1)
        columns = {"hypothesis": np.repeat(METHODS, len(members)), "member": np.tile(members, len(METHODS)),
                   "other_member": np.tile(others, len(METHODS)), "similarity": similarities.ravel()}  # fmt: skip
        connection.register("pairs", pa.table(columns))
        differ += connection.execute(tested).fetchall()
    return np.mean(differ)


def ask(pairs: int, images: int, sizes: tuple[int, int], *, as_page: bool) -> list[float]:
    """The fraction of pairs of one recipe of which a part states any difference, by part; of the page, any part too."""
    name = "one recipe" if sizes == (1, 1) else "with good and bad seeds"
    stated = []
    for connection, groups in make_pairs(pairs, images, sizes, (MODELS[name], MAPS[name]), 23):
        of_pair = [
            state(connection, groups, part, verdict.asked_level if as_page else 0.05)
            for part, verdict in VERDICTS.items()
            if part != "concepts" or sizes == (1, 1)
        ]
        stated.append(of_pair + [False] * (len(VERDICTS) - len(of_pair)) + [any(of_pair)])
    return np.mean(stated, 0).tolist()


def print_table(heads: list[str], rows: Iterator[tuple[tuple[int, int], list[float]]]) -> None:
    print("\n| runs |", " | ".join(heads), "|")
    print("|---" * (len(heads) + 1), "|", sep="")
    for sizes, rates in rows:
        print(f"| {sizes[0]} and {sizes[1]} |", " | ".join(f"{rate:.3f}" for rate in rates), "|", flush=True)


def measure_all(pairs: int, images: int, sizes: tuple[int, int]) -> list[float]:
    """The fractions called different, of each model, and of intervals that miss, of the last."""
    rates = [measure(pairs, images, sizes, model) for model in MODELS.values()]
    return [called for called, _ in rates] + [rates[-1][1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--asked", type=int, default=200)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    flags = parser.parse_args()
    if "accuracy" in flags.tables:
        rates = ((sizes, measure_all(flags.pairs, flags.images, sizes)) for sizes in SIZES)
        print_table([*MODELS, "its interval misses"], rates)
    if "maps" in flags.tables:
        rates = ((sizes, [measure_maps(flags.pairs, sizes, model) for model in MAPS.values()]) for sizes in MAP_SIZES)
        print_table(list(MAPS), rates)
    for table in ("questions", "page"):
        if table in flags.tables:
            rates = ((sizes, ask(flags.asked, flags.images, sizes, as_page=table == "page")) for sizes in SIZES)
            print_table([*VERDICTS, "any"], rates)


if __name__ == "__main__":
    main()
