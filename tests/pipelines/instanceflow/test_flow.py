"""The InstanceFlow page: what it holds, and what it counts and does in a real browser."""

import csv
import json
import re
import shlex
import time
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipelines.common.settings import ExplainSettings, FlowSettings, ImportFlowSettings, ReportSettings
from pipelines.explaining.explain import explain
from pipelines.instanceflow import page
from pipelines.instanceflow.flow import flow
from pipelines.instanceflow.import_log import import_flow
from pipelines.instanceflow.packing import Payload, quantize_fractions, quantize_hundredths
from pipelines.instanceflow.pictures import add_thumbnails
from pipelines.instanceflow.record import read_record
from pipelines.reporting.report import report
from support.commands import study_command
from support.flow_pages import in_browser, look_at, said_by, show
from support.homes import answer, copied, fresh
from support.places import DATA
from tracking.catalogue import resolve
from tracking.home import Home
from tracking.reading import connect

LOG = DATA / "instanceflow" / "cifar10.json"
AWKWARD = {
    "name": 'a "quoted" <b>log</b>',
    "labels": ["</script><script>alert(1)</script>", "cat & dog", "{{js}}"],
    "instances": [{"id": f"i{i}", "actual": i % 3} for i in range(7)],
    "epochs": [{"id": str(e), "classifications": [(i * e + i // 2) % 3 for i in range(7)]} for e in (0, 2, 3, 9)],
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    """A home with an imported log of awkward names."""
    folder = tmp_path_factory.mktemp("log")
    file = folder / "log.json"
    file.write_text(json.dumps(AWKWARD))
    home = fresh(folder, empty_tracker)
    import_flow(ImportFlowSettings(file=str(file)), home)
    return home


@pytest.fixture(scope="module")
def real_log(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    if not LOG.is_file():
        pytest.skip(f"no InstanceFlow log at {LOG}")
    home = fresh(tmp_path_factory.mktemp("real"), empty_tracker)
    import_flow(ImportFlowSettings(file=str(LOG)), home)
    return home


@pytest.fixture(scope="module")
def made(study: Home) -> Path:
    """The page of the tiny study, logged to its run."""
    return Path(flow(FlowSettings(), study))


def head_of(made: Path) -> dict:
    return json.loads(re.search(r'id="head">(.*?)</script>', made.read_text(), re.DOTALL)[1])


def test_record_holds_every_prediction(study: Home, trained) -> None:
    with connect(study) as connection:
        record = read_record(connection, trained, "test")
        sql = """select instance_id, epoch, predicted, p_true, margin from predictions
                 where run_id = ? and split = 'test' order by 1, 2"""
        rows = np.array(connection.execute(sql, [trained.run_id]).fetchall())
    assert record.shape == (len(rows) // 4, 4)
    assert record.predicted.ravel().tolist() == rows[:, 2].astype(int).tolist()
    np.testing.assert_array_equal(record.p_true.ravel(), rows[:, 3])
    np.testing.assert_array_equal(record.margin.ravel(), rows[:, 4])


def test_what_was_seen_in_training_has_no_epoch_0(study: Home, trained) -> None:
    with connect(study) as connection:
        record = read_record(connection, trained, "train_seen")
    assert record.epochs == (1, 2, 3)
    assert (record.predicted >= 0).all()


def test_page_fetches_nothing(made: Path) -> None:
    text = re.sub(r'<script type="text/plain".*?</script>', "", made.read_text(), flags=re.DOTALL)
    assert not re.search(r"src=|<link|@import|fetch\(|https?://(?!arxiv|www.w3.org/2000/svg)", text)


def test_page_is_kept_with_the_run(study: Home, trained, made: Path) -> None:
    assert made == study.run_folder(trained.run_id) / "flow.html"


def test_names_cannot_break_the_page(log: Home) -> None:
    made = Path(flow(FlowSettings(), log))
    assert head_of(made)["classes"] == AWKWARD["labels"]
    assert "<script>alert" not in made.read_text()
    assert "&lt;b&gt;log" in made.read_text()


def test_what_has_no_room_is_said(study: Home, tmp_path: Path, trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.instanceflow.packing.MAX_CHARACTERS", 30_000)
    with connect(study) as connection:
        record = read_record(connection, trained, "test")
        made = page.write_page(tmp_path / "flow.html", record, connection, study, None)
    notes = " ".join(head_of(made)["notes"])
    assert "Left out" in notes
    assert "thumbnails" in notes
    assert 'id="array-predicted"' in made.read_text()


def test_missing_predictions_are_said(study: Home, tmp_path: Path, trained) -> None:
    with connect(study) as connection:
        record = read_record(connection, trained, "test")
        record.predicted[3, 1:] = -1
        made = page.write_page(tmp_path / "flow.html", record, connection, study, None)
    assert "Images of test not predicted at every epoch: 1 (predicted at 1 of 4 epochs)." in head_of(made)["notes"]


def test_numbers_are_quantized_to_their_digits() -> None:
    fractions = np.array([0, 1, 0.5, np.nan, 1e-6])
    assert np.abs(quantize_fractions(fractions, np.uint16)[:3] / 65535 - fractions[:3]).max() < 1e-5
    assert quantize_hundredths(np.array([-1.234, 900, np.nan])).tolist() == [-123, 32767, 0]


def test_a_smaller_version_is_added_where_the_larger_had_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.instanceflow.packing.MAX_CHARACTERS", 400)
    payload, random = Payload(), np.random.default_rng(0)
    assert not payload.add_array("a", random.integers(0, 255, 1000).astype(np.uint8), "noise")
    assert payload.left_out == {"noise"}
    assert payload.add_array("a", np.zeros(1000, np.uint8), "noise")
    assert not payload.left_out


@pytest.mark.parametrize(
    ("count", "size", "layout"),
    [
        (5, (32, 20), (32, False)),
        (5, (300, 200), (96, True)),
        (1001, (60, 60), (48, True)),
        (1001, (48, 9), (48, False)),
    ],
)
def test_thumbnails_of_few_images_are_as_large_as_they_are_drawn(
    count: int, size: tuple[int, int], layout: tuple[int, bool]
) -> None:
    made = add_thumbnails(Payload(), [Image.new("RGB", size)] * count)
    assert (made["side"], made["shrunk"]) == layout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["flow", "--split", "nowhere"], "there are: test, train_seen, val"),
        (["flow", "no-such-run"], "no run 'no-such-run'"),
    ],
)
def test_wrong_input_gets_one_line(study: Home, capsys, flags: list[str], said: str) -> None:
    code, out, line = study_command(capsys, *flags, "--home", study.path)
    assert (code, out) == (2, "")
    assert said in line
    assert line.count("\n") == 1


def test_export_replaces_nothing(study: Home, tmp_path: Path, capsys) -> None:
    target = tmp_path / "log.json"
    command = ("flow", "--export", target, "--home", study.path)
    assert study_command(capsys, *command)[:2] == (0, f"{target}\n")
    assert len(json.loads(target.read_text())["epochs"]) == 4
    code, _, line = study_command(capsys, *command)
    assert code == 2
    assert "is not replaced" in line


# in a browser


@cache  # no test changes it
def page_of(home: Home) -> Path:
    return Path(flow(FlowSettings(), home))


def keyed(rows: list[dict], *columns: str) -> dict[tuple, int]:
    return {tuple(row[column] for column in columns): row["n"] for row in rows}


CHOICES = [
    ({}, {}),
    ({"classes": [1, 2]}, {"classes": "1,2"}),
    ({"stride": 2}, {"stride": "2"}),
    ({"from": 1, "to": 2, "classes": [0]}, {"from": 1, "to": 2, "classes": "0"}),
]


def asked(home: Home, name: str, state: dict, values: dict) -> list[dict]:
    """The question that a state of the page stands for; epochs of a state are places in the list of epochs."""
    epochs = [row["epoch"] for row in answer(home, "accuracy_by_epoch") if row["split"] == "test"]
    chosen = {f"{end}_epoch": str(epochs[state[end]]) for end in ("from", "to") if end in state}
    rest = {key: value for key, value in values.items() if key not in ("from", "to")}
    return answer(home, name, **chosen, **rest)


@in_browser
@pytest.mark.parametrize("source", ["study", "log", "real_log"])
@pytest.mark.parametrize(("state", "values"), CHOICES)
def test_counts_equal_the_sql(request, browser, source: str, state: dict, values: dict) -> None:
    home = request.getfixturevalue(source)
    show(browser, page_of(home))
    epochs = len(browser.execute_script("return study.transition_outcomes()")) + 1
    # few columns, so that none is left out for want of room
    whole = {"from": 0, "to": min(epochs, 16) - 1} | state
    browser.execute_script("study.change(arguments[0])", whole)
    for name, columns in (
        ("flow_links", ("epoch", "next_epoch", "source", "target", "label")),
        ("flow_nodes", ("epoch", "class_id", "label", "type")),
    ):
        expected = keyed(asked(home, name, whole, values), *columns)
        assert keyed(said_by(browser, name), *columns) == expected
        assert expected
    classes = {key: value for key, value in values.items() if key == "classes"}
    outcomes = ("epoch", "next_epoch", "fixed", "broken", "rerouted", "kept", "stuck", "unlabelled")
    expected = [tuple(row[key] for key in outcomes) for row in answer(home, "transition_outcomes", **classes)]
    assert [tuple(row[key] for key in outcomes) for row in said_by(browser, "transition_outcomes")] == expected


@in_browser
@pytest.mark.parametrize("source", ["study", "log", "real_log"])
@pytest.mark.parametrize(("state", "values"), [({}, {}), ({"from": 1, "to": 2}, {}), ({"from": 3, "to": 3}, {})])
def test_metrics_equal_the_sql(request, browser, source: str, state: dict, values: dict) -> None:
    home = request.getfixturevalue(source)
    show(browser, page_of(home))
    browser.execute_script("study.change(arguments[0])", {"from": 0, "to": 10**6} | state)
    found = {row["instance_id"]: row for row in said_by(browser, "instance_metrics")}
    expected = asked(home, "instance_metrics", state, values)
    assert len(found) == len(expected)
    for row in expected:
        own = found[row["instance_id"]]
        for key in ("n", "score_raw", "frequency_raw", "n_classes_visited", "visited", "forgetting", "first_learned"):
            assert own[key] == row[key], (row["instance_id"], key)
        for key, digits in (("confidence", 1e-4), ("p_true_std", 1e-4), ("aum", 0.006)):
            assert own[key] == (None if row[key] is None else pytest.approx(row[key], abs=digits))


@in_browser
def test_the_command_beside_a_view_means_its_classes(browser, tmp_path: Path, empty_tracker: Path, capsys) -> None:
    """Also where classes are called by numbers that are IDs of other classes."""
    log = AWKWARD | {"labels": ["1", "10", "2"]}
    (tmp_path / "log.json").write_text(json.dumps(log))
    home = fresh(tmp_path, empty_tracker)
    import_flow(ImportFlowSettings(file=str(tmp_path / "log.json")), home)
    show(browser, page_of(home))
    for shown in ([0], [1], [2], [0, 2], [1, 2]):
        browser.execute_script("study.change(arguments[0])", {"classes": shown, "from": 0})
        look_at(browser, "flow")
        line = browser.execute_script("return document.querySelector('[data-query=flow_nodes] code').textContent")
        capsys.readouterr()
        code, out, err = study_command(capsys, *shlex.split(line)[1:], "--format", "json", "--home", home.path)
        expected = asked(home, "flow_nodes", {}, {"classes": ",".join(log["labels"][c] for c in shown)})
        assert (code, err) == (0, "")
        assert json.loads(out) == expected
        assert sum(row["n"] for row in expected) == 4 * sum(entry["actual"] in shown for entry in log["instances"])


@in_browser
def test_brush_chooses_epochs(browser, real_log: Home) -> None:
    from selenium.webdriver import ActionChains

    show(browser, page_of(real_log))
    strip = browser.find_element("id", "strip")
    wide = strip.size["width"]
    ActionChains(browser).move_to_element_with_offset(strip, -wide // 4, 0).click_and_hold().move_by_offset(
        wide // 4, 0
    ).release().perform()
    state = browser.execute_script("return study.state")
    assert 13 <= state["from"] <= 17
    assert 29 <= state["to"] <= 32
    assert f"epochs {state['from']} to" in browser.find_element("id", "flow-range").text


@in_browser
def test_hover_tells_and_a_click_selects(browser, real_log: Home) -> None:
    show(browser, page_of(real_log), "#from=0&to=7&top=60")
    look_at(browser, "flow-section")
    spots = """
        const canvas = document.getElementById("flow"), place = canvas.getBoundingClientRect(), found = [];
        for (let y = 30; y < place.height - 60; y += 6) for (let x = 140; x < place.width; x += 20) {
            const at = {clientX: place.x + x, clientY: place.y + y, bubbles: true};
            canvas.dispatchEvent(new MouseEvent("mousemove", at));
            const text = document.getElementById("tip").textContent;
            if (document.getElementById("tip").hidden || !/\\(s\\) from/.test(text)) continue;
            canvas.dispatchEvent(new MouseEvent("click", at));
            found.push([text, study.selected.length]);
            if (found.length > 20) return found;
        }
        return found;"""
    found = browser.execute_script(spots)
    assert found
    for text, selected in found:
        assert re.match(r"\d+ \w+\(s\) from \w+ to \w+\n(fixed|broken|rerouted)\nepoch \d+ to \d+$", text)
        assert selected == int(text.split()[0])


@in_browser
def test_selected_images_leave_a_trace(browser, real_log: Home) -> None:
    show(browser, page_of(real_log))
    painted = """const canvas = document.getElementById("traces");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let n = 0; for (let p = 3; p < data.length; p += 4) n += data[p] > 0; return n"""
    assert browser.execute_script(painted) == 0
    look_at(browser, "table-section")
    browser.find_element("css selector", ".row").click()
    assert browser.execute_script(painted) > 500
    assert len(browser.execute_script("return study.selected")) == 1


@in_browser
def test_sort_filter_search(browser, real_log: Home) -> None:
    show(browser, page_of(real_log), "#from=0&to=61")
    look_at(browser, "table-section")
    expected = answer(real_log, "instance_metrics")
    browser.find_element("css selector", "#head-row [data-key=frequency_raw]").click()
    cells = browser.find_elements("css selector", ".row [data-key=frequency_raw]")
    shown = [int(cell.text) for cell in cells]
    most = sorted((row["frequency_raw"] for row in expected), reverse=True)
    assert shown == most[: len(shown)]
    browser.find_element("css selector", "#filter-row [data-key=frequency_raw]").send_keys(">=20")
    count = sum(value >= 20 for value in most)
    assert browser.find_element("id", "listed").text.startswith(f"{count} of 1,000 listed")
    browser.find_element("id", "search").send_keys("cat")
    cats = sum(row["frequency_raw"] >= 20 and row["label_name"] == "Cat" for row in expected)
    assert browser.find_element("id", "listed").text.startswith(f"{cats} of 1,000 listed")


def told_of_cell(browser, row: int, column: int, rows: int, columns: int) -> str:
    """What the page says where the pointer is over a cell of the confusion grid."""
    script = """
        const [row, column, rows, columns] = arguments, canvas = document.getElementById("confusion");
        const place = canvas.getBoundingClientRect();
        const [left, top] = [92, 20]; // where the cells start
        const at = {clientX: place.x + left + (column + 0.5) * (place.width - left - 8) / columns,
            clientY: place.y + top + (row + 0.5) * (place.height - top - 4) / rows, bubbles: true};
        canvas.dispatchEvent(new MouseEvent("mousemove", at));
        const told = document.getElementById("tip").textContent;
        canvas.dispatchEvent(new MouseEvent("click", at));
        return told;"""
    return browser.execute_script(script, row, column, rows, columns)


@in_browser
@pytest.mark.parametrize("source", ["study", "log"])
@pytest.mark.parametrize("chosen", [{}, {"to": 1}, {"to": 2, "classes": [1, 2]}])
def test_a_cell_lists_the_images_that_it_counts(request, browser, capsys, source: str, chosen: dict) -> None:
    """Those of its label and prediction at the last chosen epoch: number, table, CSV, and the command beside it."""
    home = request.getfixturevalue(source)
    made = page_of(home)
    show(browser, made)
    browser.execute_script("study.change(arguments[0])", {"from": 0, "to": 10**6, "split": "test"} | chosen)
    look_at(browser, "confusion-section")
    place = browser.execute_script("return study.state.to")
    class_count = len(head_of(made)["classes"])
    with connect(home) as connection:
        sql = """select label, predicted, instance_id from predictions where run_id = $1 and split = 'test'
            and epoch = (select distinct epoch from predictions where run_id = $1 order by 1 offset $2 limit 1)"""
        found = connection.execute(sql, [resolve(home, "latest").run_id, place]).fetchall()
    classes = chosen.get("classes", list(range(class_count)))
    columns = [*classes, class_count] if len(classes) < class_count else classes  # the last one: all other classes
    instances: dict[tuple[int, int], list[int]] = {}
    for label, predicted, instance_id in found:
        if label in classes:
            cell = (label, predicted if predicted in classes else class_count)
            instances.setdefault(cell, []).append(instance_id)
    assert any(label != predicted for label, predicted in instances)
    for (label, predicted), expected in sorted(instances.items())[:8]:
        row, column = classes.index(label), columns.index(predicted)
        told = told_of_cell(browser, row, column, len(classes), len(columns))
        assert browser.execute_script("return study.state.cell") == [label, predicted]
        assert told.splitlines()[1].startswith(f"{len(expected)} of ")
        assert sorted(one["instance_id"] for one in said_by(browser, "instance_metrics")) == sorted(expected)
        exported = csv.DictReader(browser.execute_script("return study.exportCsv()").splitlines())
        assert sorted(int(one["instance_id"]) for one in exported) == sorted(expected)
    command = browser.execute_script(
        "return document.querySelectorAll('[data-query=instance_metrics] code')[1].textContent"
    )
    capsys.readouterr()
    code, out, err = study_command(capsys, *shlex.split(command)[1:], "--format", "json", "--home", home.path)
    assert (code, err) == (0, "")
    assert [one["instance_id"] for one in json.loads(out)] == sorted(expected)  # of the last cell
    command = browser.execute_script(
        "return document.querySelector('[data-query=confusion_by_epoch] code').textContent"
    )
    code, out, _ = study_command(capsys, *shlex.split(command)[1:], "--format", "json", "--home", home.path)
    asked_cells = {(one["label"], one["predicted"]): one["n"] for one in json.loads(out)}
    for cell, expected in instances.items():
        if class_count not in cell:
            assert asked_cells[cell] == len(expected)


@in_browser
def test_the_grid_answers_to_keys(browser, made: Path) -> None:
    show(browser, made)
    look_at(browser, "confusion-section")
    grid = browser.find_element("id", "confusion")
    browser.execute_script("arguments[0].focus()", grid)
    grid.send_keys("\ue015\ue014\ue014")  # down, right, right
    assert browser.find_element("id", "tip").text.startswith("1 predicted 2\n")
    grid.send_keys("\ue007")  # Enter
    assert not browser.find_element("id", "tip").is_displayed()
    assert browser.execute_script("return study.state.cell") == [1, 2]
    assert grid.get_attribute("aria-label").startswith("1 predicted 2")
    grid.send_keys("\ue007")
    assert browser.execute_script("return study.state.cell") is None
    browser.execute_script("arguments[0].blur(); study.change({cell: [3, 4]}); arguments[0].focus()", grid)
    grid.send_keys("\ue014")  # from the chosen cell on
    assert browser.find_element("id", "tip").text.startswith("3 predicted 5\n")


@in_browser
def test_the_keyboard_skips_to_each_view(browser, made: Path) -> None:
    show(browser, made)
    for button in browser.find_elements("css selector", "[data-skip]"):
        browser.execute_script("arguments[0].focus()", button)
        assert button.is_displayed()
        assert button.rect["x"] >= 0
        button.send_keys("\ue007")
        assert browser.execute_script("return document.activeElement.id") == button.get_attribute("data-skip")


@in_browser
@pytest.mark.parametrize("classes", [None, [1, 8]])
def test_what_became_of_images_between_two_epochs_is_counted_and_listed(
    browser, study: Home, made: Path, classes: list[int] | None, capsys
) -> None:
    """By five buttons that agree with the predictions, in the table, its CSV, and by the command beside it."""
    show(browser, made, "#from=1&to=3")
    if classes:
        browser.execute_script("study.change({classes: arguments[0]})", classes)
    look_at(browser, "flow-section")
    with connect(study) as connection:
        rows = connection.execute(
            "select a.instance_id, a.label, a.predicted, b.predicted from predictions as a "
            "join predictions as b using (run_id, split, instance_id) "
            "where a.split = 'test' and a.epoch = 1 and b.epoch = 3"
        ).fetchall()
    rows = [row for row in rows if classes is None or row[1] in classes]
    of = {
        "kept": lambda label, a, b: a == label == b,
        "fixed": lambda label, a, b: a != label == b,
        "broken": lambda label, a, b: a == label != b,
        "rerouted": lambda label, a, b: a != label and b not in (a, label),
        "stuck": lambda label, a, b: a == b != label,
    }
    for outcome, fits in of.items():
        expected = {row[0] for row in rows if fits(*row[1:])}
        button = browser.find_element("css selector", f"#comparison [data-outcome={outcome}]")
        assert int(button.find_element("tag name", "b").text) == len(expected)
        browser.execute_script("arguments[0].click()", button)
        assert {row["instance_id"] for row in said_by(browser, "instance_metrics")} == expected
        commands = browser.execute_script(
            "return [...document.querySelectorAll('[data-query=instance_metrics] summary code')]"
            ".map(code => code.textContent)"
        )
        assert len(commands) == 2
        capsys.readouterr()
        code, out, _ = study_command(capsys, *shlex.split(commands[1])[1:], "--format", "json", "--home", study.path)
        assert code == 0
        assert {row["instance_id"] for row in json.loads(out)} == expected
        predicted = {row[0]: str(row[3]) for row in rows}
        for row in csv.DictReader(browser.execute_script("return study.exportCsv()").splitlines()):
            assert (row["epoch"], row["predicted"]) == ("3", predicted[int(row["instance_id"])])
            assert "id" not in row  # split and instance_id say it
        browser.execute_script("study.change({compared: ''})")


@in_browser
def test_the_command_that_explains_is_about_what_is_listed_until_something_is_selected(browser, made: Path) -> None:
    show(browser, made)
    browser.execute_script("document.getElementById('copy').click()")
    value = "return document.getElementById('explain-selected').value"
    listed = [row["instance_id"] for row in said_by(browser, "instance_metrics")]
    assert browser.execute_script(value).endswith(f"--instances {','.join(map(str, listed[:100]))}")
    browser.execute_script("study.change({selected: [5, 2]})")
    assert browser.execute_script(value).endswith("--instances 5,2")


@in_browser
def test_keys_reach_every_node_and_link(browser, real_log: Home) -> None:
    """Each arrow key moves to another target, says what it is, and Enter selects as many images as it names."""
    show(browser, page_of(real_log), "#from=0&to=5&top=5")
    look_at(browser, "flow-section")
    flow_canvas = browser.find_element("id", "flow")
    browser.execute_script("arguments[0].focus()", flow_canvas)
    told = []
    for key in ("\ue014", "\ue014", "\ue015", "\ue014", "\ue014", "\ue015"):  # right, right, down, right, right, down
        flow_canvas.send_keys(key)
        text = browser.find_element("id", "tip").text
        flow_canvas.send_keys("\ue007")
        assert not browser.find_element("id", "tip").is_displayed()  # the images stand below
        assert int(text.split()[0]) == len(browser.execute_script("return study.selected")), text
        told.append(text)
    assert len(set(told)) == len(told)
    assert {"predicted", "fixed", "from"} <= {word.strip(",") for text in told for word in text.split()}


@in_browser
def test_selected_images_are_seen_at_once_and_listed_first(browser, study: Home, made: Path) -> None:
    show(browser, made)
    browser.execute_script("study.change({selected: [7, 3], first: [7, 3]})")
    look_at(browser, "gallery")
    assert len(browser.find_elements("css selector", "#gallery button")) == 2
    look_at(browser, "table-section")
    listed = [row["instance_id"] for row in said_by(browser, "instance_metrics")]
    assert sorted(listed[:2]) == [3, 7]
    assert len(listed) == len(set(listed))


@in_browser
def test_pictures_are_large_and_whole_multiples_of_their_pixels(browser, made: Path) -> None:
    """At least 96 pixels of the screen, of many selected images 64, so that images of 8 x 8 can be seen."""
    side = head_of(made)["thumbnails"]["side"]
    sizes = """return [...document.querySelectorAll(arguments[0])].map(
        canvas => [canvas.width, canvas.getBoundingClientRect().width * devicePixelRatio])"""
    show(browser, made)
    for count, least in ((3, 96), (30, 64)):
        browser.execute_script(f"study.change({{selected: [...Array({count}).keys()]}})")
        look_at(browser, "gallery")
        found = browser.execute_script(sizes, "#gallery canvas")
        assert len(found) == count
        for width, shown in found:
            assert shown == width >= least
            assert width % side == 0
    look_at(browser, "table-section")
    browser.execute_script("""
        const canvas = document.querySelector(".row canvas"), place = canvas.getBoundingClientRect();
        const at = {clientX: place.x + 20, clientY: place.y + 9, bubbles: true};
        canvas.dispatchEvent(new MouseEvent("mousemove", at));""")
    [(width, shown)] = browser.execute_script(sizes, "#tip canvas")
    assert shown == width >= 96
    assert width % side == 0


@in_browser
def test_the_table_fills_a_wide_screen(browser, made: Path) -> None:
    show(browser, made)
    look_at(browser, "table-section")
    widths = "return [document.getElementById('table').clientWidth, document.querySelector('.row').scrollWidth]"
    table, row = browser.execute_script(widths)
    assert 0 <= table - row <= 2


@in_browser
def test_views_are_drawn_for_paper(browser, made: Path) -> None:
    """As wide as the paper is, since a canvas that is only made narrower has squeezed letters."""
    widths = """dispatchEvent(new Event(arguments[0]));
        return ["strip", "flow", "confusion"].map(id => document.getElementById(id))
            .map(({width, height, clientWidth: shown, clientHeight}) => [width / height, shown / clientHeight, shown])
        """
    show(browser, made)
    for event, least, most in (("beforeprint", 500, 700), ("afterprint", 1200, 1600)):
        for drawn, shown, width in browser.execute_script(widths, event):
            assert drawn == pytest.approx(shown, rel=0.02)
            assert least <= width <= most


@in_browser
def test_every_move_is_drawn_or_counted(browser, real_log: Home) -> None:
    show(browser, page_of(real_log), "#from=2&to=4&top=3")
    look_at(browser, "flow-section")
    svg = ElementTree.fromstring(browser.execute_script("return study.exportSvg('flow')"))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    counted = [re.fullmatch(r"([\d,]+) of ([\d,]+) as stubs", text) for text in texts]
    moves = [int(match[2].replace(",", "")) for match in counted if match]
    expected = [
        row["fixed"] + row["broken"] + row["rerouted"]
        for row in answer(real_log, "transition_outcomes")
        if 2 <= row["epoch"] < 4
    ]
    assert moves == expected


@in_browser
@pytest.mark.parametrize("view", ["strip", "flow", "confusion"])
@pytest.mark.parametrize("state", [{}, {"view": "bars"}, {"view": "instances"}, {"focus": True}])
def test_views_are_exported_as_svg(browser, made: Path, view: str, state: dict) -> None:
    show(browser, made)
    browser.execute_script("study.change(arguments[0])", state)
    svg = ElementTree.fromstring(browser.execute_script("return study.exportSvg(arguments[0])", view))
    assert {"path", "text"} <= {element.tag.rpartition("}")[2] for element in svg.iter()}
    assert svg.get("width") == "6.88in"
    width = float(svg.get("viewBox").split()[2])
    assert float(svg.get("font-size")) / width * 6.88 * 72 >= 8  # points in print
    words = " ".join(element.text for element in svg.iter("{http://www.w3.org/2000/svg}text"))
    assert "split test, n = " in words
    assert "paths of selected images" not in words  # none are
    epochs = {"strip": "after each epoch", "flow": "epochs 1 to 3;", "confusion": "at epoch 3, the last chosen"}[view]
    assert epochs in words
    assert "NaN" not in ElementTree.tostring(svg, encoding="unicode")


@in_browser
def test_an_exported_flow_shows_the_paths_of_selected_images(browser, made: Path) -> None:
    """A circle per image and column, as on the screen; what pointer and keys meet stays as it was."""
    show(browser, made, "#from=0&to=3")
    look_at(browser, "flow-section")
    circles = [browser.execute_script("return study.exportSvg('flow')").count("a3.2 3.2")]
    browser.execute_script("study.change({selected: [2, 5]})")
    circles.append(browser.execute_script("return study.exportSvg('flow')").count("a3.2 3.2"))
    assert circles == [0, 2 * 2 * 4]  # two halves each


@in_browser
def test_what_is_listed_is_exported_as_csv(browser, study: Home, made: Path) -> None:
    show(browser, made, "#from=0&to=3")
    rows = list(csv.DictReader(browser.execute_script("return study.exportCsv()").splitlines()))
    expected = {row["instance_id"]: row for row in answer(study, "instance_metrics")}
    assert len(rows) == len(expected)
    for row in rows:
        assert int(row["score_raw"]) == expected[int(row["instance_id"])]["score_raw"]
    with connect(study) as connection:
        sql = "select distinct instance_id from attributions where split = 'test'"
        explained = {instance_id for (instance_id,) in connection.execute(sql).fetchall()}
    assert {int(row["instance_id"]) for row in rows if int(row["maps"])} == explained
    browser.execute_script("study.change({selected: [5]})")
    assert len(browser.execute_script("return study.exportCsv()").splitlines()) == 2


@in_browser
def test_groups_and_several_sort_keys(browser, real_log: Home) -> None:
    show(browser, page_of(real_log), "#from=0&to=61")
    look_at(browser, "table-section")
    browser.execute_script(
        "study.change({group: 'label', sort: 'score_raw', down: true, then: [['frequency_raw', false]]})"
    )
    listed = [row["instance_id"] for row in said_by(browser, "instance_metrics")]
    rows = {row["instance_id"]: row for row in answer(real_log, "instance_metrics")}
    keys = [(rows[i]["label"], -rows[i]["score_raw"], rows[i]["frequency_raw"], i) for i in listed]
    assert keys == sorted(keys)
    browser.find_element("css selector", ".row.heading").click()
    selected = browser.execute_script("return study.selected")
    assert len(selected) == sum(row["label"] == 0 for row in rows.values())


@in_browser
def test_state_comes_back_from_the_address(browser, made: Path) -> None:
    show(browser, made)
    values = {"from": 1, "to": 2, "classes": [2, 4], "view": "bars", "filters": {"score_raw": ">=1"}, "selected": [5]}
    browser.execute_script("study.change(arguments[0])", values)
    before = browser.execute_script("return study.state")
    show(browser, made, "#" + browser.current_url.split("#")[1])
    assert browser.execute_script("return study.state") == before


@in_browser
@pytest.mark.parametrize(
    "hash",
    [
        "#from=9&to=2",
        "#classes=[99]",
        "#classes=x&view=&top=-4",
        "#selected={}&cell=[1]",
        "#sort=image",
        '#filters={"aum":3}',
    ],
)
def test_a_broken_address_still_opens(browser, made: Path, hash: str) -> None:
    show(browser, made, hash)
    assert said_by(browser, "flow_nodes")


@in_browser
def test_ids_are_given_and_taken(browser, real_log: Home) -> None:
    show(browser, page_of(real_log))
    browser.find_element("id", "copy").click()
    field = browser.find_element("id", "ids")
    field.clear()
    field.send_keys('["0325","0654","nobody"]\n')
    assert browser.execute_script("return study.selected") == ["0325", "0654"]
    assert browser.find_element("id", "share-status").text == "2 selected; 1 of 3 IDs are not in this run"


@in_browser
def test_one_image_shows_its_maps(browser, made: Path) -> None:
    show(browser, made, "#filters=" + json.dumps({"id": "=7"}))
    look_at(browser, "table-section")
    browser.execute_script("document.querySelector('.row').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}))")
    deadline = time.monotonic() + 10
    while len(browser.find_elements("css selector", "#maps figure")) != 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "Saliency" in browser.find_element("id", "maps").text
    assert re.fullmatch(r"Image 7, label \d", browser.find_element("id", "detail-title").text)


@pytest.fixture(scope="module")
def explained(study: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Image 7 has maps of one method at three epochs, and of another at the last epoch alone; a page and a report."""
    home = copied(study.path.parent, tmp_path_factory.mktemp("explained"))
    explain(ExplainSettings(method=("grad_cam",), epochs="last", where="instance_id = 7"), home)
    flow(FlowSettings(), home)
    report(ReportSettings(), home)
    return home


@in_browser
def test_the_last_epoch_of_every_method_is_in_sight(browser, explained: Home) -> None:
    """Also in a narrow panel: a method with one map needs no column per epoch, the others are scrolled to the last."""
    show(browser, page_of(explained), "#from=0&to=2&selected=[7]")
    browser.execute_script("document.getElementById('detail').style.width = '280px'")
    look_at(browser, "gallery")
    browser.find_element("css selector", "#gallery button").click()
    deadline = time.monotonic() + 10
    while len(browser.find_elements("css selector", "#maps figure")) != 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    single = browser.find_element("css selector", ".single-maps")
    assert single.text.splitlines()[0] == "Grad-CAM"
    assert "epoch 3" in single.text
    headings = browser.find_elements("css selector", ".map-series > span:not(.map-row)")
    assert [heading.text for heading in headings][-1] == "epoch 3"
    edges = """const [panel, ...last] = ["#detail", ".single-maps figure:last-child", ".map-series figure:last-child"]
        .map(name => document.querySelector(name).getBoundingClientRect()); return last.map(({left, right}) =>
        left >= panel.left && right <= panel.right)"""
    assert browser.execute_script(edges) == [True, True]

    scroll = "document.querySelector('.map-series').scrollLeft"
    assert browser.execute_script(f"return {scroll}") > 0
    browser.execute_script(f"{scroll} = 5; study.change({{top: 3}})")
    time.sleep(0.2)
    assert browser.execute_script(f"return {scroll}") == 5  # stays where it was put

    facts = browser.find_element("id", "detail-facts").text.splitlines()
    assert facts[0].startswith("epoch 2, where the chosen range ends: predicted ")
    assert facts[1].startswith("epoch 3, the last: predicted ")


@in_browser
def test_the_report_opens_the_page_at_its_own_epoch(browser, explained: Home) -> None:
    folder = explained.run_folder(resolve(explained, "latest").run_id)
    [address] = re.findall(r'href="(flow\.html#[^"]*)"', (folder / "report.html").read_text())
    show(browser, folder / "flow.html", address.removeprefix("flow.html"))
    assert browser.execute_script("return study.state.to") == 3


@in_browser
def test_no_script_failed(browser) -> None:
    own = ("favicon", "mlflow/users/current", "ResizeObserver loop")
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if not any(name in message for name in own)] == []
