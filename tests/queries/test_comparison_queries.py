"""Queries about explanations, calibration and concepts: what numpy, scipy or a hand computes, on awkward cases."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, spearmanr, t, ttest_1samp

import queries
from pipelines.common.metrics import JUDGING
from support import tables as data
from support.answers import records, wilson

random = np.random.default_rng


@pytest.fixture
def compared():
    """The tiny run, an explainer run and a comparison."""
    connection = data.empty()
    data.add_tiny(connection)
    data.add_run(connection, "explained", "2026-01-02", "explain", source="tiny")
    data.add_run(connection, "compared", "2026-01-03", "compare", source="tiny")
    return connection


def only(rows, **wanted):
    [row] = [row for row in rows if wanted.items() <= row.items()]
    return row


# --- faithfulness


def interval(values, least=0.0, most=1.0, level=0.05):
    """Student's t interval, or where it is wider with one number more, or a share of all, at an end of the range."""
    values, n = np.asarray(values), len(values)
    least, most = min(least, values.min()), max(most, values.max())
    quantile = t.ppf(1 - level / 2, n - 1)

    def span(numbers):
        return numbers.mean() + np.array([-1, 1]) * quantile * numbers.std(ddof=1) / np.sqrt(len(numbers))

    unseen = 1 - (level / 2) ** (1 / n)  # share of all numbers of which n show none with probability level / 2
    mean = values.mean()
    low = min(span(values)[0], span(np.append(values, least))[0], mean + unseen * (least - mean))
    high = max(span(values)[1], span(np.append(values, most))[1], mean + unseen * (most - mean))
    return max(low, least), min(high, most)


@pytest.mark.parametrize("n", [1, 2, 19, 20, 64])
@pytest.mark.parametrize(("metric", "least"), [("insertion", 0), ("road_gap", -1)])
def test_intervals_count_on_what_was_not_seen(compared, n, metric, least):
    for method, values in (("shap", random(n).beta(1, 4, n)), ("edge", np.full(n, 0.25)), ("ice", np.arange(n) % 2)):
        data.add_scores(compared, "compared", method, metric, values)
        row = only(records(compared, "faithfulness_by_method"), method=method)
        assert (row["compare_run_id"], row["epoch"], row["split"], row["n"]) == ("compared", 4, "test", n)
        assert row["mean"] == pytest.approx(values.mean())
        wanted = (None, None) if n < 20 else pytest.approx(interval(values, least), rel=1e-5)
        assert (row["low"], row["high"]) == wanted
        assert (row["random_mean"], row["beats_random"], row["p_adjusted"]) == (None, None, None)


def test_intervals_of_numbers_beyond_the_range_reach_as_far_as_they(compared):
    values = random(0).normal(size=30)
    data.add_scores(compared, "compared", "shap", "insertion", values)
    [row] = records(compared, "faithfulness_by_method")
    assert (row["low"], row["high"]) == pytest.approx(interval(values), rel=1e-5)


DIRECTIONS = {
    "insertion": "higher", "road_lerf_30": "higher", "road_gap": "higher", "points_at_glyph": "higher",
    "deletion": "lower", "road_morf_70": "lower", "points_at_decoy": "lower", "epoch_0": "lower",
    "epoch_0_signed": "lower", "randomized/fc": "lower", "randomized_signed/conv.1": "lower",
    "share_object": None, "gini": None, "roadXmorf_10": None,
}  # fmt: skip


def test_what_judges_the_methods_comes_first_and_the_best_method_of_each_metric(compared):
    metrics = [*reversed(DIRECTIONS), "randomized/everything"]
    for metric in metrics:
        for method, value in (("saliency", 0.2), ("shap", 0.6), ("random", 0.4)):
            data.add_scores(compared, "compared", method, metric, np.full(20, value))
    rows = records(compared, "faithfulness_by_method")
    order = list(dict.fromkeys(row["metric"] for row in rows))
    assert tuple(order[:3]) == JUDGING
    assert set(order[3:8]) == {
        "points_at_glyph",
        "points_at_decoy",
        "epoch_0",
        "epoch_0_signed",
        "randomized/everything",
    }
    best_first = ["shap", "random", "saliency"]
    assert [row["method"] for row in rows if row["metric"] == "insertion"] == best_first
    assert [row["method"] for row in rows if row["metric"] == "deletion"] == best_first[::-1]


@pytest.mark.parametrize("shift", [0.02, -0.02])
def test_a_paired_difference_decides_whether_random_is_beaten(compared, shift):
    draw = random(0)
    values, noise = draw.choice([0.05, 0.8], 400), draw.normal(size=400)  # images differ far more than the methods
    for level, metric in enumerate(DIRECTIONS):
        data.add_scores(compared, "compared", "random", metric, values + level / 100)
        data.add_scores(compared, "compared", "shap", metric, values + level / 100 + shift + 0.01 * noise)
    rows = records(compared, "faithfulness_by_method")
    pairs = records(compared, "faithfulness_differences")
    for level, (metric, better) in enumerate(DIRECTIONS.items()):
        shap, chance = (only(rows, metric=metric, method=method) for method in ("shap", "random"))
        assert shap["better"] == chance["better"] == better
        assert shap["low"] < chance["mean"] < shap["high"]
        assert shap["random_mean"] == pytest.approx(values.mean() + level / 100)
        won = None if better is None else (shift > 0) == (better == "higher")
        assert (shap["beats_random"], chance["beats_random"]) == (won, None)
        pair = only(pairs, metric=metric)
        assert (pair["method_a"], pair["method_b"], pair["differs"]) == ("random", "shap", True)
        assert pair["better_method"] == {True: "shap", False: "random", None: None}[won]


def test_what_has_either_sign_alike_beats_nothing(compared):
    values = random(0).normal(size=30)
    data.add_scores(compared, "compared", "random", "insertion", values)
    data.add_scores(compared, "compared", "shap", "insertion", values[::-1])
    data.add_scores(compared, "compared", "twin", "insertion", values)
    rows = records(compared, "faithfulness_by_method")
    assert [only(rows, method=method)["beats_random"] for method in ("shap", "twin")] == [False, False]
    same = only(records(compared, "faithfulness_differences"), method_a="random", method_b="twin")
    figures = ("difference", "p_value", "p_adjusted", "differs", "better_method")
    assert [same[key] for key in figures] == [0, 1, 1, False, None]


def test_differences_on_the_images_both_have(compared):
    values = {method: random(key).random(size=60) for key, method in enumerate(("edge", "random", "shap"))}
    data.add_scores(compared, "compared", "edge", "randomized/fc", values["edge"])
    data.add_scores(compared, "compared", "random", "randomized/fc", dict(enumerate(values["random"][:40])))
    data.add_scores(compared, "compared", "shap", "randomized/fc", {k: values["shap"][k] for k in range(10, 60)})
    rows = records(compared, "faithfulness_differences", level="0.02")
    shared = {("edge", "random"): range(40), ("edge", "shap"): range(10, 60), ("random", "shap"): range(10, 40)}
    assert [(row["method_a"], row["method_b"]) for row in rows] == list(shared)
    for row, images in zip(rows, shared.values(), strict=True):
        difference = (values[row["method_a"]] - values[row["method_b"]])[list(images)]
        assert row["n"] == len(images)
        assert row["difference"] == pytest.approx(difference.mean())
        apart = difference.max() - difference.min()  # so far beyond the ends others may lie, but within -2 and 2
        reach = max(difference.min() - apart, -2), min(difference.max() + apart, 2)
        assert (row["low"], row["high"]) == pytest.approx(interval(difference, *reach, 0.02), rel=1e-5)
        assert row["p_value"] == pytest.approx(ttest_1samp(difference, 0).pvalue, abs=0.05)
        assert row["p_adjusted"] >= row["p_value"]
    shap = only(records(compared, "faithfulness_by_method"), method="shap")
    assert shap["n"] == 50
    assert shap["random_mean"] == pytest.approx(values["random"][10:40].mean())


def test_few_images_give_exact_p_values_corrected_step_by_step(compared):
    """All 2^9 ways to flip the signs of ten images, as the mirror images say the same."""
    values = {"edge": random(1).random(10), "random": random(2).random(10), "shap": random(3).random(10)}
    values["shap"] += 0.5
    for method, own in values.items():
        data.add_scores(compared, "compared", method, "insertion", own)
    pairs = list(itertools.combinations(values, 2))
    differences = np.stack([values[a] - values[b] for a, b in pairs])
    flips = np.array(list(itertools.product([1, -1], repeat=10)))
    statistics = abs(differences @ flips.T) / np.sqrt((differences**2).sum(1, keepdims=True))  # [pairs, flips]
    reached = statistics >= statistics[:, :1] - 1e-9
    order = np.argsort(-statistics[:, 0])
    steps = [(statistics[order[k:]].max(0) >= statistics[order[k], 0] - 1e-9).mean() for k in range(len(pairs))]
    adjusted = np.maximum.accumulate(steps)[np.argsort(order)]
    rows = records(compared, "faithfulness_differences")
    assert [(row["method_a"], row["method_b"]) for row in rows] == pairs
    assert [row["p_value"] for row in rows] == pytest.approx(reached.mean(1))
    assert [row["p_adjusted"] for row in rows] == pytest.approx(adjusted)
    assert {row["differs"] for row in rows} == {None}  # under 20 images


def test_too_few_images_have_no_verdict(compared):
    for n, metric in ((1, "deletion"), (19, "insertion"), (20, "road_gap")):
        data.add_scores(compared, "compared", "random", metric, [0] * n)
        data.add_scores(compared, "compared", "shap", metric, [1] * n)
    expected = {"deletion": None, "insertion": None, "road_gap": True}
    for name, column in (("faithfulness_by_method", "beats_random"), ("faithfulness_differences", "differs")):
        rows = records(compared, name)
        assert {row["metric"]: row[column] for row in rows if row.get("method") != "random"} == expected
    alone = only(records(compared, "faithfulness_differences"), metric="deletion")
    figures = ("n", "difference", "low", "high", "p_value", "differs", "better_method")
    assert [alone[key] for key in figures] == [1, -1, None, None, 1, None, None]


def test_what_is_not_shown_to_beat_random_says_why(compared):
    n = 60
    gains = {
        "steady": 0.1 + 0.01 * random(1).normal(size=n), "noise": 0.1 * random(2).normal(size=n),
        "uneven": np.where(np.arange(n) < 8, 0.6, 0.004), "worse": -0.1 + 0.01 * random(3).normal(size=n),
    }  # fmt: skip
    for metric, sign in (("insertion", 1), ("deletion", -1)):
        data.add_scores(compared, "compared", "random", metric, np.full(n, 0.5))
        for method, gain in gains.items():
            data.add_scores(compared, "compared", method, metric, 0.5 + sign * gain)
    data.add_scores(compared, "compared", "steady", "share_object", np.full(n, 0.5))
    rows = records(compared, "faithfulness_by_method", level=0.02)
    for metric, sign in (("insertion", 1), ("deletion", -1)):
        own = {row["method"]: row for row in rows if row["metric"] == metric}
        assert {method: own[method]["why_not"] for method in (*gains, "random")} == {
            "steady": None, "noise": "p_adjusted above level", "uneven": "interval reaches 0",
            "worse": "worse than random", "random": None,
        }  # fmt: skip
        assert own["uneven"]["p_adjusted"] <= 0.02
        for method, gain in gains.items():
            low, high = own[method]["gain_low"], own[method]["gain_high"]
            assert low < sign * gain.mean() < high
            assert own[method]["beats_random"] == (method == "steady") == (low > 0 if sign > 0 else high < 0)
        assert own["random"]["gain_low"] is own["random"]["gain_high"] is None
    descriptive = only(rows, metric="share_object")
    assert (descriptive["gain_low"], descriptive["why_not"]) == (None, None)


@pytest.mark.parametrize("spread", [0, 1e-3])
@pytest.mark.parametrize("n", [20, 60])
def test_what_a_few_unseen_images_may_undo_is_no_difference(n, spread):
    """Two methods of the same mean: one is better by little on nearly every image, the other by much on a few."""
    connection, draw, studies, false = data.empty(), random(n), 24, 0
    for _ in range(studies):
        connection.execute("delete from attribution_scores")
        data.add_scores(connection, "c", "random", "insertion", np.full(n, 0.48) + spread * draw.random(n))
        data.add_scores(connection, "c", "shap", "insertion", np.where(draw.random(n) < 0.04, 0, 0.5))
        [pair] = queries.run(connection, "faithfulness_differences", {"run_id": "tiny"}).dicts
        false += pair["differs"]
    assert false <= 5  # at most 1.2 on average


def test_equal_methods_are_told_apart_seldom_and_unequal_ones_often():
    """In every other study one method is better than four others and random; else any difference is a false one."""
    studies, n, methods = 24, 40, [*"abcde", "random"]
    connection, false, found = data.empty(), {"beats_random": 0, "differs": 0}, 0
    for seed in range(studies):
        connection.execute("delete from attribution_scores")
        draw = random(seed)
        difficulty = draw.normal(size=n)  # of an image, for all methods
        for method in methods:
            values = 0.5 + 0.1 * difficulty + draw.exponential(0.1, n)
            data.add_scores(connection, "c", method, "insertion", values + 0.5 * (method == "a" and seed % 2))
        for name, column in (("faithfulness_by_method", "beats_random"), ("faithfulness_differences", "differs")):
            claimed = [row for row in queries.run(connection, name, {"run_id": "tiny"}).dicts if row[column]]
            unequal = [row for row in claimed if "a" in row.values()]
            false[column] += len(claimed) > (len(unequal) if seed % 2 else 0)
            found += bool(unequal) and seed % 2
    assert max(false.values()) <= 5  # 1.2 on average, more than 5 in 0.1 % of cases
    assert found == studies  # both questions find it in each of the studies that have one


@pytest.mark.parametrize("name", ["faithfulness_by_method", "faithfulness_differences"])
def test_the_newest_finished_comparison_counts(compared, name):
    def chosen(**values):
        return {row["compare_run_id"] for row in records(compared, name, **values)}

    assert chosen() == set()
    comparisons = {"compared": "FINISHED", "later": "FINISHED", "failed": "FAILED", "running": "RUNNING"}
    for day, (comparison, status) in enumerate(comparisons.items(), start=3):
        if comparison != "compared":
            data.add_run(compared, comparison, f"2026-01-{day:02}", "compare", "tiny", status)
        for method in ("edge", "shap"):
            data.add_scores(compared, comparison, method, "insertion", [0.5, 0.25])
    for method in ("edge", "shap"):
        data.add_scores(compared, "of another", method, "insertion", [1, 1], run_id="twin")
    data.add_run(compared, "of another", "2026-02-01", "compare", "twin")
    assert chosen() == {"later"}
    assert chosen(compare_run="compared") == {"compared"}
    assert chosen(compare_run="of another") == set()
    compared.execute("update runs set status = 'FAILED' where status = 'FINISHED'")
    assert chosen() == {"running"}


# --- agreement


def tenth(values):
    """How far each pixel belongs to the tenth with the largest values: 1, 0, or its share where pixels are tied."""
    count = max(round(values.size / 10), 1)
    edge = np.sort(values)[-count]
    above, tied = values > edge, values == edge
    return above + tied * (count - above.sum()) / tied.sum()


def agreement(a, b):
    """Spearman of the absolute values and of the values, overlap of the tenths, sign agreement in both."""
    a, b = a.ravel(), b.ravel()
    shares = np.stack([tenth(abs(a)), tenth(abs(b))])
    shared = shares.min(0)
    same = np.sign(a) == np.sign(b)
    spearman = [spearmanr(abs(a), abs(b)).statistic, spearmanr(a, b).statistic]
    return [*spearman, shared.sum() / shares.max(0).sum(), shared @ same / (shared.sum() or np.nan)]


MEASURES = ("spearman", "spearman_signed", "top10_overlap", "sign_agreement")


@pytest.mark.parametrize(("shape", "count"), [((8, 8), 12), ((32, 32), 6), ((28, 40), 3), ((224, 224), 5), ((2, 2), 8)])
@pytest.mark.parametrize("digits", [6, 0])  # the fewer digits, the more ties
def test_agreement_is_what_scipy_computes(compared, shape, count, digits):
    maps = random(0).normal(size=(2, count, *shape)).astype(np.float32)
    maps[1] = (maps[0] / 2 + maps[1]).round(digits)
    for (method, found), key in itertools.product(zip(("edge", "shap"), maps, strict=True), range(count)):
        data.add_map(compared, "explained", found[key], method=method, instance_id=2 * key)
        if method == "edge":  # images that the other method did not explain; five pairs of 224 px are several batches
            data.add_map(compared, "explained", found[key], method=method, instance_id=2 * key + 1)
    row = only(records(compared, "attribution_agreement"), subset="all")
    wanted = np.array([agreement(a, b) for a, b in zip(*maps, strict=True) if len(np.unique(abs(b))) > 1])
    count = len(wanted)  # without maps that rank nothing
    assert (row["epoch"], row["method_a"], row["method_b"], row["n"]) == (4, "edge", "shap", count)
    assert (row["class_id"], row["class_name"]) == (None, None)
    assert [row[key] for key in MEASURES] == pytest.approx(np.nanmean(wanted, 0), abs=1e-9)
    assert (row["spearman_low"], row["spearman_high"], row["agrees"]) == (None, None, None)  # under 20 images


def test_agreement_differs_only_beyond_intervals_that_hold_together(compared):
    """Two pairs, so four intervals at a quarter of the level; 60 images predicted right, 60 wrong."""
    draw = random(3)
    rows = [data.prediction("many", "test", 4, key, key % 2, 0, 0.5) for key in range(120)]
    data.add_run(compared, "many")
    data.insert(compared, "predictions", rows)
    noise = {"shap": 0.3, "ice": 2.0}
    for key in range(120):
        edge = draw.normal(size=(8, 8))
        data.add_map(compared, "explained", edge, "many", method="edge", instance_id=key)
        for method, amount in noise.items():  # shap agrees less where the prediction is wrong
            values = edge + (amount + 1.5 * (method == "shap" and key % 2)) * draw.normal(size=(8, 8))
            data.add_map(compared, "explained", values, "many", method=method, instance_id=key)
    found = records(compared, "attribution_agreement", run_id="many")
    found = [row for row in found if "edge" in (row["method_a"], row["method_b"])]
    assert {row["n"] for row in found if row["subset"] in ("right", "wrong")} == {60}
    agrees = {(row["method_b"], row["subset"]): row["agrees"] for row in found if row["subset"] != "class"}
    assert agrees.pop(("shap", "wrong")) == "lower"
    assert agrees.pop(("ice", "wrong")) is None
    assert set(agrees.values()) == {None}
    whole = only(found, method_b="shap", subset="all")
    assert whole["spearman_low"] < whole["spearman"] < whole["spearman_high"]


def test_overlap_and_signs_by_hand(compared):
    a = np.zeros((4, 5))
    b = a.copy()
    a[0] = [9, -8, 1, 1, 0]  # two of 20 pixels are the tenth
    b[0] = [-5, -5, -5, 0, 0]  # three pixels share two places
    for method, values in (("edge", a), ("shap", b)):
        data.add_map(compared, "explained", values, method=method)
    row = only(records(compared, "attribution_agreement"), subset="all")
    shared = 2 / 3 + 2 / 3
    assert row["top10_overlap"] == pytest.approx(shared / (2 + 2 - shared))
    assert row["sign_agreement"] == pytest.approx(1 / 2)


def test_even_maps_rank_nothing(compared):
    ramp = np.arange(64.0).reshape(8, 8)
    for method, maps in {"edge": (ramp, ramp, ramp), "shap": (ramp, 0 * ramp, 0 * ramp - 3)}.items():
        for key, values in enumerate(maps):
            data.add_map(compared, "explained", values, method=method, instance_id=key)
    row = only(records(compared, "attribution_agreement"), subset="all")
    assert (row["n"], row["spearman"], row["spearman_low"]) == (1, pytest.approx(1), None)
    compared.execute("delete from maps where method = 'shap' and instance_id = 0")
    assert records(compared, "attribution_agreement") == []


def test_signs_say_something_of_signed_methods_alone(compared):
    values = random(0).normal(size=(3, 8, 8))
    for key, method in itertools.product((0, 1), ("edge", "saliency", "shap")):
        signed = values[0] if method != "saliency" else abs(values[1])
        data.add_map(compared, "explained", signed, method=method, instance_id=key)
    # a method that is negative somewhere is signed, if only in another image
    data.add_map(compared, "explained", abs(values[2]), method="edge", instance_id=2)
    data.add_map(compared, "explained", values[2], method="shap", instance_id=2)
    rows = [row for row in records(compared, "attribution_agreement") if row["subset"] == "all"]
    found = {(row["method_a"], row["method_b"]): row["sign_agreement"] for row in rows}
    assert found["edge", "saliency"] is None
    assert found["saliency", "shap"] is None
    wanted = agreement(abs(values[2]), values[2])[-1]
    assert found["edge", "shap"] == pytest.approx((1 + 1 + wanted) / 3)


def test_only_maps_of_the_same_class_and_size_are_compared(compared):
    values = random(0).normal(size=(8, 8))
    for method, target, shape in (("edge", 0, (8, 8)), ("saliency", 1, (8, 8)), ("shap", 0, (4, 16))):
        data.add_map(compared, "explained", values.reshape(shape), method=method, target=target)
    assert records(compared, "attribution_agreement") == []
    data.add_map(compared, "explained", values, method="shap", instance_id=1, target=2)
    data.add_map(compared, "explained", values, method="edge", instance_id=1, target=2)
    row = only(records(compared, "attribution_agreement"), subset="all")
    assert (row["method_a"], row["method_b"], row["n"]) == ("edge", "shap", 1)


def test_subsets_go_by_label_and_prediction_at_the_epoch(compared):
    maps = random(0).normal(size=(2, 6, 8, 8))
    for method, found in zip(("edge", "shap"), maps, strict=True):
        for key, values in enumerate(found):
            data.add_map(compared, "explained", values, method=method, instance_id=key)
    wanted = {key: agreement(maps[0, key], maps[1, key])[0] for key in range(6)}
    # at epoch 4 images 0, 1 and 2 are right; nobody knows what 5 shows
    members = {("all", None): range(6), ("right", None): [0, 1, 2], ("wrong", None): [3, 4]}
    members |= {("class", 0): [0, 1], ("class", 1): [2, 3], ("class", 3): [4]}
    rows = records(compared, "attribution_agreement")
    assert [(row["subset"], row["class_id"]) for row in rows] == list(members)
    for row, images in zip(rows, members.values(), strict=True):
        assert row["n"] == len(images)
        assert row["spearman"] == pytest.approx(np.mean([wanted[key] for key in images]))
        assert row["class_name"] == (None if row["class_id"] is None else data.CLASSES[row["class_id"]])


def test_the_newest_map_and_the_last_shared_epoch_count(compared):
    good, bad = random(0).normal(size=(2, 8, 8))
    data.add_run(compared, "again", "2026-01-05", "explain", source="tiny")
    data.add_map(compared, "again", good, method="shap")
    data.add_map(compared, "explained", bad, method="shap")
    data.add_map(compared, "explained", good, method="edge")
    data.add_map(compared, "explained", bad, method="shap", epoch=9)  # a single method
    data.add_map(compared, "again", bad, method="edge", split="val")
    data.add_map(compared, "again", bad, method="edge", target_kind="label")
    data.add_map(compared, "again", bad, method="edge", run_id="twin")
    data.add_map(compared, "explained", bad, method="edge", epoch=3)
    data.add_map(compared, "explained", good, method="shap", epoch=3)
    row = only(records(compared, "attribution_agreement"), subset="all")
    assert (row["epoch"], row["n"], row["spearman"]) == (4, 1, pytest.approx(1))
    row = only(records(compared, "attribution_agreement", epoch="3"), subset="all")
    assert row["spearman"] == pytest.approx(spearmanr(abs(good).ravel(), abs(bad).ravel()).statistic)
    assert records(compared, "attribution_agreement", epoch="9") == []
    assert records(compared, "attribution_agreement", split="val") == []


# --- regions


def test_regions(compared):
    maps = random(0).normal(size=(6, 8, 8)).astype(np.float32)
    maps[5] = 0
    for key, values in enumerate(maps):
        data.add_map(compared, "explained", values, method="shap", instance_id=key)
    data.add_map(compared, "explained", np.full((16, 16), 0.5), method="edge")
    data.add_scores(compared, "compared", "shap", "share_object", [0.25, 0.5])
    data.add_scores(compared, "compared", "shap", "insertion", [0, 0])
    data.add_scores(compared, "compared", "shap", "share_object", [1, 1], epoch=3)
    data.add_scores(compared, "compared", "shap", "share_object", [1, 1], split="val")
    rows = records(compared, "attribution_regions")
    inner = np.zeros((8, 8), bool)
    inner[2:6, 2:6] = True
    outer = np.ones((8, 8), bool)
    outer[1:7, 1:7] = False
    size = abs(maps[:5]).sum((1, 2))
    shares = {"centre": abs(maps[:5])[:, inner].sum(1) / size, "border": abs(maps[:5])[:, outer].sum(1) / size}
    for subset, images in {"all": range(5), "right": [0, 1, 2], "wrong": [3, 4]}.items():
        row = only(rows, method="shap", subset=subset)
        assert (row["epoch"], row["n"]) == (4, len(images))
        assert row["positive"] == pytest.approx((maps[:5].clip(0).sum((1, 2)) / size)[images].mean(), abs=1e-6)
        for key, share in shares.items():
            assert row[key] == pytest.approx(share[images].mean(), abs=1e-6)
            assert (row[f"{key}_low"], row[f"{key}_high"]) == (None, None)
    assert only(rows, method="shap", subset="all")["object"] == pytest.approx(0.375)
    assert only(rows, method="shap", subset="wrong")["object"] is None
    even = only(rows, method="edge", subset="all")
    assert [even[key] for key in ("n", "centre", "border", "positive", "object")] == [1, 0.25, 0.4375, 1, None]
    assert (even["centre_low"], even["border_high"]) == (None, None)


def test_regions_have_intervals_from_twenty_images_on(compared):
    maps = random(5).normal(size=(30, 8, 8)).astype(np.float32)
    for key, values in enumerate(maps):
        data.add_map(compared, "explained", values, method="shap", instance_id=key)
    data.add_scores(compared, "compared", "shap", "share_object", random(6).random(19))
    magnitudes = abs(maps).astype(float)
    centre = magnitudes[:, 2:6, 2:6].sum((1, 2)) / magnitudes.sum((1, 2))
    for level in (0.05, 0.001):
        row = only(records(compared, "attribution_regions", level=str(level)), subset="all")
        assert (row["centre_low"], row["centre_high"]) == pytest.approx(interval(centre, level=level), rel=1e-5)
        assert row["border_low"] < row["border"] < row["border_high"]
        assert (row["object_low"], row["object_high"]) == (None, None)  # of 19 images alone


def test_regions_of_the_last_epoch_and_the_newest_map(compared):
    centre = np.zeros((8, 8))
    centre[3, 3] = -1
    data.add_run(compared, "again", "2026-01-05", "explain", source="tiny")
    data.add_map(compared, "again", centre)
    data.add_map(compared, "explained", np.ones((8, 8)))
    data.add_map(compared, "again", np.ones((8, 8)), epoch=3)
    data.add_map(compared, "again", np.ones((8, 8)), run_id="twin", epoch=9)
    row = only(records(compared, "attribution_regions"), subset="all")
    assert [row[key] for key in ("epoch", "n", "centre", "border", "positive")] == [4, 1, 1, 0, 0]
    assert only(records(compared, "attribution_regions", epoch="3"), subset="all")["centre"] == 0.25


# --- calibration


def add_confidences(connection, confidences, right, **place):
    rows = [
        data.prediction("tiny", "test", 4, key, 0, 0 if ok else 1, 0.5) | {"p_predicted": float(p)} | place
        for key, (p, ok) in enumerate(zip(confidences, right, strict=True))
    ]
    data.insert(connection, "predictions", rows)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_what_numpy_computes(bins):
    connection = data.empty()
    confidences = random(0).uniform(0.1, 1, 300).astype(np.float32)
    right = random(1).uniform(size=300) < confidences**2
    add_confidences(connection, confidences, right)
    rows = records(connection, "calibration", bins=str(bins))
    p = confidences.astype(float)
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(p, edges, right=True)
    gaps = [abs(right[place == k].mean() - p[place == k].mean()) * (place == k).mean() for k in np.unique(place)]
    assert [row["bin"] for row in rows] == list(np.unique(place))
    assert {round(row["ece"], 9) for row in rows} == {round(sum(gaps), 9)}
    for row in rows:
        inside = place == row["bin"]
        assert (row["confidence_from"], row["confidence_to"]) == pytest.approx(edges[row["bin"] - 1 : row["bin"] + 1])
        assert row["n"] == inside.sum()
        assert row["confidence"] == pytest.approx(p[inside].mean())
        assert row["accuracy"] == pytest.approx(right[inside].mean())
        interval = wilson(right[inside].sum(), inside.sum())
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(interval, abs=1e-5)
    chances = {k: binomtest_by_tails(right[place == k], p[place == k].mean()) for k in np.unique(place).tolist()}
    corrected, order = 0, sorted(chances, key=lambda k: (chances[k], k))
    for rank, k in enumerate(order):
        corrected = min(1, max(corrected, (len(order) - rank) * chances[k]))
        row = only(rows, bin=k)
        assert row["p_adjusted"] == pytest.approx(corrected, rel=1e-6)
        assert row["is_off"] == (corrected <= 0.05)
    spread = [binom(sum(place == k), p[place == k].mean()).expect(lambda hits, k=k: abs(hits - sum(p[place == k])))
              for k in np.unique(place)]  # fmt: skip
    assert rows[0]["ece_by_chance"] == pytest.approx(sum(spread) / len(p), rel=1e-6)


def binomtest_by_tails(right, p):
    return min(1, 2 * binom.cdf(right.sum(), len(right), p), 2 * binom.sf(right.sum() - 1, len(right), p))


def test_bins_of_a_right_confidence_are_seldom_off():
    studies, false, draw = 40, 0, random(7)
    connection = data.empty()
    for _ in range(studies):
        connection.execute("delete from predictions")
        confidences = draw.beta(4, 1, 300)
        add_confidences(connection, confidences, draw.random(300) < confidences)
        false += any(row["is_off"] for row in queries.run(connection, "calibration", {"run_id": "tiny"}).dicts)
    assert false <= 7  # 2 on average, more than 7 in 0.1 % of cases
    connection.execute("delete from predictions")
    add_confidences(connection, np.full(300, 0.9), draw.random(300) < 0.7)
    assert [row["is_off"] for row in records(connection, "calibration")] == [True]


def test_calibration_by_hand():
    connection = data.empty()
    add_confidences(connection, [0, 0.5, 0.75, 1], [False, True, False, True])
    add_confidences(connection, [0.9], [False], epoch=3)
    rows = records(connection, "calibration", bins="2")
    assert [(row["bin"], row["n"], row["confidence"], row["accuracy"]) for row in rows] == [
        (1, 2, 0.25, 0.5),
        (2, 2, 0.875, 0.5),
    ]
    assert rows[0]["ece"] == pytest.approx((0.25 + 0.375) / 2)
    assert records(connection, "calibration", epoch="3")[0]["ece"] == pytest.approx(0.9)
    assert records(connection, "calibration", bins="0") == []
    connection.execute("update predictions set p_predicted = null")  # as in an imported log
    assert records(connection, "calibration") == []


# --- drift


def history(connection, method, instance_id, maps, explainer="explained"):
    for epoch, values in maps.items():
        place = {"method": method, "epoch": epoch, "instance_id": instance_id}
        data.add_map(connection, explainer, values, **place)


def test_drift_is_what_scipy_computes(compared):
    maps = random(0).normal(size=(3, 4, 8, 8)).round(1)  # 3 images at 4 epochs; ties
    maps[:, 1:] = maps[:, [3]] + [[[[1.5]], [[0.5]], [[0]]]] * maps[:, 1:]
    epochs = [0, 1, 3, 4]
    for key in range(3):
        history(compared, "shap", key, dict(zip(epochs, maps[key], strict=True)))
    compared.execute("delete from attributions where instance_id = 2 and epoch = 1")
    maps = maps.astype(np.float32)
    rows = records(compared, "explanation_drift", settled="0.5")
    assert [(row["method"], row["epoch"], row["n"]) for row in rows] == list(
        zip(["shap"] * 4, epochs, [3, 2, 3, 3], strict=True)
    )

    def similarity(key, at, other):
        return spearmanr(abs(maps[key, at]).ravel(), abs(maps[key, other]).ravel()).statistic

    logged = {0: [0, 1, 2, 3], 1: [0, 1, 2, 3], 2: [0, 2, 3]}
    for at, row in enumerate(rows):
        there = [key for key in logged if at in logged[key]]
        before = [similarity(key, at, logged[key][logged[key].index(at) - 1]) for key in there] if at else []
        assert row["to_previous"] == (pytest.approx(np.mean(before)) if at else None)
        assert row["to_last"] == pytest.approx(np.mean([similarity(key, at, 3) for key in there]))
        settled = [all(similarity(key, k, 3) >= 0.5 for k in logged[key] if k >= at) for key in there]
        assert row["share_settled"] == pytest.approx(np.mean(settled))
        kept = [len({data.TINY[key][1][k] for k in logged[key] if k >= at}) == 1 for key in there]
        assert row["share_prediction_settled"] == pytest.approx(np.mean(kept))
    assert 0 < rows[2]["share_settled"] <= 1 == rows[3]["share_settled"]


RAMP = np.arange(64.0).reshape(8, 8)


def test_what_settles_first(compared):
    # predictions: image 0 never changes, 1 changes at every epoch, 3 at the last one
    history(compared, "shap", 0, {0: -RAMP, 1: RAMP[::-1], 3: RAMP, 4: RAMP})
    history(compared, "shap", 1, {0: RAMP[::-1], 1: RAMP, 3: -RAMP, 4: RAMP})
    history(compared, "shap", 3, {0: RAMP[::-1], 1: RAMP[::-1], 4: RAMP})
    history(compared, "shap", 4, {3: RAMP, 4: 0 * RAMP})
    history(compared, "edge", 0, {0: RAMP, 1: 0 * RAMP, 4: RAMP})
    history(compared, "shap", 2, {4: RAMP})  # a single epoch says nothing
    history(compared, "edge", 5, {0: 0 * RAMP, 4: RAMP})
    columns = ("method", "instance_id", "label", "predicted", "prediction_since", "explanation_since", "settles")
    found = [tuple(row[key] for key in columns) for row in records(compared, "explanation_settling")]
    assert found == [
        ("edge", 0, 0, 0, 0, 4, "after"),
        ("edge", 5, None, 0, 0, 4, "after"),
        ("shap", 0, 0, 0, 0, 3, "after"),
        ("shap", 1, 0, 0, 4, 1, "before"),
        ("shap", 3, 1, 2, 4, 4, "with"),
        ("shap", 4, 3, 1, 3, None, None),
    ]
    assert {row["split"] for row in records(compared, "explanation_settling")} == {"test"}
    assert len(records(compared, "explanation_settling", method="edge")) == 2
    strictest = {row["instance_id"]: row for row in records(compared, "explanation_settling", settled="1")}
    assert strictest[1]["explanation_since"] == 1
    last = only(records(compared, "explanation_drift"), method="shap", epoch=4)
    assert (last["n"], last["to_last"], last["share_settled"]) == (4, 1, 1)
    first = only(records(compared, "explanation_drift"), method="edge", epoch=0)
    assert (first["n"], first["to_last"], first["share_settled"]) == (2, 1, 0)  # of the even map nothing can be said


def test_one_epoch_does_not_drift(compared):
    history(compared, "shap", 0, {4: RAMP})
    history(compared, "shap", 1, {3: RAMP})
    history(compared, "shap", 1, {3: RAMP}, "again")  # a second run of the same epoch
    for name in ("explanation_drift", "explanation_settling"):
        assert records(compared, name) == []


# --- concepts


def add_concepts(connection, explainer, epoch, vectors, prevalences, run_id="tiny", layer="conv"):
    """Concepts with prevalences [concepts][classes]; images 0 to 4 are scored, the even ones show each concept."""
    for key, (vector, shares) in enumerate(zip(vectors, prevalences, strict=True)):
        place = {"run_id": explainer, "epoch": epoch, "concept_id": key}
        row = place | {"source_run_id": run_id, "layer": layer, "concept_key": f"{epoch}{key}", "vector": vector}
        row |= {"threshold": 0.5, "label": None, "description": f"concept {key} of {epoch}"}
        data.insert(connection, "concepts", [row])
        score = place | {"split": "test", "score": 1.0}
        rows = [score | {"instance_id": image, "present": image % 2 == key % 2} for image in range(5)]
        data.insert(connection, "concept_scores", rows)
        cell = place | {"tcav_magnitude": 0.5, "contribution": 0.25 * key, "p_value": 0.03, "alignment": 0.5}
        cell |= {"tcav_sign": epoch / 10, "significant": key == 0}
        rows = [cell | {"class_id": label, "prevalence": share} for label, share in enumerate(shares)]
        data.insert(connection, "tcav_scores", rows)


def test_concepts_by_epoch(compared):
    add_concepts(compared, "explained", 4, [[1.0, 0.0], [0.6, 0.8]], [[0.5, 0.5, 0, 0], [0, 0, 0, 0.5]])
    add_concepts(compared, "explained", 1, [[0.0, 1.0], [0.6, 0.8], [0.6, 0.8]], [[1, 0, 0, 0]] * 3)
    add_concepts(compared, "explained", 0, [[1.0, 0.0]], [[0, 0, 0, 1]], layer="stem")
    data.add_run(compared, "older", "2026-01-01", "explain", source="tiny")
    add_concepts(compared, "older", 1, [[1.0, 0.0]], [[0, 0, 0, 1]])
    add_concepts(compared, "older", 3, [[1.0, 0.0]], [[0, 0, 0, 1]])
    add_concepts(compared, "another", 9, [[1.0, 0.0]], [[0, 0, 0, 1]], run_id="twin")
    compared.execute("update concepts set label = 'wheels' where run_id = 'explained' and epoch = 4 and concept_id = 0")
    columns = ("explainer_run_id", "concept_id", "concept_name", "epoch", "matched_concept_id")
    columns += ("cosine", "prevalence", "top_class_name", "tcav_sign", "significant")
    found = [tuple(row[key] for key in columns) for row in records(compared, "concepts_by_epoch")]
    assert found == [
        ("explained", 0, "wheels", 1, 1, pytest.approx(0.6), 0.4, "cat", pytest.approx(0.1), False),
        ("older", 0, "wheels", 3, 0, 1, 0.6, "cat", pytest.approx(0.3), True),
        ("explained", 0, "wheels", 4, 0, 1, 0.6, "cat", pytest.approx(0.4), True),
        ("explained", 1, "concept 1 of 4", 1, 1, 1, 0.4, "fish", pytest.approx(0.1), False),
        ("older", 1, "concept 1 of 4", 3, 0, pytest.approx(0.6), 0.6, "fish", pytest.approx(0.3), True),
        ("explained", 1, "concept 1 of 4", 4, 1, 1, 0.4, "fish", pytest.approx(0.4), False),
    ]


def test_class_concepts(compared):
    # images 0 and 1 are cats, 2 and 3 dogs, 4 is a fish; no bird was scored
    add_concepts(compared, "explained", 4, [[1.0], [1.0]], [[0.5, 1, 0, 0.25], [0.75, 0.25, 0, 0]])
    add_concepts(compared, "explained", 3, [[1.0]], [[1, 1, 1, 1]])
    data.add_run(compared, "older", "2026-01-01", "explain", source="tiny")
    add_concepts(compared, "older", 9, [[1.0]], [[1, 1, 1, 1]])
    columns = ("class_name", "recall", "n", "concepts_per_image", "own_concept_id", "prevalence", "selectivity")
    columns += ("shared_by", "contribution", "significant")
    rows = records(compared, "class_concepts")
    assert {(row["explainer_run_id"], row["epoch"]) for row in rows} == {("explained", 4)}
    assert [tuple(row[key] for key in columns) for row in rows] == [
        ("cat", 1, 2, 1, 1, 0.75, 0.625, 1, 0.25, False),
        ("dog", 0.5, 2, 1, 0, 1, 0.625, 2, 0, True),
        ("fish", 0, 1, 1, 0, 0.25, -0.5, 3, 0, True),  # both are equally little its own
    ]
    assert rows[1]["own_concept_name"] == "concept 0 of 4"


def test_rows_of_classes_without_an_image_are_not_believed(compared):
    """As homes have them that are older than the rule that such classes have no row."""
    add_concepts(compared, "explained", 4, [[1.0]], [[0.5, 0.25, 1, 0]])  # no bird, class 2, was scored
    add_concepts(compared, "explained", 3, [[1.0]], [[0.5, 0.25, 1, 0]])
    compared.execute("delete from concept_scores where epoch = 3 and instance_id < 2")  # no cat at epoch 3
    assert [row["class_name"] for row in records(compared, "concepts_by_class")] == ["cat", "dog", "fish"]
    found = [(row["epoch"], row["top_class_name"], row["tcav_sign"]) for row in records(compared, "concepts_by_epoch")]
    assert found == [(3, "cat", None), (4, "cat", pytest.approx(0.4))]


def test_a_single_class_is_not_selective(compared):
    add_concepts(compared, "explained", 4, [[1.0], [1.0]], [[0.5], [0.75]])
    compared.execute("delete from concept_scores where instance_id > 1")
    [row] = records(compared, "class_concepts")
    assert (row["class_name"], row["own_concept_id"], row["selectivity"], row["shared_by"]) == ("cat", 0, None, 1)
    compared.execute("update tcav_scores set prevalence = 0")
    [row] = records(compared, "class_concepts")
    assert (row["prevalence"], row["shared_by"]) == (0, None)


# --- instances to check


def reasons(connection, **values):
    rows = records(connection, "instances_to_check", **values)
    return {reason: [row for row in rows if row["reason"] == reason] for reason in {row["reason"] for row in rows}}


def test_reasons_are_those_of_the_other_queries(compared):
    rows = data.noisy_rows("tiny", "val", 300, 0.2, seed=4)
    data.insert(compared, "predictions", rows)
    everything = {"split": "val", "limit": "1000"}
    found = reasons(compared, **everything)

    def ids(rows):
        return [row["instance_id"] for row in rows]

    suspects = records(compared, "label_suspects", **everything)
    forgetting = records(compared, "forgetting", split="val")
    mapped = records(compared, "cartography", split="val")
    assert ids(found["suspect_label"]) == ids(row for row in suspects if row["aum"] < 0) != []
    assert set(ids(found["never_right"])) == set(ids(row for row in forgetting if row["never_learned"])) != set()
    lost = [row for row in forgetting if not row["never_learned"] and not row["right_at_end"]]
    assert ids(found["forgotten"]) == ids(lost) != []
    times = [f"lost {row['forgetting']} times" for row in lost]
    details = [row["detail"].replace("once", "1 times") for row in found["forgotten"]]
    assert all(said in detail for said, detail in zip(times, details, strict=True))
    assert ids(found["ambiguous"]) == ids(row for row in mapped if row["region"] == "ambiguous") != []
    last = max(row["epoch"] for row in rows)
    sure = [row for row in rows if row["epoch"] == last and row["p_predicted"] >= 0.9 and row["margin"] < 0]
    assert ids(found["confident_wrong"]) == ids(sorted(sure, key=lambda row: -row["p_predicted"])) != []
    assert reasons(compared, split="val", limit="2") == {reason: found[reason][:2] for reason in found}


def test_reasons_by_hand(compared):
    compared.execute("update predictions set p_predicted = 0.97 where instance_id = 3 and epoch = 4")
    compared.execute("update predictions set p_sq = 0.4 where instance_id = 3")
    found = reasons(compared)
    assert {key: [(row["instance_id"], row["detail"]) for row in rows] for key, rows in found.items()} == {
        "suspect_label": [
            (4, "misclassified as dog in 2 of 3 epochs; mean probability of its label 0.13"),
            (2, "misclassified as bird in 2 of 3 epochs; mean probability of its label 0.33"),
        ],
        "confident_wrong": [(3, "misclassified as bird with probability 0.97")],
        "never_right": [(4, "wrong at all 3 epochs; mean probability of its label 0.13")],
        "forgotten": [(3, "last right at epoch 3, lost once in all")],
        "ambiguous": [
            (3, "ambiguity 0.60; mean probability of its label 0.60"),
            (1, "ambiguity 0.50; mean probability of its label 0.60"),
            (2, "ambiguity 0.50; mean probability of its label 0.33"),
            (4, "ambiguity 0.50; mean probability of its label 0.13"),
        ],
    }
    compared.execute("update predictions set p_true = null where instance_id = 1")
    assert [row["instance_id"] for row in reasons(compared)["ambiguous"]] == [3, 2, 4]
    [row] = found["forgotten"]
    assert (row["split"], row["label_name"], row["predicted_name"], row["source"]) == ("test", "dog", "bird", "test/3")


def test_an_image_that_the_last_epoch_lacks_is_judged_by_its_own_last(compared):
    compared.execute("delete from predictions where instance_id = 2 and epoch = 4")  # then it ends as a bird, not a dog
    compared.execute("delete from predictions where instance_id = 0 and epoch > 0")  # so 0 is its last
    compared.execute("update predictions set predicted = 1 where instance_id = 0")
    compared.execute("update predictions set p_predicted = 0.95 where instance_id in (0, 2)")
    found = {
        reason: [(row["instance_id"], row["predicted_name"]) for row in rows]
        for reason, rows in reasons(compared).items()
    }
    assert found["confident_wrong"] == [(0, "dog"), (2, "bird")]
    assert found["never_right"] == [(4, "dog"), (2, "bird")]


def test_an_imported_log_gives_reasons_without_probabilities(compared):
    compared.execute("update predictions set p_true = null, p_predicted = null, p_sq = null, margin = null")
    compared.execute("update predictions set predicted = 1 where instance_id = 4")
    found = reasons(compared)
    assert {key: [(row["instance_id"], row["detail"]) for row in rows] for key, rows in found.items()} == {
        "never_right": [(4, "wrong at all 3 epochs")],
        "forgotten": [(3, "last right at epoch 3, lost once in all")],
    }


def test_training_images_are_found_where_they_lie(compared):
    data.add_instances(compared, "tiny", "train", [0, 0, 1, 1, 3])
    data.insert(compared, "predictions", data.tiny_rows("tiny", "train_seen"))
    [row] = reasons(compared, split="train_seen")["never_right"]
    assert (row["split"], row["source"]) == ("train_seen", "train/4")
