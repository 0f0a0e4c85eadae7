"""Drawings: nothing is cut off, lies on another or is too small, with few and many classes, epochs and methods."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch
from matplotlib.text import Annotation

from pipelines.common.figures import capital, short
from pipelines.drawing import concepts, flows, methods, pictures, predictions, shortcuts
from pipelines.drawing.flows import Link
from pipelines.drawing.pictures import ConceptRow, TileRow
from pipelines.drawing.style import (
    BLUE,
    DOUBLE,
    INK,
    LOGGED,
    ORANGE,
    PAGE,
    SINGLE,
    WIDE_PAGE,
    Style,
    choose_ink,
    draw,
    measure_contrast,
    name_method,
)
from pipelines.reporting.techniques import called
from support.drawn import faults, written
from xai import METHODS

LONG = "a very long name of a class, with $x^2$ and <b>"
STYLES = {"single": SINGLE, "double": DOUBLE, "page": PAGE}


def class_names(count: int) -> list[str]:
    return [LONG, *(f"class {number}" for number in range(1, count))]


def accuracies(epochs: int) -> list[dict]:
    return [
        {"split": split, "epoch": epoch, "accuracy": 0.1 + 0.8 * epoch / 100, "low": 0.05, "high": 0.95}
        for split in ("test", "train_seen", "val", "extra:holiday photographs of 2026")
        for epoch in range(epochs)
    ]


def metrics(epochs: int) -> list[dict]:
    keys = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "train_seen_accuracy", "train_seen_loss")
    return [{"key": key, "epoch": epoch, "value": 0.5} for key in keys for epoch in range(epochs)]


def by_class(count: int) -> list[dict]:
    return [{"class_name": name, "n": 10_000, "accuracy": 1.0, "low": 0.99, "high": 1.0} for name in class_names(count)]


def confidences(bins: int) -> list[dict]:
    return [
        {
            "confidence": (i + 0.5) / bins, "accuracy": i / bins, "accuracy_low": 0.0, "accuracy_high": 1.0, "n": 10**i,
            "confidence_from": i / bins, "confidence_to": (i + 1) / bins, "is_off": i % 2,
        }
        for i in range(bins)
    ]  # fmt: skip


def class_epochs(classes: int, epochs: int) -> tuple[list[dict], dict[int, float]]:
    rows = [
        {"class_name": name, "epoch": epoch, "recall": 0.5, "recall_low": 0.0, "recall_high": 1.0}
        for name in class_names(classes)
        for epoch in range(epochs)
    ]
    return rows, dict.fromkeys(range(epochs), 0.5)


def matrix(count: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    counts = np.full((count, count), 3) + 990 * np.eye(count, dtype=int)
    return counts, counts.sum(1), class_names(count)


def outcomes(epochs: int) -> list[dict]:
    return [{"epoch": e, "next_epoch": e + 1, "fixed": 12_345 if e else 0, "broken": 9} for e in range(epochs)]


def comparison(names: list[str], verdict: bool | None) -> list[dict]:
    road = [f"{order}{percent}" for order in methods.ROAD_ORDERS for percent in (10, 50)]
    return [
        {"method": name, "metric": metric, "mean": 0.5, "low": low, "high": low and 0.9, "n": 64,
         "beats_random": None if name == "random" else verdict}
        for name in [*names, "random", "edge"]
        for metric in [*methods.PANELS, *road]
        for low in ([None] if verdict is None else [0.1])
    ]  # fmt: skip


def alike(names: list[str]) -> list[dict]:
    """A comparison of methods whose means differ in the ninth digit, as where no map shows anything."""
    return [
        row | {"mean": 1 - key * 1e-9, "low": None, "high": None} for key, row in enumerate(comparison(names, None))
    ]


def agreements(names: list[str]) -> list[dict]:
    return [
        {"method_a": a, "method_b": b, "subset": "all", "spearman": -0.5, "top10_overlap": None}
        for a in [*names, "random"]
        for b in [*names, "random"]
        if a < b
    ]


def drifts(names: list[str], epochs: int) -> list[dict]:
    return [
        {"method": name, "epoch": epoch, "to_last": -0.2, "to_last_low": None, "to_last_high": None,
         "share_settled": 0.5, "share_prediction_settled": 1.0}
        for name in names
        for epoch in range(epochs)
    ]  # fmt: skip


def links(classes: int, epochs: int) -> tuple[list[Link], list[str]]:
    made = [
        Link(epoch, epoch + 1, a, b, (True, False, None)[(a + b) % 3], 1 + (a == b))
        for epoch in range(epochs)
        for a in range(classes)
        for b in range(classes)
    ]
    return made, class_names(classes)


FAR_APART = [Link(0, 1, 0, 1, True, 3), Link(1, 2, 1, 0, False, 3), Link(2, 90, 0, 0, None, 3)]


def tile_rows(count: int, columns: int, shape: tuple[int, int] = (8, 8)) -> list[TileRow]:
    tile = np.zeros((*shape, 3), np.uint8)
    return [TileRow(("#12", LONG[:12], "→ " + LONG[:12]), [tile, *[None] * (columns - 1)]) for _ in range(count)]


def heads(methods: list[str]) -> list[tuple[str, ...]]:
    return [("Image",), *(tuple(name_method(method, SINGLE).split(" ")) for method in methods)]


def concept_rows(count: int) -> list[ConceptRow]:
    strip = np.zeros((10, 40, 3), np.uint8)
    effects = [(LONG, 12.5, True), ("b", -0.25, False)]
    return [ConceptRow(f"{i}: {LONG * 3}", strip if i else None, effects) for i in range(count)]


def concept_matrix(concepts: int, classes: int) -> tuple:
    values = np.linspace(0, 1, concepts * classes).reshape(concepts, classes)
    return values, values > 0.5, [f"{i}: {LONG}" for i in range(concepts)], class_names(classes)


def concept_epochs(concepts: int) -> list[dict]:
    return [
        {"concept_id": i, "concept_name": LONG, "stability": 0.95, "epoch": epoch, "cosine": 1.0,
         "prevalence": 0.0, "tcav_sign": sign,
         "significant": epoch == 2}
        for i in range(concepts)
        for epoch, sign in ((0, None), (2, 1.0))
    ]  # fmt: skip


def patches(classes: int) -> list[dict]:
    return [
        {"class_name": name, "verdict": "found" if i == 0 else None, "follows": 1.0, "follows_low": 0.9,
         "follows_high": 1.0, "follows_elsewhere": 0.0, "follows_others": None}
        for i, name in enumerate(class_names(classes))
    ]  # fmt: skip


CASES: dict[str, tuple[Callable, tuple, dict]] = {
    "accuracy of one epoch": (predictions.draw_accuracy, (accuracies(1),), {}),
    "accuracy of 100 epochs": (predictions.draw_accuracy, (accuracies(100),), {}),
    "learning curves": (predictions.draw_learning_curves, (metrics(11),), {}),
    "two classes": (predictions.draw_class_accuracy, (by_class(2),), {}),
    "100 classes": (predictions.draw_class_accuracy, (by_class(100),), {}),
    "one class over one epoch": (predictions.draw_class_history, class_epochs(1, 1), {}),
    "ten classes over epochs": (predictions.draw_class_history, class_epochs(10, 11), {}),
    "24 classes over epochs": (predictions.draw_class_history, class_epochs(predictions.CLASS_PANELS, 101), {}),
    "one bin": (predictions.draw_calibration, (confidences(1),), {}),
    "fifteen bins": (predictions.draw_calibration, (confidences(15),), {}),
    **{
        f"confusion of {count}": (predictions.draw_confusion, matrix(count), {}) for count in (1, 2, 10, 12, 30, 100)
    },
    "confusion of the page": (predictions.draw_confusion, matrix(12), {"pair": (0, 1), "numbers": 12}),
    "outcomes of one epoch": (predictions.draw_outcomes, (outcomes(1),), {}),
    "outcomes of 100 epochs": (predictions.draw_outcomes, (outcomes(100),), {}),
    "one method": (methods.draw_faithfulness, (comparison(["saliency"], None),), {}),
    "all methods": (methods.draw_faithfulness, (comparison([*METHODS], True),), {}),
    "methods alike": (methods.draw_faithfulness, (alike([*METHODS]),), {}),
    "one metric": (methods.draw_faithfulness, (comparison([*METHODS], False),), {"metrics": ("deletion",)}),
    "ROAD": (methods.draw_road, (comparison([*METHODS], True),), {"starts_at_one": True}),
    "agreement of two": (methods.draw_agreement, (agreements(["saliency"]),), {}),
    "agreement of all": (methods.draw_agreement, (agreements([*METHODS]),), {}),
    "drift": (methods.draw_drift, (drifts([*METHODS], 3),), {}),
    "settling": (methods.draw_settling, (drifts(["saliency"], 1),), {}),
    "one map": (pictures.draw_tiles, (tile_rows(1, 2), heads(["saliency"])), {"scales": [False]}),
    "maps of all": (pictures.draw_tiles, (tile_rows(4, 8), heads([*METHODS])), {"scales": [True, False]}),
    "maps of wide images": (pictures.draw_tiles, (tile_rows(12, 8, (8, 16)), heads([*METHODS])), {"scales": [True]}),
    "one concept": (pictures.draw_concepts, (concept_rows(1),), {}),
    "six concepts": (pictures.draw_concepts, (concept_rows(6),), {}),
    "concepts of two classes": (concepts.draw_concept_classes, concept_matrix(1, 2), {}),
    "concepts of 40 classes": (concepts.draw_concept_classes, concept_matrix(20, 40), {}),
    "concepts over epochs": (concepts.draw_concept_history, (concept_epochs(9),), {}),
    "patches of two classes": (shortcuts.draw_shortcuts, (patches(2),), {}),
    "patches of 50 classes": (shortcuts.draw_shortcuts, (patches(50),), {}),
    "flow of two classes": (flows.draw_flow, links(2, 1), {}),
    "flow of thirteen": (flows.draw_flow, links(13, 4), {}),
    "flow of uneven epochs": (flows.draw_flow, (FAR_APART, class_names(2)), {}),
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_cut_off_or_on_another(case: str, style: Style) -> None:
    function, values, options = CASES[case]
    figure = draw(function, style, *values, **options)
    assert faults(figure) == []
    assert figure.get_figwidth() <= style.width + 1e-6
    assert figure.get_figheight() < 9.5


@pytest.mark.parametrize("case", ["confusion of 10", "all methods", "agreement of all", "drift"])
def test_pictures_in_mlflow_are_whole(case: str) -> None:
    function, values, options = CASES[case]
    assert faults(draw(function, LOGGED, *values, **options)) == []


def test_faults_are_found() -> None:
    figure = draw(predictions.draw_class_accuracy, SINGLE, by_class(2))
    figure.text(0.99, 0.5, "cut off here", fontsize=5)
    figure.text(0.99, 0.5, "on another", fontsize=8)
    assert {fault.split(":")[0] for fault in faults(figure)} == {
        "cut off", "5.0 points", "cut off here on on another",
    }  # fmt: skip


def test_names_are_written_as_they_are() -> None:
    figure = draw(predictions.draw_class_accuracy, DOUBLE, [by_class(1)[0] | {"class_name": "$x^2$ & <b>"}])
    assert "$x^2$ & <b> (10,000)" in [text for text, *_ in written(figure)]


def test_long_names_stay_apart() -> None:
    names = ["short", "ten of them", "species of birds 1", "species of birds 2"]
    assert [short(name, 10) for name in names] == ["short", "ten … them", "spec…rds 1", "spec…rds 2"]


def test_methods_are_named_as_in_papers_in_print_and_as_in_the_report_elsewhere() -> None:
    for style in (SINGLE, DOUBLE):
        assert [name_method(method, style) for method in (*METHODS, "random", "edge")] == [
            "Saliency", "SmoothGrad", "Integrated Gradients", "Grad-CAM", "Occlusion", "Expected Gradients",
            "Partition SHAP", "Random maps", "Edge detector",
        ]  # fmt: skip
    for style in (PAGE, WIDE_PAGE, LOGGED):
        named = [name_method(method, style) for method in METHODS]
        assert named == [capital(called(method)) for method in METHODS]
        assert "SHAP" in named


def test_the_page_shows_the_largest_mistakes_and_all_correct_predictions_in_numbers() -> None:
    counts = np.array([[50, 9, 1], [3, 40, 0], [7, 2, 30]])
    figure = draw(predictions.draw_confusion, PAGE, counts, counts.sum(1), ["a", "b", "c"], numbers=3)
    assert sorted(text for text, *_ in written(figure) if text.isdigit()) == [
        "3", "30", "40", "50", "7", "9",
    ]  # fmt: skip


def test_counts_are_those_of_the_pairs() -> None:
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2])
    assert predictions.count_pairs(labels, predicted, 3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_a_logged_matrix_shows_the_classes_of_the_pairs_confused_most() -> None:
    """Of many classes; of few, all. Its cells are those of the whole matrix."""
    counts = 9 * np.eye(1000, dtype=int)
    pairs = [(7, 900), (3, 4), (500, 2), (999, 7), *((100 + k, 200 + k) for k in range(17))]  # 41 classes
    for place, (label, predicted) in enumerate(pairs):
        counts[label, predicted] = 60 - place
    shown = predictions.choose_confused(counts)
    classes = {one for pair in pairs for one in pair}
    assert len(shown) == predictions.MATRIX_CLASSES == len(classes) - 1
    assert shown.tolist() == sorted(classes - {216})  # the last pair has one place left
    assert predictions.choose_confused(counts[:9, :9]).tolist() == list(range(9))
    drawn = counts[np.ix_(shown, shown)], counts.sum(1)[shown], class_names(len(shown))
    figure = draw(predictions.draw_confusion, LOGGED, *drawn)
    assert faults(figure) == []
    texts = [text for text, *_ in written(figure)]
    assert {str(60 - place) for place in range(20)} <= set(texts)


def test_a_flow_keeps_its_images() -> None:
    """Both ends of every band lie in the bars, which are as high as the images that are there."""
    figure = draw(flows.draw_flow, SINGLE, [Link(0, 1, 0, 1, True, 3), Link(0, 1, 0, 0, False, 1)], ["a", "b"])
    bars = [patch for patch in figure.axes[0].patches if type(patch).__name__ == "Rectangle" and patch.get_height()]
    heights = sorted(round(bar.get_height() / min(one.get_height() for one in bars), 6) for bar in bars)
    assert heights == [1, 3, 4]


@pytest.mark.parametrize(("epochs", "gaps"), [((0, 2, 3), [2, 1]), ((0, 1, 90), [1, 1])])
def test_epochs_of_a_flow_are_as_far_apart_as_they_are_unless_some_would_vanish(epochs: tuple, gaps: list) -> None:
    moves = [Link(start, end, 0, 0, True, 1) for start, end in pairwise(epochs)]
    figure = draw(flows.draw_flow, DOUBLE, moves, ["a"])
    [heads] = [
        {text.get_text(): text.xy[0] for text in axes.texts if isinstance(text, Annotation)} for axes in figure.axes
    ]
    places = [heads[str(epoch)] for epoch in epochs]
    first, second = places[1] - places[0], places[2] - places[1]
    assert first / second == pytest.approx(gaps[0] / gaps[1])
    assert flows.is_to_scale(epochs) is (epochs[-1] == 3)


def test_mistakes_are_hatched_in_print_and_on_the_page_are_not() -> None:
    moves = [Link(0, 1, 0, 0, True, 1), Link(0, 1, 0, 1, False, 1), Link(0, 1, 1, 1, None, 1)]
    for style, hatched in ((SINGLE, 1), (PAGE, 0)):
        figure = draw(flows.draw_flow, style, moves, ["a", "b"])
        bands = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
        assert (len(bands), sum(bool(band.get_hatch()) for band in bands)) == (3, hatched)


def test_numbers_can_be_read_on_every_colour() -> None:
    """White on the deepest orange has 3.9, and on half of it 2."""
    for colour in (BLUE, ORANGE):
        for alpha in np.linspace(0, 1, 21):
            ground = alpha * np.array(to_rgb(colour)) + 1 - alpha
            assert measure_contrast(choose_ink(SINGLE, colour, alpha), ground) > 4.3
    assert measure_contrast("#000000", "#ffffff") == pytest.approx(21)
    assert measure_contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_rows_and_columns_of_tiles_change_places_where_heads_are_too_wide() -> None:
    """The colour of a row's last line, which says what is wrong, goes with it."""
    rows = [replace(row, colour=ORANGE) for row in tile_rows(2, 8)]
    named = [("Image",), *(tuple(name_method(method, SINGLE).split(" ")) for method in METHODS)]
    for style, is_turned in ((SINGLE, True), (DOUBLE, False)):
        figure = draw(pictures.draw_tiles, style, rows, named)
        [axes] = figure.axes
        across = {text.get_text(): text.get_position()[0] for text in axes.texts}
        down = {text.get_text(): text.get_position()[1] for text in axes.texts}
        assert (across["Saliency"] == across["Occlusion"]) is is_turned
        assert (down["Saliency"] == down["Occlusion"]) is not is_turned
        assert all(text.get_rotation() == 0 for text in axes.texts)
        last = [text for text in axes.texts if text.get_text().startswith("→")]
        assert [text.get_color() for text in last] == [ORANGE] * 2


@pytest.mark.parametrize(("verdict", "mark"), methods.MARKS.items())
def test_a_method_that_is_not_judged_looks_neither_better_nor_worse(verdict: bool | str | None, mark: tuple) -> None:
    name = "random" if verdict == "reference" else "saliency"
    metric = methods.ESTIMATE if verdict == "estimate" else "insertion"
    rows = comparison(["saliency"], verdict if isinstance(verdict, bool) else None)
    rows = [row for row in rows if row["method"] == name]
    figure = draw(methods.draw_faithfulness, PAGE, rows, metrics=(metric,), has_legend=False)
    [mean] = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert (mean.get_color(), mean.get_markerfacecolor(), mean.get_marker()) == mark
    assert len(set(methods.MARKS.values())) == 5


@pytest.mark.parametrize("verdict", [True, False])
def test_likeness_to_maps_of_random_weights_has_no_verdict_and_references_no_interval(verdict: bool) -> None:
    rows = comparison(["saliency"], verdict)
    for metric, intervals, colour in (("insertion", 3, methods.MARKS[verdict][0]), (methods.ESTIMATE, 1, INK)):
        figure = draw(methods.draw_faithfulness, PAGE, rows, metrics=(metric,))
        axes = figure.axes[0]
        assert len(axes.collections) == intervals
        assert [line.get_color() for line in axes.lines if line.get_marker() in ("o", "D")] == [colour]
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("estimate, not tested" in legend) == (metric == methods.ESTIMATE)
        assert any("better than random maps" in text for text in legend) == (verdict and metric == "insertion")
