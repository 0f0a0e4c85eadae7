"""How often does a report state a difference where there is none, and how often does it find one that is there?

    python tests/benchmarks/nothing_there.py [--studies 1000] [--settings digits many_classes] [--seed 0]

Each study is made of random numbers, straight into the tables: equally good methods whose maps lie anywhere, equally
hard classes, a confidence that is right, epochs that are equally good, concepts that have nothing to do with classes.
The report's questions are asked and its verdicts are reached as the report reaches them, at its levels. `false` is the
fraction of studies in which a verdict states a difference; the last row is any of them, at most the sum of the levels.
`found` comes from studies with one difference of each kind. Not made here: what concepts do to classes (TCAV) and
shortcuts, which have shares and programs of their own. --settings coverage measures intervals of means alone.
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import numpy as np
from made_tables import add, add_run, open_tables
from scipy.stats import t
from tqdm import tqdm

import queries
from pipelines.reporting import accuracy, calibration, history, mistakes, parts, patterns
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.found_concepts import is_own
from tracking.ingesting import link
from xai import METHODS

RUN, COMPARISON, LAST_EPOCH, CONCEPTS, SCORED = "study", "comparison", 3, 6, 300
REFERENCES = ("random", "edge")


@dataclass(frozen=True)
class Setting:
    """How much there is in a study."""

    images: int  # test images
    classes: int
    explained: int  # of them
    methods: int
    different: bool = False  # whether there is something to find


SETTINGS = {
    "digits": Setting(images=360, classes=10, explained=30, methods=5),
    "many_classes": Setting(images=2000, classes=100, explained=60, methods=3),
    "large": Setting(images=2000, classes=10, explained=250, methods=7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=[*SETTINGS, "coverage"])
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    connection = open_tables()
    for name in flags.settings:
        if name == "coverage":
            print_coverage(connection, flags.studies, flags.seed)
            continue
        setting = SETTINGS[name]
        state = partial(state_verdicts, connection)
        false = [state(setting, (flags.seed, study)) for study in tqdm(range(flags.studies), disable=None)]
        there = replace(setting, different=True)
        found = [state(there, (flags.seed + 1, study)) for study in tqdm(range(flags.studies // 5 + 1), disable=None)]
        print(f"\n{name}: {setting.images} images, {setting.classes} classes, {setting.explained} images explained by")
        print(f"{setting.methods} methods; {len(false)} studies with nothing there, {len(found)} with differences\n")
        print("| verdict | level | false | found |\n|---|---|---|---|")
        for verdict in false[0]:
            shares = [np.mean([study[verdict] for study in studies]) for studies in (false, found)]
            print(f"| {verdict} | {100 * VERDICTS[verdict].level:g} % | {shares[0]:.1%} | {shares[1]:.0%} |")
        total = sum(VERDICTS[verdict].level for verdict in false[0])
        print(f"| any | {100 * total:g} % | {np.mean([any(study.values()) for study in false]):.1%} | |")


def state_verdicts(connection: duckdb.DuckDBPyConnection, setting: Setting, seed: tuple[int, int]) -> dict[str, bool]:
    """Which verdicts the report on a made study states."""
    make_study(connection, setting, np.random.default_rng(seed))
    settled = np.random.default_rng((*seed, 1)).choice(
        ["before", "with", "after"], (setting.methods, setting.explained),
        p=[0.1, 0.3, 0.6] if setting.different else [0.3, 0.4, 0.3],
    )  # fmt: skip
    methods = list(METHODS)[: setting.methods]
    settles = [
        {"method": method, "settles": str(when)} for method, row in zip(methods, settled, strict=True) for when in row
    ]
    return reach_verdicts(connection, settles)


NUMBERS = {  # from 0 to 1, and their mean
    "normal": (lambda draw, shape: draw.normal(0.5, 0.1, shape).clip(0, 1), 0.5),
    "beta(0.2, 2)": (lambda draw, shape: draw.beta(0.2, 2, shape), 1 / 11),
    "beta(0.5, 10)": (lambda draw, shape: draw.beta(0.5, 10, shape), 1 / 21),
    "0 or 1, 2 % are 1": (lambda draw, shape: draw.binomial(1, 0.02, shape), 0.02),
    "0 or 1, 10 % are 1": (lambda draw, shape: draw.binomial(1, 0.1, shape), 0.1),
    "0 or 1, half are 1": (lambda draw, shape: draw.binomial(1, 0.5, shape), 0.5),
    "80 % equal": (lambda draw, shape: np.where(draw.random(shape) < 0.8, 0.3, draw.random(shape)), 0.34),
    "95 % equal": (lambda draw, shape: np.where(draw.random(shape) < 0.95, 0.9, draw.random(shape)), 0.88),
}
COUNTS = (20, 32, 50, 100, 500)


def print_coverage(connection: duckdb.DuckDBPyConnection, draws: int, seed: int) -> None:
    """How often 95 % and 99 % intervals hold the mean, and how wide they are beside Student's t."""
    print(f"\n{draws} draws each: coverage of 95 % / 99 % intervals, width of the first beside that of Student's t\n")
    print("| values | " + " | ".join(f"n = {count}" for count in COUNTS) + " |")
    print("|---" * (len(COUNTS) + 1) + "|")
    for name, (make, mean) in NUMBERS.items():
        cells = []
        for count in COUNTS:
            values = make(np.random.default_rng((seed, count)), (draws, count))
            average, deviation = values.mean(1), values.std(1, ddof=1)
            ends = [
                np.array(connection.execute(
                    "select mean_low(m, s, $n, 0, $level::double), mean_high(m, s, $n, 1, $level::double) "
                    "from (select unnest($m) as m, unnest($s) as s)",
                    {"m": average.tolist(), "s": deviation.tolist(), "n": count, "level": level},
                ).fetchall())
                for level in (0.05, 0.01)
            ]  # fmt: skip
            held = [np.mean((low - 1e-12 <= mean) & (mean <= high + 1e-12)) for low, high in (both.T for both in ends)]
            student = 2 * t.ppf(0.975, count - 1) * deviation.mean() / count**0.5
            wide = np.mean(ends[0][:, 1] - ends[0][:, 0]) / student
            cells.append(f"{held[0]:.1%} / {held[1]:.1%}, {wide:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


def reach_verdicts(connection: duckdb.DuckDBPyConnection, settles: list[dict]) -> dict[str, bool]:
    """Whether each verdict of the report states any difference, reached as the report does."""

    def ask(name: str, verdict: str | None = None, **values: object) -> list[dict]:
        given = {"run_id": RUN} | ({} if verdict is None else {"level": VERDICTS[verdict].level}) | values
        return queries.run(connection, name, {key: str(value) for key, value in given.items()}).dicts

    shown = ask("attribution_regions")
    count = sum(row[f"{place}_low"] is not None for row in shown for place in parts.PLACES)
    placed = ask("attribution_regions", level=VERDICTS["places"].level / max(count, 1))
    beside = parts.contrast(placed)
    agreed = ask("attribution_agreement", "agreement")
    compared = parts.compare_agreement(parts.pairs(agreed, "right"), parts.pairs(agreed, "wrong"))

    hard, apart = ask("hard_classes"), ask("class_differences", "class_accuracy")
    pair = mistakes.judge_pair(ask("confused_pairs"), apart)
    epochs, bins = ask("accuracy_by_epoch"), ask("calibration", "confidence_bins")
    best = max(epochs, key=lambda row: row["accuracy"])
    changed = accuracy.CHANGED.format(run_id=RUN, split="test", best=best["epoch"], last=LAST_EPOCH)
    better = accuracy.compare_best(epochs, *connection.execute(changed).fetchone())
    cells = ask("concepts_by_class")
    relation = patterns.relate_to_accuracy(ask("class_concepts"))
    return {
        "beats_random": any(row["beats_random"] for row in ask("faithfulness_by_method", "beats_random")),
        "method_differences": any(row["differs"] for row in ask("faithfulness_differences", "method_differences")),
        "settling": any(history.judge_settling(history.count_settled(settles))),
        "places": any(place.more or place.less for place in parts.judge_places(placed).values())
        or any(one.more for one in parts.compare_with_edges(placed))
        or bool(beside and beside.enough and beside.apart),
        "agreement": any(row["agrees"] in ("lower", "higher") for row in compared),
        "class_accuracy": any(accuracy.list_different(hard, apart)),
        "mixed_up_pairs": pair is not None and (pair.is_first or pair.leans),
        "epochs": bool(better and better.did_harm) or history.judge_last_step(ask("transition_outcomes")[-1]).differs,
        "class_concepts": bool(relation and relation.clear),
        "own_concepts": any(map(is_own, cells)) or bool(patterns.list_own(ask("class_concepts"))),
        "confidence": calibration.judge_confidence(bins) is not None,
        "confidence_bins": any(row["is_off"] for row in bins),
    }


def make_study(connection: duckdb.DuckDBPyConnection, setting: Setting, draw: np.random.Generator) -> None:
    """Fills the tables with a study, in place of the one before."""
    for (table,) in connection.execute("select table_name from duckdb_tables()").fetchall():
        connection.execute(f"delete from {table}")
    for run_id, kind in ((RUN, "train"), ("maps", "explain"), (COMPARISON, "compare"), ("ice", "explain")):
        add_run(connection, run_id, kind, None if kind == "train" else RUN)
    labels = np.arange(setting.images) % setting.classes
    add(connection, "classes", len(np.unique(labels)), run_id=RUN, class_id=np.arange(setting.classes),
        name=[f"class {key}" for key in range(setting.classes)])  # fmt: skip
    add(connection, "instances", setting.images, run_id=RUN, split="test", instance_id=np.arange(setting.images),
        label=labels, source="")  # fmt: skip
    right = add_predictions(connection, setting, labels, draw)
    link(connection, RUN)
    add_maps(connection, setting, right[: setting.explained], draw)
    add_concepts(connection, setting, labels, right, draw)


def add_predictions(
    connection: duckdb.DuckDBPyConnection, setting: Setting, labels: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """Of every epoch; returns which images are right at the last, [images].

    With differences, class 0 is harder and mostly misclassified as class 1, the model is over-confident and the last
    epoch worse.
    """
    confidence = 0.3 + 0.7 * draw.beta(4, 1, setting.images)
    for epoch in range(LAST_EPOCH + 1):
        chance = confidence.copy()
        if setting.different:
            chance *= np.where(labels == 0, 0.6, 0.97) * (0.95 if epoch == LAST_EPOCH else 1)
        right = draw.random(setting.images) < chance
        others = (labels + draw.integers(1, setting.classes, setting.images)) % setting.classes
        if setting.different:
            others = np.where((labels == 0) & (draw.random(setting.images) < 0.8), 1, others)
        p_true = np.where(right, confidence, (1 - confidence) / (setting.classes - 1))
        add(connection, "predictions", setting.images, run_id=RUN, epoch=epoch, split="test",
            instance_id=np.arange(setting.images), label=labels, predicted=np.where(right, labels, others),
            p_true=p_true.astype(np.float32), p_predicted=confidence.astype(np.float32),
            margin=np.where(right, 1.0, -1.0), p_sq=confidence**2)  # fmt: skip
    return right


def add_maps(
    connection: duckdb.DuckDBPyConnection, setting: Setting, right: np.ndarray, draw: np.random.Generator
) -> None:
    """Maps of 8x8 noise and scores that depend on the image alone; methods, random and edge are the same.

    With differences, the first method has better scores and looks at the centre, most where the prediction is right,
    and the first two agree, less where it is wrong.
    """
    n = setting.explained
    methods = [*list(METHODS)[: setting.methods], *REFERENCES]
    difficulty = draw.normal(0, 0.15, (4, n, 1))
    scores = 0.5 + difficulty + 0.1 * (draw.exponential(1, (4, n, len(methods))) - 1)
    maps = draw.normal(size=(len(methods), n, 8, 8))
    if setting.different:
        scores[:3, :, 0] += 0.08
        maps[1] += 2 * np.where(right, 1, 0.3)[:, None, None] * maps[0]
        maps[0, :, 2:6, 2:6] *= np.where(right, 2.0, 1.2)[:, None, None]
    scores = scores.clip(0, 1)
    scores[1] = np.round(scores[1])  # deletion has few values here
    for place, method in enumerate(methods):
        maker = COMPARISON if method in REFERENCES else "maps"
        flat = maps[place].reshape(n, 64).astype(np.float32)
        shared = {"run_id": maker, "source_run_id": RUN, "epoch": LAST_EPOCH, "method": method, "split": "test",
                  "instance_id": np.arange(n), "target": 0, "target_kind": "predicted"}  # fmt: skip
        add(connection, "attributions", n, **shared, score=1.0, map8=flat)
        add(connection, "maps", n, **shared, height=8, width=8, map=flat)
        for metric, values in zip(("insertion", "deletion", "road_gap", "share_object"), scores, strict=True):
            add(connection, "attribution_scores", n, run_id=COMPARISON, source_run_id=RUN, epoch=LAST_EPOCH,
                method=method, split="test", instance_id=np.arange(n), metric=metric,
                value=values[:, place])  # fmt: skip


def add_concepts(
    connection: duckdb.DuckDBPyConnection,
    setting: Setting,
    labels: np.ndarray,
    right: np.ndarray,
    draw: np.random.Generator,
) -> None:
    """Concepts that any image shows alike, scored on as many images as by `study run`.

    With differences, images of a class show each concept the more often the better the class is known, from 20 to 60 %,
    and the first concept is in 90 % of the images of class 1.
    """
    images = np.arange(min(setting.images, SCORED))
    shown = np.full((CONCEPTS, setting.classes), 0.3)
    if setting.different:
        recalls = np.array([right[labels == key].mean() for key in range(setting.classes)])
        shown[:] = 0.2 + 0.4 * recalls.argsort().argsort() / (setting.classes - 1)
        shown[0, 1] = 0.9
    place = {"run_id": "ice", "epoch": LAST_EPOCH}
    for concept in range(CONCEPTS):
        add(connection, "concepts", 1, **place, source_run_id=RUN, layer="layer", concept_id=concept, concept_key="key",
            vector=[[1.0]], threshold=0.5, description=f"concept {concept}")  # fmt: skip
        present = draw.random(len(images)) < shown[concept][labels[images]]
        add(connection, "concept_scores", len(images), **place, split="test", instance_id=images, concept_id=concept,
            score=present.astype(float), present=present)  # fmt: skip
        prevalence = [float(present[labels[images] == key].mean()) for key in range(setting.classes)]
        add(connection, "tcav_scores", setting.classes, **place, concept_id=concept,
            class_id=np.arange(setting.classes), prevalence=prevalence, tcav_sign=0.5, tcav_magnitude=0.0,
            contribution=0.0, p_value=1.0, significant=False)  # fmt: skip


if __name__ == "__main__":
    main()
