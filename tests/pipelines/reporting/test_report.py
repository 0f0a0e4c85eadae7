"""The report: its numbers are those of the queries, its sentences follow them, and names cannot break it."""

import json
import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import queries
from pipelines.cli import main
from pipelines.common.settings import ExplainSettings, ImportFlowSettings, ReportSettings
from pipelines.explaining.explain import explain
from pipelines.flow.import_log import import_flow
from pipelines.reporting import accuracy
from pipelines.reporting.accuracy import (
    accuracy_sentence,
    best_epoch_sentence,
    few_sentence,
    spread_sentence,
    uneven_sentence,
)
from pipelines.reporting.agreement import agreement_sentence
from pipelines.reporting.calibration import bins_sentence, calibration_sentence
from pipelines.reporting.cards import covering_sentence
from pipelines.reporting.class_concepts import basic_sentence
from pipelines.reporting.concept_history import appearance_sentence
from pipelines.reporting.criteria import VERDICTS, holm
from pipelines.reporting.dynamics import forgetting_sentence, last_step_sentence
from pipelines.reporting.html import html, safe
from pipelines.reporting.learned import concepts_sentence, fidelity_sentence, tcav_sentence
from pipelines.reporting.pointing import pointing_sentence
from pipelines.reporting.regions import contrast_sentence, edge_sentence, lead_sentence, region_sentence
from pipelines.reporting.report import report
from pipelines.reporting.settling import settling_sentence, untrained_sentence
from pipelines.reporting.struggles import errors_sentence, pair_sentence, shared_sentence, weak_sentence
from pipelines.reporting.techniques import TECHNIQUES
from pipelines.reporting.trust import best_sentence, random_sentence, randomization_sentence
from pipelines.reporting.words import between, listed, percent, plural, value
from pipelines.study import _summarise
from pipelines.training.train import train
from support.homes import TINY, fresh
from tracking import commits, mlflow_client
from tracking.catalogue import resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS

NASTY = '<img src=x onerror=alert(1)> & "{0}"'
LOG = {
    "name": "</title><script>alert(1)</script>",
    "labels": ["</style><script>alert(2)</script>", NASTY, "c"],
    "instances": [{"id": f"i{i}", "actual": i % 3} for i in range(12)],
    "epochs": [{"id": str(e), "classifications": [(i * e + i // 2) % 3 for i in range(12)]} for e in (0, 1, 2)],
}


def flat(text: str) -> str:
    """A text with plain single spaces alone."""
    return " ".join(text.split())


def plain(page: Path) -> str:
    """The text of a page as a reader sees it."""
    text = re.sub(r"<style>.*?</style>|<sup.*?</sup>", "", page.read_text(), flags=re.DOTALL)
    return flat(unescape(re.sub(r"<[^>]*>", " ", text)))


def commands(page: Path) -> list[str]:
    found = re.findall(r"<code>(study .*?)</code>", page.read_text(), re.DOTALL)
    return [unescape(re.sub(r"</?span>", "", text)) for text in found]


def answer(home: Home, name: str, **values) -> list[dict]:
    with connect(home) as connection:
        found = queries.run(connection, name, {"run_id": resolve(home, "latest").run_id, **values})
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_tracker) -> Home:
    """A home with a training run on images of two classes, one of an awkward name, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 9)):
        for label, name in enumerate((NASTY, "b")):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 200 + 50 * label, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    home = fresh(folder, empty_tracker)
    train(replace(TINY, dataset="folder", data=str(folder / "data"), epochs=2, batch=16), home)
    return home


@pytest.fixture(scope="module")
def bare(home: Home) -> Path:
    """The report without any explainer run, kept aside as a later one replaces it."""
    made = Path(report(ReportSettings(), home))
    return made.rename(made.with_name("bare.html"))


@pytest.fixture(scope="module")
def full(home: Home, bare: Path) -> Path:
    """The report with maps of two methods and concepts at two epochs."""
    explain(
        ExplainSettings(method=("saliency", "shap", "ice"), epochs="1,2", instances="0,4,9,13", samples=20, concepts=2),
        home,
    )
    return Path(report(ReportSettings(), home))


def test_numbers_and_their_words() -> None:
    assert percent(0.8676001) == "86.8\u00a0%"
    assert percent(2 / 3, 12) == "67\u00a0%"
    assert [percent(share) for share in (0, 1, 0.99996, 0.0004)] == [
        "0\u00a0%",
        "100\u00a0%",
        "99.996\u00a0%",
        "0.04\u00a0%",
    ]
    assert between(0.918, 1, 44) == "92 to 100\u00a0%"
    assert value(-0.004) == "0.00"
    assert value(-0.25) == "\u22120.25"
    assert plural(1, "class", "classes") == "1 class"
    assert plural(1200, "image") == "1,200 images"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([*"abcdefghij"], 3) == "a, b, c and 7 more"


def test_every_value_is_escaped_but_html() -> None:
    assert html("<b>{}</b>{}", NASTY, html("<i>{}</i>", "&")) == (
        "<b>&lt;img src=x onerror=alert(1)&gt; &amp; &#34;{0}&#34;</b><i>&amp;</i>"
    )
    assert safe("a\x00b\x1b") == "a b "


def row(**known) -> dict:
    return {"class_name": "cat", "n": 100, "confused_with_name": "dog", **known}


def verdicts(*words: str | None) -> list[dict]:
    """Rows of class_differences of classes 0, 1, ..."""
    return [{"class_id": key, "verdict": word, "tells_apart": True} for key, word in enumerate(words)]


def test_classes_differ_only_beyond_chance() -> None:
    """As the question says, whatever their intervals do: of many classes some do not overlap by chance."""
    rows = [
        row(class_id=0, accuracy=0.5, low=0.4, high=0.6),
        row(class_id=1, class_name="dog", accuracy=0.8, low=0.71, high=0.87),
    ]
    assert flat(spread_sentence(rows, verdicts("harder", "easier"))) == (
        "Classes differ beyond chance: class cat (50 %, 95 % interval 40 to 60 %) is harder and class dog (80 %, 95 % "
        "interval 71 to 87 %) is easier than the others."
    )
    assert spread_sentence(rows, verdicts("harder", None)).endswith("is harder than the others.")
    assert spread_sentence(rows, verdicts(None, "easier")).endswith("is easier than the others.")
    assert "No difference between classes is shown" in spread_sentence(rows, verdicts(None, None))
    assert spread_sentence([one | {"accuracy": 1} for one in rows], verdicts(None, None)) == (
        "No class has a single mistake."
    )
    assert flat(weak_sentence(rows, verdicts("harder", "easier"))) == (
        "Harder than the mean of 65.0 %, beyond chance: cat (50 %, top mistake: dog)."
    )
    assert "No class is shown to be harder" in weak_sentence(rows, verdicts(None, "easier"))
    assert spread_sentence(rows[:1], verdicts(None)) is None
    blind = [one | {"tells_apart": False} for one in verdicts(None, None)]
    assert spread_sentence(rows, blind).startswith("The model is not shown to tell classes apart")
    assert weak_sentence(rows, blind) is None


def test_nothing_is_claimed_of_classes_with_few_images() -> None:
    """Neither that they are right, nor that nothing is wrong anywhere; those without an image are named too."""
    sure = row(class_id=0, accuracy=1, n=60, low=0.94, high=1)
    rare = row(class_id=1, class_name="rare", accuracy=1, n=2, low=0.342, high=1)
    assert few_sentence([sure], ["cat"]) is None
    few = few_sentence([sure, rare], ["cat", "odd", "rare"])
    assert flat(few) == (
        "Too few images to say how hard they are: odd (no images) and rare (2 of 2 right, 95 % interval 34 to 100 %)."
    )
    assert spread_sentence([sure, rare], verdicts(None, None)) == "No class of at least 20 images has a single mistake."
    assert spread_sentence([rare, rare], []) is None
    assert errors_sentence([sure], ["cat"]) == "No mistake is seen: at the last epoch all 60 images are right."
    assert errors_sentence([sure, rare], ["cat", "odd", "rare"]) == (
        f"At the last epoch all 62 images are right. {few}"
    )
    wrong = [sure | {"accuracy": 0.9, "low": 0.8, "high": 0.95}, rare | {"accuracy": 0.5, "low": 0.09, "high": 0.91}]
    assert weak_sentence(wrong, verdicts(None, None)).endswith("; those with under 20 images say little.")
    many = few_sentence([rare | {"class_name": f"c{n}"} for n in range(7)], [])
    assert "c3" in many
    assert "c4" not in many
    assert many.endswith("and 3 other classes.")


def test_accuracy_of_uneven_classes_is_told_as_such() -> None:
    most, rare = row(accuracy=0.99, n=920), row(class_name="rare", accuracy=0.25, n=80)
    assert flat(uneven_sentence([rare, most], "test images")) == (
        "Accuracy is dominated by class cat (92.0 % of the test images); balanced accuracy, the mean over 2 classes, "
        "is 62.0 %."
    )
    several = [*(rare | {"class_name": f"c{n}"} for n in range(6)), most | {"n": 400}]
    assert "dominated" not in uneven_sentence(several, "test images")
    assert flat(uneven_sentence(several, "test images")) == (
        "Classes differ in their number of test images, from 400 (cat) down to 80 (c0); balanced accuracy, the mean "
        "over 7 classes, is 35.6 %."
    )
    assert uneven_sentence([most, rare | {"n": 185}], "test images") is None


def test_the_summary_of_a_study_says_it_too(study: Home, trained, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = _summarise(study, trained.run_id, [], "report", "flow")
    assert "Too few" not in summary
    monkeypatch.setattr(accuracy, "IMAGES_FOR_CLASS", 1000)
    monkeypatch.setattr(accuracy, "UNEVEN_CLASSES", 1)
    summary = _summarise(study, trained.run_id, [], "report", "flow")
    assert "\n             Too few images to say how hard they are: " in summary
    assert "\n             Classes differ in their number of test images, from " in summary
    assert "\u00a0" not in summary


def test_a_better_epoch_counts_only_beyond_chance() -> None:
    """By the images that changed; ten earlier epochs, of which the best was chosen, need more than one."""
    last = {"epoch": 3, "n": 500, "accuracy": 0.8, "low": 0.76, "high": 0.83}
    best = last | {"epoch": 2, "accuracy": 0.84}
    assert flat(best_epoch_sentence([best, last], 24, 4)) == (
        "Epoch 2 reached 84.0 %; since then 24 images were lost and 4 gained, which is beyond chance: training on did "
        "harm."
    )
    assert "no difference is shown" in best_epoch_sentence([best, last], 120, 100)
    assert "no difference is shown" in best_epoch_sentence([*[best] * 10, last], 24, 4)
    assert (
        best_epoch_sentence([last | {"epoch": 2, "accuracy": 0.7}, last], 0, 0)
        == "No earlier epoch has a higher accuracy."
    )
    assert "right on all 360 test images" in accuracy_sentence(
        {"n": 360, "accuracy": 1, "low": 0.989, "high": 1}, 3, "test"
    )


def test_confidence_is_judged_by_an_exact_test() -> None:
    rows = [{"n": 900, "confidence": 0.9, "accuracy": 0.8, "ece": 0.1, "ece_by_chance": 0.01, "is_off": False}]
    assert "over-confident" in calibration_sentence(rows)
    assert "error is 10.0\u00a0%, where chance alone makes 1.0\u00a0%." in calibration_sentence(rows)
    assert "under-confident" in calibration_sentence([rows[0] | {"confidence": 0.7}])
    assert "no over- or under-confidence is shown" in calibration_sentence([rows[0] | {"confidence": 0.82}])
    assert "In none of 1 bin the accuracy is shown to differ" in bins_sentence(rows)
    assert "In 1 of 1 bin the accuracy differs" in bins_sentence([rows[0] | {"is_off": True}])


def region(method: str, low: float, high: float, subset: str = "all", n: int = 60) -> dict:
    """A row of attribution_regions whose maps are even but for the centre."""
    places = {"centre": (low, high), "border": (0.4, 0.5), "object": (None, None)}
    ends = {
        f"{place}_{end}": value
        for place, both in places.items()
        for end, value in zip(("low", "high"), both, strict=True)
    }
    return {
        "method": method,
        "subset": subset,
        "n": n,
        "centre": (low + high) / 2,
        "border": 0.45,
        "object": None,
    } | ends


def test_regions_follow_the_intervals() -> None:
    rows = [region("saliency", 0.3, 0.4), region("occlusion", 0.1, 0.2), region("shap", 0.2, 0.3)]
    text = flat(region_sentence(rows, "centre", 0.25, "an even map"))
    assert text == (
        "More than an even map (25.0 %) on the middle quarter of the image: saliency; less: occlusion; no difference "
        "shown: SHAP."
    )
    assert region_sentence(rows[2:], "centre", 0.25, "an even map").startswith("No method puts more or less")


def test_regions_are_held_against_an_edge_detector() -> None:
    rows = [region("saliency", 0.3, 0.34), region("shap", 0.4, 0.5)]
    text = flat(edge_sentence(rows, [*rows, region("edge", 0.33, 0.35)]))
    assert text.endswith("puts 34.0 % on the middle quarter of the image (more: SHAP).")
    assert edge_sentence(rows, [*rows, region("edge", 0.6, 0.7)]).endswith("(more: no method).")
    assert edge_sentence(rows, rows) is None


def test_right_and_wrong_differ_only_beyond_both_intervals() -> None:
    right, near, far = (region("shap", *ends, subset) for *ends, subset in (
        (0.2, 0.3, "right"), (0.28, 0.4, "wrong"), (0.31, 0.4, "wrong")))  # fmt: skip
    assert contrast_sentence([right, near]).startswith("No method is shown to look elsewhere")
    assert "SHAP on the middle quarter of the image, 25" in contrast_sentence([right, far])
    assert "outer ring" not in contrast_sentence([right, far])
    assert contrast_sentence([right, far | {"n": 9}]).startswith(
        "60 right and 9 wrong predictions are explained, too few"
    )
    assert contrast_sentence([right]) is None


def score(method: str, mean: float, metric: str = "insertion", **known) -> dict:
    better = "lower" if metric == "deletion" else "higher"
    return {"method": method, "metric": metric, "mean": mean, "better": better, "n": 500, "beats_random": True} | known


def test_a_best_method_beats_all_others() -> None:
    rows = [score("saliency", 0.4), score("shap", 0.6), score("occlusion", 0.59)]
    over = {"metric": "insertion", "method_a": "saliency", "method_b": "shap", "better_method": "shap"}
    equal = {"metric": "insertion", "method_a": "occlusion", "method_b": "shap", "better_method": None}
    assert best_sentence(rows, [over, equal]) == "By insertion SHAP leads, but is not told apart from occlusion."
    assert best_sentence(rows, [over, equal | {"better_method": "shap"}]) == (
        "By insertion SHAP is better than all other methods compared."
    )
    assert best_sentence(rows, [equal]) == "By insertion no method is shown to be best."


def test_lower_is_better_where_the_query_says_so_and_equal_verdicts_join() -> None:
    means = {"deletion": 0.2, "road_gap": 0.5, "insertion": 0.1}
    rows = [score("saliency", mean, metric) for metric, mean in means.items()]
    rows += [score("shap", 0.3, metric) for metric in means]
    over = {"method_a": "saliency", "method_b": "shap", "better_method": "saliency"}
    text = best_sentence(rows, [over | {"metric": "deletion"}, over | {"metric": "road_gap"}])
    assert text == (
        "By insertion no method is shown to be best. By deletion and ROAD saliency is better than all other methods "
        "compared."
    )


def test_who_does_not_beat_random_is_named() -> None:
    rows = [score("saliency", 0.4), score("shap", 0.6), score("saliency", 0.4, "deletion", beats_random=False)]
    assert "these beat random maps" in (text := random_sentence(rows))
    assert text.endswith("SHAP. Not shown to beat them: saliency by deletion.")
    assert "all methods beat random maps" in random_sentence(rows[:2])
    assert "No method beats random maps" in random_sentence(rows[2:])


def test_sanity_checks_are_estimates_that_claim_nothing() -> None:
    """Means on either side of any threshold read alike, with the interval where there is one."""
    low = score("saliency", 0.3, "randomized/everything") | {"low": 0.1, "high": 0.45, "n": 32}
    high = score("grad_cam", 0.62, "randomized/everything") | {"low": None, "high": None, "n": 8}
    text = randomization_sentence([low, high, score("shap", 0.9, "randomized/head")])
    assert "from 0.30 [95 % interval 0.10 to 0.45] (saliency) to 0.62 (Grad-CAM) (n\u00a0=\u00a08)" in text
    assert "is 0.62 (Grad-CAM)" in randomization_sentence([high])
    assert randomization_sentence([score("saliency", 0.9, "randomized/head")]) is None
    drift = {"method": "saliency", "epoch": 0, "n": 30, "to_last": 0.4, "to_last_low": 0.2, "to_last_high": 0.5}
    assert "of 0.40 [95 % interval 0.20 to 0.50] by saliency" in untrained_sentence([drift])
    assert untrained_sentence([drift | {"epoch": 1}, drift | {"to_last": None}]) is None


def test_agreement_is_an_estimate_that_claims_nothing() -> None:
    rows = [{"method_a": method, "method_b": "shap", "n": 40, "spearman": mean, "spearman_low": low,
             "spearman_high": high} for method, mean, low, high in (("saliency", 0.05, -0.02, 0.1),
                                                                    ("occlusion", 0.8, 0.7, 0.9))]  # fmt: skip
    assert flat(agreement_sentence(rows)) == (
        "The mean rank correlation of two methods' maps is from 0.05 [95 % interval \u22120.02 to 0.10] (saliency and "
        "SHAP) to 0.80 [95 % interval 0.70 to 0.90] (occlusion and SHAP; n = 40)."
    )
    assert agreement_sentence(rows[:1]).startswith("Maps of saliency and SHAP have a mean rank correlation of 0.05")


def sized_classes(*sizes: int) -> list[dict]:
    """Rows of class_differences of classes 0, 1, ..., told apart."""
    return [{"class_id": key, "n": n, "tells_apart": True} for key, n in enumerate(sizes)]


def test_pairs_need_mistakes() -> None:
    pair = {"name_a": "cat", "name_b": "dog", "n": 50, "a_as_b": 40, "b_as_a": 10, "share": 0.5}
    pair |= {"class_a": 0, "class_b": 1}
    images = sized_classes(100, 100)
    assert "with 50 of 100 mistakes (50" in (text := pair_sentence([pair], images))
    assert text.startswith("Most mixed up are cat and dog")
    assert text.endswith("cat as dog more often (40) than dog as cat (10).")
    even = pair_sentence([pair | {"a_as_b": 26, "b_as_a": 24}], images)
    assert even.endswith("cat as dog (26) and dog as cat (24).")
    assert pair_sentence([pair | {"n": 1, "a_as_b": 1, "b_as_a": 0, "share": 1.0}], images).startswith(
        "1 mistake is too few"
    )
    assert pair_sentence([], images) is None
    assert pair_sentence([pair], [one | {"tells_apart": False} for one in images]) is None


def test_a_pair_is_the_first_and_leans_only_beyond_chance() -> None:
    pair = {"name_a": "cat", "name_b": "dog", "n": 50, "a_as_b": 40, "b_as_a": 10, "share": 0.5}
    pair |= {"class_a": 0, "class_b": 1}
    assert pair_sentence([pair, pair | {"n": 40}], sized_classes(100, 100)).startswith(
        "Among the pairs mixed up most, which"
    )
    assert pair_sentence([pair, pair | {"n": 10}], sized_classes(100, 100)).startswith("Most mixed up are cat and dog")
    # of four times as many cats as dogs a fifth is the same share
    assert pair_sentence([pair], sized_classes(400, 100)).endswith("cat as dog (40 of 400) and dog as cat (10 of 100).")
    rare = pair | {"a_as_b": 20, "b_as_a": 30}
    assert pair_sentence([rare], sized_classes(400, 100)).endswith(
        "dog as cat more often (30 of 100) than cat as dog (20 of 400)."
    )


def test_steps_and_forgetting_are_counted() -> None:
    step = {"fixed": 30, "broken": 4, "rerouted": 0}
    assert last_step_sentence(step) == "The last epoch fixed 30 images and broke 4: a gain of 26."
    assert "no more than chance" in last_step_sentence(step | {"broken": 28})
    assert last_step_sentence({"fixed": 0, "broken": 0, "rerouted": 0}) == "The last epoch changed nothing."
    kept = {"n": 3, "forgetting": 0, "right_at_end": True, "never_learned": False}
    lost = kept | {"forgetting": 1, "right_at_end": False}
    assert forgetting_sentence([kept, kept]).endswith("none was never right.")
    assert forgetting_sentence([kept, lost]).startswith("1 of 2 images (50")


def test_explanations_settle_later_only_beyond_chance() -> None:
    rows = [{"method": "shap", "settles": when} for when in ["after"] * 30 + ["with"] * 5 + ["before"] * 5]
    assert settling_sentence(rows) == "Explanations settle later than their predictions: SHAP in 30 of 40 images."
    assert settling_sentence(rows[25:]).startswith("By no method explanations are shown to settle")
    assert settling_sentence([]) is None


def test_concepts_are_old_only_without_a_break() -> None:
    likeness = {0: (0.95, 0.95, 1.0), 1: (0.95, 0.5, 1.0), 2: (0.2, 0.95, 1.0)}
    rows = [{"concept_id": concept, "epoch": epoch, "cosine": cosine}
            for concept, own in likeness.items() for epoch, cosine in enumerate(own)]  # fmt: skip
    assert appearance_sentence(rows) == (
        "Of 3 concepts of epoch 2, 1 was there since epoch 0 without a break (cosine 0.9 or more) and 1 only at the "
        "last epoch looked at."
    )


def test_unstable_concepts_are_counted_but_not_spoken_of() -> None:
    rows = [{"concept_id": concept, "class_id": label, "prevalence": share, "layer": "body", "epoch": 3,
             "p_prevalence": 0.0 if share > 0.75 else 1.0}
            for concept, shares in {0: (0.9, 0.1), 1: (0.1, 0.8), 2: (0.7, 0.6)}.items()
            for label, share in enumerate(shares)]  # fmt: skip
    assert concepts_sentence(rows, set()) == (
        "In layer body of epoch 3 the activations are made of 3 concepts; 2 of them serve a single class "
        "(beyond chance, and no other shows it half as often), 1 is in half or more of every class's images."
    )
    assert concepts_sentence(rows, {1}) == (
        "In layer body of epoch 3 the activations are made of 3 concepts, of which 2 are stable: other images lead to "
        "them too; 1 of them serves a single class (beyond chance, and no other shows it half as often), 1 is in half "
        "or more of every class's images."
    )
    by_chance = [row | {"p_prevalence": 0.01} for row in rows]
    assert "none of them serves a single class" in concepts_sentence(by_chance, set())
    assert concepts_sentence(rows, {0, 1, 2}).endswith("so nothing is said of whom they serve.")


def test_relations_over_classes_need_strength_and_classes() -> None:
    rows = [{"recall": i / 10, "concepts_per_image": i, "selectivity": (3 * i) % 10 / 10} for i in range(10)]
    assert "Classes with higher accuracy have more concepts an image" in basic_sentence(rows)
    assert "n = 10 classes" in basic_sentence(rows)
    flat = [one | {"concepts_per_image": one["selectivity"]} for one in rows]
    assert "no relation is shown" in basic_sentence(flat)
    assert "too few" in basic_sentence(rows[:5])
    assert "no relation is shown" in basic_sentence(rows[:6])  # of 720 orders two are as clear: more than 0.2 %


def test_p_values_are_corrected_step_by_step() -> None:
    assert holm({"a": 0.03, "b": 0.01, "c": 0.9}) == pytest.approx({"b": 0.03, "a": 0.06, "c": 0.9})
    assert holm({"a": 0.02, "b": 0.019, "c": 0.8}) == pytest.approx({"b": 0.057, "a": 0.057, "c": 0.8})
    assert holm({}) == {}


def test_the_verdicts_of_a_report_share_five_percent() -> None:
    assert sum(verdict.level for verdict in VERDICTS.values()) == pytest.approx(0.05)


def test_concepts_that_lose_the_answer_are_called_out() -> None:
    kept = {"answers_kept": 0.58, "n": 500, "low": 0.536, "high": 0.623}
    text = flat(fidelity_sentence(kept))
    assert "58.0 % of 500 held-out images (95 % interval 53.6 to 62.3 %; aim: 90.0 %); on the others it depends" in text
    assert "aim" not in fidelity_sentence(kept | {"answers_kept": 0.97})
    assert fidelity_sentence(None) is None
    cell = {
        "concept_id": 0,
        "class_id": 0,
        "class_name": "cat",
        "p_value": 0.2,
        "significant": False,
        "tcav_magnitude": 1.0,
        "contribution": 1,
    }
    assert "no effect of a concept on a class is beyond chance" in tcav_sentence([cell])
    significant = cell | {"p_value": 0.002, "significant": True}
    assert "first concept 0 for cat" in tcav_sentence([significant | {"prevalence": 0.5}])
    assert "against cat" in tcav_sentence([significant | {"prevalence": 0.5, "tcav_magnitude": -1.0}])
    assert "none of them where" in tcav_sentence([significant | {"prevalence": 0.0}])
    assert "Explain again with ice" in tcav_sentence([cell | {"p_value": None, "significant": None}])


def test_every_technique_has_a_card() -> None:
    assert {*METHODS, *CONCEPT_METHODS} <= set(TECHNIQUES)


def test_a_card_says_how_often_a_part_is_left_out() -> None:
    rows = [score("saliency", 0.6, "covers_all_parts", n=40), score("saliency", 0.9, "points_at_glyph", n=40)]
    assert flat(covering_sentence(rows)) == (
        "Here several parts decide together, and 16 of 40 maps (40 %) leave one out: it has less than half of an equal "
        "share."
    )
    assert covering_sentence(rows[1:]) is None


def test_without_explanations_it_says_what_makes_them(home: Home, bare: Path) -> None:
    text, run_id = plain(bare), resolve(home, "latest").run_id
    assert "No image of test is explained" in text
    assert "No concepts have been looked for yet" in text
    found = commands(bare)
    assert f"study explain {run_id} --method {' '.join(METHODS)} --split test --count 18" in found
    assert f"study compare {run_id} --split test" in found
    assert f"study explain {run_id} --method ice --split test --count 18" in found


def test_numbers_are_those_of_sql(home: Home, full: Path) -> None:
    run_id, text = resolve(home, "latest").run_id, plain(full)
    with connect(home) as connection:
        sql = """select avg((predicted = label)::int), count(*), count(*) filter (predicted <> label) from predictions
                 where run_id = ? and split = 'test' and epoch = 2"""
        right, n, wrong = connection.execute(sql, [run_id]).fetchone()
        sql = "select map8 from attributions where method = 'saliency' and epoch = 2"
        maps = np.abs([row[0] for row in connection.execute(sql).fetchall()]).reshape(-1, 8, 8)
    assert flat(f"right on {percent(right, n)} of {n} test images") in text
    assert flat(f"{wrong} of {n} images ({percent(wrong / n, n)}) are wrong") in text
    assert (
        "4 images of test are explained at epoch 2, by 2 methods: saliency and SHAP; so few that intervals are" in text
    )
    shares = maps[:, 2:6, 2:6].sum((1, 2)) / maps.sum((1, 2))
    assert flat(f"{percent(float(shares.mean()))} (saliency)") in text


def test_every_command_of_the_appendix_answers(home: Home, full: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_HOME", str(home.path))
    asked = [command for command in commands(full) if command.startswith(("study ask", "study sql"))]
    assert len(asked) > 15
    for command in asked:
        assert main([*shlex.split(command)[1:], "--format", "json"]) == 0, command
    capsys.readouterr()


def test_every_footnote_leads_to_a_query(full: Path) -> None:
    text = full.read_text()
    marks = set(re.findall(r'href="#(q\d+)"', text))
    assert len(marks) > 15
    assert marks <= set(re.findall(r'id="(q\d+)"', text))


def test_page_fetches_nothing_and_runs_nothing(full: Path) -> None:
    text = full.read_text()
    assert not re.search(r"<script|<link|@import|url\(|<iframe|https?://|<[^>]*\son\w+=", text)
    assert all(place.startswith(("data:image/", "#")) for place in re.findall(r'(?:src|href)="([^"]*)"', text))


def test_names_cannot_break_the_page(full: Path, log: Path) -> None:
    for page in (full, log):
        assert "<img src=x" not in page.read_text()
        assert "<script" not in page.read_text()
    assert "&lt;/title&gt;&lt;script&gt;" in log.read_text()


@pytest.fixture(scope="module")
def log(tmp_path_factory, empty_tracker) -> Path:
    """The report on an imported log."""
    folder = tmp_path_factory.mktemp("log")
    (folder / "log.json").write_text(json.dumps(LOG))
    home = fresh(folder, empty_tracker)
    import_flow(ImportFlowSettings(file=str(folder / "log.json")), home)
    return Path(report(ReportSettings(), home))


def test_an_imported_log_is_reported_as_far_as_it_goes(log: Path) -> None:
    text = plain(log)
    assert "An imported log has no checkpoints" in text
    assert "The run has no probabilities" in text
    assert not [command for command in commands(log) if command.startswith(("study explain", "study compare"))]


def test_report_is_a_committed_run_and_a_file_of_the_training_run(home: Home, full: Path) -> None:
    source, made = resolve(home, "latest"), resolve(home, "latest", ("report",))
    assert (made.source_run_id, made.status, made.dataset) == (source.run_id, "FINISHED", "folder")
    assert mlflow_client.connect(home).get_run(made.run_id).data.tags["mlflow.parentRunId"] == source.run_id
    units = {commit.unit: {file.path for file in commit.files} for commit in commits.read_commits(home, made.run_id)}
    assert units == {"start": {"config.json", "environment.json"}, "report": {"report.html", "instances_to_check.csv"}}
    assert full == home.run_folder(source.run_id) / "report.html"
    assert full.read_bytes() == (home.run_folder(made.run_id) / "report.html").read_bytes()
    listed = (home.run_folder(made.run_id) / "instances_to_check.csv").read_text().splitlines()
    assert listed[0] == "split,instance_id,reason"
    assert len(listed) - 1 == len(answer(home, "instances_to_check"))


def test_a_split_without_labels_is_refused(home: Home) -> None:
    with pytest.raises(InputError, match=r"no predictions of labelled images of split 'extra:x'; .*: test, val"):
        report(ReportSettings(split="extra:x"), home)


def shared(prevalence: dict[tuple[int, int], float], adds: float = 0.5, p_value: float = 0.001) -> str | None:
    """The sentence on classes 0 and 1 for a prevalence by concept and class."""
    rows = [{"concept_id": c, "class_id": k, "prevalence": share, "contribution": adds, "p_prevalence": p_value}
            for (c, k), share in prevalence.items()]  # fmt: skip
    return shared_sentence({"class_a": 0, "class_b": 1, "name_a": "cat", "name_b": "dog"}, rows)


def test_a_shared_concept_explains_a_mixed_up_pair() -> None:
    both = {(0, 0): 0.1, (0, 1): 0.9, (0, 2): 0.0, (1, 0): 0.6, (1, 1): 0.8, (1, 2): 0.2}
    assert flat(shared(both)) == (
        "The classes cat and dog share concept 1, which they show more often than others do, beyond chance (60.0 % and "
        "80.0 % of their images show it; it adds 0.50 and 0.50 to their logits)."
    )
    everywhere = both | {(1, 2): 0.5}
    no_concept = "No stable concept is shown to stand for cat and dog and to raise both."
    assert shared(everywhere) == no_concept
    assert shared(both, adds=-0.02) == no_concept
    assert shared(both, p_value=0.002) == no_concept
    assert shared({}) is None  # no concept is stable
    assert shared({(0, 0): 1.0, (0, 2): 0.0}) is None  # no image of dog was scored


def test_the_lead_names_the_least_and_the_most() -> None:
    rows = [
        {"method": "shap", "centre": 0.48, "object": 0.49},
        {"method": "grad_cam", "centre": 0.33, "object": None},
    ]
    assert flat(lead_sentence(rows, 0.3)) == (
        "Of the maps' magnitude lies 33.0 % (Grad-CAM) to 48.0 % (SHAP) on the middle quarter of the image, where an "
        "even map has 25.0 %, and 49.0 % (SHAP) on the object-like region, where a random map has 30.0 %."
    )
    assert "object" not in lead_sentence(rows, None)


def test_pointing_is_told_where_the_data_knows_what_decides() -> None:
    found = {"shap": (0.75, 0.25), "saliency": (1.0, 0.0), "random": (0.05, 0.05), "edge": (0.0, 1.0)}
    rows = [
        {"method": method, "metric": f"points_at_{place}", "mean": share, "n": 400}
        for method, shares in found.items()
        for place, share in zip(("glyph", "decoy"), shares, strict=True)
    ]
    text = flat(pointing_sentence(rows))
    assert "in 75.0 % (SHAP) to 100 % (saliency) of the images, on the decoy in at most 25.0 %" in text
    assert text.endswith("of random maps in 5.0 %.")
    assert pointing_sentence([]) is None
