"""What is made from nothing has no figure: no question answers with NaN, or with a 0 or 1 that nobody measured."""

import math
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import pytest

import queries
from support import tables as data

# 0 of a quotient without anything, as the headers say, and shares of a split that has no image of the class
CONVENTIONS = {"class_metrics_by_epoch": {"precision", "recall", "f1"}, "dataset_overview": {"share"}}
COUNTED = ("n", "support")  # what figures of a row are made from
GIVEN = {"run_id": "tiny", "other_run_id": "twin", "instance_id": "0"}
ZERO, CONSTANT = np.zeros((8, 8)), np.full((8, 8), 2.0)
METHODS = {"saliency": ZERO, "occlusion": CONSTANT}


def one_image(*, label: int | None = 0, predicted: int = 0, epochs: int = 1) -> duckdb.DuckDBPyConnection:
    """Two runs of four classes and one test image, explained by maps that rank nothing, compared on it alone."""
    connection = data.empty()
    for run_id in ("tiny", "twin"):
        data.add_run(connection, run_id)
        data.add_classes(connection, run_id, data.CLASSES)
        data.add_instances(connection, run_id, "test", [label])
        for epoch in range(epochs):
            row = data.prediction(run_id, "test", epoch, 0, label, predicted, None if label is None else 0.9)
            data.insert(connection, "predictions", [row])
    for method, values in METHODS.items():
        data.add_run(connection, method, "2026-01-02", "explain", "tiny")
        for epoch in range(epochs):
            data.add_map(connection, method, values, epoch=epoch, method=method)
    data.add_run(connection, "compared", "2026-01-03", "compare", "tiny")
    for method in (*METHODS, "random", "edge"):
        data.add_scores(connection, "compared", method, "insertion", [0.5], epoch=epochs - 1)
    add_concepts(connection, epochs - 1)
    data.link_all(connection)
    return connection


def add_concepts(connection: duckdb.DuckDBPyConnection, epoch: int) -> None:
    """A concept that the image lacks; earlier versions stored zeros of classes that no image was scored of."""
    key = {"run_id": "ice", "epoch": epoch, "concept_id": 0}
    data.add_run(connection, "ice", "2026-01-02", "explain", "tiny")
    data.insert(connection, "concepts", [key | {
        "source_run_id": "tiny", "layer": "features", "concept_key": "a", "vector": [1.0], "threshold": 0.5,
        "label": None, "description": "a"}])  # fmt: skip
    data.insert(
        connection, "concept_scores", [key | {"split": "test", "instance_id": 0, "score": 0.25, "present": False}]
    )
    cell = {"prevalence": 0.0, "tcav_sign": 0.0, "tcav_magnitude": 0.0, "contribution": 0.0, "p_value": 1.0}
    cells = [key | cell | {"class_id": class_id, "significant": False} for class_id in range(len(data.CLASSES))]
    data.insert(connection, "tcav_scores", cells)


def without_predictions() -> duckdb.DuckDBPyConnection:
    """The other run has no instance in common, and no prediction."""
    connection = one_image()
    connection.execute("delete from predictions where run_id = 'twin'")
    return connection


STUDIES: dict[str, Callable[[], duckdb.DuckDBPyConnection]] = {
    "one image, right": one_image,
    "one image, wrong": lambda: one_image(predicted=1),
    "one image without a label": lambda: one_image(label=None),
    "the same at three epochs": lambda: one_image(epochs=3),
    "never right": lambda: one_image(predicted=1, epochs=3),
    "another run without predictions": without_predictions,
}


@pytest.fixture(scope="module", params=STUDIES)
def awkward(request: pytest.FixtureRequest) -> duckdb.DuckDBPyConnection:
    return STUDIES[request.param]()


@pytest.mark.parametrize("name", queries.NAMES)
def test_nothing_is_made_from_nothing(awkward: duckdb.DuckDBPyConnection, name: str) -> None:
    params = queries.header(name).params
    answer = queries.run(awkward, name, {key: value for key, value in GIVEN.items() if key in params})
    for row in answer.dicts:
        assert all(math.isfinite(number) for number in numbers([*row.values()])), row
        if any(row.get(count) == 0 for count in COUNTED):
            measured = {key for key, value in row.items() if isinstance(value, float)}
            assert measured <= CONVENTIONS.get(name, set()), row


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("question", ["attribution_agreement", "explanation_drift", "explanation_settling"])
def test_maps_that_rank_nothing_neither_agree_nor_settle(question: str) -> None:
    answer = queries.run(one_image(epochs=3), question, {"run_id": "tiny"}).dicts
    figures = ("spearman", "to_previous", "to_last", "share_settled", "explanation_since", "settles")
    assert [row[key] for row in answer for key in figures if row.get(key) is not None] == []


@pytest.mark.parametrize("question", ["class_concepts", "concepts_by_class", "concepts_by_epoch", "hard_classes"])
def test_a_class_without_images_has_no_row(question: str) -> None:
    answer = queries.run(one_image(), question, {"run_id": "tiny"}).dicts
    assert {row["class_id"] for row in answer if "class_id" in row} <= {0}


def test_a_single_right_prediction_leaves_no_wrong_group() -> None:
    answer = queries.run(one_image(), "attribution_regions", {"run_id": "tiny"}).dicts
    assert {row["subset"] for row in answer} == {"all", "right"}
    assert all(row["centre_low"] is None for row in answer)


@pytest.mark.parametrize("question", ["cartography", "instance_metrics"])
def test_a_single_epoch_has_no_deviation(question: str) -> None:
    for epochs, expected in ((1, None), (3, 0.0)):
        values = {"run_id": "tiny"} | ({"from_epoch": "0"} if question == "cartography" else {})
        [row] = queries.run(one_image(epochs=epochs), question, values).dicts
        assert (row["n"], row["p_true_std"]) == (epochs, expected)
        assert row.get("region", "easy") == "easy"
