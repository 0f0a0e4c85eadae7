"""Pages of large runs, for which tiny limits stand in: what they hold of all images, and what of a sample."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.instanceflow import packing, page, probabilities, record
from pipelines.instanceflow.packing import Payload
from pipelines.instanceflow.record import draw_rows, read_record
from support.flow_pages import NODE, computed, in_browser, look_at, show
from support.homes import answer
from tracking.catalogue import RunRecord
from tracking.home import Home
from tracking.reading import connect

OUTCOMES = ("fixed", "broken", "rerouted", "kept", "stuck", "unlabelled")
with_node = pytest.mark.skipif(not NODE, reason="needs node on the PATH")


def write_page(home: Home, run: RunRecord, folder: Path, split: str = "test") -> Path:
    with connect(home) as connection:
        return page.write_page(folder / "flow.html", read_record(connection, run, split), connection, home, None)


def head_of(made: Path) -> dict:
    return json.loads(re.search(r'id="head">(.*?)</script>', made.read_text(), re.DOTALL)[1])


@pytest.fixture
def sampled(study: Home, trained: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page with room for 100 of the images, some 20 of which have pictures and likeliest classes."""
    monkeypatch.setattr(record, "MAX_CELLS", 4 * 100)
    monkeypatch.setattr(page, "SAMPLE", 20)
    monkeypatch.setattr(packing, "MAX_CHARACTERS", 6_500)
    monkeypatch.setattr(probabilities, "MAX_DENSE", 0)
    return write_page(study, trained, tmp_path)


def test_splits_share_the_room_of_a_page() -> None:
    split_indices = np.repeat([0, 1, 2], [1000, 5, 300])
    rows = draw_rows(split_indices, 105)
    assert np.bincount(split_indices[rows]).tolist() == [50, 5, 50]
    assert (np.diff(rows) > 0).all()
    assert draw_rows(split_indices, 105).tolist() == rows.tolist()
    assert draw_rows(split_indices, 5000).tolist() == list(range(1305))
    shares = [draw_rows(np.zeros(1000, int), 100).mean() / 999 for _ in range(2)]
    assert shares[0] == shares[1] == pytest.approx(0.5, abs=0.1)  # from everywhere


def test_what_is_far_too_large_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed_bytes = []

    def compress(values: np.ndarray) -> bytes:
        compressed_bytes.append(values.nbytes)
        return bytes(values.nbytes)

    monkeypatch.setattr(packing, "_compress", compress)
    monkeypatch.setattr(packing, "MAX_CHARACTERS", 100_000)
    payload = Payload()
    assert not payload.add_array("large", np.zeros((50_000, 30), np.uint8), "large")
    assert sum(compressed_bytes) <= 2 * packing.ESTIMATED_ROWS * 30
    assert payload.add_array("small", np.zeros((100, 30), np.uint8), "small")
    assert not payload.add_array("rest", np.zeros((1000, 60), np.uint8), "rest", 0.7)  # 80,000 characters


def test_estimates_are_near_the_truth() -> None:
    values = np.random.default_rng(0).integers(0, 9, (20_000, 40)).astype(np.uint8)
    payload = Payload()
    payload.add_array("values", values)
    assert packing.estimate_characters(values, len(values)) == pytest.approx(payload.characters, rel=packing.DOUBT)


def test_a_sample_is_said(study: Home, sampled: Path) -> None:
    head = head_of(sampled)
    count = len(answer(study, "instance_metrics"))
    assert (head["instances"], head["drawn_from"]) == (100, count)
    assert f"100 of the {count:,} images of test are on this page, drawn at random." in head["notes"]
    assert f"test: {count:,} images" in head["about"]
    [note] = [note for note in head["notes"] if "others drawn at random" in note]
    assert re.match(r"2\d images have a picture and the probabilities of other classes: those with heatmaps, ", note)
    assert head["probabilities"] == {"steps": 255, "is_top": True, "top": 5, "is_sample": True}


@with_node
def test_the_overview_counts_all_images_and_all_else_the_sample(study: Home, trained: RunRecord, sampled: Path) -> None:
    classes = [*range(10)]
    expression = f"""{{
        all: outcomesOfAll({classes}, [0]), some: outcomesOfAll([1, 2], [0]), ids: instanceIds,
        sampled: outcomesOverTime([...Array(N).keys()])}}"""
    values = computed(str(shutil.copy(sampled, sampled.with_name("copy.html"))), expression)
    for name, chosen in (("all", {}), ("some", {"classes": "1,2"})):
        expected = [[row[outcome] for outcome in OUTCOMES] for row in answer(study, "transition_outcomes", **chosen)]
        assert values[name]["counts"][1:] == expected
    accuracies = [row["accuracy"] for row in answer(study, "accuracy_by_epoch") if row["split"] == "test"]
    correct, counted = values["all"]["correct"], values["all"]["n"]
    assert [k / n for k, n in zip(correct, counted, strict=True)] == pytest.approx(accuracies)

    sql = """select epoch, count(*) filter (previous <> label and predicted = label) as fixed,
        count(*) filter (predicted = label) as correct from predictions
        where run_id = $1 and split = 'test' and instance_id in (select unnest($2::integer[])) group by 1 order by 1"""
    with connect(study) as connection:
        expected = connection.execute(sql, [trained.run_id, values["ids"]]).fetchall()
    assert len(set(values["ids"])) == 100
    assert [counts[0] for counts in values["sampled"]["counts"]] == [fixed for _, fixed, _ in expected]
    assert values["sampled"]["correct"] == [n for *_, n in expected]


@with_node
def test_the_likeliest_classes_are_those_of_the_table(study: Home, trained: RunRecord, sampled: Path) -> None:
    expression = """{ids: [...sample].map(i => instanceIds[i]), classes: await unpack("top_classes"),
        values: await unpack("probabilities")}"""
    values = computed(str(sampled), expression)
    shape = (len(values["ids"]), 4, probabilities.TOP)
    classes, shares = (np.reshape(values[name], shape) for name in ("classes", "values"))
    sql = """select probabilities from full_predictions where run_id = $1 and split = 'test' and instance_id = $2
        order by epoch"""
    with connect(study) as connection:
        for place, instance_id in enumerate(values["ids"]):
            rows = connection.execute(sql, [trained.run_id, instance_id]).fetchall()
            for epoch, (row,) in enumerate(rows):
                assert np.array(row)[classes[place, epoch]].tolist() == sorted(row, reverse=True)[: probabilities.TOP]
                expected = np.sort(row)[::-1][: probabilities.TOP]
                np.testing.assert_allclose(shares[place, epoch] / 255, expected, atol=0.5 / 255 + 1e-6)


@with_node
def test_a_run_may_keep_the_likeliest_classes_alone(study: Home, trained: RunRecord, tmp_path: Path) -> None:
    """As `--probabilities top:3` does: the page has those three, and no others."""
    top_three = """
        create or replace temporary view full_predictions as
        select * replace (
            null::real[] as probabilities,
            list_transform(list_grade_up(probabilities, 'desc')[:3], lambda place: place - 1)::integer[] as top_classes,
            list_reverse_sort(probabilities)[:3] as top_probabilities)
        from everything"""
    with connect(study) as connection:
        connection.execute("create temporary table everything as from full_predictions")
        connection.execute(top_three)
        predictions = read_record(connection, trained, "test")
        made = page.write_page(tmp_path / "flow.html", predictions, connection, study, None)
        sql = """select top_classes, top_probabilities from full_predictions
            where run_id = $1 and split = 'test' order by instance_id, epoch"""
        rows = connection.execute(sql, [trained.run_id]).fetchall()
    assert head_of(made)["probabilities"] == {"steps": 255, "is_top": True, "top": 3, "is_sample": False}
    values = computed(str(made), '({classes: await unpack("top_classes"), values: await unpack("probabilities")})')
    classes, shares = (np.reshape(values[name], (-1, 3)) for name in ("classes", "values"))
    assert classes.tolist() == [kept for kept, _ in rows]
    np.testing.assert_allclose(shares / 255, [kept for _, kept in rows], atol=0.5 / 255 + 1e-6)


@with_node
def test_images_of_classes_without_a_row_keep_their_outcomes(sampled: Path) -> None:
    """Within Other, which is one row, an image may become correct."""
    expression = """(() => { const rowOf = Int32Array.from({length: K + 1}, (_, c) => c === 3 ? 0 : 1);
        const all = [...Array(N).keys()], rows = {rowOf, names: ["3", "Other"]};
        return {flow: flows(all, [0, 1, 2, 3], rows, {stays: true, stride: 1}),
        expected: outcomesOverTime([...Array(N).keys()])}; })()"""
    values = computed(str(sampled), expression)
    for column in range(3):
        links = [link for link in values["flow"]["links"] if link["column"] == column]
        fixed, broken, rerouted, kept, stuck, _ = values["expected"]["counts"][column + 1]
        counts = {(was, now): 0 for was in (False, True) for now in (False, True)}
        for link in links:
            counts[link["wasCorrect"], link["isCorrect"]] += link["n"]
        assert counts == {
            (False, True): fixed, (True, False): broken, (True, True): kept, (False, False): rerouted + stuck,
        }  # fmt: skip


@with_node
def test_of_many_classes_those_confused_most_are_shown(sampled: Path) -> None:
    expression = """({pairs: confusedPairs(E - 1), all: mostConfusedClasses([...Array(K).keys()], E - 1, K),
        four: mostConfusedClasses([...Array(K).keys()], E - 1, 4),
        some: mostConfusedClasses([9, 5, 2, 1, 0], E - 1, 3)})"""
    values = computed(str(sampled), expression)
    assert values["all"] == list(range(10))
    assert len(values["some"]) == 3
    assert values["some"] == [c for c in (9, 5, 2, 1, 0) if c in values["some"]]  # in the order given
    largest = max(values["pairs"], key=lambda pair: (pair["n"], -pair["a"], -pair["b"]))
    assert {largest["a"], largest["b"]} <= set(values["four"])


@in_browser
def test_one_image_says_what_its_lines_are(browser, sampled: Path) -> None:
    values = computed(str(sampled), "({sample: [...sample], ids: [...instanceIds]})")
    inside = values["sample"][0]
    outside = next(i for i in range(100) if i not in values["sample"])
    for row, said in ((inside, "of the 5 likeliest classes"), (outside, "only a sample of the images has those")):
        show(browser, sampled, "#filters=" + json.dumps({"id": f"={values['ids'][row]}"}))
        look_at(browser, "table-section")
        open_it = "document.querySelector('.row').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}))"
        browser.execute_script(open_it)
        browser.execute_async_script("setTimeout(arguments[0], 300)")
        assert said in browser.find_element("id", "detail-note").text
    look_at(browser, "flow-section")
    assert "of 100 drawn at random from" in browser.find_element("id", "flow-range").text
    assert "not only those on this page" in browser.find_element("id", "strip-legend").text
