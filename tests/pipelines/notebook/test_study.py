"""A study in Python: the answers of the command line as DataFrames, maps as arrays, images and pages as HTML."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pipelines
import queries
import tracking
from pipelines.notebook.frames import to_frame
from pipelines.notebook.instance import _draw_picture
from pipelines.notebook.pages import Page
from pipelines.notebook.study import Study
from pipelines.pages.pictures import Picture
from support.commands import study_command
from support.homes import rows
from support.places import ROOT
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.home import Home


@pytest.fixture(scope="module")
def opened(study: Home) -> Study:
    return tracking.open(study.path)


def test_opening_imports_nothing_that_takes_long(study: Home) -> None:
    heavy = ("torch", "mlflow", "matplotlib", "duckdb", "pandas", "numpy", "pyarrow")
    code = f"""
import sys, tracking
study = tracking.open({str(study.path)!r})
repr(study), dir(study)
print(sorted(set({heavy}) & set(sys.modules)))
dir(study.ask), study.ask("hard_classes"), study.runs(), study.sql("from runs"), study.questions(), repr(study.ask.runs)
print(sorted({{"torch", "mlflow", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_a_home_is_found_as_the_command_finds_it(study: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDY_HOME", str(study.path))
    assert tracking.open().path == study.path
    with pytest.raises(InputError, match="no study in"):
        tracking.open(tmp_path)


@pytest.mark.parametrize("question", queries.NAMES)
def test_every_question_is_asked_as_the_command_asks_it(
    opened: Study, study: Home, capsys: pytest.CaptureFixture, question: str
) -> None:
    header = queries.header(question)
    needed = {name: "1" for name, param in header.params.items() if param.required and name != "run_id"}
    if "other_run_id" in needed:
        needed["other_run_id"] = "latest"
    flags = [word for name, value in needed.items() for word in (f"--{name.replace('_', '-')}", value)]
    code, out, _ = study_command(capsys, "ask", question, *flags, "--format", "json", "--home", str(study.path))
    if code:
        with pytest.raises(InputError):
            opened.ask(question, **needed)
        return
    frame = opened.ask(question, **needed)
    assert list(frame.columns) == list(header.returns)
    assert len(frame) == len(json.loads(out))
    asked = getattr(opened.ask, question)
    assert header.question in repr(asked)
    assert all(doc in asked.__doc__ for doc in header.returns.values())
    pd.testing.assert_frame_equal(asked(**needed), frame)  # sums in another order may differ in their last digit


def test_parameters_are_keywords_with_values_of_python(opened: Study, trained: RunRecord) -> None:
    first = opened.ask("hard_classes", trained.run_id[:8], split="val", epoch=np.int64(1))
    assert set(first["epoch"]) == {1}
    assert opened.ask("hard_classes", run_id=trained.name, split="val", epoch="1").equals(first)
    chosen = opened.ask("hard_classes", split="val", epoch=1)
    assert chosen.equals(opened.ask.hard_classes("latest", split="val", epoch=1))
    history = (
        opened.ask("instance_history", instance_id=7, epoch=None)
        if False
        else opened.ask("instance_history", instance_id=7)
    )
    assert list(history["epoch"]) == [0, 1, 2, 3]
    both = opened.ask("flow_links", classes=["3", 5])
    assert both.equals(opened.ask("flow_links", classes="3,5"))


def test_frames_have_types_and_whole_numbers_stay_whole() -> None:
    table = pa.table({
        "whole": pa.array([1, None], pa.int64()), "sum": pa.array([7, 8], pa.decimal128(38, 0)),
        "flag": [True, None], "share": [0.5, None], "day": pa.array([0, 1], pa.date32()), "list": [[1.0], [2.0, 3.0]],
    })  # fmt: skip
    twice = pa.Table.from_arrays([*table.columns, table["share"]], names=[*table.column_names, "share"])
    frame = to_frame(twice)
    assert [str(dtype) for dtype in frame.dtypes] == [
        "Int64", "int64", "boolean", "float64", frame["day"].dtype.name, "object", "float64",
    ]  # fmt: skip
    assert frame["day"].dtype.kind == "M"
    assert list(frame.columns)[-1] == "share_2"
    assert to_frame(table.slice(0, 0)).dtypes["whole"] == "int64"
    large = to_frame(pa.table({"sum": pa.array([10**25], pa.decimal128(38, 0))}))
    assert large["sum"][0] == 1e25


def test_sql_answers_as_the_command_does(opened: Study, study: Home, trained: RunRecord) -> None:
    asked = "from predictions where split = 'test' and epoch = 3 order by instance_id"
    frame = opened.sql(asked)
    assert frame["probabilities"][0].dtype == np.float32
    names = ["instance_id", "label", "predicted"]
    assert list(frame[names].itertuples(index=False, name=None)) == rows(study, f"select {', '.join(names)} {asked}")
    assert list(opened.sql("select 1 as x, 2 as x").columns) == ["x", "x_2"]
    assert len(opened.sql("describe runs")) > 5
    assert opened.sql("from runs where false").empty


@pytest.mark.parametrize(("query", "message"), [
    ("drop table runs", "read-only"),
    ("copy runs to 'x.csv'", "read-only"),
    ("from read_csv('/etc/passwd')", "disabled by configuration"),
    ("from runs; from runs", "one SQL statement, not 2"),
    ("from nowhere", "lists the tables"),
    ("select sum(x) from range(1000000000000) t(x)", "stopped after 1 s; narrow it, or allow more: `seconds`"),
])  # fmt: skip
def test_sql_is_as_safe_as_the_command(opened: Study, query: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        opened.sql(query, seconds=1 if "range" in query else 60)
    assert message in str(caught.value)


@pytest.mark.parametrize(("call", "message"), [
    (lambda opened: opened.ask("hard_clases"), "nearest: hard_classes"),
    (lambda opened: opened.ask("hard_classes", splitt="val"), "did you mean split?"),
    (lambda opened: opened.ask("hard_classes", split="x"), "no split 'x'; there are: test"),
    (lambda opened: opened.ask("hard_classes", epoch=9), "no epoch 9; there are: 0, 1, 2, 3"),
    (lambda opened: opened.ask("hard_classes", "nobody"), "no run 'nobody'"),
    (lambda opened: opened.ask("runs", "latest"), "runs has no parameter 'run'"),
    (lambda opened: opened.sql(" ", seconds=0), "`seconds` is 0; it takes 1"),
    (lambda opened: opened.maps(method="nope"), "no method 'nope'; those with maps are: saliency"),
    (lambda opened: opened.maps(method="shap"), "there are: saliency of test at epochs 0, 1, 3; `study explain"),
    (lambda opened: opened.maps(method="saliency", epoch=2), "has no maps of the predicted class by saliency"),
    (lambda opened: opened.maps(method="saliency", where="lable = 3"), "`where` 'lable = 3' is not a valid condition"),
    (lambda opened: opened.maps(method="saliency", where="label = 99"), "no image of test fits 'label = 99'"),
    (lambda opened: opened.maps(method="saliency", instances=[40]), "none is explained by saliency at epoch 3"),
    (lambda opened: opened.maps(method="saliency", where="true", instances=[1]), "both choose images"),
    (lambda opened: opened.maps(method="saliency", target="3"), "target is '3'; it takes predicted or label"),
    (lambda opened: opened.show("latest", 5000), "no predictions of image 5000 of split 'test'; there are: test 0 to"),
    (lambda opened: opened.show("latest", "7"), "instance_id is '7'; it takes a whole number"),
    (lambda opened: opened.maps(method="saliency", instances=["a"]), "instances is 'a'; it takes a whole number"),
    (lambda opened: opened.flow(split="x"), "x"),
    (lambda opened: opened.report(split="x"), "a report can be on: test, val"),
])  # fmt: skip
def test_wrong_input_is_one_line(opened: Study, call: Callable[[Study], object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        call(opened)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--home" not in str(caught.value)


def test_maps_are_those_that_were_logged(opened: Study, study: Home, trained: RunRecord) -> None:
    found = opened.maps("latest", method="saliency", epoch=1, where="predicted <> label and instance_id < 20")
    expected = rows(study, """
        select maps.instance_id, maps.map, label, predicted
        from maps join predictions on source_run_id = predictions.run_id
            and (maps.epoch, maps.split, maps.instance_id)
                = (predictions.epoch, predictions.split, predictions.instance_id)
        where maps.epoch = 1 and predicted <> label order by all""")  # fmt: skip
    assert found.ids.tolist() == [row[0] for row in expected]
    assert np.array_equal(found.maps.reshape(len(found), -1), np.array([row[1] for row in expected], np.float32))
    assert list(zip(found.labels, found.predicted, strict=True)) == [row[2:] for row in expected]
    assert (found.images.shape, found.maps.shape) == ((len(found), 3, 8, 8), (len(found), 8, 8))
    assert (found.images.dtype, found.maps.dtype) == (np.float32, np.float32)
    assert 0 <= found.images.min() < found.images.max() <= 1
    assert np.isnan(found.baseline_scores).all()  # saliency has no baseline
    assert opened.maps(method="saliency").epoch == 3  # the last that it explained
    assert opened.maps(method="saliency", instances=np.array([3, 1]), epoch=np.int64(1)).ids.tolist() == [1, 3]


def test_missing_maps_are_said(opened: Study, capsys: pytest.CaptureFixture) -> None:
    assert opened.maps(method="saliency", instances=[1, 40]).ids.tolist() == [1]
    assert "1 of the 2 images of test that are chosen are explained by saliency at epoch 3" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shap_plots_take_the_explanation(opened: Study, count: int) -> None:
    shap = pytest.importorskip("shap")
    from matplotlib import pyplot

    found = opened.maps(method="saliency", instances=range(count))
    explanation = found.explanation()
    assert np.allclose(explanation.values.sum(axis=3), found.maps)
    before = set(pyplot.get_fignums())
    shap.image_plot(explanation, show=False)
    [number] = set(pyplot.get_fignums()) - before
    drawn = pyplot.figure(number).axes[1].images[-1].get_array()
    assert np.allclose(drawn, found.maps[0])
    pyplot.close(number)


def test_an_image_is_shown_with_its_history_and_heatmaps(opened: Study, study: Home) -> None:
    shown = opened.show("latest", np.int64(7))
    page = shown._repr_html_()
    assert "<script" not in page
    assert "http" not in page
    assert page.count("<rect") == 4  # epochs
    assert page.count("data:image/png") == 1 + 3  # the image, and the maps of epochs 0, 1 and 3
    [(name, predicted)] = rows(study, """
        select truth.name, guess.name from predictions
        join classes truth on truth.class_id = label and truth.run_id = predictions.run_id
        join classes guess on guess.class_id = predicted and guess.run_id = predictions.run_id
        where epoch = 3 and split = 'test' and instance_id = 7""")  # fmt: skip
    assert f"label {name}" in repr(shown)
    assert f"epoch 3: predicted as {predicted}" in page
    without_maps = opened.show("latest", 40)._repr_html_()
    assert "No heatmaps of this image yet" in without_maps
    assert "train_seen" in repr(opened.show("latest", 7, split="train_seen"))


def test_what_stands_for_a_missing_map_says_its_epoch_too() -> None:
    drawn = str(_draw_picture(Picture(note="zero everywhere"), "epoch 3"))
    assert "zero everywhere<br>epoch 3" in drawn
    assert str(_draw_picture(Picture(note="no image"))).count("<br>") == 0


def test_names_from_outside_are_escaped(home: Home, tmp_path: Path) -> None:
    log = {
        "name": "<i>mine</i>", "labels": ["<script>alert(1)</script>", "cat"],
        "instances": [{"id": "<b>", "actual": 0, "image": "<img>.png"}],
        "epochs": [{"id": "0", "classifications": [1]}, {"id": "1", "classifications": [0]}],
    }  # fmt: skip
    (tmp_path / "log.json").write_text(json.dumps(log))
    run_id = pipelines.import_flow(tmp_path / "log.json", home=home.path)
    shown = tracking.open(home.path).show(run_id, 0)
    page = shown._repr_html_()
    assert not any(tag in page for tag in ("<script", "<i>", "<b>", "<img"))
    assert "label &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "no image: " in page


def test_everything_works_while_another_process_holds_the_index(copy: Home) -> None:
    opened = tracking.open(copy.path)
    before = opened.ask("hard_classes"), opened.sql("from predictions order by all"), opened.maps(method="saliency")
    with duckdb.connect(str(copy.database)) as held:
        held.execute("create table mine (x integer)")
        after = opened.ask("hard_classes"), opened.sql("from predictions order by all"), opened.maps(method="saliency")
        page = opened.show("latest", 7)._repr_html_()
    pd.testing.assert_frame_equal(before[0], after[0])
    pd.testing.assert_frame_equal(before[1], after[1])
    assert np.array_equal(before[2].maps, after[2].maps)
    assert page == opened.show("latest", 7)._repr_html_()


def test_looking_changes_nothing(copy: Home) -> None:
    def files() -> dict[Path, int]:
        changing = ("study.duckdb", "study.duckdb.lock")  # the index, which is brought up to date
        paths = (path for path in copy.path.rglob("*") if path.is_file() and path.name not in changing)
        return {path: path.stat().st_mtime_ns for path in paths}

    opened = tracking.open(copy.path)
    run_ids = set(opened.runs()["run_id"])  # this also tells MLflow that the home was moved
    before = files()
    pages = opened.flow(), opened.report(), opened.show("latest", 1)
    assert files() == before
    assert [page._repr_html_().count("<iframe") for page in pages] == [1, 1, 0]
    assert set(opened.runs()["run_id"]) == run_ids


def test_a_page_is_alone_in_its_frame() -> None:
    document = (
        '<a href="#q1">1</a><a href="https://arxiv.org/abs/1">2</a><a href="flow.html#to=3">3</a><p title="&quot;">'
    )
    frame = Page('A "title"', document)._repr_html_()
    assert 'sandbox="allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox"' in frame
    assert "allow-same-origin" not in frame
    assert frame.count('"') % 2 == 0
    assert "&lt;a href=&#34;about:srcdoc#q1&#34;&gt;1" in frame
    assert "&lt;a target=&#34;_blank&#34; href=&#34;https://arxiv.org/abs/1&#34;&gt;2" in frame
    assert "&lt;a&gt;3" in frame
    assert "&amp;quot;" in frame


@pytest.mark.parametrize("name", ["flow", "report"])
def test_pages_work_in_a_frame(browser, opened: Study, tmp_path: Path, name: str) -> None:
    page = getattr(opened, name)()
    place = tmp_path / "notebook.html"
    place.write_text(f"<!doctype html><html><body>{page._repr_html_()}</body></html>")
    browser.get(place.as_uri())
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    if name == "flow":
        for _ in range(50):
            if browser.execute_script("return document.documentElement.dataset.ready") == "yes":
                break
            browser.execute_async_script("setTimeout(arguments[0], 100)")
        assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    else:
        browser.find_element("css selector", 'a[href*="#q"]').click()
        assert browser.execute_script("return location.href").startswith("about:srcdoc#q")
        assert browser.execute_script("return scrollY") > 0
    assert [line for line in browser.get_log("browser") if "favicon" not in line["message"]] == []
    browser.switch_to.default_content()
