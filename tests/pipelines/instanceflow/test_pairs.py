"""The InstanceFlow page of two runs: what it refuses, and that every number is the answer to its question."""

import csv
import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest
from PIL import Image

import queries
from pipelines.common.settings import FlowSettings, ImportFlowSettings
from pipelines.instanceflow import pictures
from pipelines.instanceflow.flow import flow
from pipelines.instanceflow.import_log import import_flow
from pipelines.instanceflow.pairing import read_pair
from support.commands import study_command
from support.flow_pages import NODE, computed, in_browser, look_at, said_by, show
from support.homes import FIRST, fresh
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

OUTCOMES = ("kept", "fixed", "broken", "rerouted", "stuck")
UP, DOWN, RIGHT, ENTER = "\ue013", "\ue015", "\ue014", "\ue007"


@pytest.fixture(scope="module")
def made(pair: Home) -> Path:
    return Path(flow(FlowSettings(run=FIRST, other="other"), pair))


def asked(home: Home, name: str, run: str, **values: str | int | None) -> list[dict]:
    """Rows of a question about a run; with other_run_id, about two."""
    with connect(home) as connection:
        scope = {key: resolve(home, value).run_id if key == "other_run_id" else value for key, value in values.items()}
        return queries.run(connection, name, {"run_id": resolve(home, run).run_id} | scope).dicts


def test_the_page_lies_with_the_first_run(pair: Home, made: Path) -> None:
    other = resolve(pair, "other")
    assert made == pair.run_folder(resolve(pair, FIRST).run_id) / f"flow_against_{other.run_id[:8]}.html"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([FIRST], "both runs are"),
        (["nothing"], "no run 'nothing'"),
        (["other", "--split", "val"], "have different images in val"),
        (["other", "--split", "nowhere"], "no predictions of split 'nowhere'"),
        (["other", "--export", "log.json"], "--export writes one run; leave out the second"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(pair: Home, capsys, flags: list[str], said: str) -> None:
    code, out, line = study_command(capsys, "flow", FIRST, *flags, "--home", pair.path)
    assert (code, out, line.count("\n")) == (2, "", 1)
    assert said in line


@pytest.fixture
def records(pair: Home) -> tuple[RunRecord, RunRecord]:
    return resolve(pair, FIRST), resolve(pair, "other")


def test_other_kinds_images_and_classes_are_refused(pair: Home, records: tuple[RunRecord, RunRecord]) -> None:
    first, other = records
    with connect(pair) as reading:
        names = ("predictions", "instances", "classes", "label_changes")
        tables = {name: reading.sql(f"from {name}").to_arrow_table() for name in names}
    connection = duckdb.connect()
    for name, rows in tables.items():
        connection.register(f"{name}_rows", rows)
        connection.execute(f"create table {name} as from {name}_rows")
    assert np.array_equal(*(record.labels for record in read_pair(connection, first, other, "test")))

    def refusal(changed: RunRecord) -> str:
        with pytest.raises(InputError) as error:
            read_pair(connection, first, changed, "test")
        return str(error.value)

    assert "are of kinds train and import" in refusal(replace(other, kind="import"))
    of_other = f"where run_id = '{other.run_id}'"
    for change, said in (
        (
            f"update instances set source = 'digits/x' {of_other} and split = 'test' and instance_id = 5",
            "the source of image 5",
        ),
        (f"update instances set label = 9 - label {of_other} and split = 'test'", "the label of image 0 is"),
        (
            f"delete from instances {of_other} and split = 'test' and instance_id = 9",
            "have different images in test (445 and 444)",
        ),
        (f"update classes set name = 'zero' {of_other} and class_id = 0", "have different classes (0 and zero)"),
    ):
        connection.execute("begin")
        connection.execute(change)
        assert said in refusal(other)
        connection.execute("rollback")


def test_other_pictures_under_the_same_names_are_refused(
    pair: Home, records: tuple[RunRecord, RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Number, label and source of an image may be the same while its pixels, or its size, are not."""
    with connect(pair) as connection:
        both = read_pair(connection, *records, "test")
    white = [Image.new("L", (8, 8), "white")] * 2
    for image, said in (("black", "image 1 has other pixels"), ((4, 8), "image 1 has 8 x 8 and 4 x 8 pixels")):
        other = Image.new("L", (8, 8), image) if image == "black" else Image.new("L", image, "white")
        reads = iter([white, white, [white[0], other]])  # those shown, then those compared
        monkeypatch.setattr(pictures, "_open_images", lambda *_, reads=reads: next(reads))
        with pytest.raises(InputError, match=said):
            pictures.read_images(both, pair, None, np.arange(2))


def test_two_logs_are_compared(tmp_path: Path, empty_tracker: Path) -> None:
    """Digests of logs always differ, as they have the predictions in them."""
    home = fresh(tmp_path, empty_tracker)
    for name, shift in (("one", 0), ("two", 1)):
        log = {
            "name": name,
            "labels": ["a", "b"],
            "instances": [{"id": f"i{i}", "actual": i % 2} for i in range(6)],
            "epochs": [{"id": str(e), "classifications": [(i + e * shift) % 2 for i in range(6)]} for e in range(2)],
        }
        (tmp_path / "log.json").write_text(json.dumps(log))
        import_flow(ImportFlowSettings(file=str(tmp_path / "log.json"), name=name), home)
    assert "flow_against" in flow(FlowSettings(run="one", other="two"), home)
    rows = asked(home, "compared_flow", "one", other_run_id="two")
    assert [(row["outcome"], row["n"]) for row in rows] == [("broken", 3), ("broken", 3)]


@pytest.mark.skipif(not NODE, reason="needs node on the PATH")
def test_counts_of_the_scripts_equal_the_sql(pair: Home, made: Path) -> None:
    instances = "[...Array(N).keys()]"
    lasts = "RUNS[0].end - 1, RUNS[1].end - 1"
    values = computed(
        str(made),
        f"{{outcomes: outcomesOverTime({instances}).counts,"
        f" kinds: {instances}.map(i => KINDS[kindOf(i, RUNS[1].start)]),"
        f" compared: {instances}.map(i => OUTCOMES[comparedOutcome(i, {lasts})]),"
        " metrics: metrics(RUNS[1].start, E - 1, Array(K).fill(true))}",
    )
    rows = sorted(asked(pair, "compared_instances", FIRST, other_run_id="other"), key=lambda row: row["instance_id"])
    assert values["compared"] == [row["outcome"] for row in rows]
    assert len(set(values["compared"])) >= 4

    names = ("fixed", "broken", "rerouted", "kept", "stuck", "unlabelled")
    first, other = (asked(pair, "transition_outcomes", run) for run in (FIRST, "other"))
    counts = [[[row[name] for name in names] for row in rows] for rows in (first, other)]
    assert values["outcomes"] == [[0] * 6, *counts[0], [0] * 6, *counts[1]]

    kinds = Counter()
    for row in asked(pair, "flow_nodes", "other", to_epoch="0"):
        kinds[row["type"]] += row["n"]
    assert Counter(values["kinds"]) == kinds
    assert set(kinds) <= {"stable", "out"}  # nothing comes from the other run
    metrics = sorted(asked(pair, "instance_metrics", "other"), key=lambda row: row["instance_id"])
    for name in ("n", "score_raw", "frequency_raw", "forgetting", "first_learned"):
        assert values["metrics"][name] == [row[name] for row in metrics], name


# in a browser


def counted(rows: list[dict], *columns: str) -> Counter:
    totals: Counter = Counter()
    for row in rows:
        totals[tuple(row[column] for column in columns)] += row["n"]
    return totals


@in_browser
@pytest.mark.parametrize(
    ("state", "epochs"),
    [
        ({}, (3, 1)),  # of all of both runs, those beside the boundary
        ({"runs": "ends"}, (3, 2)),
        ({"runs": "ends", "to": 1, "otherTo": 5}, (1, 1)),
        ({"from": 1, "to": 2, "otherFrom": 4, "otherTo": 6, "classes": [1, 8]}, (2, 0)),
    ],
)
def test_links_and_nodes_equal_the_sql(browser, pair: Home, made: Path, state: dict, epochs: tuple[int, int]) -> None:
    show(browser, made)
    browser.execute_script("study.change(arguments[0])", state)
    shown = browser.execute_script("return study.state")
    classes = ",".join(map(str, state["classes"])) if "classes" in state else None
    links = said_by(browser, "flow_links")
    across = [row for row in links if "other_run_id" in row]
    expected = asked(
        pair, "compared_flow", FIRST, other_run_id="other", epoch=epochs[0], other_epoch=epochs[1], classes=classes
    )
    assert counted(across, "source", "target", "label") == counted(expected, "source", "target", "label")
    assert expected

    for run, first, last in ((FIRST, "from", "to"), ("other", "otherFrom", "otherTo")):
        start = 0 if run == FIRST else 4  # epochs of the second run come after the four of the first
        ends = {"from_epoch": shown[first] - start, "to_epoch": shown[last] - start, "classes": classes}
        if state.get("runs") == "ends":
            ends["from_epoch"] = ends["to_epoch"]
        run_id = resolve(pair, run).run_id
        for name, columns in (
            ("flow_links", ("epoch", "next_epoch", "source", "target", "label")),
            ("flow_nodes", ("epoch", "class_id", "label", "type")),
        ):
            own = [row for row in said_by(browser, name) if row["run_id"] == run_id and "other_run_id" not in row]
            assert counted(own, *columns) == counted(asked(pair, name, run, **ends), *columns), (run, name)


@in_browser
@pytest.mark.parametrize("state", [{}, {"classes": [1, 8]}, {"to": 1, "otherTo": 5}])
def test_the_comparison_equals_the_sql_and_filters(browser, pair: Home, made: Path, state: dict) -> None:
    show(browser, made)
    browser.execute_script("study.change(arguments[0])", state)
    look_at(browser, "flow-section")
    scope = {"other_run_id": "other", "epoch": state.get("to"), "other_epoch": 1 if "otherTo" in state else None}
    classes = ",".join(map(str, state["classes"])) if "classes" in state else None
    rows = asked(pair, "compared_instances", FIRST, classes=classes, **scope)
    by_outcome = Counter(row["outcome"] for row in rows)
    assert by_outcome == Counter(
        {
            outcome: n
            for (outcome,), n in counted(
                asked(pair, "compared_flow", FIRST, classes=classes, **scope), "outcome"
            ).items()
        }
    )
    for outcome in OUTCOMES:
        button = browser.find_element("css selector", f"#comparison [data-outcome={outcome}]")
        assert int(button.find_element("tag name", "b").text.replace(",", "")) == by_outcome[outcome]
        browser.execute_script("arguments[0].click()", button)
        listed = {row["instance_id"]: row for row in said_by(browser, "compared_instances")}
        chosen = {row["instance_id"]: row for row in rows if row["outcome"] == outcome}
        assert listed.keys() == chosen.keys()
        for instance_id, row in chosen.items():
            for column in ("label", "predicted", "other_predicted", "outcome"):
                assert listed[instance_id][column] == row[column]
        browser.execute_script("document.getElementById('clear-compared').click()")
    assert len(said_by(browser, "compared_instances")) == len(rows)


@in_browser
@pytest.mark.parametrize(("measured", "column"), [("first", "predicted"), ("second", "other_predicted")])
def test_a_cell_and_an_outcome_count_what_both_list(
    browser, pair: Home, made: Path, measured: str, column: str
) -> None:
    """Each counts within the other, at the last chosen epochs."""
    show(browser, made)
    browser.execute_script("study.change(arguments[0])", {"to": 1, "otherTo": 5, "measured": measured})
    look_at(browser, "flow-section")
    rows = asked(pair, "compared_instances", FIRST, other_run_id="other", epoch=1, other_epoch=1)
    cells = Counter((row["label"], row[column], row["outcome"]) for row in rows if row["label"] != row[column])
    (label, predicted, outcome), n = cells.most_common(1)[0]
    expected = {row["instance_id"] for row in rows if (row["label"], row[column]) == (label, predicted)}
    browser.execute_script("study.change({cell: arguments[0]})", [label, predicted])
    assert {row["instance_id"] for row in said_by(browser, "compared_instances")} == expected
    look_at(browser, "flow-section")
    button = browser.find_element("css selector", f"#comparison [data-outcome={outcome}]")
    assert int(button.find_element("tag name", "b").text.replace(",", "")) == n
    browser.execute_script("arguments[0].click()", button)
    assert len(said_by(browser, "compared_instances")) == n
    look_at(browser, "confusion-section")
    grid = browser.find_element("id", "confusion")
    browser.execute_script("arguments[0].focus()", grid)
    assert grid.get_attribute("aria-label").splitlines()[1].startswith(f"{n} of ")


@in_browser
def test_the_commands_beside_the_views_ask_about_both_runs(browser, pair: Home, made: Path, capsys) -> None:
    show(browser, made)
    look_at(browser, "flow-section")
    script = (
        "return [...document.querySelectorAll('[data-query=arguments_0] summary code')].map(code => code.textContent)"
    )
    answers = {}
    for query in ("flow_links", "compared_flow", "compared_instances", "transition_outcomes"):
        for command in browser.execute_script(script.replace("arguments_0", query)):
            capsys.readouterr()
            code, out, err = study_command(capsys, *shlex.split(command)[1:], "--format", "json", "--home", pair.path)
            assert (code, err) == (0, ""), command
            answers.setdefault(query, []).append(json.loads(out))
    assert [len(found) for found in answers.values()] == [2, 2, 1, 2]
    links = counted(said_by(browser, "flow_links"), "source", "target", "label")
    boundary = answers["compared_flow"][1]
    expected = counted([*answers["flow_links"][0], *answers["flow_links"][1], *boundary], "source", "target", "label")
    assert links == expected


@in_browser
def test_the_boundary_and_the_names_of_the_runs_are_drawn(browser, made: Path) -> None:
    show(browser, made)
    svg = ElementTree.fromstring(browser.execute_script("return study.exportSvg('flow')"))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {FIRST, "other"} <= set(texts)
    [note] = [text for text in texts if text.startswith("dashed line: links across it compare two models, ")]
    assert note.endswith(f"epoch 3 of {FIRST} against epoch 1 of other, not time")
    dashed = [element for element in svg.iter() if element.get("stroke-dasharray")]
    assert len(dashed) == 1
    strip = browser.execute_script("return study.exportSvg('strip')")
    assert f">{FIRST}<" in strip
    assert ">other<" in strip
    for state in ({"runs": "ends"}, {"runs": "second"}, {"focus": True}, {"view": "instances"}, {"view": "bars"}):
        browser.execute_script("study.change(arguments[0])", state)
        assert "NaN" not in browser.execute_script("return study.exportSvg('flow')")


@in_browser
def test_table_gallery_and_csv_have_both_runs(browser, pair: Home, made: Path) -> None:
    show(browser, made)
    rows = list(csv.DictReader(browser.execute_script("return study.exportCsv()").splitlines()))
    expected = {row["instance_id"]: row for row in asked(pair, "compared_instances", FIRST, other_run_id="other")}
    assert len(rows) == len(expected)
    for row in rows:
        known = expected[int(row["instance_id"])]
        assert (row["predicted_1"], row["predicted_2"]) == (known["predicted_name"], known["other_predicted_name"])
        assert float(row["p_true_change"]) == pytest.approx(known["p_true_change"], abs=6e-4)
    assert {int(row["instance_id"]) for row in rows if int(row["maps"])} == {3, 7}
    assert {row["maps"] for row in rows} == {"0", "2"}  # one of each run

    browser.execute_script("study.change({selected: [7], first: [7]})")
    look_at(browser, "gallery")
    button = browser.find_element("css selector", "#gallery button")
    assert len(button.find_elements("tag name", "span")) == 3  # label and two predictions
    button.click()
    look_at(browser, "maps")
    captions = browser.execute_script(
        "return [...document.querySelectorAll('#maps figcaption')].map(caption => caption.textContent)"
    )
    assert [caption.rpartition("\n")[0] for caption in captions] == [f"{FIRST}\nepoch 3", "other\nepoch 2"]


@in_browser
def test_keys_choose_the_run_whose_range_moves(browser, made: Path) -> None:
    show(browser, made, "#from=1&to=2&otherFrom=4&otherTo=5")
    strip = browser.find_element("id", "strip")
    browser.execute_script("arguments[0].focus()", strip)
    strip.send_keys(RIGHT, DOWN, RIGHT)
    state = browser.execute_script("return study.state")
    assert [state[key] for key in ("from", "to", "otherFrom", "otherTo")] == [2, 3, 5, 6]
    assert state["measured"] == "second"
    listed = said_by(browser, "instance_metrics")
    assert {row["n"] for row in listed} == {2}
    strip.send_keys(RIGHT, UP)
    state = browser.execute_script("return study.state")
    assert (state["otherTo"], state["measured"]) == (6, "first")  # neither range leaves its run


@in_browser
def test_the_view_of_two_runs_comes_back_from_the_address(browser, made: Path) -> None:
    show(browser, made)
    values = {"runs": "ends", "measured": "second", "compared": "broken", "otherTo": 5, "selected": [5]}
    browser.execute_script("study.change(arguments[0])", values)
    before = browser.execute_script("return study.state")
    assert before["otherTo"] == 5
    show(browser, made, "#" + browser.current_url.split("#")[1])
    assert browser.execute_script("return study.state") == before
    for broken in ("#from=9&otherFrom=0&otherTo=99", "#runs=neither&compared=worse"):
        show(browser, made, broken)
        assert said_by(browser, "flow_nodes")
