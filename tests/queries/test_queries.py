"""Every query's header is true, and every definition is what a hand or plain Python computes."""

import itertools
import math
import re
from collections import Counter
from itertools import pairwise
from statistics import fmean, pstdev, stdev

import numpy as np
import pytest
from scipy import stats
from scipy.stats import hypergeom
from sklearn.metrics import cohen_kappa_score

import queries
from queries import catalogue, classes
from queries.classes import find_class, find_classes
from support import tables as data
from support.answers import records, wilson
from support.places import DATA, ROOT

FOREVER = 10**6
REAL = DATA
REAL_LOG = REAL / "instanceflow" / "cifar10.json"

# A value for every parameter without a default.
GIVEN = {"run_id": "tiny", "other_run_id": "twin", "instance_id": "1"}


def ask(connection, name, **values):
    """The answer's rows, floats rounded so that they compare with numbers written by hand."""
    data.link_all(connection)
    return [tidy(row) for row in queries.run(connection, name, {"run_id": "tiny"} | values).rows]


def tidy(row):
    return tuple(round(value, 5) if isinstance(value, float) else value for value in row)


def given(name):
    """Values that make any query answer, with every optional parameter left out."""
    header = queries.header(name)
    values = {key: value for key, value in GIVEN.items() if key in header.params}
    if header.takes_several and "other_run_id" not in values:  # a question about seeds
        values["run_id"] = "tiny,twin"
    return values


@pytest.fixture(scope="module")
def nothing():
    return data.empty()


@pytest.fixture
def tiny():
    connection = data.empty()
    data.add_tiny(connection)
    return connection


# --- the catalogue and its headers


def test_the_folder_is_the_catalogue():
    assert set(queries.NAMES) >= {"forgetting", "flow_nodes", "runs"}
    assert list(queries.NAMES) == sorted(queries.NAMES)


@pytest.mark.parametrize("name", queries.NAMES)
def test_header_tells_the_truth(nothing, name):
    declared, sql = queries.header(name), queries.text(name)
    [statement] = nothing.extract_statements(sql)
    assert set(declared.params) == statement.named_parameters
    described = nothing.execute("describe " + sql, dict.fromkeys(declared.params)).fetchall()
    assert list(declared.returns) == [column for column, *_ in described]
    assert declared.question.endswith("?")


@pytest.mark.parametrize("name", queries.NAMES)
def test_sql_is_lower_case_ordered_and_casts_its_optional_parameters(name):
    sql = re.sub(r"--.*|'[^']*'", "", queries.text(name))
    assert sql == sql.lower()
    assert re.search(r"^order by", sql, re.MULTILINE)
    for key, param in queries.header(name).params.items():
        if not param.required and key != "split":
            assert re.search(rf"\${key}::", sql), key
            assert not re.search(rf"\${key}\b(?!::)", sql), key


INTERNAL = sorted(path.stem for path in catalogue.INTERNAL.glob("*.sql"))


@pytest.mark.parametrize("name", INTERNAL)
def test_headers_of_internal_queries_tell_the_truth(nothing, name):
    sql = queries.internal_text(name)
    declared = catalogue.parse_header(sql)
    [statement] = nothing.extract_statements(sql)
    assert set(declared.params) == statement.named_parameters
    described = nothing.execute("describe " + sql, dict.fromkeys(declared.params)).fetchall()
    assert list(declared.returns) == [column for column, *_ in described]
    assert re.match("Internal, for .*: ", declared.question)
    statements = re.sub(r"--.*|'[^']*'", "", sql)
    assert statements == statements.lower()


def test_internal_queries_are_asked_by_the_program_alone():
    """Each is asked somewhere, and none is a question of the catalogue."""
    code = "".join(file.read_text() for file in (ROOT / "pipelines").rglob("*.py"))
    assert set(INTERNAL) <= set(re.findall(r"""["'](\w+)["']""", code))
    assert set(INTERNAL).isdisjoint(queries.NAMES)


@pytest.mark.parametrize("name", queries.NAMES)
def test_an_empty_database_has_no_rows(nothing, name):
    answer = queries.run(nothing, name, given(name))
    assert answer.rows == []
    assert answer.columns == list(queries.header(name).returns)


def fill_every_table(connection, run_id):
    """The tiny run with everything that hangs on it, and train_seen with a gap."""
    data.add_tiny(connection, run_id)
    data.add_run(connection, f"{run_id} explained", "2026-01-02", "explain", source=run_id)
    data.add_instances(connection, run_id, "train", [0, 1, 2])
    seen = [row | {"probabilities": None} for row in data.tiny_rows(run_id, "train_seen") if row["epoch"]]
    data.insert(connection, "predictions", [row for row in seen if row["instance_id"] < 2])
    metric = {"run_id": run_id, "epoch": 0, "key": "test_accuracy", "value": 0.25}
    data.insert(connection, "metrics", [metric, metric | {"epoch": 1, "value": 0.5}])
    row = {"run_id": f"{run_id} explained", "source_run_id": run_id, "epoch": 4, "method": "saliency"}
    row |= {"split": "test", "target": 0, "target_kind": "label", "delta": -0.5, "map8": [0.0] * 64}
    row |= {"instance_id": 0, "score": 1.0, "baseline_score": -48.0}  # a gap of just over 1 % of the rise
    other = {"instance_id": 1, "score": 2.0, "baseline_score": -23.0, "delta": 0.25, "map8": [3.0, -2.0] + [0.0] * 62}
    data.insert(connection, "attributions", [row, row | other])
    add_concepts(connection, f"{run_id} explained", run_id)
    add_comparison(connection, run_id)
    add_patch_trials(connection, run_id)
    data.add_verdict(connection, run_id, 0, "label_ok", "anna")
    data.add_verdict(connection, run_id, 0, "unclear", f"ben of {run_id}")
    change = {"run_id": run_id, "instance_id": 1, "label": 1, "new_label": 0}
    data.insert(connection, "label_changes", [change])


def add_comparison(connection, run_id):
    """Maps of two methods at two epochs, and scores of a comparison with random."""
    data.add_run(connection, f"{run_id} compared", "2026-01-03", "compare", source=run_id)
    random = np.random.default_rng(7)
    for method, epoch, instance_id in itertools.product(("edge", "shap"), (3, 4), range(4)):
        place = {"method": method, "epoch": epoch, "instance_id": instance_id}
        data.add_map(connection, f"{run_id} explained", random.normal(size=(8, 8)), run_id, **place)
    for method, metric in itertools.product(("random", "shap"), ("insertion", "share_object")):
        data.add_scores(connection, f"{run_id} compared", method, metric, random.random(4), run_id)
    key = {"run_id": f"{run_id} compared", "source_run_id": run_id, "epoch": 4, "method": "shap", "split": "test"}
    members = [{"class_id": 0, "cluster": k // 2, "instance_id": k, "target_kind": "predicted"} for k in range(4)]
    data.insert(connection, "map_clusters", [key | member for member in members])


def add_patch_trials(connection, run_id):
    """Two validation images, and a patch of dogs that two images follow."""
    held_out = [data.prediction(run_id, "val", 4, 10 + label, label, label, 0.9) for label in (0, 1)]
    data.insert(connection, "predictions", held_out)
    key = {"run_id": f"{run_id} compared", "source_run_id": run_id, "epoch": 4, "class_id": 1}
    key |= {"patch_top": 0, "patch_left": 0, "patch_side": 1, "donor_id": 1, "predicted_before": 0}
    for instance_id, (trial, split, after) in itertools.product(range(2), data.TRIALS):
        row = {"trial": trial, "split": split, "instance_id": instance_id, "predicted_after": after}
        data.insert(connection, "patch_trials", [key | row | {"donor_class": 1 if after == 1 else 2}])
    key = {"run_id": f"{run_id} compared", "source_run_id": run_id, "epoch": 4, "class_id": 1, "split": "test"}
    tried = [{"instance_id": k, "n_pasted": 8, "n_following": 4 * k, "predicted_covered": 0} for k in range(3)]
    data.insert(connection, "patch_carriers", [key | row for row in tried])


def add_concepts(connection, run_id, source_run_id):
    """Two concepts at epoch 4, the first with a user's name, and one at epoch 2."""
    for epoch, concept_id, label in ((4, 0, "wheels"), (4, 1, None), (2, 0, None)):
        key = {"run_id": run_id, "epoch": epoch, "concept_id": concept_id}
        row = key | {"source_run_id": source_run_id, "layer": "features", "concept_key": f"{epoch}{concept_id}"}
        row |= {"vector": [1.0, 0.0], "threshold": 0.5, "label": label, "description": f"round {epoch}"}
        row |= {"stability": 0.75}
        data.insert(connection, "concepts", [row])
        scores = [(0, 0.25, False), (1, 1.5 + concept_id, True), (2, 0.75, True)]
        columns = ("instance_id", "score", "present")
        rows = [key | {"split": "test"} | dict(zip(columns, score, strict=True)) for score in scores]
        data.insert(connection, "concept_scores", rows)
        measures = {
            "tcav_magnitude": -0.5,
            "contribution": 0.125,
            "p_value": 0.03,
            "significant": True,
            "alignment": -0.5,
        }
        cells = [measures | {"class_id": k, "prevalence": 0.25 * k, "tcav_sign": 1.0 - k} for k in (0, 1)]
        data.insert(connection, "tcav_scores", [key | cell for cell in cells])


TABLES = (
    "runs", "metrics", "classes", "instances", "predictions", "attributions", "maps", "attribution_scores", "concepts",
    "concept_scores", "tcav_scores", "map_clusters", "patch_trials",
    "patch_carriers", "verdicts", "label_changes",
)  # fmt: skip


def fill_two_runs(connection):
    fill_every_table(connection, "tiny")
    fill_every_table(connection, "twin")
    connection.execute("update predictions set predicted = 2 where run_id = 'twin' and instance_id = 0")
    data.link_all(connection)


@pytest.fixture(scope="module")
def two_runs():
    connection = data.empty()
    fill_two_runs(connection)
    return connection


@pytest.fixture(scope="module")
def crowd():
    """The two runs and a third one that has everything different; rows lie the other way round."""
    connection = data.empty()
    fill_every_table(connection, "stranger")
    data.insert(connection, "predictions", data.tiny_rows("stranger", "train_seen"))
    connection.execute("update predictions set predicted = 3, epoch = epoch + 1")
    connection.execute("update classes set name = 'strange ' || name")
    fill_two_runs(connection)
    for table in TABLES:
        connection.execute(f"create or replace table {table} as from {table} order by rowid desc")
    return connection


@pytest.mark.parametrize("name", [name for name in queries.NAMES if "run_id" in queries.header(name).params])
def test_neither_another_run_nor_the_order_of_rows_changes_an_answer(two_runs, crowd, name):
    values = given(name)
    some = values | {"classes": "dog"} if "classes" in queries.header(name).params else values
    for asked in (values, some):
        alone, among = (queries.run(connection, name, asked).rows for connection in (two_runs, crowd))
        assert alone
        assert [tidy(row) for row in alone] == [tidy(row) for row in among]


COMPARING_SPLITS = {"split_gap", "shortcuts"}  # which look at split val too
OF_ONE_SPLIT = [name for name in queries.NAMES if "split" in queries.header(name).params]


@pytest.mark.parametrize("name", sorted(set(OF_ONE_SPLIT) - COMPARING_SPLITS))
def test_another_split_changes_no_answer(two_runs, name):
    connection = data.empty()
    fill_two_runs(connection)
    for run_id in ("tiny", "twin"):
        rows = data.tiny_rows(run_id, "val")
        data.insert(connection, "predictions", [row | {"predicted": 3, "epoch": 9} for row in rows])
        data.insert(connection, "predictions", [row | {"predicted": 3} for row in rows])
    data.link_all(connection)
    values = given(name)
    if queries.header(name).params["split"].default is None:  # all splits
        values["split"] = "test"
    alone, among = (queries.run(one, name, values).rows for one in (two_runs, connection))
    assert [tidy(row) for row in alone] == [tidy(row) for row in among]  # the order of a sum may change the last digits


@pytest.mark.parametrize("name", sorted(set(queries.NAMES) - {"class_metrics_by_epoch", "dataset_overview"}))
def test_unnamed_classes_cost_no_rows(tiny, name):
    data.insert(tiny, "predictions", data.tiny_rows("twin", "test"))
    before = queries.run(tiny, name, given(name)).rows
    tiny.execute("delete from classes")
    assert len(queries.run(tiny, name, given(name)).rows) == len(before)


# --- the loader


def test_header_of_a_file():
    header = queries.header("instance_history")
    assert header.question == "What did the model think of one image, epoch by epoch?"
    assert header.notes.startswith("event compares with the logged epoch before: kept")
    assert header.params["run_id"] == queries.Param("training run to look at", default=None, required=True)
    assert header.params["split"] == queries.Param("split of the image [test]", default="test", required=False)
    assert header.returns["predicted_name"] == "its name"


def test_a_null_default_is_null_and_optional():
    param = queries.header("flow_nodes").params["from_epoch"]
    assert (param.default, param.required) == (None, False)


def test_a_long_doc_goes_on_in_the_next_line():
    assert catalogue._parse_entries(["  run_id  run", "          to look at"]) == {"run_id": "run to look at"}


def test_a_query_that_does_not_exist():
    message = "no query named 'forgeting'; nearest: forgetting; `study ask` lists them"
    with pytest.raises(ValueError, match=re.escape(message)):
        queries.text("forgeting")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"run_id": "tiny", "splt": "val"},
            "flow_nodes has no parameter 'splt'; it takes: run_id, split, from_epo",
        ),
        ({}, "flow_nodes needs run_id: training run to look at"),
        ({"run_id": None}, "flow_nodes needs run_id: training run to look at"),
        (
            {"run_id": "tiny", "to_epoch": "ten"},
            "to_epoch must be a whole number from 0 to 2147483647, not 'ten'",
        ),
        ({"run_id": "tiny", "to_epoch": "1.5"}, "to_epoch must be a whole number"),
        ({"run_id": "tiny", "to_epoch": "-1"}, "to_epoch must be a whole number"),
        ({"run_id": "tiny", "to_epoch": "2147483648"}, "to_epoch must be a whole number"),
        ({"run_id": "tiny", "to_epoch": ""}, "to_epoch must be a whole number"),
        ({"run_id": "tiny", "classes": "dog,cow"}, "no class 'cow'; there are: 0 cat, 1 dog, 2 bird, 3 fish"),
        ({"run_id": "tiny", "classes": ""}, "no class ''; there are: 0 cat"),
        ({"run_id": "tony", "classes": "0"}, "no class '0'; there are: none, as there is no run 'tony'"),
    ],
)
def test_wrong_values_are_told_in_one_line(tiny, values, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)) as error:
        queries.run(tiny, "flow_nodes", values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["high", "nan", "inf", ""])
def test_shares_are_numbers(tiny, value):
    with pytest.raises(ValueError, match=f"^settled must be a number such as 0.8, not '{value}'"):
        queries.run(tiny, "explanation_drift", {"run_id": "tiny", "settled": value})


def test_limits_are_whole_numbers_too(tiny):
    with pytest.raises(ValueError, match="limit must be a whole number"):
        queries.run(tiny, "turbulent_epochs", {"run_id": "tiny", "limit": "-1"})


def test_classes_go_by_name_or_id(tiny):
    by_name = ask(tiny, "flow_links", classes="fish, cat")
    assert by_name == ask(tiny, "flow_links", classes="3,0") != ask(tiny, "flow_links")


CLASSES = {0: "1", 1: "10", 2: "2", 3: "a,b", 4: "a", 5: "b", 6: "x y", 7: "\u00e9"}
MEANT = [
    ("1", [0]),  # a name wins over an ID
    ("10", [1]),
    ("2", [2]),
    ("0", [0]),
    ("03,4", [3, 4]),
    ("a,b", [3]),  # the longest name that fits
    ("b,a", [5, 4]),
    ("b, a , a,b,x y, \u00e9", [5, 4, 3, 6, 7]),
    ("a,b,b,1", [3, 5, 0]),
    ("e\u0301", [7]),  # the accent as a character of its own
    ("b, e\u0301 ,a,b", [5, 7, 3]),
]


@pytest.mark.parametrize(("wanted", "ids"), MEANT)
def test_a_class_name_wins_over_an_id(wanted: str, ids: list[int]) -> None:
    connection = data.empty()
    data.add_classes(connection, "tiny", list(CLASSES.values()))
    assert find_classes(wanted, CLASSES) == ids
    assert catalogue._find_class_ids(connection, "tiny", wanted) == ",".join(map(str, ids))


@pytest.mark.parametrize("wanted", ["", ",", "1,", "c", "8", "-1", "1.0", "\u0661", "A", "a;b", "9" * 5000])
def test_classes_that_are_none_are_named(wanted: str) -> None:
    with pytest.raises(ValueError, match=r"^no class '.*'; there are: 0 1, 1 10, 2 2, 3 a,b, "):
        find_classes(wanted, CLASSES)


def test_what_a_number_means_is_said_where_it_is_a_name_and_an_id(caplog) -> None:
    classes._warn_once.cache_clear()
    assert [find_class(wanted, CLASSES) for wanted in ("1", "1", "2", "0", "10", "a", "7")] == [0, 0, 2, 0, 1, 4, 7]
    assert caplog.messages == ["class 1 is the class of that name (ID 0), not ID 1 (10)"]


# --- the tiny run, by hand


def test_accuracy_by_epoch(tiny):
    two, three = wilson(2, 5), wilson(3, 5)
    assert ask(tiny, "accuracy_by_epoch") == [
        ("test", 0, 5, 1, 0.4, *two, 0.36),
        ("test", 1, 5, 1, 0.6, *three, 0.52),
        ("test", 3, 5, 1, 0.4, *two, 0.5),
        ("test", 4, 5, 1, 0.6, *three, 0.52),
    ]


def test_accuracy_without_any_label_is_null():
    connection = data.empty()
    data.insert(connection, "predictions", [data.prediction("tiny", "extra:new", 0, 0, None, 1, None)])
    assert ask(connection, "accuracy_by_epoch") == [("extra:new", 0, 0, 1, None, None, None, None)]


def test_confusion_by_epoch(tiny):
    assert ask(tiny, "confusion_by_epoch") == [
        (4, 0, "cat", 0, "cat", 2, 1.0),
        (4, 1, "dog", 1, "dog", 1, 0.5),
        (4, 1, "dog", 2, "bird", 1, 0.5),
        (4, 3, "fish", 1, "dog", 1, 1.0),
    ]
    assert ask(tiny, "confusion_by_epoch", epoch="2") == []


def test_class_metrics_are_zero_where_undefined(tiny):
    assert ask(tiny, "class_metrics_by_epoch")[-4:] == [
        (4, 0, "cat", 2, 2, 1.0, 1.0, *wilson(2, 2), 1.0),
        (4, 1, "dog", 2, 2, 0.5, 0.5, *wilson(1, 2), 0.5),
        (4, 2, "bird", 0, 1, 0.0, 0.0, None, None, 0.0),
        (4, 3, "fish", 1, 0, 0.0, 0.0, *wilson(0, 1), 0.0),
    ]


def test_class_metrics_of_a_class_without_anything_are_zero(tiny):
    data.insert(tiny, "classes", [{"run_id": "tiny", "class_id": 4, "name": "newt"}])
    assert ask(tiny, "class_metrics_by_epoch")[-1] == (4, 4, "newt", 0, 0, 0.0, 0.0, None, None, 0.0)


def test_confused_pairs(tiny):
    assert {row[0] for row in ask(tiny, "confused_pairs")} == {4}
    assert ask(tiny, "confused_pairs", epoch="0") == [
        (0, 0, "cat", 1, "dog", 2, 1, 1, 0.66667),
        (0, 2, "bird", 3, "fish", 1, 0, 1, 0.33333),
    ]
    assert len(ask(tiny, "confused_pairs", epoch="0", limit="1")) == 1


def test_flow_nodes(tiny):
    assert ask(tiny, "flow_nodes", from_epoch="1", to_epoch="1") == [
        (1, 0, "cat", 0, "cat", "inout", 1),
        (1, 0, "cat", 0, "cat", "stable", 1),
        (1, 1, "dog", 1, "dog", "stable", 1),
        (1, 1, "dog", None, None, "in", 1),
        (1, 2, "bird", 1, "dog", "in", 1),
        (1, 2, "bird", 3, "fish", "out", 1),
    ]


def test_flow_nodes_fold_to_other(tiny):
    assert ask(tiny, "flow_nodes", from_epoch="1", to_epoch="3", classes="dog") == [
        (1, 1, "dog", 1, "dog", "stable", 1),
        (1, 4, "Other", 1, "dog", "in", 1),
        (3, 1, "dog", 1, "dog", "out", 1),
        (3, 4, "Other", 1, "dog", "out", 1),
    ]


def test_flow_links(tiny):
    assert ask(tiny, "flow_links", from_epoch="1", to_epoch="3") == [
        (1, 3, 0, "cat", 0, "cat", 0, "cat", 1),
        (1, 3, 0, "cat", 1, "dog", 0, "cat", 1),
        (1, 3, 1, "dog", 1, "dog", 1, "dog", 1),
        (1, 3, 1, "dog", 1, "dog", None, None, 1),
        (1, 3, 2, "bird", 1, "dog", 3, "fish", 1),
        (1, 3, 2, "bird", 2, "bird", 1, "dog", 1),
    ]


def test_flow_links_fold_to_other(tiny):
    assert ask(tiny, "flow_links", to_epoch="1", classes="cat,fish") == [
        (0, 1, 0, "cat", 0, "cat", 0, "cat", 1),
        (0, 1, 4, "Other", 0, "cat", 0, "cat", 1),
        (0, 1, 4, "Other", 4, "Other", 3, "fish", 1),
    ]


def test_transition_outcomes(tiny):
    assert ask(tiny, "transition_outcomes") == [
        (0, 1, 5, 1, 0, 1, 2, 1, 1, 1),
        (1, 3, 5, 0, 1, 1, 2, 1, -1, 1),
        (3, 4, 5, 2, 1, 0, 1, 1, 1, 1),
    ]
    assert ask(tiny, "transition_outcomes", from_epoch="3", classes="dog") == [(3, 4, 2, 1, 1, 0, 0, 0, 0, 0)]


def test_turbulent_epochs(tiny):
    assert ask(tiny, "turbulent_epochs") == [
        (3, 4, 6, 4, 0.66667, 1.33333, 2, 1, 1),
        (0, 1, 6, 3, 0.5, 1.0, 1, 0, 1),
        (1, 3, 6, 2, 0.33333, 0.66667, 0, 1, -1),
    ]


def test_a_run_that_never_moves_has_no_turbulence():
    connection = data.empty()
    rows = [data.prediction("tiny", "test", epoch, 0, 1, 1, 0.9) for epoch in (0, 1, 2)]
    data.insert(connection, "predictions", rows)
    assert [row["ratio"] for row in records(connection, "turbulent_epochs")] == [None, None]


def test_instance_metrics(tiny):
    pets = [["bird"], ["cat"], ["dog"]]
    bird, cat, dog = (name for [name] in pets)
    std = {1: math.sqrt(0.05), 2: math.sqrt(0.021875), 3: math.sqrt(0.035), 4: math.sqrt(0.005)}
    std = {key: round(value, 5) for key, value in std.items()}
    assert ask(tiny, "instance_metrics") == [
        (4, 3, "fish", 4, 4, 1.0, 1, 0.33333, 2, [1, 2], [dog, bird], 0, 0, None, None, 3, 0.1, std[4], -2.0),
        (
            2,
            1,
            dog,
            4,
            3,
            0.75,
            2,
            0.66667,
            3,
            [0, 1, 2],
            [cat, dog, bird],
            0,
            1,
            4,
            4,
            4,
            0.275,
            std[2],
            -0.5,
        ),
        (1, 0, cat, 4, 2, 0.5, 3, 1.0, 2, [0, 1], [cat, dog], 1, 2, 1, 4, 4, 0.5, std[1], 0.0),
        (3, 1, dog, 4, 1, 0.25, 1, 0.33333, 2, [1, 2], [dog, bird], 1, 0, 0, None, 4, 0.6, std[3], 0.5),
        (0, 0, cat, 4, 0, 0.0, 0, 0.0, 1, [0], [cat], 0, 0, 0, 0, None, 0.9, 0.0, 1.0),
        # nobody knows what it shows, so it is not wrong either
        (5, None, None, 4, None, None, 2, 0.66667, 2, [0, 1], [cat, dog], *[None] * 4, 4, None, None, None),
    ]


def test_instance_metrics_look_at_the_range_alone(tiny):
    rows = {row["instance_id"]: row for row in records(tiny, "instance_metrics", from_epoch="3", classes="cat")}
    assert sorted(rows) == [0, 1]
    wanted = {"n": 2, "score_raw": 1, "frequency_raw": 1, "forgetting": 0, "learning": 1, "first_learned": 4}
    assert wanted.items() <= rows[1].items()


def test_a_single_epoch_has_no_frequency(tiny):
    rows = records(tiny, "instance_metrics", from_epoch="1", to_epoch="1")
    assert {row["frequency"] for row in rows} == {None}
    assert {row["frequency_raw"] for row in rows} == {0}


def test_instance_history(tiny):
    events = {key: [row[-1] for row in ask(tiny, "instance_history", instance_id=str(key))] for key in range(6)}
    assert events == {
        0: ["first", "kept", "kept", "kept"],
        1: ["first", "fixed", "broken", "fixed"],
        2: ["first", "rerouted", "stuck", "fixed"],
        3: ["first", "kept", "kept", "broken"],
        4: ["first", "stuck", "rerouted", "stuck"],
        5: ["first", None, None, None],
    }
    first, *_ = ask(tiny, "instance_history", instance_id="2")
    assert first == (0, 1, "dog", 0, "cat", 0.1, 0.6, -1.0, "first")


def test_forgetting(tiny):
    assert ask(tiny, "forgetting") == [
        (1, 0, "cat", 3, 2, 1, 1, 1, 3, True, False, False),
        (3, 1, "dog", 3, 2, 1, 0, 1, 4, False, False, False),
        (0, 0, "cat", 3, 3, 0, 0, 1, None, True, False, True),
        (2, 1, "dog", 3, 1, 0, 1, 4, None, True, False, True),
        (4, 3, "fish", 3, 0, None, 0, None, None, False, True, False),
    ]


def test_forgetting_speaks_of_train_seen_too(tiny):
    data.insert(tiny, "predictions", [row for row in data.tiny_rows("tiny", "train_seen") if row["epoch"]])
    assert ask(tiny, "forgetting", split="train_seen") == ask(tiny, "forgetting")


def test_cartography(tiny):
    for key, p_sq in {3: 0.4, 1: 0.45, 2: 0.6, 4: 0.7}.items():
        tiny.execute(f"update predictions set p_sq = {p_sq} where instance_id = {key} and epoch > 1")
    rows = {row["instance_id"]: row for row in records(tiny, "cartography", early_epochs="1")}
    assert list(rows) == [3, 1, 2, 4, 0]  # by ambiguity
    assert {key: row["region"] for key, row in rows.items()} == {
        3: "ambiguous",
        1: "ambiguous",
        2: "hard",
        4: "hard",
        0: "easy",
    }
    assert rows[3]["ambiguity"] == pytest.approx(1 - (0.5 + 0.4 + 0.4) / 3, abs=1e-6)
    assert rows[3]["p_true_std"] == pytest.approx(math.sqrt(0.14 / 3))
    assert rows[3]["correctness"] == pytest.approx(2 / 3)
    assert rows[3]["threshold_closeness"] == pytest.approx(0.24)
    # only epoch 1 is early: sqrt(p_sq - 2 p_true + 1)
    early = {0: 0.82 - 1.8 + 1, 1: 0.5 - 1.2 + 1, 2: 0.5 - 0.6 + 1, 3: 0.5 - 1.4 + 1, 4: 0.5 - 0.2 + 1}
    for key, square in early.items():
        assert rows[key]["el2n"] == pytest.approx(math.sqrt(square), abs=1e-5)
    rows = {row["instance_id"]: row for row in records(tiny, "cartography", early_epochs="3")}
    assert rows[1]["el2n"] == pytest.approx(fmean([math.sqrt(0.3), math.sqrt(0.65)]), abs=1e-5)


def test_regions_of_a_single_epoch(tiny):
    tiny.execute("update predictions set p_sq = 0.9 where instance_id in (1, 4)")
    regions = {row["instance_id"]: row["region"] for row in records(tiny, "cartography", from_epoch="4")}
    assert regions == {0: "easy", 1: "easy", 2: "ambiguous", 3: "ambiguous", 4: "hard"}


def test_a_perfect_prediction_has_no_error_by_rounding():
    connection = data.empty()
    rows = [data.prediction("tiny", "test", 1, 0, 1, 1, 1.0) | {"p_sq": 0.9999}]
    data.insert(connection, "predictions", rows)
    assert [row["el2n"] for row in records(connection, "cartography")] == [0]


def test_label_suspects(tiny):
    def score(aum):
        return round(1 / (1 + math.exp(aum)), 5)

    unknown = (None, True, None, None, None, None, None)  # kind, probabilities, verdicts: of so few nothing can be said
    # late: the middle of the logged epochs 0, 1, 3, 4 and on, so 1, 3 and 4
    assert ask(tiny, "label_suspects") == [
        (4, 3, "fish", 1, "dog", 0.66667, 0.13333, -2.0, score(-2), *unknown),
        (2, 1, "dog", 2, "bird", 0.66667, 0.33333, -0.33333, score(-1 / 3), *unknown),
        (1, 0, "cat", 1, "dog", 0.33333, 0.6, 0.33333, score(1 / 3), *unknown),
        (3, 1, "dog", 2, "bird", 0.33333, 0.6, 0.33333, score(1 / 3), *unknown),
        (0, 0, "cat", None, None, 0.0, 0.9, 1.0, score(1), *unknown),
    ]
    first, *_ = records(tiny, "label_suspects", from_epoch="3")
    assert (first["instance_id"], first["suggested_share"]) == (4, 1)
    last = records(tiny, "label_suspects", from_epoch="0", to_epoch="1")[-1]
    assert (last["instance_id"], last["aum"]) == (3, 1)


def test_reviewers_agreement_and_the_precision_of_suspects(tiny):
    """Images 3, 4 and 5 are the first rows, by aum; counted by hand, kappa beside scikit-learn's."""
    said = {"anna": ["label_ok", "label_wrong", "label_ok", "label_wrong"],
            "ben": ["label_ok", "label_wrong", "label_wrong", "unclear"]}  # fmt: skip
    for who, words in said.items():
        for instance_id, word in enumerate(words):
            data.add_verdict(tiny, "tiny", instance_id, word, who)
    data.add_verdict(tiny, "tiny", 4, "label_wrong", "cy", new_label=0)
    people, pair, everyone, first = (
        list(rows) for _, rows in itertools.groupby(records(tiny, "verdict_summary"), lambda row: row["what"])
    )
    assert [(row["who"], row["n"], row["n_hits"]) for row in people] == [("anna", 4, 2), ("ben", 4, 2), ("cy", 1, 1)]
    assert [(row["who"], row["other_who"], row["n"], row["n_hits"]) for row in pair] == [("anna", "ben", 4, 2)]
    assert pair[0]["kappa"] == pytest.approx(cohen_kappa_score(said["anna"], said["ben"]))
    assert (everyone[0]["n"], everyone[0]["n_hits"]) == (4, 2)
    # 8 votes: 3 label_ok, 4 label_wrong, 1 unclear; 2 of 4 images differ
    assert everyone[0]["kappa"] == pytest.approx(1 - (8 - 1) * 4 / (8**2 - 3**2 - 4**2 - 1))
    [row] = first  # 0 is ok, 1 and 4 are wrong, 2 and 3 disputed
    assert (row["what"], row["first_rows"], row["n"], row["n_hits"], row["n_open"]) == ("first", 5, 3, 2, 2)
    assert (row["share_low"], row["share_high"]) == pytest.approx(wilson(2, 3), abs=1e-5)
    data.add_verdict(tiny, "tiny", 3, "label_wrong", "ben", given_at="2026-02-01")
    assert records(tiny, "verdict_summary")[-1]["n_hits"] == 3  # the latest one of a person counts


def test_verdicts_stand_beside_suspects(tiny):
    data.add_verdict(tiny, "tiny", 2, "label_wrong", "ben", new_label=3)
    data.add_verdict(tiny, "tiny", 2, "label_ok", "anna")
    for name in ("label_suspects", "instances_to_check"):
        said = {row["instance_id"]: row["verdicts"] for row in records(tiny, name)}
        assert said.pop(2) == "anna: label_ok; ben: label_wrong, is fish"
        assert set(said.values()) == {None}


def test_label_suspects_state_their_precision():
    connection = data.empty()
    data.insert(connection, "predictions", data.noisy_rows("tiny", "test", 1000, 0.1, seed=2))
    rows = records(connection, "label_suspects", limit="1000")
    assert [row["aum"] for row in rows] == sorted(row["aum"] for row in rows)
    p_wrong = [row["p_wrong"] for row in rows]
    for count in (1, 50, 1000):
        assert rows[count - 1]["expected_precision"] == pytest.approx(fmean(p_wrong[:count]), abs=1e-6)
    found = fmean(row["instance_id"] < 100 for row in rows[:100])  # the wrong ones are the first
    assert found - 0.3 <= rows[99]["expected_precision"] <= found  # a low estimate
    assert {row["kind"] for row in rows} == {"suspect", "disputed", "supported"}
    shown = records(connection, "label_suspects", limit="50")
    assert shown == rows[:50]


def test_label_suspects_of_training_images_are_not_out_of_sample(tiny):
    data.insert(tiny, "predictions", data.tiny_rows("tiny", "train_seen"))
    assert {row["out_of_sample"] for row in records(tiny, "label_suspects", split="train_seen")} == {False}


def test_a_suspect_is_suggested_the_surest_of_equally_frequent_classes():
    connection = data.empty()
    guesses = [(1, 2, 0.9), (2, 2, 0.3), (3, 0, 0.5), (4, 0, 0.5)]
    rows = [data.prediction("tiny", "test", epoch, 0, 1, predicted, 0.1) for epoch, predicted, _ in guesses]
    rows = [row | {"p_predicted": p} for row, (*_, p) in zip(rows, guesses, strict=True)]
    data.insert(connection, "predictions", rows)
    [row] = records(connection, "label_suspects", from_epoch="1")
    assert (row["suggested"], row["suggested_share"]) == (2, 0.5)


def test_label_suspects_without_probabilities_go_by_the_predictions():
    connection = data.empty()
    rows = [
        data.prediction("tiny", "test", epoch, key, 1, 1 + (epoch <= key), None) | {"margin": None}
        for key in range(3)
        for epoch in (1, 2)
    ]
    data.insert(connection, "predictions", rows)
    found = [
        (row["instance_id"], row["score"], row["kind"]) for row in records(connection, "label_suspects", from_epoch="1")
    ]
    assert found == [(2, 1, None), (1, 0.5, None), (0, 0, None)]


def test_hard_classes(tiny):
    assert ask(tiny, "hard_classes") == [
        (4, 3, "fish", 1, 0.0, 0.0, 0.79346, 0.1, 1, "dog", 1.0, 0.0),
        (4, 1, "dog", 2, 0.5, 0.09453, 0.90547, 0.4, 2, "bird", 1.0, 0.5),
        (4, 0, "cat", 2, 1.0, 0.34237, 1.0, 0.85, None, None, None, 0.5),
    ]
    assert [row[-1] for row in ask(tiny, "hard_classes", epoch="1")] == [0, 0, 0]
    assert [row[-1] for row in ask(tiny, "hard_classes", epoch="0")] == [None, None, None]
    counted = "select label, avg((lost > 0)::integer) from learning_counts('tiny', 'test', 1, 3) group by label"
    rates = dict(tiny.execute(counted).fetchall())
    assert {row[1]: row[-1] for row in ask(tiny, "hard_classes", epoch="3")} == rates


def add_counts(connection, counts):
    """Test images of each class at epoch 4: how many, and how many of them wrong."""
    rows = [
        data.prediction("tiny", "test", 4, 1000 * label + key, label, (label + (key < wrong)) % len(counts), 0.5)
        for label, (n, wrong) in enumerate(counts)
        for key in range(n)
    ]
    data.insert(connection, "predictions", rows)


def test_class_differences_are_fisher_and_holm():
    connection = data.empty()
    counts = [(40, 20), (40, 6), (30, 3), (1, 0), (50, 4)]
    add_counts(connection, counts)
    rows = {row["class_id"]: row for row in records(connection, "class_differences", level="0.01")}
    total, wrong = (sum(column) for column in zip(*counts, strict=True))
    tails = [hypergeom(total, wrong, n) for n, _ in counts]
    chances = [min(1, 2 * tail.cdf(k), 2 * tail.sf(k - 1)) for tail, (_, k) in zip(tails, counts, strict=True)]
    order = np.argsort(chances)
    corrected = np.maximum.accumulate([(5 - place) * chances[key] for place, key in enumerate(order)]).clip(max=1)
    for key, p_adjusted in zip(order.tolist(), corrected, strict=True):
        n, k = counts[key]
        assert (rows[key]["n"], rows[key]["accuracy"]) == (n, pytest.approx(1 - k / n))
        assert rows[key]["others_accuracy"] == pytest.approx(1 - (wrong - k) / (total - n))
        assert rows[key]["p_value"] == pytest.approx(chances[key], abs=1e-9)
        assert rows[key]["p_adjusted"] == pytest.approx(p_adjusted, abs=1e-9)
    assert [rows[key]["verdict"] for key in range(5)] == ["harder", None, None, None, None]
    assert [row["class_id"] for row in records(connection, "class_differences")] == [0, 1, 2, 4, 3]
    assert records(connection, "class_differences", epoch="3") == []
    connection.execute("delete from predictions where label > 0")
    [alone] = records(connection, "class_differences")
    assert (alone["others_accuracy"], alone["p_value"], alone["verdict"]) == (None, 1, None)


@pytest.mark.parametrize(("kind", "tells_apart"), [("constant", False), ("guessing", False), ("half right", True)])
def test_a_model_that_tells_nothing_apart_has_no_harder_classes(kind, tells_apart):
    connection, draw = data.empty(), np.random.default_rng(4)
    labels = np.arange(400) % 4
    answers = {"constant": np.ones(400, int), "guessing": draw.choice(4, 400, p=[0.7, 0.1, 0.1, 0.1])}
    answers["half right"] = np.where(np.arange(400) < 200, labels, answers["guessing"])
    rows = [
        data.prediction("tiny", "test", 4, key, int(label), int(answer), 0.5)
        for key, (label, answer) in enumerate(zip(labels, answers[kind], strict=True))
    ]
    data.insert(connection, "predictions", rows)
    found = records(connection, "class_differences")
    assert {row["tells_apart"] for row in found} == {tells_apart}
    assert min(row["p_adjusted"] for row in found) < 0.001  # class 0, or 1, is answered too often
    assert any(row["verdict"] for row in found) == tells_apart


def test_matches_of_shuffled_labels_vary_as_they_do():
    """At a level of 0.2 a fifth of guessing models are taken to tell classes apart."""
    connection, draw, studies = data.empty(), np.random.default_rng(5), 200
    for study in range(studies):
        labels, answers = draw.choice(3, 60, p=[0.6, 0.3, 0.1]), draw.choice(3, 60, p=[0.2, 0.3, 0.5])
        rows = [
            data.prediction(f"run {study}", "test", 0, key, int(label), int(answer), 0.5)
            for key, (label, answer) in enumerate(zip(labels, answers, strict=True))
        ]
        data.insert(connection, "predictions", rows)
    apart = [
        queries.run(connection, "class_differences", {"run_id": f"run {study}", "level": "0.2"}).dicts[0]["tells_apart"]
        for study in range(studies)
    ]
    assert sum(apart) == pytest.approx(40, abs=20)


@pytest.mark.parametrize(("classes", "n"), [(10, 100), (100, 20)])
def test_equally_hard_classes_get_no_verdict_and_a_hard_one_does(classes, n):
    connection, draw = data.empty(), np.random.default_rng(classes)
    studies, false = 40, 0
    for _ in range(studies):
        connection.execute("delete from predictions")
        add_counts(connection, [(n, wrong) for wrong in draw.binomial(n, 0.15, classes).tolist()])
        false += any(row["verdict"] for row in queries.run(connection, "class_differences", {"run_id": "tiny"}).dicts)
    assert false <= 7  # 2 on average, more than 7 in 0.1 % of cases
    connection.execute("delete from predictions")
    add_counts(connection, [(n, n // 2), *((n, n // 10) for _ in range(classes - 1))])
    verdicts = {row["class_id"]: row["verdict"] for row in records(connection, "class_differences")}
    assert {key for key, verdict in verdicts.items() if verdict == "harder"} == {0}


def test_missing_predictions(tiny):
    assert ask(tiny, "missing_predictions") == []
    tiny.execute("delete from predictions where epoch = 3 and instance_id in (2, 4)")
    data.add_instances(tiny, "tiny", "extra:new", [None])
    data.add_instances(tiny, "tiny", "train", [0, 1])
    assert ask(tiny, "missing_predictions") == [
        *[("extra:new", epoch, 1, [0]) for epoch in (0, 1, 3, 4)],
        ("test", 3, 2, [2, 4]),
    ]
    assert ask(tiny, "missing_predictions", limit="1")[-1] == ("test", 3, 2, [2])


def test_missing_predictions_of_train_seen_start_at_epoch_1(tiny):
    data.add_instances(tiny, "tiny", "train", [0, 1])
    data.insert(tiny, "predictions", [data.prediction("tiny", "train_seen", 1, 0, 0, 0, 0.9)])
    assert ask(tiny, "missing_predictions") == [
        ("train_seen", 1, 1, [1]),
        ("train_seen", 3, 2, [0, 1]),
        ("train_seen", 4, 2, [0, 1]),
    ]


def test_missing_predictions_of_train_folds_start_at_epoch_0(tiny):
    data.add_instances(tiny, "tiny", "train", [0, 1])
    rows = [data.prediction("tiny", "train_folds", epoch, 0, 0, 0, 0.9) for epoch in (0, 1, 3)]
    data.insert(tiny, "predictions", rows)
    expected = [(0, 1, [1]), (1, 1, [1]), (3, 1, [1]), (4, 2, [0, 1])]
    assert ask(tiny, "missing_predictions") == [("train_folds", *row) for row in expected]


def test_run_difference(tiny):
    data.insert(tiny, "predictions", data.tiny_rows("twin", "test"))
    tiny.execute("update predictions set p_true = 0.5 where run_id = 'twin' and epoch = 1 and instance_id = 0")
    tiny.execute("update predictions set predicted = 3 where run_id = 'twin' and epoch = 3 and instance_id in (0, 5)")
    tiny.execute("delete from predictions where run_id = 'twin' and epoch = 4 and instance_id > 0")
    tiny.execute("delete from predictions where run_id = 'tiny' and epoch = 0")
    assert ask(tiny, "run_difference", other_run_id="twin") == [
        ("predictions", 0, "test", None, 0, 0, None, 0, None, None, 0, 6, []),
        ("predictions", 1, "test", None, 6, 1, 0.4, 0, 0.6, 0.6, 0, 0, []),
        ("predictions", 3, "test", None, 6, 2, 0.0, 2, 0.4, 0.2, 0, 0, [0, 5]),
        ("predictions", 4, "test", None, 1, 0, 0.0, 0, 1.0, 1.0, 5, 0, []),
    ]
    assert ask(tiny, "run_difference", other_run_id="twin", limit="1")[2][-1] == [0]


LISTS = {  # probabilities of every class, and the classes and probabilities of the likeliest
    "all": ("[0.1, 0.2, 0.3, 0.4]::real[]", "null", "null"),
    "two": ("null", "[3, 2]", "[0.4, 0.3]::real[]"),
    "other two": ("null", "[3, 1]", "[0.5, 0.3]::real[]"),
    "none": ("null", "null", "null"),
}


@pytest.mark.parametrize(
    ("here", "other", "difference"),
    [("two", "two", 0), ("all", "two", 0), ("two", "other two", 0.1), ("all", "other two", 0.1), ("two", "none", 0)],
)
def test_run_difference_compares_the_classes_that_both_runs_keep(tiny, here, other, difference):
    data.insert(tiny, "predictions", data.tiny_rows("twin", "test"))
    for run_id, kept in (("tiny", here), ("twin", other)):
        for column, value in zip(("probabilities", "top_classes", "top_probabilities"), LISTS[kept], strict=True):
            tiny.execute(f"update predictions set {column} = {value} where run_id = '{run_id}'")
    for ids in (("tiny", "twin"), ("twin", "tiny")):
        rows = records(tiny, "run_difference", run_id=ids[0], other_run_id=ids[1])
        assert all(row["n_different"] == (row["n"] if difference else 0) for row in rows)
        assert [row["max_difference"] for row in rows] == pytest.approx([difference] * len(rows))


@pytest.fixture
def compared(tiny):
    """A twin that ends at epoch 3, where it differs from the tiny run at epoch 4 in every way there is."""
    labels = [label for label, *_ in data.TINY]
    predicted, p_true = [0, 1, 2, 1, 2, 3], [0.8, 0.3, 0.4, 0.9, 0.3, None]
    last = [data.prediction("twin", "test", 3, i, labels[i], predicted[i], p_true[i]) for i in range(len(labels))]
    data.insert(tiny, "predictions", last + [row | {"epoch": 1, "predicted": 3} for row in last])
    data.add_instances(tiny, "twin", "test", labels)
    return tiny


def test_compared_flow(compared):
    """Source is what the tiny run predicts at its last epoch, target what the twin predicts at its own."""
    assert ask(compared, "compared_flow", other_run_id="twin") == [
        (0, "cat", 0, "cat", 0, "cat", "kept", 1),
        (0, "cat", 1, "dog", 0, "cat", "broken", 1),
        (0, "cat", 3, "fish", None, None, None, 1),
        (1, "dog", 2, "bird", 1, "dog", "broken", 1),
        (1, "dog", 2, "bird", 3, "fish", "rerouted", 1),
        (2, "bird", 1, "dog", 1, "dog", "fixed", 1),
    ]
    assert ask(compared, "compared_flow", other_run_id="twin", classes="fish,cat") == [
        (0, "cat", 0, "cat", 0, "cat", "kept", 1),
        (0, "cat", 4, "Other", 0, "cat", "broken", 1),
        (4, "Other", 4, "Other", 3, "fish", "rerouted", 1),
    ]
    earlier = ask(compared, "compared_flow", other_run_id="twin", epoch="1", classes="fish")
    assert earlier == [(4, "Other", 4, "Other", 3, "fish", "stuck", 1)]
    assert {row[2] for row in ask(compared, "compared_flow", other_run_id="twin", other_epoch="1")} == {3}


def test_compared_instances(compared):
    assert ask(compared, "compared_instances", other_run_id="twin") == [
        (1, 0, "cat", 0, "cat", 1, "dog", "broken", 0.8, 0.3, -0.5),
        (2, 1, "dog", 1, "dog", 2, "bird", "broken", 0.5, 0.4, -0.1),
        (3, 1, "dog", 2, "bird", 1, "dog", "fixed", 0.3, 0.9, 0.6),
        (4, 3, "fish", 1, "dog", 2, "bird", "rerouted", 0.1, 0.3, 0.2),
        (0, 0, "cat", 0, "cat", 0, "cat", "kept", 0.9, 0.8, -0.1),
        (5, None, None, 0, "cat", 3, "fish", None, None, None, None),
    ]
    first = ask(compared, "compared_instances", other_run_id="twin", classes="dog", limit="1")
    assert [row[0] for row in first] == [2]


def differences(connection, kind="", **values):
    """Rows that compare tiny with twin, or what was made of them."""
    rows = records(connection, "run_difference", run_id=f"tiny{kind}", other_run_id=f"twin{kind}", **values)
    assert all(row["n"] >= row["n_different"] >= (row["n_other_class"] or 0) for row in rows)
    return rows


@pytest.fixture
def alike():
    """Two runs with everything that hangs on them, the same in both; probabilities of every class in split test."""
    connection = data.empty()
    for run_id in ("tiny", "twin"):
        fill_every_table(connection, run_id)
    connection.execute("update predictions set probabilities = [0.1, 0.2, 0.3, 0.4] where split = 'test'")
    return connection


KINDS = {
    "": {"predictions"},
    " explained": {"maps", "concepts", "concept_scores", "tcav_scores"},
    " compared": {"attribution_scores", "map_clusters", "patch_trials", "patch_carriers"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_runs_made_alike_do_not_differ(alike, kind):
    rows = differences(alike, kind)
    assert {row["what"] for row in rows} == KINDS[kind]
    for row in rows:
        assert row["n"] > 0
        assert row["max_difference"] == row["n_different"] == row["only_here"] == row["only_other"] == 0
        assert row["instance_ids"] == []
    there = sum(row["n"] for row in rows)
    counted = [
        alike.execute(f"select count(*) from {what} where run_id = 'tiny{kind}'").fetchone()[0] for what in KINDS[kind]
    ]
    assert there == sum(counted)


NUMBERS = [
    ("predictions", "probabilities", "split = 'test' and epoch = 3"),
    ("predictions", "p_true", "split = 'train_seen' and epoch = 3"),
    ("predictions", "p_predicted", "split = 'train_seen' and epoch = 3"),
    ("maps", "map", "method = 'shap' and epoch = 3"),
    ("concepts", "vector", "epoch = 4"),
    ("concept_scores", "score", "epoch = 4"),
    *[("tcav_scores", column, "epoch = 4") for column in ("prevalence", "tcav_sign", "tcav_magnitude", "p_value")],
    ("attribution_scores", "value", "method = 'shap'"),
]


@pytest.mark.parametrize(("table", "column", "where"), NUMBERS)
def test_the_last_bit_of_any_number_counts(alike, table, column, where):
    [kind] = [kind for kind in KINDS if table in KINDS[kind]]
    instance_id = "instance_id" if table not in ("concepts", "tcav_scores") else "null"
    first = f"select rowid, {instance_id}, {column} from {table} where run_id = 'twin{kind}' and {where} order by all"
    rowid, instance_id, value = alike.execute(first).fetchall()[-1]
    single = np.float64 if table == "attribution_scores" else np.float32
    before = np.array(value, single)
    after = before.copy()
    after[(-1,) * before.ndim] = np.nextafter(before[(-1,) * before.ndim], single(9))
    alike.execute(f"update {table} set {column} = ? where rowid = ?", [after.tolist(), rowid])
    rows = differences(alike, kind)
    [off] = [row for row in rows if row["n_different"]]
    assert (off["what"], off["n_different"]) == (table, 1)
    assert off["max_difference"] == abs(after.astype(float) - before).max() > 0
    assert max(row["max_difference"] for row in rows if row is not off) == 0
    assert off["instance_ids"] == ([] if instance_id is None or table == "predictions" else [instance_id])
    assert off["n_other_class"] == (0 if table == "predictions" else None)


def test_a_kind_of_rows_that_only_one_run_has(alike):
    alike.execute("delete from concept_scores where run_id = 'twin explained'")
    alike.execute("delete from concepts where run_id = 'tiny explained'")
    found = {row["what"]: row for row in differences(alike, " explained") if row["epoch"] == 4}
    columns = ("n", "n_different", "max_difference", "only_here", "only_other")
    assert [found["concept_scores"][key] for key in columns] == [0, 0, None, 6, 0]
    assert [found["concepts"][key] for key in columns] == [0, 0, None, 0, 2]


def test_difference_of_one_split(alike):
    assert {row["split"] for row in differences(alike)} == {"test", "train_seen", "val"}
    assert {row["split"] for row in differences(alike, split="train_seen")} == {"train_seen"}
    assert {row["what"] for row in differences(alike, " explained", split="test")} == {"maps", "concept_scores"}
    assert differences(alike, split="train") == []


# --- matching images of two trainings

P_TRUE = {"a": 0.5, "b": 0.625, "c": 0.75, "d": 0.875, "x": 0.25, "y": 0.375}


def add_sources(connection, run_id, sources, split):
    """A training whose images are these; p_true depends on the image alone, class 1 is predicted of all."""
    connection.execute("delete from runs where run_id = ?", [run_id])
    data.add_run(connection, run_id)
    stored = "train" if split == "train_seen" else split
    rows = [
        {"run_id": run_id, "split": stored, "instance_id": key, "label": 1, "source": f"train/{source}"}
        for key, source in enumerate(sources)
    ]
    data.insert(connection, "instances", rows)
    rows = [
        data.prediction(run_id, split, epoch, key, 1, 1, P_TRUE[source])
        for key, source in enumerate(sources)
        for epoch in (1, 2)
    ]
    data.insert(connection, "predictions", rows)


@pytest.mark.parametrize("split", ["val", "train_seen", "extra:new"])
def test_images_of_two_seeds_are_matched_by_source(split):
    connection = data.empty()
    add_sources(connection, "tiny", "abcd", split)
    add_sources(connection, "twin", "cxayb", split)
    # the same IDs in another split are other images
    add_sources(connection, "tiny", "dcba", "test")
    add_sources(connection, "twin", "dcba", "test")
    connection.execute("update predictions set predicted = 2 where run_id = 'twin' and instance_id = 2 and epoch = 2")
    one, other, *_ = sorted(differences(connection, split=split), key=lambda row: row["epoch"])
    columns = ("n", "n_different", "max_difference", "only_here", "only_other", "accuracy", "instance_ids")
    assert [one[key] for key in columns] == [3, 0, 0, 1, 2, 1, []]
    assert [other[key] for key in columns] == [3, 1, 0, 1, 2, 1, [0]]  # a: 2 there, 0 here
    assert other["other_accuracy"] == pytest.approx(2 / 3)
    assert [row["n"] for row in differences(connection, split="test")] == [4, 4]


def test_images_of_explainer_and_comparing_runs_are_those_of_their_trainings():
    connection = data.empty()
    for run_id, sources in (("tiny", "abcd"), ("twin", "cxayb")):
        add_sources(connection, run_id, sources, "val")
        for kind, short in (("explain", "explained"), ("compare", "compared")):
            data.add_run(connection, f"{run_id} {short}", kind=kind, source=run_id)
        for key, source in enumerate(sources):
            values = np.full((8, 8), P_TRUE[source])
            data.add_map(connection, f"{run_id} explained", values, run_id, split="val", instance_id=key)
            row = {"run_id": f"{run_id} explained", "epoch": 4, "split": "val", "instance_id": key, "concept_id": 0}
            data.insert(connection, "concept_scores", [row | {"score": P_TRUE[source], "present": True}])
        scores = [P_TRUE[source] for source in sources]
        data.add_scores(connection, f"{run_id} compared", "shap", "insertion", scores, run_id, split="val")
    columns = ("what", "n", "n_different", "max_difference", "only_here", "only_other", "instance_ids")
    rows = differences(connection, " explained") + differences(connection, " compared")
    assert [tuple(row[key] for key in columns) for row in rows] == [
        (what, 3, 0, 0, 1, 2, []) for what in ("maps", "concept_scores", "attribution_scores")
    ]
    change = "update maps set map = list_concat([2], map[2:])"
    connection.execute(f"{change} where run_id = 'twin explained' and instance_id = 4")
    [row] = [row for row in differences(connection, " explained") if row["what"] == "maps"]
    assert [row[key] for key in columns] == ["maps", 3, 1, 2 - P_TRUE["b"], 1, 2, [1]]  # b: 4 there, 1 here


def test_images_of_one_source_are_matched_in_their_order():
    connection = data.empty()
    add_sources(connection, "tiny", "aabaa", "test")
    add_sources(connection, "twin", "baaa", "test")
    moved = {0: 1, 1: 2, 2: 0, 3: 3}  # the fourth a has no partner
    for here, there in moved.items():
        sql = "update predictions set p_true = ? where run_id = ? and instance_id = ?"
        for run_id, key in (("tiny", here), ("twin", there)):
            connection.execute(sql, [0.25 + here / 8, run_id, key])
    for row in differences(connection):
        assert (row["n"], row["n_different"], row["only_here"], row["only_other"]) == (4, 0, 1, 0)
    connection.execute("update predictions set predicted = 2 where run_id = 'twin' and instance_id in (0, 2)")
    assert [row["instance_ids"] for row in differences(connection)] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("unknown", ["tiny", "twin", "tiny' or run_id = 'twin"])
def test_images_of_unknown_source_are_matched_by_id(unknown):
    connection = data.empty()
    add_sources(connection, "tiny", "abcd", "val")
    add_sources(connection, "twin", "abcx", "val")
    connection.execute(f"delete from instances where run_id = '{unknown}'")
    columns = ("n", "n_different", "max_difference", "only_here", "only_other")
    for row in differences(connection):
        assert [row[key] for key in columns] == [4, 1, P_TRUE["d"] - P_TRUE["x"], 0, 0]


# --- awkward numbers


def test_difference_without_labels(alike):
    alike.execute("update predictions set label = null, p_true = null")
    for row in differences(alike):
        assert (row["n_different"], row["max_difference"]) == (0, 0)
        assert (row["accuracy"], row["other_accuracy"]) == (None, None)
    alike.execute("update predictions set p_predicted = 0.125 where run_id = 'twin' and split = 'train_seen'")
    [row, *_] = differences(alike, split="train_seen")
    assert (row["n"], row["n_different"], row["n_other_class"]) == (2, 2, 0)


def test_difference_of_imported_logs(alike):
    alike.execute("update predictions set probabilities = null, p_true = null, p_predicted = null")
    assert {(row["n_different"], row["max_difference"]) for row in differences(alike)} == {(0, None)}
    alike.execute("update predictions set predicted = 3 where run_id = 'twin' and instance_id in (1, 4)")
    [row, *_] = differences(alike, split="test")
    columns = ("n", "n_different", "max_difference", "n_other_class", "instance_ids")
    assert [row[key] for key in columns] == [6, 2, None, 2, [1, 4]]


@pytest.mark.parametrize(
    ("here", "other", "n_different", "most"),
    [
        ("nan", "nan", 0, 0),
        ("inf", "inf", 0, 0),
        ("nan", "0.5", 1, math.nan),
        ("inf", "0.5", 1, math.inf),
        ("inf", "-inf", 1, math.inf),
    ],
)
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (" explained", "update maps set map = [1, ?, 3]"),
        (" compared", "update attribution_scores set value = ?"),
        ("", "update predictions set probabilities = [0, ?]"),
    ],
)
def test_differences_of_nan_and_infinity(alike, kind, change, here, other, n_different, most):
    one = "instance_id = 1 and epoch = 4 and split = 'test'"
    alike.execute("delete from attribution_scores where metric <> 'insertion'")
    for run_id, value in (("tiny", here), ("twin", other)):
        alike.execute(f"{change} where run_id = '{run_id}{kind}' and {one}", [float(value)])
    [what] = KINDS[kind] & {"maps", "attribution_scores", "predictions"}
    rows = [row for row in differences(alike, kind, split="test") if row["what"] == what]
    assert {row["epoch"] for row in rows} >= {4}
    for row in rows:
        expected = (n_different, most) if row["epoch"] == 4 else (0, 0)
        assert (row["n_different"], row["max_difference"]) == pytest.approx(expected, nan_ok=True)


def test_largest_difference_of_numbers_beside_nan_and_infinity(alike):
    """Numbers that are the same count 0; those of 32 bits are subtracted exactly."""
    for run_id, value in (("tiny", 1.0), ("twin", 2.0**-30)):
        change = "update maps set map = ['nan', 'inf', ?, null, 0.5]"
        alike.execute(f"{change} where run_id = '{run_id} explained' and instance_id = 1", [value])
    rows = [row for row in differences(alike, " explained") if row["what"] == "maps"]
    assert [(row["n_different"], row["max_difference"]) for row in rows] == [(1, 1 - 2**-30)] * 4


def test_a_number_that_is_missing_in_one_run_counts(alike):
    alike.execute("update predictions set p_true = null where run_id = 'twin' and split = 'train_seen' and epoch = 1")
    [row, *_] = differences(alike, split="train_seen")
    assert (row["epoch"], row["n"], row["n_different"], row["max_difference"]) == (1, 2, 2, 0)


def test_maps_of_other_sizes_differ_by_no_number(alike):
    alike.execute("delete from maps")
    for run_id, shape in (("tiny", (4, 16)), ("twin", (8, 8))):
        data.add_map(alike, f"{run_id} explained", np.ones(shape))
    maps = {"n": 1, "n_different": 1, "max_difference": None, "instance_ids": [0]}
    [row] = [row for row in differences(alike, " explained") if row["what"] == "maps"]
    assert maps.items() <= row.items()
    alike.execute("update maps set height = 8, width = 9, map = list_concat(map, [1, 1, 1, 1, 1, 1, 1, 1]) "
                  "where run_id = 'tiny explained'")  # fmt: skip
    [row] = [row for row in differences(alike, " explained") if row["what"] == "maps"]
    assert maps.items() <= row.items()
    for run_id, value in (("tiny", 1), ("twin", 0.75)):
        data.add_map(alike, f"{run_id} explained", np.full((8, 8), value), instance_id=1)
    [row] = [row for row in differences(alike, " explained") if row["what"] == "maps"]
    assert (row["n_different"], row["max_difference"], row["instance_ids"]) == (2, 0.25, [0, 1])


def test_maps_are_matched_by_the_class_they_explain(alike):
    alike.execute("delete from maps")
    for run_id, targets in (("tiny", (0, 1, 2)), ("twin", (0, 1, 3))):
        for target in targets:
            values = np.full((8, 8), target if run_id == "tiny" else 0.5)
            data.add_map(alike, f"{run_id} explained", values, target=target)
    data.add_map(alike, "tiny explained", np.ones((8, 8)), target=3, target_kind="label")
    [row] = [row for row in differences(alike, " explained") if row["what"] == "maps"]
    columns = ("method", "n", "n_different", "max_difference", "only_here", "only_other", "instance_ids")
    assert [row[key] for key in columns] == ["saliency", 2, 2, 0.5, 2, 1, [0]]


def test_runs_are_newest_first():
    connection = data.empty()
    fill_every_table(connection, "tiny")
    rows = queries.run(connection, "runs", {}).rows
    assert [row[:7] for row in rows] == [
        ("tiny compared", "compare", "name of tiny compared", "FINISHED", "pets", "tiny", None),
        ("tiny explained", "explain", "name of tiny explained", "FINISHED", "pets", "tiny", None),
        ("tiny", "train", "name of tiny", "FINISHED", "pets", None, 1),
    ]


def test_small_questions():
    connection = data.empty()
    fill_every_table(connection, "tiny")
    assert ask(connection, "metrics_by_epoch") == [(0, "test_accuracy", 0.25), (1, "test_accuracy", 0.5)]
    assert ask(connection, "metrics_by_epoch", key="loss") == []
    found = {row[2:4]: row for row in ask(connection, "explained")}
    assert set(found) == {("saliency", 4), ("edge", 3), ("edge", 4), ("shap", 3), ("shap", 4)}
    wanted = ("tiny explained", "name of tiny explained", "saliency", 4, "test", "label", 2, 1.5, 0.375, 1, 1, 0.4)
    assert found["saliency", 4] == wanted
    connection.execute("delete from runs")
    assert {row[:2] for row in ask(connection, "explained")} == {("tiny explained", None)}


def test_explained_together_counts_an_image_once(tiny):
    """Two halves that overlap in image 1, whose map of the run that started last counts; its maps are all zero."""
    for run_id, started_at, instances, value in (("b", "2026-01-01", (0, 1), 1.0), ("a", "2026-01-02", (1, 2), 0.0)):
        data.add_run(tiny, run_id, started_at, "explain", "tiny")
        for instance in instances:
            data.add_map(tiny, run_id, np.full((8, 8), value), instance_id=instance)
    columns = ("explainer_run_id", "explainer_name", "n", "n_zero", "mean_score")
    answers = {value: records(tiny, "explained", together=value) for value in ("no", "yes")}
    found = {value: [tuple(row[key] for key in columns) for row in rows] for value, rows in answers.items()}
    assert found["no"] == [("a", "name of a", 2, 2, 1.0), ("b", "name of b", 2, 0, 1.0)]
    assert found["yes"] == [(None, None, 3, 2, 1.0)]


def test_dataset_overview(tiny):
    assert ask(tiny, "dataset_overview") == [
        ("test", 0, "cat", 2, 0.33333),
        ("test", 1, "dog", 2, 0.33333),
        ("test", 2, "bird", 0, 0.0),
        ("test", 3, "fish", 1, 0.16667),
        ("test", None, None, 1, 0.16667),
    ]


# --- random runs and a real one, against plain Python


def assert_flow(connection, rows, first, last, shown):
    """Nodes and links are what the definitions say, and lead the same images on."""
    classes = None if shown is None else ",".join(map(str, shown))
    values = {"from_epoch": str(first), "to_epoch": str(last), "classes": classes}
    other = connection.execute("select count(*) from classes where run_id = 'tiny'").fetchone()[0]
    nodes = {
        (row["epoch"], row["class_id"], row["label"], row["type"]): row["n"]
        for row in records(connection, "flow_nodes", **values)
    }
    links = {
        (row["epoch"], row["next_epoch"], row["source"], row["target"], row["label"]): row["n"]
        for row in records(connection, "flow_links", **values)
    }
    assert nodes == data.nodes(rows, first, last, shown, other)
    assert links == data.links(rows, first, last, shown, other)
    last_epoch = max((key[0] for key in nodes), default=None)
    leaving, going = Counter(), Counter()
    for (epoch, place, label, _), n in nodes.items():
        leaving[epoch, place, label] += n * (epoch != last_epoch)
    for (epoch, _, source, _, label), n in links.items():
        going[epoch, source, label] += n
    assert +leaving == going


def assert_instances(connection, rows, first, last):
    """instance_metrics of every image over a range."""
    inside = data.histories([row for row in rows if first <= row["epoch"] <= last])
    answer = records(connection, "instance_metrics", from_epoch=str(first), to_epoch=str(last))
    assert {row["instance_id"] for row in answer} == set(inside)
    keys = [(row["score_raw"], row["frequency_raw"], row["instance_id"]) for row in answer]
    order = [(score is None, -(score or 0), -frequency, key) for score, frequency, key in keys]
    assert order == sorted(order)
    for row in answer:
        history = inside[row["instance_id"]]
        wanted = data.flow_metrics(history)
        if history[0]["label"] is None:
            wanted |= {"score_raw": None, "score": None, "forgetting": None, "first_learned": None}
        else:
            wanted |= data.dynamics(history)
            del wanted["last_forgotten"]
            p_true = [step["p_true"] for step in history]
            assert row["confidence"] == pytest.approx(fmean(p_true), abs=1e-6)
            deviation = pytest.approx(pstdev(p_true), abs=1e-6) if len(p_true) > 1 else None
            assert row["p_true_std"] == deviation
            assert row["aum"] == pytest.approx(fmean(step["margin"] for step in history))
        # InstanceFlow rounds to two digits; half a digit may fall either way
        for key in ("score", "frequency"):
            assert row[key] == pytest.approx(wanted.pop(key), abs=0.00501)
        assert wanted.items() <= row.items()


def assert_outcomes(connection, rows):
    counted: dict[tuple, Counter] = {}
    for history in data.histories(rows).values():
        for before, after in pairwise(history):
            counts = counted.setdefault((before["epoch"], after["epoch"]), Counter())
            label = before["label"]
            counts["unlabelled" if label is None else data.outcome(label, before["predicted"], after["predicted"])] += 1
    answer = records(connection, "transition_outcomes")
    assert [(row["epoch"], row["next_epoch"]) for row in answer] == sorted(counted)
    for row in answer:
        outcomes = {key: row[key] for key in ("fixed", "broken", "rerouted", "kept", "stuck")}
        assert sum(outcomes.values()) == row["n"]
        assert +Counter(outcomes | {"unlabelled": row["unlabelled"]}) == counted[row["epoch"], row["next_epoch"]]


def assert_forgetting(connection, rows):
    inside = data.histories([row for row in rows if row["epoch"] >= 1 and row["label"] is not None])
    answer = records(connection, "forgetting")
    assert {row["instance_id"] for row in answer} == set(inside)
    for row in answer:
        wanted = data.dynamics(inside[row["instance_id"]])
        never = wanted["first_learned"] is None
        assert row["never_learned"] == never
        assert row["forgetting"] == (None if never else wanted["forgetting"])
        assert row["learning"] == wanted["learning"]
        assert row["right_at_end"] == (wanted["stable_since"] is not None)
        assert row["last_forgotten"] == wanted["last_forgotten"]


def assert_hard_classes(connection, rows):
    """At the last epoch; forgetting from epoch 1 on."""
    answer = {row["class_id"]: row for row in records(connection, "hard_classes")}
    inside = data.histories([row for row in rows if row["epoch"] >= 1 and row["label"] is not None])
    for label, row in answer.items():
        mine = [history for history in inside.values() if history[0]["label"] == label]
        wrong = Counter(history[-1]["predicted"] for history in mine) - Counter({label: FOREVER})
        assert row["n"] == len(mine)
        assert row["accuracy"] == pytest.approx(1 - wrong.total() / len(mine))
        assert row["low"] <= row["accuracy"] <= row["high"]
        [(worst, count)] = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:1] or [(None, 0)]
        assert row["confused_with"] == worst
        assert row["confused_share"] == (pytest.approx(count / wrong.total()) if wrong else None)
        lost = fmean(data.dynamics(history)["forgetting"] > 0 for history in mine)
        assert row["forgetting_rate"] == pytest.approx(lost)
    assert set(answer) == {history[0]["label"] for history in inside.values()}
    assert sorted(row["accuracy"] for row in answer.values()) == [row["accuracy"] for row in answer.values()]


@pytest.mark.parametrize("seed", range(4))
def test_random_runs_against_plain_python(seed):
    connection, rows = data.empty(), data.random_rows("tiny", seed)
    data.add_classes(connection, "tiny", data.CLASSES)
    data.insert(connection, "predictions", rows)
    for first, last, shown in [(0, FOREVER, None), (0, FOREVER, [1, 2]), (3, 8, [0]), (3, 8, [3, 0, 1, 2])]:
        assert_flow(connection, rows, first, last, shown)
    assert_instances(connection, rows, 0, FOREVER)
    assert_instances(connection, rows, 4, 9)
    assert_outcomes(connection, rows)
    assert_forgetting(connection, rows)
    assert_hard_classes(connection, rows)
    scores = [row["score"] for row in records(connection, "label_suspects", limit="1000")]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_leaks_are_pictures_of_a_split_that_was_learned_from_or_chosen_by(tiny):
    tiny.execute("delete from instances")
    contents = {"train": "aabc", "val": "bxy", "test": "xacca", "extra:new": "xz"}
    for split, pictures in contents.items():
        data.add_instances(tiny, "tiny", split, [0] * len(pictures))
        for key, picture in enumerate(pictures):
            tiny.execute("update instances set content = ? where split = ? and instance_id = ?", [picture, split, key])
    tiny.execute("update instances set label = 1 where split = 'train' and instance_id = 3")
    tiny.execute("insert into instances by name select * replace ('other' as run_id, 'z' as content) from instances")
    tiny.execute("update instances set label = null where split = 'extra:new'")
    assert ask(tiny, "leaks") == [
        ("val", 0, "cat", "val/0", "train", 2, "cat", "train/2", 1, 0.33333),
        ("test", 1, "cat", "test/1", "train", 0, "cat", "train/0", 2, 0.8),
        ("test", 2, "cat", "test/2", "train", 3, "dog", "train/3", 1, 0.8),
        ("test", 3, "cat", "test/3", "train", 3, "dog", "train/3", 1, 0.8),
        ("test", 4, "cat", "test/4", "train", 0, "cat", "train/0", 2, 0.8),
        ("test", 0, "cat", "test/0", "val", 1, "cat", "val/1", 1, 0.2),
        ("extra:new", 0, None, "extra:new/0", "val", 1, "cat", "val/1", 1, 0.5),
        ("extra:new", 0, None, "extra:new/0", "test", 0, "cat", "test/0", 1, 0.5),
    ]
    tiny.execute("update instances set content = null")
    assert ask(tiny, "leaks") == []


@pytest.fixture(scope="module")
def real():
    if not REAL_LOG.exists():
        pytest.skip(f"no real log at {REAL_LOG}; STUDY_TEST_DATA names the folder that has it")
    connection = data.empty()
    names, labels, rows = data.flow_rows(REAL_LOG, "tiny")
    data.add_classes(connection, "tiny", names)
    data.add_instances(connection, "tiny", "test", labels)
    data.insert(connection, "predictions", rows)
    return connection, rows


@pytest.mark.parametrize(
    ("first", "last", "shown"), [(0, FOREVER, None), (20, 25, [3, 5]), (20, 25, None), (0, 61, [0])]
)
def test_flow_of_a_real_run(real, first, last, shown):
    assert_flow(*real, first, last, shown)


@pytest.mark.parametrize(("first", "last"), [(0, FOREVER), (20, 25), (7, 7)])
def test_instances_of_a_real_run(real, first, last):
    assert_instances(*real, first, last)


def test_outcomes_of_a_real_run(real):
    assert_outcomes(*real)
    assert_forgetting(*real)
    assert_hard_classes(*real)


def test_known_figures_of_a_real_run(real):
    connection, _ = real
    assert len(records(connection, "flow_links")) == 8206
    moves = [row for row in records(connection, "turbulent_epochs", limit="100") if row["epoch"] >= 3]
    assert round(fmean(row["moves"] for row in moves)) == 126
    settled = records(connection, "instance_metrics", from_epoch="1")
    assert sum(row["frequency_raw"] == 0 for row in settled) == 246
    assert records(connection, "missing_predictions") == []
    [first, *_] = records(connection, "accuracy_by_epoch")
    assert first["accuracy"] == pytest.approx(0.101)


def test_concepts_by_class():
    connection = data.empty()
    fill_every_table(connection, "tiny")
    found = ask(connection, "concepts_by_class")
    place = ("tiny explained", 4, "features")
    measures = (-0.5, 0.125, -0.5, 0.03, True)
    assert found[:2] == [
        (*place, 0, "wheels", 0.75, 1, data.CLASSES[1], 0.25, 1.0, 0.0, *measures),
        (*place, 0, "wheels", 0.75, 0, data.CLASSES[0], 0.0, 1.0, 1.0, *measures),
    ]
    assert [row[4] for row in found] == ["wheels", "wheels", "round 4", "round 4"]
    assert [row[1:5] for row in ask(connection, "concepts_by_class", epoch="2")] == [(2, "features", 0, "round 2")] * 2
    assert ask(connection, "concepts_by_class", epoch="3") == []


def test_concept_examples():
    connection = data.empty()
    fill_every_table(connection, "tiny")
    label, name = data.TINY[1][0], data.CLASSES[data.TINY[1][0]]
    assert ask(connection, "concept_examples", limit="1") == [
        ("tiny explained", 4, 0, "wheels", 0.75, 1, "test", 1, 1.5, True, label, name),
        ("tiny explained", 4, 1, "round 4", 0.75, 1, "test", 1, 2.5, True, label, name),
    ]
    assert [row[7] for row in ask(connection, "concept_examples")] == [1, 2, 0] * 2


# --- several seeds


@pytest.mark.parametrize("name", [name for name in queries.NAMES if queries.header(name).over_seeds])
def test_rows_of_seeds_are_joined_by_keys_that_are_unique(two_runs, name):
    over, values = queries.header(name).over_seeds, given(name)
    answer = queries.run(two_runs, name, values)
    assert {*over.keys, *over.means} <= set(answer.columns)
    assert not set(over.keys) & set(over.means)
    rows = {tuple(row[key] for key in over.keys): row for row in answer.dicts}
    assert len(rows) == len(answer.rows) > 0

    table = queries.run_over_seeds(two_runs, name, [values, values])
    assert table.column_names == over.columns
    means = table.to_pylist()
    assert {tuple(row[key] for key in over.keys) for row in means} == rows.keys()
    for row in means:
        alone = rows[tuple(row[key] for key in over.keys)]
        assert row["n_seeds"] == 2
        for column in over.means:
            assert row[column] == (None if alone[column] is None else pytest.approx(float(alone[column])))
            assert row[f"{column}_sd"] == (None if alone[column] is None else pytest.approx(0, abs=1e-12))


def test_means_over_seeds_by_hand():
    connection = data.empty()
    predicted = {"one": [0, 1, 1, 1], "two": [0, 0, 0, 1], "three": [0, 1, 0, 1]}  # of images of classes 0, 0, 0, 1
    for run_id, chosen in predicted.items():
        data.add_run(connection, run_id, "2026-01-01")
        data.add_classes(connection, run_id, ["cat", "dog"])
        labelled = enumerate(zip((0, 0, 0, 1), chosen, strict=True))
        data.insert(
            connection, "predictions", [data.prediction(run_id, "test", 1, k, *pair, 0.5) for k, pair in labelled]
        )
    data.link_all(connection)

    def ask(name, **values):
        return queries.run_over_seeds(connection, name, [{"run_id": run_id, **values} for run_id in predicted])

    [accuracy] = ask("accuracy_by_epoch").to_pylist()  # 1/2, 1 and 3/4
    assert (accuracy["accuracy"], accuracy["accuracy_sd"], accuracy["n_seeds"]) == (0.75, 0.25, 3)
    cells = ask("confusion_by_epoch").to_pylist()
    cats_as_dogs = next(cell for cell in cells if (cell["label"], cell["predicted"]) == (0, 1))
    assert (cats_as_dogs["n"], cats_as_dogs["n_sd"]) == (1, 1)  # 2, none and 1
    hardest = ask("hard_classes").to_pylist()
    assert [(row["class_name"], round(row["accuracy"], 6), row["n_seeds"]) for row in hardest] == [
        ("cat", 0.666667, 3), ("dog", 1, 3),
    ]  # fmt: skip
    [worst] = ask("instance_metrics", limit="1").to_pylist()  # of the means, not of each run
    assert (worst["instance_id"], worst["score_raw"], worst["n_seeds"]) == (1, pytest.approx(2 / 3), 3)
    with pytest.raises(ValueError, match="limit must be a whole number"):
        ask("instance_metrics", limit="some")


def test_the_header_says_what_becomes_of_seeds():
    header = catalogue.parse_header(
        "-- What?\n--\n-- Notes.\n--\n-- seeds: a b\n-- means: c n=0\n-- order: n desc\n-- params:\n--   run_id  run\n"
        "-- returns:\n--   a  one\nselect 1"
    )
    assert header.over_seeds == catalogue.OverSeeds(("a", "b"), {"c": False, "n": True}, "n desc")
    assert (header.question, header.notes, header.takes_several) == ("What?", "Notes.", False)
    assert header.over_seeds.columns == ["a", "b", "c", "c_sd", "n", "n_sd", "n_seeds"]
    together = catalogue.parse_header("-- What?\n--\n-- seeds: together\n-- returns:\n--   a  one\nselect 1")
    assert (together.over_seeds, together.takes_several, together.notes) == (None, True, "")


@pytest.fixture
def three_seeds():
    """Three runs on the same four images, with a second epoch each; p_true is that of the class predicted, or 0.2."""
    connection = data.empty()
    chosen = {"one": [0, 1, 1, 1], "two": [0, 0, 2, 1], "three": [0, 1, 0, 1]}  # images of classes 0, 0, 0, 1
    for seed, (run_id, predicted) in enumerate(chosen.items()):
        data.add_run(connection, run_id, "2026-01-01")
        connection.execute("update runs set seed = ? where run_id = ?", [seed, run_id])
        data.add_classes(connection, run_id, ["cat", "dog", "bird"])
        for epoch, k in itertools.product((1, 2), range(4)):
            label = (0, 0, 0, 1)[k]
            p_true = 0.8 if predicted[k] == label else 0.2
            row = data.prediction(run_id, "test", epoch, k, label, predicted[k], p_true)
            data.insert(connection, "predictions", [row | {"p_sq": 0.66}])
    data.link_all(connection)
    return connection


def test_images_over_seeds_by_hand(three_seeds):
    rows = queries.run(three_seeds, "seed_instances", {"run_id": "one,two,three"}).dicts
    assert [(row["instance_id"], row["n_wrong"], row["n_seeds"]) for row in rows] == [
        (1, 2, 3), (2, 2, 3), (0, 0, 3), (3, 0, 3),
    ]  # fmt: skip
    first, second, *_ = rows
    assert (first["predicted_name"], round(first["agreement"], 6), first["n_classes"]) == ("dog", 0.666667, 2)
    assert (second["predicted_name"], round(second["agreement"], 6), second["n_classes"]) == (
        "cat",
        0.333333,
        3,
    )  # a tie
    assert first["p_true"] == pytest.approx((0.2 + 0.8 + 0.2) / 3)
    lengths = [math.sqrt(0.66 - 2 * p_true + 1) for p_true in (0.2, 0.8, 0.2)]
    assert first["el2n"] == pytest.approx(fmean(lengths), abs=1e-6)
    assert first["el2n_sd"] == pytest.approx(stdev(lengths), abs=1e-6)
    [worst] = queries.run(three_seeds, "seed_instances", {"run_id": "one", "limit": "1"}).dicts
    assert (worst["instance_id"], worst["fraction_wrong"], worst["el2n_sd"]) == (1, 1, None)


def test_accuracy_and_stability_over_seeds_by_hand(three_seeds):
    rows = queries.run(three_seeds, "seed_accuracy", {"run_id": "three,one,two"}).dicts
    assert [(row["seed"], row["accuracy"]) for row in rows] == [(0, 0.5), (1, 0.75), (2, 0.75)]
    half = stats.t.ppf(0.975, 2) * rows[0]["sd"] / math.sqrt(3)
    assert rows[0]["mean"] == pytest.approx(2 / 3)
    assert rows[0]["sd"] == pytest.approx(stdev([0.5, 0.75, 0.75]))
    assert (rows[0]["low"], rows[0]["high"]) == (pytest.approx(2 / 3 - half), pytest.approx(min(1, 2 / 3 + half)))
    [alone] = queries.run(three_seeds, "seed_accuracy", {"run_id": "one"}).dicts
    assert (alone["sd"], alone["low"], alone["high"]) == (None, None, None)

    cells = np.arange(64.0).reshape(8, 8)
    for run_id, values in (("one", cells), ("two", 2 * cells + 1), ("three", cells[::-1, ::-1])):
        data.add_run(three_seeds, f"{run_id} explained", "2026-01-02", "explain", source=run_id)
        place = {"method": "shap", "epoch": 2, "instance_id": 0, "target": 0}
        data.add_map(three_seeds, f"{run_id} explained", values, run_id, **place)
    scores = {"one": [1, 2, 3, 4], "two": [10, 20, 30, 40], "three": [4, 3, 2, 1]}
    for run_id, numbers in scores.items():
        key = {"run_id": f"{run_id} explained", "epoch": 2, "concept_id": 0}
        row = key | {"source_run_id": run_id, "layer": "a", "concept_key": run_id, "vector": [1.0], "threshold": 0.5}
        data.insert(three_seeds, "concepts", [row | {"description": "round"}])
        rows = [{"split": "test", "instance_id": k, "score": score, "present": True} for k, score in enumerate(numbers)]
        data.insert(three_seeds, "concept_scores", [key | one for one in rows])
    rows = queries.run(three_seeds, "seed_stability", {"run_id": "one,two,three"}).dicts
    assert [(row["what"], row["method"], row["n_seeds"], row["n_pairs"], row["n"]) for row in rows] == [
        ("predictions", None, 3, 3, 4), ("maps", "shap", 3, 3, 1), ("concepts", "ice", 3, 3, 4),
    ]  # fmt: skip
    predictions, maps, concepts = rows
    assert predictions["stability"] == pytest.approx(fmean([0.5, 0.75, 0.5]))
    for row in (maps, concepts):  # two are the same but for their scale, and the third is their opposite
        assert row["stability"] == pytest.approx((1 - 1 - 1) / 3)
        assert (row["lowest"], row["highest"]) == (pytest.approx(-1), pytest.approx(1))
    assert queries.run(three_seeds, "seed_stability", {"run_id": "one"}).rows == []
