"""What a report claims: nothing that its questions and tests do not show."""

import pytest

from pipelines.pages.evidence import Answer
from pipelines.reporting.accuracy import compare_best, few_sentence, judge_classes, list_different, uneven_sentence
from pipelines.reporting.calibration import judge_confidence
from pipelines.reporting.criteria import VERDICTS, holm
from pipelines.reporting.faithfulness import Faithfulness, find_pointing, judge_methods
from pipelines.reporting.history import count_forgotten, count_settled, judge_last_step, judge_settling
from pipelines.reporting.mistakes import find_shared, find_sink, judge_pair, list_into, list_mixed
from pipelines.reporting.parts import compare_agreement, compare_with_edges, contrast, judge_places
from pipelines.reporting.patterns import count_ages, judge_answer, list_single, relate_to_accuracy


def flat(text: str) -> str:
    """A text with plain single spaces alone."""
    return " ".join(text.split())


def test_the_verdicts_of_a_report_share_five_percent() -> None:
    assert sum(verdict.level for verdict in VERDICTS.values()) == pytest.approx(0.05)


def test_p_values_are_corrected_step_by_step() -> None:
    assert holm({"a": 0.03, "b": 0.01, "c": 0.9}) == pytest.approx({"b": 0.03, "a": 0.06, "c": 0.9})
    assert holm({"a": 0.02, "b": 0.019, "c": 0.8}) == pytest.approx({"b": 0.057, "a": 0.057, "c": 0.8})
    assert holm({}) == {}


def row(**known) -> dict:
    return {"class_name": "cat", "n": 100, "confused_with_name": "dog", **known}


def verdicts(*words: str | None) -> list[dict]:
    """Rows of class_differences of classes 0, 1, ..."""
    return [{"class_id": key, "verdict": word, "tells_apart": True} for key, word in enumerate(words)]


def test_classes_differ_only_beyond_chance() -> None:
    """As the question says, whatever their intervals do: of many classes some do not overlap by chance."""
    rows = [row(class_id=0, accuracy=0.5), row(class_id=1, class_name="dog", accuracy=0.8)]
    assert judge_classes(rows, verdicts("harder", "easier")) == "differ"
    assert list_different(rows, verdicts("harder", "easier")) == (rows[:1], rows[1:])
    assert judge_classes(rows, verdicts(None, "easier")) == "differ"
    assert judge_classes(rows, verdicts(None, None)) == "alike"
    assert judge_classes([one | {"accuracy": 1} for one in rows], verdicts(None, None)) == "perfect"
    assert judge_classes(rows[:1], verdicts(None)) == "few"
    blind = [one | {"tells_apart": False} for one in verdicts("harder", None)]
    assert judge_classes(rows, blind) == "blind"
    assert list_different(rows, blind) == ([], [])


def test_nothing_is_claimed_of_classes_with_few_images() -> None:
    """Neither that they are right, nor that nothing is wrong anywhere; those without an image are named too."""
    sure = row(class_id=0, accuracy=1, n=60, low=0.94, high=1)
    rare = row(class_id=1, class_name="rare", accuracy=1, n=2, low=0.342, high=1)
    assert few_sentence([sure], ["cat"]) is None
    assert flat(few_sentence([sure, rare], ["cat", "odd", "rare"])) == (
        "Too few images to say how hard they are: odd (no images) and rare (2 of 2 right, 95 % interval 34 to 100 %)."
    )
    assert judge_classes([rare, rare], []) == "few"
    many = [rare | {"class_name": f"c{n}"} for n in range(7)]
    assert few_sentence(many, [one["class_name"] for one in many]) == (
        "Too few images to say how hard they are: 7 classes with under 20 images."
    )
    assert few_sentence(many, [*(one["class_name"] for one in many), "odd"]).endswith("and 1 class without any (odd).")


def test_accuracy_of_uneven_classes_is_told_as_such() -> None:
    most, rare = row(accuracy=0.99, n=920), row(class_name="rare", accuracy=0.25, n=80)
    assert flat(uneven_sentence([rare, most], "test images")) == (
        "Accuracy is dominated by class cat (92.0 % of the test images); balanced accuracy, the mean over 2 classes, "
        "is 62.0 %."
    )
    several = [*(rare | {"class_name": f"c{n}"} for n in range(6)), most | {"n": 400}]
    assert flat(uneven_sentence(several, "test images")) == (
        "Classes differ in their number of test images, from 400 (cat) down to 80 (c0); balanced accuracy, the mean "
        "over 7 classes, is 35.6 %."
    )
    assert uneven_sentence([most, rare | {"n": 185}], "test images") is None


def test_a_better_epoch_counts_only_beyond_chance() -> None:
    """By the images that changed; ten earlier epochs, of which the best was chosen, need more than one."""
    last = {"epoch": 3, "n": 500, "accuracy": 0.8}
    best = last | {"epoch": 2, "accuracy": 0.84}
    assert compare_best([best, last], 24, 4).did_harm
    assert not compare_best([best, last], 120, 100).did_harm
    assert not compare_best([*[best] * 10, last], 24, 4).did_harm
    assert compare_best([last | {"epoch": 2, "accuracy": 0.7}, last], 0, 0) is None
    assert compare_best([last], 0, 0) is None


def test_confidence_is_judged_by_an_exact_test() -> None:
    rows = [{"n": 900, "confidence": 0.9, "accuracy": 0.8}]
    assert judge_confidence(rows) == "over"
    assert judge_confidence([rows[0] | {"confidence": 0.7}]) == "under"
    assert judge_confidence([rows[0] | {"confidence": 0.82}]) is None


def region(method: str, low: float, high: float, subset: str = "all", n: int = 60) -> dict:
    """A row of attribution_regions whose maps are even but for the centre."""
    places = {"centre": (low, high), "border": (0.4, 0.5), "object": (None, None)}
    ends = {
        f"{place}_{end}": value
        for place, both in places.items()
        for end, value in zip(("low", "high"), both, strict=True)
    }
    fractions = {"centre": (low + high) / 2, "border": 0.45, "object": None}
    return {"method": method, "subset": subset, "n": n} | fractions | ends


def test_places_follow_the_intervals() -> None:
    rows = [region("saliency", 0.3, 0.4), region("occlusion", 0.1, 0.2), region("shap", 0.2, 0.3)]
    centre = judge_places(rows)["centre"]
    assert (centre.more, centre.less, centre.equal) == (["saliency"], ["occlusion"], ["shap"])
    assert (centre.least["method"], centre.most["method"]) == ("occlusion", "saliency")
    assert judge_places(rows)["border"].equal == ["saliency", "occlusion", "shap"]
    assert "object" not in judge_places(rows)


def test_the_object_is_held_against_random_maps_and_their_interval() -> None:
    known = {"object": 0.4, "object_low": 0.35, "object_high": 0.45}
    random = region("random", 0.25, 0.25) | {"object": 0.3, "object_low": 0.28, "object_high": 0.36}
    assert judge_places([region("shap", 0.2, 0.3) | known, random])["object"].equal == ["shap"]
    assert judge_places([region("shap", 0.2, 0.3) | known, random | {"object_high": 0.34}])["object"].more == ["shap"]


def test_places_are_held_against_an_edge_detector() -> None:
    rows = [region("saliency", 0.3, 0.34), region("shap", 0.4, 0.5)]
    [centre] = compare_with_edges([*rows, region("edge", 0.33, 0.35)])
    assert (centre.place, centre.more) == ("centre", ["shap"])
    assert compare_with_edges([*rows, region("edge", 0.6, 0.7)])[0].more == []
    assert compare_with_edges(rows) == []


def test_right_and_wrong_differ_only_beyond_both_intervals() -> None:
    right, near, far = (region("shap", *ends, subset) for *ends, subset in (
        (0.2, 0.3, "right"), (0.28, 0.4, "wrong"), (0.31, 0.4, "wrong")))  # fmt: skip
    assert contrast([right, near]).apart == []
    assert [(method, place) for method, place, *_ in contrast([right, far]).apart] == [("shap", "centre")]
    assert not contrast([right, far | {"n": 9}]).enough
    assert contrast([right]) is None


def score(method: str, mean: float, metric: str = "insertion", **known) -> dict:
    better = "lower" if metric == "deletion" else "higher"
    return {"method": method, "metric": metric, "mean": mean, "better": better, "n": 500, "beats_random": True} | known


def difference(better: str | None, one: str, other: str, metric: str = "insertion") -> dict:
    return {"metric": metric, "method_a": one, "method_b": other, "better_method": better}


def test_a_method_is_undefeated_only_if_none_is_better_and_random_is_beaten() -> None:
    rows = [score("saliency", 0.4), score("shap", 0.6), score("occlusion", 0.59, beats_random=False)]
    shown = difference("shap", "saliency", "shap")
    saliency, occlusion, shap = judge_methods(rows, [shown, difference(None, "occlusion", "shap")])
    assert [one.is_undefeated for one in (saliency, occlusion, shap)] == [False, False, True]
    assert saliency.beaten_by == {"insertion": ["shap"]}
    assert occlusion.failed == ["insertion"]
    assert all(one.is_undefeated for one in judge_methods(rows[:2], []))
    assert not judge_methods([score("shap", 0.6, beats_random=None)], [])[0].is_undefeated  # too few images


def test_methods_beat_random_maps_by_every_measure_that_any_was_judged_by() -> None:
    rows = [score("saliency", 0.4), score("shap", 0.6), score("shap", 0.1, "deletion")]
    found = Faithfulness(None, Answer(rows, 1), Answer([], 2), judge_methods(rows, []), None, {})
    assert (found.measures, found.beating) == (["insertion", "deletion"], ["shap"])
    few = Faithfulness(
        None, Answer([], 1), Answer([], 2), judge_methods([score("shap", 0.6, beats_random=None)], []), None, {}
    )
    assert (few.measures, few.beating) == ([], [])


def test_methods_like_an_edge_detector_are_told() -> None:
    rows = [score("saliency", 0.4), score("shap", 0.6)]
    edges = [difference("shap", "edge", "shap"), difference(None, "edge", "saliency")]
    saliency, shap = judge_methods(rows, edges)
    assert (saliency.like_edges, shap.like_edges) == (["insertion"], [])
    assert not saliency.beaten_by


def test_pointing_is_told_where_the_data_knows_what_decides() -> None:
    found = {"shap": (0.75, 0.25), "saliency": (1.0, 0.0), "random": (0.05, 0.05), "edge": (0.0, 1.0)}
    rows = [
        {"method": method, "metric": f"points_at_{place}", "mean": share, "n": 400}
        for method, shares in found.items()
        for place, share in zip(("glyph", "decoy"), shares, strict=True)
    ]
    pointing = find_pointing(rows)
    assert (pointing.least, pointing.most) == (("shap", 0.75), ("saliency", 1.0))
    assert (pointing.decoy, pointing.random) == (0.25, 0.05)
    assert find_pointing([]) is None


def test_agreement_is_compared_only_where_there_are_enough_images() -> None:
    pair = {"method_a": "saliency", "method_b": "shap", "n": 40, "agrees": "lower"}
    assert compare_agreement([pair], [pair]) == [pair]
    assert compare_agreement([pair | {"n": 9}], [pair]) == []
    assert compare_agreement([pair], [pair | {"n": 9}]) == []


def sized_classes(*sizes: int) -> list[dict]:
    """Rows of class_differences of classes 0, 1, ..., told apart."""
    return [{"class_id": key, "n": n, "tells_apart": True} for key, n in enumerate(sizes)]


PAIR = {"name_a": "cat", "name_b": "dog", "n": 50, "a_as_b": 40, "b_as_a": 10, "share": 0.5, "class_a": 0, "class_b": 1}


def test_pairs_need_mistakes_and_a_model_that_tells_classes_apart() -> None:
    images = sized_classes(100, 100)
    assert judge_pair([PAIR], images).is_first
    assert judge_pair([PAIR | {"n": 1, "a_as_b": 1, "b_as_a": 0, "share": 1.0}], images) is None
    assert judge_pair([], images) is None
    assert judge_pair([PAIR], [one | {"tells_apart": False} for one in images]) is None


def test_a_pair_is_the_first_and_leans_only_beyond_chance() -> None:
    images = sized_classes(100, 100)
    assert not judge_pair([PAIR, PAIR | {"n": 40}], images).is_first
    assert judge_pair([PAIR, PAIR | {"n": 10}], images).is_first
    assert judge_pair([PAIR], images).leans
    assert not judge_pair([PAIR | {"a_as_b": 26, "b_as_a": 24}], images).leans
    assert not judge_pair([PAIR], sized_classes(400, 100)).leans  # of four times as many cats a fifth is the same share
    rare = judge_pair([PAIR | {"a_as_b": 20, "b_as_a": 30}], sized_classes(400, 100))
    assert (rare.a, rare.a_as_b, rare.n_a, rare.b_as_a, rare.leans) == ("dog", 30, 100, 20, True)


def test_a_class_that_half_of_the_mistakes_end_in_is_named() -> None:
    """Not one whose mistakes are all of one class: these are a pair's."""
    row = {"class_id": 0, "n": 30, "n_labels": 2, "wrong": 60}
    assert find_sink([row, row | {"class_id": 1, "n": 29}]) is row
    assert find_sink([row | {"wrong": 61}]) is None
    assert find_sink([row | {"n_labels": 1}]) is None
    assert find_sink([]) is None


def test_a_confusion_matrix_shows_whole_pairs_of_many_classes() -> None:
    pairs = [{"class_a": a, "class_b": b} for a, b in ((5, 9), (9, 40), (1, 2))]
    assert list_mixed(pairs, 100) == [1, 2, 5, 9, 40]
    assert list_mixed([{"class_a": 2 * i, "class_b": 2 * i + 1} for i in range(9)], 100) == list(range(12))
    assert list_mixed([], 3) == [0, 1, 2]


def shared(prevalence: dict[tuple[int, int], float], adds: float = 0.5, p_value: float = 0.001) -> int | None:
    """The concept that classes 0 and 1 share, for a prevalence by concept and class."""
    rows = [{"concept_id": c, "class_id": k, "prevalence": share, "contribution": adds, "p_prevalence": p_value}
            for (c, k), share in prevalence.items()]  # fmt: skip
    found = find_shared((0, 1), rows)
    return found and found.concept


def test_a_shared_concept_explains_a_mixed_up_pair() -> None:
    both = {(0, 0): 0.1, (0, 1): 0.9, (0, 2): 0.0, (1, 0): 0.6, (1, 1): 0.8, (1, 2): 0.2}
    assert shared(both) == 1
    assert shared(both | {(1, 2): 0.5}) is None  # it is in other classes too
    assert shared(both, adds=-0.02) is None
    assert shared(both, p_value=0.002) is None


def test_steps_and_forgetting_are_counted() -> None:
    step = {"fixed": 30, "broken": 4, "rerouted": 0}
    assert judge_last_step(step).differs
    assert not judge_last_step(step | {"broken": 28}).differs
    assert not judge_last_step({"fixed": 0, "broken": 0, "rerouted": 0}).differs
    kept = {"n": 3, "forgetting": 0, "right_at_end": True, "never_learned": False}
    lost = kept | {"forgetting": 1, "right_at_end": False}
    found = count_forgotten(Answer([kept, lost], 1))
    assert (found.n, found.lost, found.back, found.never) == (2, 1, 0, 0)
    assert count_forgotten(Answer([kept | {"n": 1}], 1)) is None


def test_explanations_settle_later_only_beyond_chance() -> None:
    rows = [{"method": "shap", "settles": when} for when in ["after"] * 30 + ["with"] * 5 + ["before"] * 5]
    assert judge_settling(count_settled(rows)) == (["shap"], [])
    assert judge_settling(count_settled(rows[25:])) == ([], [])
    assert count_settled([]) == {}


def test_concepts_are_old_only_without_a_break() -> None:
    likeness = {0: (0.95, 0.95, 1.0), 1: (0.95, 0.5, 1.0), 2: (0.2, 0.95, 1.0)}
    rows = [{"concept_id": concept, "epoch": epoch, "cosine": cosine}
            for concept, own in likeness.items() for epoch, cosine in enumerate(own)]  # fmt: skip
    assert count_ages(rows) == (3, 1, 1)


def test_concepts_of_a_single_class_are_those_that_no_other_shows_half_as_often() -> None:
    rows = [{"concept_id": concept, "class_id": label, "prevalence": share, "p_prevalence": float(share < 0.75)}
            for concept, shares in {0: (0.9, 0.1), 1: (0.1, 0.8), 2: (0.7, 0.6)}.items()
            for label, share in enumerate(shares)]  # fmt: skip
    assert list_single(rows) == ([0, 1], 1)
    assert list_single([one | {"p_prevalence": 0.01} for one in rows]) == ([], 1)
    assert list_single([]) == ([], 0)


@pytest.mark.parametrize(("kept", "stable", "status"), [
    (0.97, 3, "answered"), (0.9, 1, "answered"), (0.89, 3, "partly"), (0.5, 3, "partly"), (0.3, 3, "not"),
    (0.97, 0, "not"), (None, 3, "not"),
])  # fmt: skip
def test_patterns_are_answered_only_if_stable_concepts_carry_the_model(
    kept: float | None, stable: int, status: str
) -> None:
    assert judge_answer(None if kept is None else {"answers_kept": kept}, stable) == status


def test_relations_over_classes_need_strength_and_classes() -> None:
    rows = [{"recall": i / 10, "concepts_per_image": i, "selectivity": (3 * i) % 10 / 10} for i in range(10)]
    assert relate_to_accuracy(rows).clear == ["per_image"]
    unclear = [one | {"concepts_per_image": one["selectivity"]} for one in rows]
    assert relate_to_accuracy(unclear).clear == []
    assert relate_to_accuracy(rows[:5]) is None
    assert relate_to_accuracy(rows[:6]).clear == []  # of 720 orders two are as clear: more than 0.2 %
    assert relate_to_accuracy([one | {"recall": 1.0} for one in rows]) is None


def test_classes_misclassified_as_one_are_listed_by_how_many_of_their_images_are() -> None:
    counts = {(0, 0): 50, (1, 0): 10, (2, 0): 23, (3, 0): 0, (2, 1): 30}
    rows = [{"label": label, "predicted": predicted, "n": n} for (label, predicted), n in counts.items()]
    assert list_into(0, rows, ["zero", "one", "two", "three"]) == [("two", 23, 2), ("one", 10, 1)]
