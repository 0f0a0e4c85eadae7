"""How far two models explain alike, and which concepts they share: as plain Python computes it."""

import itertools
from statistics import fmean, pstdev

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

import queries
from support import tables as data
from support.answers import records


def train(connection, run_id, count, epochs=(4,)):
    """A run with predictions of `count` images."""
    data.add_run(connection, run_id)
    data.add_run(connection, f"{run_id} explained", "2026-01-02", "explain", source=run_id)
    data.add_instances(connection, run_id, "test", [k % 2 for k in range(count)])
    rows = [
        data.prediction(run_id, "test", epoch, k, k % 2, k % 2, 0.9) for epoch in epochs for k in range(count)
    ]  # fmt: skip
    data.insert(connection, "predictions", rows)


def explain(connection, run_id, maps, method="saliency", **place):
    """Maps [n, 8, 8] of images 0, 1, ..."""
    for k, values in enumerate(maps):
        data.add_map(connection, f"{run_id} explained", values, run_id, instance_id=k, method=method, **place)


def spearman(one, other):
    return spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic


# --- explanation_change


@pytest.fixture(scope="module")
def seeds():
    """Three trainings of a recipe and two of another, with maps by two methods; of one method only they differ."""
    connection = data.empty()
    random = np.random.default_rng(3)
    common = {method: random.normal(size=(2, 25, 8, 8)) for method in ("saliency", "shap")}
    made = {}
    for run_id in ("a0", "a1", "a2", "b0", "b1"):
        train(connection, run_id, 25)
        for method, shared in common.items():
            recipe = 1 if run_id.startswith("b") and method == "shap" else 0
            made[run_id, method] = np.float32(shared[recipe] + 0.7 * random.normal(size=(25, 8, 8)))
            explain(connection, run_id, made[run_id, method], method)
    return connection, made


def test_two_models_maps_are_correlated_by_image(seeds):
    connection, made = seeds
    for row in records(connection, "explanation_change", run_id="a0", other_run_id="b1"):
        expected = [spearman(*both) for both in zip(made["a0", row["method"]], made["b1", row["method"]], strict=True)]
        assert row["similarity"] == pytest.approx(fmean(expected))
        assert (row["n"], row["n_both"], row["seed_pairs"]) == (25, 25, 0)
        assert row["low"] < row["similarity"] < row["high"]
        assert [row[name] for name in ("seeds_similarity", "p_adjusted", "p_least", "is_changed")] == [None] * 4


def test_groups_are_tested_by_regrouping_their_runs(seeds):
    connection, made = seeds
    runs = ["a0", "a1", "a2", "b0", "b1"]
    rows = records(connection, "explanation_change", run_id="a0,a1,a2", other_run_id="b0,b1")

    similarities = {
        (method, one, other): fmean(map(spearman, made[one, method], made[other, method]))
        for method in ("saliency", "shap")
        for one, other in itertools.combinations(runs, 2)
    }

    def gap(method, first):
        pairs = {True: [], False: []}
        for one, other in itertools.combinations(runs, 2):
            pairs[(one in first) == (other in first)].append(similarities[method, one, other])
        return fmean(pairs[True]), fmean(pairs[False])

    ways = list(itertools.combinations(runs, 3))
    gaps = {method: [np.subtract(*gap(method, way)) for way in ways] for method in ("saliency", "shap")}
    scores = {method: [(one - fmean(values)) / pstdev(values) for one in values] for method, values in gaps.items()}
    largest = np.max(list(scores.values()), axis=0)
    for row in rows:
        within, between = gap(row["method"], runs[:3])
        assert (row["seed_pairs"], row["seeds_similarity"]) == (4, pytest.approx(within))
        assert row["similarity"] == pytest.approx(between)
        assert row["p_adjusted"] == pytest.approx(np.mean(largest >= scores[row["method"]][0] - 1e-9))
        assert row["p_least"] == pytest.approx(1 / 10)
    assert [row["p_adjusted"] == row["p_least"] for row in rows] == [False, True]  # saliency, shap
    wide = records(connection, "explanation_change", run_id="a0,a1,a2", other_run_id="b0,b1", level="0.1")
    assert [row["is_changed"] for row in rows + wide] == [False, False, False, True]


def test_only_maps_of_the_same_class_count_and_uniform_ones_do_not():
    connection = data.empty()
    random = np.random.default_rng(5)
    maps = random.normal(size=(4, 8, 8))
    for run_id in ("one", "two"):
        train(connection, run_id, 4, epochs=(3, 4))
    explain(connection, "one", [maps[0], maps[1], np.zeros((8, 8))])
    explain(connection, "one", maps, epoch=3)
    explain(connection, "two", [maps[0], maps[2], maps[2]])
    connection.execute("update attributions set target = 1 where source_run_id = 'two' and instance_id = 1")
    [row] = records(connection, "explanation_change", run_id="one", other_run_id="two")
    assert (row["n_both"], row["n"], row["similarity"], row["low"]) == (3, 1, 1, None)
    [row] = records(connection, "explanation_change", run_id="one", other_run_id="one", epoch="3", other_epoch="4")
    assert (row["n_both"], row["n"], row["similarity"]) == (3, 2, 1)
    assert records(connection, "explanation_change", run_id="one", other_run_id="two", other_epoch="3") == []
    connection.execute("update instances set source = source || '!' where run_id = 'two' and instance_id = 0")
    [row] = records(connection, "explanation_change", run_id="one", other_run_id="two")
    assert (row["n_both"], row["n"], row["similarity"]) == (2, 0, None)


# --- concept_change


def add_concepts(connection, run_id, scores, started="2026-01-02", **place):
    """An ice run with scores [images, concepts]."""
    name = f"{run_id} ice {started}"
    data.add_run(connection, name, started, "explain", source=run_id)
    for concept_id, values in enumerate(np.transpose(scores).tolist()):
        key = {"run_id": name, "epoch": 4, "concept_id": concept_id} | place
        row = key | {"source_run_id": run_id, "layer": f"layer of {run_id}", "concept_key": f"{concept_id}"}
        row |= {"vector": [1.0], "threshold": 0.5, "description": f"{run_id} {concept_id}", "stability": 1.0}
        data.insert(connection, "concepts", [row])
        rows = [key | {"split": "test", "instance_id": k, "score": v, "present": v > 0.5} for k, v in enumerate(values)]
        data.insert(connection, "concept_scores", rows)
    metric = {"run_id": name, "epoch": 4, "key": "answers_kept", "value": 0.25 * len(scores[0])}
    data.insert(connection, "metrics", [metric])


def test_concepts_are_matched_by_their_scores():
    connection = data.empty()
    random = np.random.default_rng(8)
    shared, own, new, twin = random.normal(size=(4, 300))
    for run_id in ("one", "two"):
        train(connection, run_id, 300)
    add_concepts(connection, "one", random.normal(size=(300, 1)), "2026-01-01")  # an older job
    add_concepts(connection, "one", np.stack([own, shared, twin, twin + 1e-3 * new], 1))
    other = np.stack([np.exp(shared + 0.1 * random.normal(size=300)), new, twin + 0.1 * own], 1)
    add_concepts(connection, "two", other)
    rows = records(connection, "concept_change", run_id="one", other_run_id="two")
    said = [(row["status"], row["concept_id"], row["other_concept_id"]) for row in rows]
    assert said[0] == ("matched", 1, 0)
    assert {("gone", 0), ("new", None)} <= {one[:2] for one in said}
    assert [row["status"] for row in rows].count("matched") == 2  # one of the twins
    assert [row["status"] for row in rows].count("unclear") == 1  # the other one, which fits, too
    match = rows[0]
    r = spearmanr(shared, other[:, 0]).statistic
    half = norm.ppf(1 - 0.025 / 12) * np.sqrt((1 + r**2 / 2) / 297)
    assert (match["n"], match["correlation"]) == (300, pytest.approx(r))
    assert (match["low"], match["high"]) == tuple(
        pytest.approx(np.tanh(np.arctanh(r) + way * half), rel=1e-6) for way in (-1, 1)
    )
    assert (match["concept"], match["other_concept"]) == ("one 1", "two 0")
    assert (match["layer"], match["other_layer"]) == ("layer of one", "layer of two")
    assert (match["answers_kept"], match["other_answers_kept"]) == (1, 0.75)


def test_equal_scores_share_their_rank_and_constant_ones_match_nothing():
    connection = data.empty()
    scores = np.array([[0, 0, 1, 2, 2, 3], [1, 1, 1, 1, 1, 1]], float).T
    other = np.array([[5, 6, 6, 6, 8, 9]], float).T
    for run_id, values in (("one", scores), ("two", other)):
        train(connection, run_id, 6)
        add_concepts(connection, run_id, values)
    rows = records(connection, "concept_change", run_id="one", other_run_id="two", same="-0.99")
    assert [row["status"] for row in rows] == ["matched", "unclear"]
    assert rows[0]["correlation"] == pytest.approx(spearmanr(scores[:, 0], other[:, 0]).statistic)
    assert rows[1]["correlation"] is None


def test_independent_concepts_are_not_called_the_same_and_seldom_anything_false():
    """Of scores with a true correlation of 0.8, none may be called gone in more than 5 % of comparisons."""
    connection = data.empty()
    random = np.random.default_rng(9)
    for run_id in ("one", "two"):
        train(connection, run_id, 60)
    false = 0
    for _ in range(40):
        for table in ("concepts", "concept_scores", "metrics"):
            connection.execute(f"delete from {table}")
        connection.execute("delete from runs where kind = 'explain'")
        shared = random.normal(size=(60, 3))
        add_concepts(connection, "one", shared)
        add_concepts(connection, "two", 0.82 * shared + np.sqrt(1 - 0.82**2) * random.normal(size=(60, 3)))
        rows = queries.run(connection, "concept_change", {"run_id": "one", "other_run_id": "two"}).dicts
        same = {(row["concept_id"], row["other_concept_id"]) for row in rows if row["status"] == "matched"}
        gone = any(row["status"] in ("gone", "new") for row in rows)
        false += gone or any(one != other for one, other in same)
    assert false <= 6  # more have a probability under 1 % at 5 %
