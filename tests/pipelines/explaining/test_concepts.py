"""Concept jobs: true rows, names that stay with their direction, pictures, and clear refusals."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pytest
import torch
from pyarrow import parquet

import queries
from pipelines.common.settings import ExplainSettings, LabelSettings
from pipelines.explaining.concepts.concept_set import _draw_images, list_counts, required_agreement
from pipelines.explaining.concepts.labels import label_concept
from pipelines.explaining.concepts.words import colour_name, describe, place
from pipelines.explaining.explain import explain
from support.homes import TINY, rows
from tracking import mlflow_client, runs
from tracking.catalogue import resolve
from tracking.errors import InputError
from tracking.home import Home, find_home
from tracking.index import rebuild
from tracking.reading import _open_files, connect
from tracking.tables import exact_pattern, select_incomplete_files, select_rows
from xai.concept_count import STABLE

QUESTIONS = ("concepts_by_class", "class_concepts", "concepts_by_epoch")
ICE = ExplainSettings(method=("ice",), concepts=3, count=80, layer="network.features.2")


@pytest.fixture(scope="module")
def home(tmp_path_factory, trained_home) -> Home:
    """A home with a training run and a concept run of its epochs 1 and 2."""
    home = trained_home(tmp_path_factory.mktemp("concepts"), replace(TINY, epochs=2))
    explain(replace(ICE, epochs="1,2"), home)
    return home


def explained(home: Home) -> str:
    return resolve(home, "ice", ("explain",)).run_id


def count_test_images(home: Home) -> int:
    return rows(home, "select count(*) from instances where split = 'test'")[0][0]


def test_tables_hold_together(home: Home) -> None:
    run_id = explained(home)
    found = rows(home, "select epoch, concept_id, vector, layer from concepts where run_id = ? order by all", run_id)
    assert [row[:2] for row in found] == [(epoch, concept) for epoch in (1, 2) for concept in range(3)]
    assert all(np.linalg.norm(row[2]) == pytest.approx(1, abs=1e-5) and min(row[2]) >= 0 for row in found)
    assert {row[3] for row in found} == {"network.features.2"}
    sql = """select bool_and(present = (score >= threshold)), count(*) from concept_scores
             join concepts using (run_id, epoch, concept_id) where run_id = ?"""
    assert rows(home, sql, run_id) == [(True, 2 * 3 * 80)]
    sql = """
        select max(abs(prevalence - share)), count(*) from tcav_scores join (
            select s.run_id, s.epoch, s.concept_id, i.label as class_id, avg(present::int) as share
            from concept_scores s join concepts using (run_id, epoch, concept_id)
            join instances i on i.run_id = source_run_id and i.split = s.split and i.instance_id = s.instance_id
            group by all
        ) using (run_id, epoch, concept_id, class_id) where run_id = ?"""
    [(gap, cells)] = rows(home, sql, run_id)
    assert gap < 1e-6
    assert cells == 2 * 3 * 10


def test_classes_without_an_image_have_no_figures(home: Home) -> None:
    [run_id] = explain(replace(ICE, count=None, where="label in (3, 5) and instance_id < 120"), home)
    found = rows(home, "select class_id, count(*) from tcav_scores where run_id = ? group by all order by all", run_id)
    assert found == [(3, 3), (5, 3)]
    with connect(home) as connection:
        source = resolve(home, "latest", ("train",)).run_id
        answers = {name: queries.run(connection, name, {"run_id": source}).dicts for name in QUESTIONS}
    own = [row for row in answers["concepts_by_class"] if row["explainer_run_id"] == run_id]
    assert {row["class_id"] for row in own} == {3, 5}
    assert {row["class_id"] for row in answers["class_concepts"]} == {3, 5}
    ends = [row for row in answers["concepts_by_epoch"] if row["explainer_run_id"] == run_id]
    assert {row["top_class_id"] for row in ends} <= {3, 5}


def test_figures_metrics_and_record(home: Home) -> None:
    run_id = explained(home)
    names = {file.name for file in (home.run_folder(run_id) / "concept_cards").glob("*.png")}
    assert {"epoch_0002_concept_02.png", "epoch_0002_prevalence.png", "epoch_0001_tcav_sign.png"} <= names
    record = json.loads((home.run_folder(run_id) / "choice" / "ice_epoch_0002.json").read_text())
    assert (record["concepts"], record["reason"]) == (3, "set by --concepts")
    assert re.match(r"any 3 of \d+ single activations, of \d+ single channels, of 30 factors", record["null"])
    metrics = {key: value for key, epoch, value in rows(home, "select key, epoch, value from metrics where run_id = ?",
                                                        run_id) if epoch == 2}  # fmt: skip
    assert 0 <= metrics["nmf_agreement"] <= 1
    assert {"pca_ice_error", "kmeans_divergence", "significant_share"} <= set(metrics)
    client = mlflow_client.connect(home)
    shown = client.get_run(run_id).data.metrics
    assert shown.keys() < metrics.keys()
    assert "significant_share" in shown
    assert len(shown) <= 10
    [last] = [model for model in client.search_logged_models([runs.experiment_id(home)])
              if model.name == "epoch_0002-digits-cnn-0"]  # fmt: skip
    assert {"stable_concepts", "answers_kept", "test_accuracy"} <= {metric.key for metric in last.metrics}


def test_the_same_job_finds_the_same_concepts(home: Home) -> None:
    [again] = explain(replace(ICE, epochs="2"), home)
    sql = "select concept_key, vector from concepts where run_id = ? and epoch = 2 order by concept_id"
    assert rows(home, sql, again) == rows(home, sql, explained(home))


def test_a_name_given_first_in_a_copied_home_is_the_copy_s(home: Home, tmp_path: Path) -> None:
    before = sorted(home.artifacts.rglob("*"))
    shutil.copytree(home.path, tmp_path / "copy")
    copy = find_home(str(tmp_path / "copy"))
    label_concept(LabelSettings(explained(copy), "0", "a name"), copy)
    sql = "select label from concepts where run_id = ? and epoch = 2 and concept_id = 0"
    assert rows(copy, sql, explained(copy)) == [("a name",)]
    assert mlflow_client.connect(copy).get_run(explained(copy)).info.artifact_uri.startswith(copy.artifacts.as_uri())
    assert sorted(home.artifacts.rglob("*")) == before
    assert "a name" not in mlflow_client.connect(home).get_run(explained(home)).data.tags.values()


def test_a_name_stays_with_its_direction(home: Home, capsys) -> None:
    run_id = explained(home)
    key = label_concept(LabelSettings(run_id[:9], "1", "  an  upper\tloop "), home)
    [said] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"concept 1 of layer .+ at epoch 2, run {run_id[:8]}, is now called 'an upper loop'", said)
    sql = "select label from concepts where run_id = ? and epoch = 2 order by concept_id"
    assert rows(home, sql, run_id) == [(None,), ("an upper loop",), (None,)]
    assert rows(home, "select label from concepts where concept_key = ? and run_id = ?", key, run_id) == [
        ("an upper loop",)
    ]
    assert label_concept(LabelSettings(run_id, key[:8], "a loop"), home) == key  # the later name counts
    [later] = explain(replace(ICE, epochs="2", seed=1), home)
    carried = rows(home, sql, later)
    vectors = [np.array(rows(home, sql.replace("label from", "vector from"), run)) for run in (run_id, later)]
    cosines = np.squeeze(vectors[1]) @ np.squeeze(vectors[0]).T
    assert [name == "a loop" for (name,) in carried] == [row.argmax() == 1 and row[1] >= 0.9 for row in cosines]
    rebuild(home)
    assert rows(home, sql, run_id) == [(None,), ("a loop",), (None,)]
    tags = mlflow_client.connect(home).get_run(run_id).data.tags
    assert tags["study.concept.2.1"] == "a loop"


def test_stability_and_answers_kept_are_recorded(home: Home) -> None:
    run_id = explained(home)
    record = json.loads((home.run_folder(run_id) / "choice" / "ice_epoch_0002.json").read_text())
    sql = "select stability from concepts where run_id = ? and epoch = 2 order by concept_id"
    stability = [value for (value,) in rows(home, sql, run_id)]
    assert stability == pytest.approx(record["stability"])
    assert all(0 < value <= 1 + 1e-6 for value in stability)
    sql = "select key, value from metrics where run_id = ? and epoch = 2"
    metrics = dict(rows(home, sql, run_id))
    assert metrics["stable_concepts"] == sum(value >= STABLE for value in record["stability"])
    assert metrics["answers_kept"] == record["answers_kept"]
    assert metrics["judging_images"] == record["judging_images"] == count_test_images(home) // 2


def test_concepts_of_earlier_versions_have_unknown_stability(home: Home, tmp_path: Path) -> None:
    shutil.copytree(home.path, tmp_path / "copy")
    copy, run_id = find_home(str(tmp_path / "copy")), explained(home)
    file = copy.run_folder(run_id) / "concepts" / "ice_epoch_0002.parquet"
    parquet.write_table(parquet.ParquetFile(file).read().drop_columns(["stability"]), file)
    with duckdb.connect() as connection:
        sql = f"select stability, threshold from ({select_rows(copy, 'concepts', exact_pattern(file))})"
        found = connection.execute(sql).fetchall()
        assert connection.execute(select_incomplete_files("concepts", exact_pattern(file))).fetchall() == []
    assert [stability for stability, _ in found] == [None] * 3
    assert all(threshold > 0 for _, threshold in found)


@pytest.mark.parametrize(("split", "sizes"), [("test", (50, 500, 500)), ("extra", (50, 2, 1)), ("train", (25, 13, 12))])
def test_images_that_fit_choose_and_judge_are_apart(split: str, sizes: tuple[int, int, int]) -> None:
    """Also of an explained split that is harder than the validation images, only its own images decide."""
    counts = {"train": 50, "test": 1400, "extra": 3, "val": 7}
    splits = {name: SimpleNamespace(labels=range(count)) for name, count in counts.items()}
    job = SimpleNamespace(
        source=SimpleNamespace(data=SimpleNamespace(splits=splits)), settings=SimpleNamespace(split=split)
    )
    fitting, choosing, judging = _draw_images(job, torch.Generator().manual_seed(0))
    assert (len(fitting), len(choosing), len(judging)) == sizes
    assert not set(choosing) & set(judging)
    assert max(choosing.max(), judging.max()) < counts[split]
    if split == "train":
        assert not set(fitting) & {*choosing, *judging}


def test_names_are_read_from_files_while_the_index_is_locked(home: Home) -> None:
    label_concept(LabelSettings("ice", "1", "a loop"), home)
    expected = rows(home, "select run_id, epoch, concept_id, label from concepts order by all")
    assert any(label for *_, label in expected)
    with _open_files(home) as connection:
        found = connection.execute("select run_id, epoch, concept_id, label from concepts order by all").fetchall()
    assert found == expected


@pytest.mark.parametrize(("settings", "message"), [
    (("latest", "9", "x"), "'9' matches 0 concepts of epoch 2; there are 0 to 2"),
    (("ice", "0", " "), "takes 1 to 80 printable characters"),
    (("ice", "0", "a\x1b[31m"), "printable"),
    (("digits-cnn-0", "0", "x"), "is of kind train, needed is explain"),
])  # fmt: skip
def test_names_that_cannot_be_given(home: Home, settings: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_concept(LabelSettings(*settings), home)
    with pytest.raises(InputError, match="no concepts of epoch 0; it has epochs"):
        label_concept(LabelSettings("ice", "0", "x", epoch=0), home)


@pytest.mark.parametrize(("settings", "message"), [
    ({"layer": "network.head.dense"}, "ice: .* it must return"),
    ({"layer": "network.features.1.0"}, "negative activations"),
    ({"layer": "nonsense"}, "no layer 'nonsense'; there are: normalise"),
    ({"concepts": 999}, "channels; --concepts takes 1 to"),
])  # fmt: skip
def test_layers_without_concepts_leave_no_run_behind(home: Home, settings: dict, message: str) -> None:
    before = rows(home, "select count(*) from runs")
    with pytest.raises(InputError, match=message):
        explain(replace(ICE, **settings), home)
    assert rows(home, "select count(*) from runs") == before


def test_the_number_of_concepts_is_chosen_and_the_whole_curve_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.explaining.concepts.concept_set.COUNTS", (2, 10, 12))
    [run_id] = explain(replace(ICE, concepts=None), home)
    record = json.loads((home.run_folder(run_id) / "choice" / "ice_epoch_0002.json").read_text())
    (count,) = rows(home, "select count(*) from concepts where run_id = ?", run_id)[0]
    kept = {trial["count"]: trial["fidelity"] for trial in record["trials"]}
    assert record["concepts"] == count
    assert (record["reason"] == "smallest_that_reaches_target") == (
        kept[count] >= required_agreement(-(-count_test_images(home) // 2))
    )
    assert set(kept) <= {10, 12}  # not fewer than classes
    assert (home.run_folder(run_id) / "concept_cards" / "epoch_0002_number_of_concepts.png").exists()


def test_there_are_as_many_concepts_as_classes_as_far_as_there_can_be() -> None:
    assert list_counts(4, 256)[:3] == [4, 5, 6]
    assert list_counts(11, 256)[0] == 12  # the next one on the list
    assert list_counts(100, 256) == [40]
    assert list_counts(10, 5) == [5]  # channels
    assert list_counts(10, 1) == []


@pytest.mark.parametrize(("rgb", "name"), [
    ((0.05, 0.05, 0.1), "black"), ((1, 1, 1), "white"), ((0.5, 0.5, 0.5), "grey"), ((0.9, 0.1, 0.1), "red"),
    ((0.1, 0.8, 0.2), "green"), ((0.2, 0.4, 0.9), "blue"), ((0.45, 0.3, 0.15), "brown"),
    ((0.05, 0.1, 0.35), "dark blue"), ((0.95, 0.85, 0.1), "yellow"), ((0.9, 0.5, 0.1), "orange"),
])  # fmt: skip
def test_colours_have_plain_names(rgb: tuple, name: str) -> None:
    assert colour_name(*rgb) == name


def test_places_have_plain_names() -> None:
    maps = torch.zeros(4, 9, 9)
    for (row, column), name in {(0, 0): "top left", (4, 4): "centre", (8, 4): "bottom", (4, 8): "right"}.items():
        one = maps.clone()
        one[:, row, column] = 1
        assert place(one) == name
    scattered = maps.clone()
    scattered[:, ::8, ::8] = 1
    assert place(scattered) == "all over"


def test_descriptions_say_what_there_is() -> None:
    pictures = torch.zeros(2, 3, 8, 8)
    pictures[:, 2] = 0.9
    maps = torch.zeros(2, 8, 8)
    maps[:, :2] = 1
    text = describe([("ship", 0.8), ("airplane", 0.5)], pictures, maps, ["#3", "#1"])
    assert text == "ship (80%) and airplane (50%); blue; top, 25% of the image; see #3, #1"
    assert describe([], pictures, maps, ["#3"]).startswith("no class in particular; blue")
    assert describe([], pictures, maps * 0, ["#3"]) == "shows in none of the images"
