"""Which score finds wrong labels, are as many wrong as label_suspects expects, and what measures ambiguity?

    python tests/benchmarks/label_noise.py [--dataset digits] [--size 8] [--seeds 0 1] [--epochs 10] [--kinds ...]
    python tests/benchmarks/label_noise.py --dataset cifar10 --data FOLDER [--train 5000] [--test 3000] [--size 16]
    python tests/benchmarks/label_noise.py --dataset cifar10 --data FOLDER --home HOME    a run there, clean labels
    python tests/benchmarks/label_noise.py --folds 4 [--dataset ...]    training labels out of sample, as study folds
    python tests/benchmarks/label_noise.py --simulate 20    studies per row and size, of random numbers

Plants label noise of a kind and rate in the training and the test labels: symmetric (any other class), pairs (half of
the classes, each into the next), similar (the class that a logistic regression on the pixels confuses the image with,
rather of images it is unsure of). Scores every label in sample (train_seen), out of sample (noise in both) and out of
sample by a model trained on clean labels. Prints average precision, AUROC and precision at k, k the number of wrong
labels, beside cleanlab's scores if that is installed; then how many labels are wrong where label_suspects expects so
many. Without noise it measures ambiguity: its rank correlation with the disagreement of an ensemble of logistic
regressions on pixels, and how well blends of two images of the test split are told from others.

With folds, scores the training labels in sample and by models that were trained on the other folds of them, and prints
precision and recall of the labels that label_suspects calls suspect, of those it finds contradicted, and of confident
learning (Northcutt 2021): labels that another class exceeds which is as probable as the mean of that class's own.

Simulated are classifiers whose mistakes die out with certainty in different ways, or never, and labels that are right,
wrong whatever the image, or wrong where the classifier is unsure and rather as it is mistaken itself. It prints in what
fraction of studies any label is suspect, and of the suspect ones the precision stated, the true one, and how often
that lies in the interval stated.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

import duckdb
import numpy as np
import torch
from made_tables import add, open_tables
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from torch.nn import functional

import queries
from pipelines.common.settings import TrainSettings
from pipelines.data.datasets import Dataset, leave_out, load_dataset
from pipelines.data.folding import assign_folds
from pipelines.data.raw import Split
from pipelines.models.networks import build_model
from pipelines.models.predictions import Predictions, evaluate
from pipelines.training.epoch import train_epoch
from pipelines.training.recipe import make_recipe, resolve_settings
from tracking.home import Home, find_home
from tracking.reading import connect
from tracking.tables import LARGE_COLUMNS

KINDS = ("none", "symmetric:0.05", "symmetric:0.1", "symmetric:0.2", "symmetric:0.4",
         "pairs:0.1", "pairs:0.2", "similar:0.05", "similar:0.1", "similar:0.2")  # fmt: skip
PAIRED_MOST = 0.45  # of a class: from a half on, the other class would be the right one
ENSEMBLE = 8  # logistic regressions
BLENDED = 0.15  # of the test images, in the part on ambiguity
GROUPS = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)  # of p_wrong
MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # probability by certainty, the log odds stated
    "calibrated": lambda certainty: 1 / (1 + np.exp(certainty)),
    "log odds twice too high": lambda certainty: 1 / (1 + np.exp(certainty / 2)),
    "as 1 / certainty^2": lambda certainty: np.minimum(0.75, 3 / (1 + certainty**2)),
    "as 1 / certainty": lambda certainty: 0.6 / (1 + certainty),
    "1 % never die out": lambda certainty: 0.01 + 0.99 / (1 + np.exp(certainty)),
    "3 % never die out": lambda certainty: 0.03 + 0.97 / (1 + np.exp(certainty)),
    "8 % never die out": lambda certainty: 0.08 + 0.92 / (1 + np.exp(certainty)),
    "20 % never die out": lambda certainty: 0.2 + 0.8 / (1 + np.exp(certainty)),
}
NOISE = ("none:0", "any image:0.01", "any image:0.05", "any image:0.17", "unsure:0.05", "unsure:0.17")
SIZES = (100, 300, 1000, 5000)  # images of a simulated study
SIMULATED_CLASSES = 10
SUSPECT_COLUMNS = ("score", "p_wrong", "p_wrong_low", "p_wrong_high", "kind")  # of label_suspects
try:
    from cleanlab.rank import get_label_quality_scores
except ImportError:
    get_label_quality_scores = None


@dataclass(frozen=True)
class Case:
    """Logits of the epochs 1.. for labels some of which are wrong."""

    name: str
    split: str
    logits: np.ndarray  # [E, N, K]
    given: np.ndarray  # [N]
    truth: np.ndarray  # [N]


def main() -> None:
    parser = make_parser(__doc__, [0])
    parser.add_argument("--kinds", nargs="+", default=KINDS, help="kind:rate")
    parser.add_argument("--home", help="study home whose latest run was trained on clean labels")
    parser.add_argument("--folds", type=int, help="only training labels: in sample, and out of sample by so many folds")
    parser.add_argument("--simulate", type=int, metavar="STUDIES", help="only simulated studies, per row and size")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    if flags.simulate:
        return print_simulated(flags.simulate, flags.seeds[0])
    whole = load_dataset(flags.dataset, flags.data, Home(Path("study")), val_fraction=0.1, seed=0, size=flags.size)
    found: dict[tuple, list[dict]] = defaultdict(list)
    for seed in flags.seeds:
        data = choose_images(whole, flags.train, flags.test, seed)
        make_cases = recorded_cases if flags.home else folded_cases if flags.folds else trained_cases
        for case in make_cases(data, flags, seed):
            found[case.split, case.name].append(measure(case))
            print(f"seed {seed}: {case.split}, {case.name}", flush=True)
    print_scores(found)
    print_estimates(found)
    if flags.folds:
        print_found(found)
    elif not flags.home:
        print_ambiguity(choose_images(whole, flags.train, flags.test, flags.seeds[0]), flags)


def make_parser(description: str, seeds: list[int]) -> argparse.ArgumentParser:
    """Flags of a benchmark with wrong labels: the images, and how they are trained on."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data")
    parser.add_argument("--size", type=int)
    parser.add_argument("--train", type=int, help="training images, default all")
    parser.add_argument("--test", type=int, help="test images, default all")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def choose_images(data: Dataset, train: int | None, test: int | None, seed: int) -> Dataset:
    """A random part of the training and test images."""
    random = np.random.default_rng(seed)
    splits = dict(data.splits)
    for name, count in (("train", train), ("test", test)):
        if count and count < len(splits[name].labels):
            splits[name] = splits[name].rows(np.sort(random.choice(len(splits[name].labels), count, replace=False)))
    return replace(data, splits=splits)


def trained_cases(data: Dataset, flags: argparse.Namespace, seed: int) -> Iterator[Case]:
    """A model trained on each kind of noise, and noise in the test labels of one trained without."""
    labels = {name: data.splits[name].labels.numpy() for name in ("train", "test")}
    beliefs = {name: other_beliefs(data.splits[name], seed) for name in labels}
    clean_logits = None
    for name in dict.fromkeys(("none", *flags.kinds)):
        random = np.random.default_rng(seed)
        given = {split: plant_noise(name, labels[split], beliefs[split], random) for split in labels}
        noisy = {split: replace(data.splits[split], labels=torch.from_numpy(given[split])) for split in labels}
        train_seen, test = train_logits(replace(data, splits=data.splits | noisy), flags, seed)
        if name == "none":
            clean_logits = test
        else:
            yield Case(name, "clean model, noisy test", clean_logits, given["test"], labels["test"])
        yield Case(name, "train_seen", train_seen, given["train"], labels["train"])
        yield Case(name, "test, noise in both", test, given["test"], labels["test"])


def folded_cases(data: Dataset, flags: argparse.Namespace, seed: int) -> Iterator[Case]:
    """Noise in the training labels, which models have seen or, by folds, have not."""
    train = data.splits["train"]
    labels, beliefs = train.labels.numpy(), other_beliefs(train, seed)
    for name in flags.kinds:
        given = plant_noise(name, labels, beliefs, np.random.default_rng(seed))
        noisy = replace(data, splits=data.splits | {"train": replace(train, labels=torch.from_numpy(given))})
        train_seen, _ = train_logits(noisy, flags, seed)
        yield Case(name, "train_seen", train_seen, given, labels)
        fold = assign_folds(noisy.splits["train"], data.classes, flags.folds, seed)
        logits = np.empty_like(train_seen)
        for number in range(flags.folds):
            held_out = noisy.splits["train"].rows(np.flatnonzero(fold == number))
            rest = leave_out(noisy, fold == number)
            _, logits[:, fold == number] = train_logits(
                replace(rest, splits=rest.splits | {"test": held_out}), flags, seed
            )
        yield Case(name, "train_folds", logits, given, labels)


def recorded_cases(data: Dataset, flags: argparse.Namespace, seed: int) -> Iterator[Case]:
    """Noise in the test labels of a recorded run that was trained on clean ones."""
    with connect(find_home(flags.home)) as connection:
        [run_id] = connection.execute(
            "select run_id from runs where kind = 'train' order by started_at desc"
        ).fetchone()
        rows = connection.execute(
            "select probabilities from full_predictions where run_id = ? and split = 'test' and epoch > 0 "
            "order by epoch, instance_id",
            [run_id],
        ).fetchall()
    labels = data.splits["test"].labels.numpy()
    probabilities = np.array([row for (row,) in rows]).reshape(-1, len(labels), len(data.classes))
    beliefs = other_beliefs(data.splits["test"], seed)
    for name in flags.kinds:
        given = plant_noise(name, labels, beliefs, np.random.default_rng(seed))
        yield Case(name, "recorded run, noisy test", np.log(probabilities + 1e-9), given, labels)


def pixels(images: torch.Tensor) -> np.ndarray:
    """Images [N, C, H, W] at 8x8 pixels, [N, 64 C] in 0..1."""
    return functional.adaptive_avg_pool2d(images[:].float(), 8).flatten(1).numpy() / 255


def other_beliefs(split: Split, seed: int) -> np.ndarray:
    """Probabilities [N, K] by another kind of model, out of sample by cross-validation."""
    model = LogisticRegression(max_iter=200, random_state=seed)
    return cross_val_predict(model, pixels(split.images), split.labels.numpy(), cv=3, method="predict_proba")


def plant_noise(name: str, labels: np.ndarray, beliefs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Labels [N] with noise of a kind and rate, as kind:rate; none has none."""
    kind, _, rate = name.partition(":")
    count, classes = len(labels), beliefs.shape[1]
    wrong = round(float(rate or 0) * count)
    given = labels.copy()
    if kind == "symmetric":
        rows = random.choice(count, wrong, replace=False)
        given[rows] = (labels[rows] + random.integers(1, classes, wrong)) % classes
    elif kind == "pairs":
        rows = np.flatnonzero(labels % 2 == 0)
        rows = random.choice(rows, min(wrong, int(PAIRED_MOST * len(rows))), replace=False)
        given[rows] = (labels[rows] + 1) % classes
    elif kind == "similar":
        others = beliefs.copy()
        others[np.arange(count), labels] = 0
        weights = others.max(1) + 1e-3
        rows = random.choice(count, wrong, replace=False, p=weights / weights.sum())
        given[rows] = others[rows].argmax(1)
    return given


def train_logits(data: Dataset, flags: argparse.Namespace, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The default training: logits [E, N, K] of train_seen and test."""
    settings = TrainSettings(
        dataset=data.name, data=flags.data, size=flags.size, epochs=flags.epochs, seed=seed, threads=flags.threads
    )
    model = build_model("cnn", data, seed)
    recipe = make_recipe(resolve_settings(settings, data), data, model)
    train_seen, test = [], []
    for epoch in range(1, flags.epochs + 1):
        train_seen.append(train_epoch(model, recipe, epoch).logits.numpy())
        test.append(evaluate(recipe.averaged_model, data.splits["test"], "test", recipe.device).logits.numpy())
    return np.stack(train_seen), np.stack(test)


def measure(case: Case) -> dict:
    """Quality of every score, and labels expected and found wrong by p_wrong."""
    wrong = case.given != case.truth
    rows = ask_suspects(case)
    late = softmax(case.logits[len(case.logits) // 2 :].astype(np.float64)).mean(0)
    measures: dict = {"estimates": rows, "wrong": wrong, "confident": find_confidently(late, case.given)}
    if wrong.any():
        values = scores(case, rows)
        for name, score in values.items():
            first = np.argsort(-score, kind="stable")[: wrong.sum()]
            measures[name] = (average_precision_score(wrong, score), roc_auc_score(wrong, score), wrong[first].mean())
    return measures


def scores(case: Case, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every score [N], higher where the label is less probable."""
    late = slice(len(case.logits) // 2, None)
    everything = slice(None)
    found = {"label_suspects": rows["score"]}
    for when, epochs in (("all", everything), ("late", late)):
        logits = case.logits[epochs].astype(np.float64)
        probabilities = softmax(logits)  # [e, N, K]
        images = np.arange(len(case.given))
        p_true = probabilities[:, images, case.given]
        other = logits.copy()
        other[:, images, case.given] = -np.inf
        margin = logits[:, images, case.given] - other.max(2)
        predicted = probabilities.argmax(2)
        counts = (predicted[:, :, None] == np.arange(logits.shape[2])).mean(0)
        counts[images, case.given] = 0
        share = counts.max(1)
        found |= {
            f"1 - p_true, {when}": 1 - p_true.mean(0),
            f"aum, {when}": -margin.mean(0),
            f"el2n, {when}": np.sqrt(np.maximum((probabilities**2).sum(2) - 2 * p_true + 1, 0)).mean(0),
            f"loss, {when}": -np.log(p_true + 1e-12).mean(0),
            f"suggested_share, {when}": share,
            f"former score, {when}": (1 - p_true.mean(0) + 1 / (1 + np.exp(margin.mean(0))) + share) / 3 * (share > 0),
        }
        if get_label_quality_scores:
            for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
                quality = get_label_quality_scores(case.given, probabilities.mean(0), method=method)
                found[f"cleanlab {method}, {when}"] = -quality
    return found | {"1 - p_true, last epoch": 1 - p_true[-1]}


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(-1).numpy()


def ask_suspects(case: Case) -> dict[str, np.ndarray]:
    """Columns of label_suspects, in the order of images."""
    split = case.split if case.split in ("train_seen", "train_folds") else "test"
    ids, given = torch.arange(len(case.given)), torch.from_numpy(case.given)
    with open_tables() as connection:
        for epoch, values in enumerate(case.logits, 1):
            columns = Predictions(split, ids, given, torch.from_numpy(values).float()).to_columns("run", epoch)
            known = {key: values for key, values in columns.items() if key not in LARGE_COLUMNS["predictions"]}
            add(connection, "predictions", len(ids), **known)
        return read_suspects(connection, split)


def read_suspects(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, np.ndarray]:
    answer = queries.run(connection, "label_suspects", {"run_id": "run", "split": split, "limit": "1000000"})
    rows = sorted(answer.dicts, key=lambda row: row["instance_id"])
    return {key: np.array([row[key] for row in rows]) for key in SUSPECT_COLUMNS}


def print_scores(found: dict[tuple, list[dict]]) -> None:
    """Average precision, AUROC and precision at k of each score, means over the seeds."""
    for (split, name), measured in found.items():
        if name == "none":
            continue
        print(f"\n{split}, {name}\n{'':<46}{'AP':>7}{'AUROC':>7}{'at k':>7}")
        for score in measured[0]:
            if score not in ("estimates", "wrong", "confident"):
                print(f"{score:<46}" + "".join(f"{value:>7.3f}" for value in np.mean([m[score] for m in measured], 0)))


def print_estimates(found: dict[tuple, list[dict]]) -> None:
    """Labels of kind suspect, and how many of them are wrong; then all labels, by p_wrong."""
    print(f"\n{'':<44}{'wrong':>7}{'expected':>10}{'suspect':>13}{'stated':>8}{'true':>7}")
    groups: dict[tuple[float, float], list[np.ndarray]] = defaultdict(list)
    for (split, name), measured in found.items():
        p = np.concatenate([m["estimates"]["p_wrong"] for m in measured])
        if p.dtype == object:
            continue  # too few images
        kind = np.concatenate([m["estimates"]["kind"] for m in measured])
        wrong = np.concatenate([m["wrong"] for m in measured])
        claimed = kind == "suspect"
        precision = f"{p[claimed].mean():>8.2f}{wrong[claimed].mean():>7.2f}" if claimed.any() else f"{'-':>8}{'-':>7}"
        print(f"{split + ', ' + name:<44}{wrong.sum():>7}{p.sum():>10.0f}{claimed.sum():>13}{precision}")
        for low, high in pairwise(GROUPS):
            inside = (p >= low) & ((p < high) | (high == 1))
            groups[low, high].append(np.stack([p[inside], wrong[inside]]))
    print(f"\n{'p_wrong':<12}{'labels':>8}{'stated':>8}{'true':>7}")
    for (low, high), parts in groups.items():
        stated, true = np.concatenate(parts, 1)
        if len(stated):
            print(f"{low} to {high:<6}{len(stated):>8}{stated.mean():>8.3f}{true.mean():>7.3f}")


def find_confidently(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Whether confident learning finds each label wrong [N], from probabilities [N, K] and labels given [N]."""
    thresholds = np.array([probabilities[given == label, label].mean() for label in range(probabilities.shape[1])])
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    return (confident.max(1) > 0) & (confident.argmax(1) != given)


def print_found(found: dict[tuple, list[dict]]) -> None:
    """How many labels are found wrong in three ways, and precision and recall, over all seeds."""
    print(f"\n{'':<44}{'found':>8}{'precision':>11}{'recall':>8}")
    for (split, name), measured in found.items():
        wrong = np.concatenate([m["wrong"] for m in measured])
        ways = {
            "suspect": [m["estimates"]["kind"] == "suspect" for m in measured],
            "contradicted": [m["estimates"]["score"] > 0.5 for m in measured],
            "confident learning": [m["confident"] for m in measured],
        }
        for way, parts in ways.items():
            chosen = np.concatenate(parts)
            precision = f"{wrong[chosen].mean():.2f}" if chosen.any() else "-"
            recall = f"{chosen[wrong].mean():.2f}" if wrong.any() else "-"
            print(f"{f'{split}, {name}, {way}':<44}{chosen.sum():>8}{precision:>11}{recall:>8}")


def print_simulated(studies: int, seed: int) -> None:
    """One row per way in which mistakes die out and kind of label noise."""
    sizes = "".join(f"{f'n = {size}':>10}" for size in SIZES)
    print(f"{'mistakes':<25}{'wrong labels':<17}{sizes}{'stated':>9}{'true':>7}{'inside':>8}")
    with open_tables() as connection:
        for mistakes, noise in product(MISTAKES, NOISE):
            random = np.random.default_rng([seed, *f"{mistakes} {noise}".encode()])
            any_suspect: list[float] = []
            claims: list[tuple[float, float, bool]] = []  # of each study with suspects
            for size in SIZES:
                found = [simulate_study(connection, mistakes, noise, size, random) for _ in range(studies)]
                with_suspects = [claim for claim in found if claim]
                any_suspect.append(len(with_suspects) / studies)
                claims += with_suspects
            means = "".join(f"{value:>8.2f}" for value in np.mean(claims, 0)) if claims else ""
            shares = "".join(f"{share:>10.2f}" for share in any_suspect)
            print(f"{mistakes:<25}{noise:<17}{shares} {means}", flush=True)


def simulate_study(
    connection: duckdb.DuckDBPyConnection, mistakes: str, noise: str, size: int, random: np.random.Generator
) -> tuple[float, float, bool] | None:
    """Stated and true precision of the suspects, and whether the interval stated holds it; None without suspects."""
    certainty = random.gamma(3, 2, size)
    truth, other = random.integers(0, SIMULATED_CLASSES, size), random.integers(1, SIMULATED_CLASSES, size)
    predicted = np.where(random.random(size) < MISTAKES[mistakes](certainty), truth + other, truth) % SIMULATED_CLASSES
    where, rate = noise.split(":")
    weights = np.ones(size) if where != "unsure" else 1 / (1 + np.exp(certainty - 4))
    wrong = random.random(size) < float(rate) * weights / weights.mean()
    to = random.integers(1, SIMULATED_CLASSES, size)
    if where == "unsure":  # the class that the classifier sees, if it is mistaken, in half of the cases
        to = np.where((predicted != truth) & (random.random(size) < 0.5), predicted - truth, to)
    label = np.where(wrong, truth + to, truth) % SIMULATED_CLASSES
    p_predicted = 1 / (1 + np.exp(-certainty))
    contradicted = predicted != label
    connection.execute("delete from predictions")
    add(connection, "predictions", size, run_id="run", epoch=1, split="test", instance_id=np.arange(size),
        label=label, predicted=predicted, p_predicted=p_predicted,
        p_true=np.where(contradicted, (1 - p_predicted) / 2, p_predicted),
        margin=np.where(contradicted, -certainty - 1, certainty), p_sq=p_predicted**2)  # fmt: skip
    rows = read_suspects(connection, "test")
    suspect = rows["kind"] == "suspect"
    if not suspect.any():
        return None
    stated, low, high = (rows[key][suspect].mean() for key in ("p_wrong", "p_wrong_low", "p_wrong_high"))
    precision = wrong[suspect].mean()
    return stated, precision, low <= precision <= high


def print_ambiguity(data: Dataset, flags: argparse.Namespace) -> None:
    """Measures of ambiguity beside an ensemble's disagreement and beside planted blends of two test images."""
    random = np.random.default_rng(flags.seeds[0])
    test = data.splits["test"]
    count = max(2, round(BLENDED * len(test.labels)))
    first, second = (random.integers(0, len(test.labels), count) for _ in range(2))
    weights = torch.from_numpy(random.uniform(0.4, 0.6, count)).view(-1, 1, 1, 1)
    images = (weights * test.images[first] + (1 - weights) * test.images[second]).round().byte()
    labels = torch.where(weights.flatten() > 0.5, test.labels[first], test.labels[second])
    blends = test.labels[first] != test.labels[second]
    mixed = Split(
        torch.cat([test.images, images[blends]]), torch.cat([test.labels, labels[blends]]), (),
    )  # fmt: skip
    _, logits = train_logits(replace(data, splits=data.splits | {"test": mixed}), flags, flags.seeds[0])
    train = data.splits["train"]
    votes = []
    for member in range(ENSEMBLE):
        rows = np.random.default_rng(member).choice(len(train.labels), len(train.labels) // 3 + 1, replace=False)
        model = LogisticRegression(max_iter=200).fit(pixels(train.images[rows]), train.labels[rows].numpy())
        votes.append(model.predict(pixels(test.images))[:, None] == np.arange(len(data.classes)))
    disagreement = 1 - (np.mean(votes, 0) ** 2).sum(1)  # [N]
    labels = mixed.labels.numpy()
    planted = np.arange(len(labels)) >= len(test.labels)
    print(f"\n{'ambiguity':<24}{'ensemble':>9}{'blends':>8}   rank correlation, AUROC")
    for when, epochs in (("all", slice(None)), ("late", slice(len(logits) // 2, None))):
        p = softmax(logits[epochs].astype(np.float64))
        p_true = p[:, np.arange(len(labels)), labels]
        measures = {
            "p_true_std": p_true.std(0),
            "1 - confidence": 1 - p_true.mean(0),
            "threshold_closeness": p_true.mean(0) * (1 - p_true.mean(0)),
            "el2n": np.sqrt(np.maximum((p**2).sum(2) - 2 * p_true + 1, 0)).mean(0),
            "entropy": -(p * np.log(p + 1e-12)).sum(2).mean(0),
            "ambiguity": 1 - (p**2).sum(2).mean(0),
        }
        for name, values in measures.items():
            together = spearmanr(values[: len(test.labels)], disagreement).statistic
            print(f"{name + ', ' + when:<24}{together:>9.2f}{roc_auc_score(planted, values):>8.2f}")


if __name__ == "__main__":
    main()
