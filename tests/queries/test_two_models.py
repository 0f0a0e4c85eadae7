"""Two models, or two groups of seeds, on the same images: sums by hand, and verdicts that hold their level."""

import math
from itertools import product

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest, t

from support import tables as data
from support.answers import records, wilson


@pytest.fixture
def pair() -> duckdb.DuckDBPyConnection:
    """Runs that predict ten images: both right on three, B on three more, A on one; one image has no label."""
    connection = data.empty()
    add_model(connection, "a", [0, 0, 1, 1, 1, 1, 0, 1, 1, 0])
    add_model(connection, "b", [0, 0, 1, 0, 0, 0, 1, 1, 1, 0])
    return connection


LABELS = [0, 0, 1, 0, 0, 0, 0, 0, 0, None]


def add_model(connection: duckdb.DuckDBPyConnection, run_id: str, predicted: list[int]) -> None:
    """A run that predicts the first of the images that LABELS tells of."""
    rows = zip(LABELS, predicted, strict=False)
    data.add_run(connection, run_id)
    data.add_classes(connection, run_id, data.CLASSES)
    data.add_instances(connection, run_id, "test", LABELS[: len(predicted)])
    data.insert(
        connection,
        "predictions",
        [data.prediction(run_id, "test", 1, i, label, answer, 0.9) for i, (label, answer) in enumerate(rows)],
    )


def compare(connection: duckdb.DuckDBPyConnection, run_id: str, other_run_id: str, **values) -> dict:
    [row] = records(connection, "fixed_and_broken", run_id=run_id, other_run_id=other_run_id, **values)
    return row


COUNTS = ("n", "unmatched", "other_unmatched", "both_right", "fixed", "broken", "both_wrong")


def test_two_runs_by_hand(pair) -> None:
    row = compare(pair, "a", "b")
    assert [row[column] for column in COUNTS] == [9, 0, 0, 3, 3, 1, 2]
    assert (row["accuracy"], row["other_accuracy"]) == (pytest.approx(4 / 9), pytest.approx(6 / 9))
    assert row["p_value"] == pytest.approx(binomtest(3, 4).pvalue)
    assert row["change_low"] < 0 < row["change"] < row["change_high"]
    assert (row["verdict"], row["about"], row["fixed_sd"]) == ("no difference shown", "models", None)
    back = compare(pair, "b", "a")
    assert (back["change_low"], back["change_high"]) == pytest.approx((-row["change_high"], -row["change_low"]))


def test_a_run_beside_itself_differs_in_nothing(pair) -> None:
    row = compare(pair, "a", "a")
    assert [row[column] for column in COUNTS] == [9, 0, 0, 4, 0, 0, 5]
    assert (row["p_value"], row["change"]) == (1, 0)
    assert -1 < row["change_low"] < 0 < row["change_high"] < 1


def test_one_image_says_nothing(pair) -> None:
    add_model(pair, "short", [1])
    row = compare(pair, "a", "short")
    assert [row[column] for column in COUNTS] == [1, 8, 0, 0, 0, 1, 0]
    assert (row["change"], row["change_low"], row["change_high"], row["p_value"]) == (-1, -1, 1, 1)


def test_no_image_in_common(pair) -> None:
    add_model(pair, "elsewhere", [0, 0])
    pair.execute("update instances set source = 'elsewhere/' || source where run_id = 'elsewhere'")
    row = compare(pair, "a", "elsewhere")
    assert [row[column] for column in COUNTS] == [0, 9, 2, 0, 0, 0, 0]
    assert {row[column] for column in ("accuracy", "change", "p_value", "verdict", "about")} == {None}


def test_all_wrong_is_no_difference(pair) -> None:
    for run_id in ("never", "nor"):
        add_model(pair, run_id, [3] * 9)
    row = compare(pair, "never", "nor")
    assert (row["n"], row["both_wrong"], row["p_value"], row["verdict"]) == (9, 9, 1, "no difference shown")
    row = compare(pair, "never,nor", "nor,never")
    assert (row["n"], row["change"], row["verdict"]) == (9, 0, "no difference shown")


def test_the_better_model_is_named() -> None:
    connection = data.empty()
    rows = [data.prediction("a", "test", 1, i, 0, int(i < 6), 0.9) for i in range(100)]
    data.insert(connection, "predictions", rows)
    data.insert(connection, "predictions", [row | {"run_id": "b", "predicted": 0} for row in rows])
    assert compare(connection, "a", "b")["verdict"] == "B is more accurate"
    assert compare(connection, "b", "a")["verdict"] == "A is more accurate"
    assert compare(connection, "a", "b", level=0.03)["verdict"] == "no difference shown"  # p is 2 / 2^6


def test_two_groups_by_hand(pair) -> None:
    """Counts are means over pairs of runs; Student's t of seeds and images, as macro score_changes says."""
    add_model(pair, "a2", [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    add_model(pair, "b2", [0, 0, 1, 0, 0, 0, 0, 1, 1, 0])
    row = compare(pair, "a,a2", "b,b2")
    right = {"a": [1, 1, 1, 0, 0, 0, 1, 0, 0], "a2": [1, 1, 0, 0, 0, 0, 0, 0, 1]}
    other = {"b": [1, 1, 1, 1, 1, 1, 0, 0, 0], "b2": [1, 1, 1, 1, 1, 1, 1, 0, 0]}
    here, there = np.array(list(right.values())), np.array(list(other.values()))
    fixed = [((1 - one) * two).sum() for one in here for two in there]
    assert (row["fixed"], row["fixed_sd"]) == pytest.approx((np.mean(fixed), np.std(fixed, ddof=1)))
    assert row["accuracy_sd"] == pytest.approx(here.mean(1).std(ddof=1))

    n, change = 9, there.mean() - here.mean()
    noises = [group.var(0, ddof=1).sum() / n**2 / 2 for group in (here, there)]
    of_runs = [max(group.mean(1).var(ddof=1) / 2, noise) for group, noise in zip((here, there), noises, strict=True)]
    changes = there.mean(0) - here.mean(0)
    of_images = (changes.var() * n + (1 + abs(change)) ** 2 * n / (n + 1)) / (n * (n + 1)) - sum(noises)
    variance = sum(of_runs) + of_images
    df = math.floor(variance**2 / (of_runs[0] ** 2 + of_runs[1] ** 2 + of_images**2 / 8))
    assert of_images > 0
    assert row["p_value"] == pytest.approx(2 * t.sf(change / math.sqrt(variance), df))
    half = t.ppf(0.975, df) * math.sqrt(variance)
    assert (row["change_low"], row["change_high"]) == pytest.approx((change - half, min(change + half, 1)), rel=1e-4)
    assert (row["verdict"], row["about"]) == ("no difference shown", "recipes")


def test_images_that_change_over_seeds_by_hand(pair) -> None:
    add_model(pair, "a2", [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    add_model(pair, "b2", [0, 0, 1, 0, 0, 0, 0, 1, 1, 0])
    columns = ("instance_id", "n_wrong", "other_n_wrong", "change", "predicted", "other_predicted")
    rows = records(pair, "seed_changes", run_id="a,a2", other_run_id="b,b2")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        (8, 1, 2, 0.5, 0, 1),  # predicted as 1 and 0: the lower one
        (3, 2, 0, -1, 1, 0), (4, 2, 0, -1, 1, 0), (5, 2, 0, -1, 1, 0),
        (2, 1, 0, -0.5, 0, 1),
    ]  # fmt: skip
    assert {(row["n_seeds"], row["other_n_seeds"]) for row in rows} == {(2, 2)}
    single = records(pair, "seed_changes", run_id="a", other_run_id="b,b2", limit="1")
    assert [(row["instance_id"], row["n_seeds"], row["change"]) for row in single] == [(6, 1, 0.5)]
    assert records(pair, "seed_changes", run_id="a", other_run_id="a") == []


def test_the_flow_between_groups_is_the_mean_over_pairs_of_runs(pair) -> None:
    add_model(pair, "a2", [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    add_model(pair, "b2", [0, 0, 1, 0, 0, 0, 0, 1, 1, 0])
    key = ("source", "target", "label")
    expected: dict[tuple, float] = {}
    for one, other in product(("a", "a2"), ("b", "b2")):
        for row in records(pair, "compared_flow", run_id=one, other_run_id=other):
            ends = tuple(row[column] for column in key)
            expected[ends] = expected.get(ends, 0) + row["n"] / 4
    rows = records(pair, "seed_flow", run_id="a,a2", other_run_id="b,b2")
    assert {tuple(row[column] for column in key): row["n"] for row in rows} == pytest.approx(expected)
    assert len({row["n"] % 1 for row in rows}) > 1


def test_a_run_and_a_group_are_not_tested(pair) -> None:
    row = compare(pair, "a", "b,a")
    assert row["fixed"] == 1.5
    assert {row[column] for column in ("p_value", "change_low", "change_high", "verdict", "about")} == {None}


def test_classes_and_confusions_by_hand() -> None:
    """Every class, and every two classes that one of the runs confuses, with McNemar's p-value."""
    connection, draw = data.empty(), np.random.default_rng(5)
    label = draw.integers(0, 3, 90)
    here = np.where(draw.random(90) < 0.4, label, draw.integers(0, 4, 90))
    other = np.where(draw.random(90) < 0.9, label, here)
    for run_id, predicted in (("a", here), ("b", other)):
        columns = zip(label.tolist(), predicted.tolist(), strict=True)
        rows = [data.prediction(run_id, "test", 1, i, truth, guess, 0.5) for i, (truth, guess) in enumerate(columns)]
        data.insert(connection, "predictions", rows)
    data.add_classes(connection, "a", data.CLASSES)
    found = records(connection, "improvement_by_class", run_id="a", other_run_id="b")
    confused = {(truth, guess) for guesses in (here, other) for truth, guess in zip(label, guesses, strict=True)}
    wanted = {(truth, truth) for truth in range(3)} | {(int(a), int(b)) for a, b in confused if a != b}
    assert len(found) == len(wanted)
    assert {row["verdict"] for row in found} == {"B is better", None}
    for row in found:
        guess = row["label"] if row["kind"] == "class" else row["predicted"]
        wanted.remove((row["label"], guess))
        of_class = label == row["label"]
        hits, other_hits = here[of_class] == guess, other[of_class] == guess
        only_here, only_other = (hits & ~other_hits).sum(), (other_hits & ~hits).sum()
        assert (row["n"], row["only_here"], row["only_other"]) == (of_class.sum(), only_here, only_other)
        assert (row["rate"], row["other_rate"]) == pytest.approx((hits.mean(), other_hits.mean()))
        changed = only_here + only_other
        assert row["p_value"] == pytest.approx(binomtest(only_other, changed).pvalue if changed else 1)
        if row["verdict"] == "B is better":
            assert (row["change"] > 0) == (row["kind"] == "class")
    for kind in ("class", "confusion"):
        counted = sorted(row["p_value"] for row in found if row["kind"] == kind and row["p_adjusted"] is not None)
        adjusted = sorted(row["p_adjusted"] for row in found if row["kind"] == kind and row["p_adjusted"] is not None)
        by_holm = np.minimum(np.maximum.accumulate(np.array(counted) * np.arange(len(counted), 0, -1)), 1)
        assert adjusted == pytest.approx(by_holm)


def test_a_class_that_only_one_run_has_is_in_no_row(pair) -> None:
    """Images of it are other images; a class predicted that the first run lacks has an id below 0."""
    add_model(pair, "c", [0, 0, 1, 0, 0, 0, 4, 1, 1, 0])
    pair.execute("insert into classes values ('c', 4, 'newt')")
    pair.execute("update predictions set label = 4 where run_id = 'c' and instance_id = 2")
    found = records(pair, "improvement_by_class", run_id="a", other_run_id="c")
    assert [(row["kind"], row["label"], row["predicted"], row["n"]) for row in found] == [
        ("class", 0, None, 8),
        ("confusion", 0, 1, 8),
        ("confusion", 0, -5, 8),
    ]


def test_churn_by_hand(pair) -> None:
    whole, of_cats, of_dogs = records(pair, "churn", run_id="a", other_run_id="b")
    assert [(row["label"], row["n"], row["churn"]) for row in (whole, of_cats, of_dogs)] == [
        (None, 10, 0.4),  # with the image without a label
        (0, 8, 0.5),
        (1, 1, 0.0),
    ]
    assert (whole["churn_low"], whole["churn_high"]) == pytest.approx(wilson(4, 10), abs=1e-5)
    assert [row["least"] for row in (whole, of_cats, of_dogs)] == pytest.approx([2 / 10, 2 / 8, 0])
    assert {whole[column] for column in ("within", "other_within", "seeds_churn", "p_adjusted", "is_more")} == {None}


def test_churn_of_groups_is_held_against_that_of_their_seeds(pair) -> None:
    add_model(pair, "a2", [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    add_model(pair, "b2", [0, 0, 1, 0, 0, 0, 0, 1, 1, 0])
    whole, *_ = records(pair, "churn", run_id="a,a2", other_run_id="b2,b")
    assert (whole["within"], whole["other_within"]) == (0.3, 0.1)
    assert whole["seeds_churn"] == pytest.approx(0.2)
    assert whole["churn"] == pytest.approx((4 + 3 + 5 + 6) / 4 / 10)
    assert whole["excess"] == pytest.approx(whole["churn"] - 0.2)
    assert (whole["p_least"], whole["is_more"]) == (pytest.approx(2 / 6), False)  # 6 ways, and each has a mirror image


def test_two_recipes_churn_more_than_their_seeds() -> None:
    """Four runs of each, of which two of a recipe differ in a tenth of the images, and recipes in a half."""
    connection, draw = data.empty(), np.random.default_rng(3)
    recipes = draw.integers(0, 2, (2, 200))
    for number in range(8):
        predicted = np.where(draw.random(200) < 0.05, 2, recipes[number // 4]).tolist()
        rows = [data.prediction(f"r{number}", "test", 1, i, 0, guess, 0.5) for i, guess in enumerate(predicted)]
        data.insert(connection, "predictions", rows)
    whole, *_ = records(connection, "churn", run_id="r0,r1,r2,r3", other_run_id="r4,r5,r6,r7")
    assert (whole["p_adjusted"], whole["is_more"]) == (pytest.approx(2 / 70), True)
    mixed, *_ = records(connection, "churn", run_id="r0,r1,r4,r5", other_run_id="r2,r3,r6,r7")
    assert mixed["p_adjusted"] > 0.5


def test_calibration_by_hand() -> None:
    """B gives the right class 0.9 of ten images and 0.2 of five; A is as often right, and less sure."""
    connection = data.empty()
    for run_id, sure, unsure in (("a", 0.6, 0.3), ("b", 0.9, 0.2)):
        rows = [data.prediction(run_id, "test", 1, i, 0, int(i > 9), sure if i < 10 else unsure) for i in range(15)]
        squares = [row["p_true"] ** 2 + (1 - row["p_true"]) ** 2 for row in rows]
        data.insert(connection, "predictions", [row | {"p_sq": sq} for row, sq in zip(rows, squares, strict=True)])
    brier, overconfidence, ece = records(connection, "calibration_change", run_id="a", other_run_id="b")
    scores = np.repeat([2 * 0.4**2, 2 * 0.7**2], [10, 5]), np.repeat([2 * 0.1**2, 2 * 0.8**2], [10, 5])
    assert (brier["n"], brier["value"], brier["other_value"]) == (15, *(pytest.approx(s.mean()) for s in scores))
    assert (brier["verdict"], brier["change_low"] < brier["change"] < brier["change_high"]) == (
        "no difference shown",
        True,
    )
    confidences = [(10 * 0.6 + 5 * 0.6) / 15, (10 * 0.9 + 5 * 0.6) / 15]
    assert [overconfidence["value"], overconfidence["other_value"]] == pytest.approx([c - 10 / 15 for c in confidences])
    assert (ece["value"], ece["other_value"]) == pytest.approx((abs(9 - 10) / 15, (1 + 3) / 15))
    for run_id in ("a", "b"):
        for place, shift in enumerate((0, 0.01)):
            row = f"select * replace ('{run_id}{place}' as run_id, p_sq + {shift} as p_sq) from predictions"
            connection.execute(f"insert into predictions {row} where run_id = '{run_id}'")
    brier, *_ = records(connection, "calibration_change", run_id="a0,a1", other_run_id="b0,b1")
    assert (brier["value"], brier["value_sd"]) == pytest.approx((scores[0].mean() + 0.005, 0.01 / math.sqrt(2)))
    assert brier["change"] == pytest.approx(scores[1].mean() - scores[0].mean())


def test_better_probabilities_are_told(pair) -> None:
    """Of a thousand images, with the same answers; not of those that a run has no probabilities of."""
    rows = [data.prediction("sure", "test", 1, i, 0, 0, 0.9) | {"p_sq": 0.82} for i in range(1000)]
    data.insert(pair, "predictions", rows)
    data.insert(pair, "predictions", [row | {"run_id": "unsure", "p_true": 0.6, "p_sq": 0.52} for row in rows])
    found = records(pair, "calibration_change", run_id="unsure", other_run_id="sure")
    assert [row["verdict"] for row in found] == ["B is better", None, None]
    pair.execute("update predictions set p_sq = null where run_id = 'sure' and instance_id < 900")
    assert [row["n"] for row in records(pair, "calibration_change", run_id="unsure", other_run_id="sure")] == [100] * 3
    pair.execute("update predictions set p_sq = null where run_id = 'sure'")
    assert records(pair, "calibration_change", run_id="unsure", other_run_id="sure") == []


def draw_pairs(seed: int, count: int, n: int, sizes: tuple[int, int], spread: float) -> pa.Table:
    """Scores of pairs of groups of one recipe: images differ in how hard they are, and runs in how good."""
    draw, runs = np.random.default_rng(seed), sum(sizes)
    ease = draw.logistic(1.5, 2, (count, 1, n)) + draw.normal(0, spread, (count, runs, 1))
    hypothesis, run, image = np.nonzero(draw.random((count, runs, n)) < 1 / (1 + np.exp(-ease)))
    columns = {"hypothesis": hypothesis, "run_id": run, "is_other": run >= sizes[0], "instance_id": image}
    constants = {"images": n, "seeds": sizes[0], "other_seeds": sizes[1], "score": 1}
    return pa.table(columns | {key: [value] * len(run) for key, value in constants.items()})


@pytest.mark.parametrize(("sizes", "spread"), [((1, 1), 0), ((3, 3), 0.5), ((2, 5), 0.5)])
def test_a_thousand_pairs_of_one_recipe_are_seldom_called_different(sizes: tuple[int, int], spread: float) -> None:
    connection = data.empty()
    connection.register("scores", draw_pairs(7, 1000, 100, sizes, spread))
    [(called, missed)] = connection.execute(
        """
        select avg((p_value <= 0.05)::integer), avg((change_low > 0 or change_high < 0)::integer)
        from score_changes('scores', 1, 0.05)"""
    ).fetchall()
    assert missed <= called + 1e-9 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
