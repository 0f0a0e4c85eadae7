"""Comparing runs: true rows on shared maps, references, resuming, and clear refusals."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipelines.common.figures import render_figure
from pipelines.common.settings import CompareSettings, ExplainSettings, ResumeSettings
from pipelines.comparing import comparison, measurements, mosaics, summary
from pipelines.comparing.compare import compare
from pipelines.comparing.map_selection import select_maps
from pipelines.comparing.mosaics import Mosaic, draw_mosaic, read_mosaics
from pipelines.explaining.explain import explain
from pipelines.lifecycle.selection import sample_instances
from pipelines.reporting.criteria import VERDICTS
from pipelines.resuming import resume
from support.homes import TINY, answer, copied, rows
from tracking import committing, mlflow_client, models, runs
from tracking.catalogue import resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai.references import REFERENCES

METHODS = ("integrated_gradients", "occlusion", "saliency")
COMPARE = CompareSettings(randomization_count=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory, trained_home) -> Home:
    """A home with a training run, maps of three methods that share the instances 2 to 7, and their comparison."""
    home = trained_home(tmp_path_factory.mktemp("compare"), replace(TINY, epochs=2))
    explain(ExplainSettings(method=("saliency",), epochs="0,2", instances="0,1,2,3,4,5,6,7"), home)
    explain(ExplainSettings(method=("integrated_gradients",), samples=4, instances="2,3,4,5,6,7,8"), home)
    explain(ExplainSettings(method=("occlusion",), where="instance_id < 8 and instance_id <> 1"), home)
    compare(COMPARE, home)
    return home


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, trained_home) -> Path:
    """A folder of a home with a training run, maps of saliency, and their comparison; tests copy it."""
    folder = tmp_path_factory.mktemp("chosen")
    home = trained_home(folder, replace(TINY, epochs=1))
    explain(ExplainSettings(instances="0,1,2,3,4"), home)
    compare(COMPARE, home)
    return folder


@pytest.fixture
def own(tmp_path, chosen: Path) -> Home:
    return copied(chosen, tmp_path)


def compared(home: Home) -> str:
    return resolve(home, "latest", ("compare",)).run_id


def test_every_method_is_measured_on_the_instances_all_share(home: Home) -> None:
    sql = "select method, list(instance_id order by instance_id) from attribution_scores where metric = ? group by all"
    measured = dict(rows(home, sql, "insertion"))
    assert set(measured) == {*METHODS, *REFERENCES}
    assert all(instances == [2, 3, 4, 5, 6, 7] for instances in measured.values())
    again = dict(rows(home, sql, "randomized/everything"))
    assert all(instances == [2, 4, 7] for instances in again.values())  # evenly spread
    assert rows(home, "select count(*) from attribution_scores where isnan(value)") == [(0,)]


def test_the_maps_of_every_method_are_clustered_by_class(home: Home) -> None:
    sql = """
        select method, list(instance_id order by instance_id), bool_and(class_id = target), max(cluster)
        from map_clusters
        join (select method, instance_id, target from attributions where epoch = 2) using (method, instance_id)
        group by method"""
    found = {method: facts for method, *facts in rows(home, sql)}
    assert found == {method: [[2, 3, 4, 5, 6, 7], True, 0] for method in METHODS}


MAP_QUESTIONS = (
    "attribution_agreement", "attribution_regions", "attribution_places", "explanation_drift", "explanation_settling",
    "faithfulness_by_method", "faithfulness_differences", "shortcuts", "attribution_clusters",
)  # fmt: skip


def test_images_chosen_beside_a_sample_enter_no_mean_and_no_test(tmp_path, trained_home, capsys) -> None:
    home = trained_home(tmp_path, replace(TINY, epochs=1))
    sampled = ExplainSettings(method=("saliency", "grad_cam"), epochs="0,1", count=12)
    explain(sampled, home)
    compare(CompareSettings(randomization_count=2, shortcut_count=2), home)
    before = {name: answer(home, name) for name in MAP_QUESTIONS}
    assert all(before.values())

    wrong = [instance for (instance,) in rows(home, """select instance_id from predictions
        where split = 'test' and epoch = 1 and predicted <> label order by 1 limit 9""")]  # fmt: skip
    explain(replace(sampled, also=",".join(map(str, wrong))), home)
    explain(replace(sampled, count=None, where="predicted <> label and instance_id < 20"), home)
    again = compare(CompareSettings(randomization_count=2, shortcut_count=2), home)
    assert "were chosen" not in capsys.readouterr().err
    for name, rows_before in before.items():
        rows_after = answer(home, name)
        assert len(rows_after) == len(rows_before), name
        for row, row_before in zip(rows_after, rows_before, strict=True):
            for column, value in row_before.items():
                # other batches, other last digits
                expected = pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value
                assert row[column] == (again if column == "compare_run_id" else expected), (name, column)

    sql = "select distinct instance_id from attribution_scores where run_id = ? order by 1"
    assert [row[0] for row in rows(home, sql, again)] == sample_instances(12, 445).tolist()
    assert set(wrong) - set(sample_instances(12, 445).tolist())


def test_a_comparison_of_chosen_images_says_so(own: Home, capsys) -> None:
    compare(CompareSettings(randomization_count=0, shortcut_count=0), own)
    assert "compare: 5 of the 5 images were chosen by ID or by --where" in capsys.readouterr().err
    assert rows(own, "select distinct sampled from attributions where method = 'random'") == [(False,)]


def test_references_have_maps_and_do_not_look_at_the_model(home: Home) -> None:
    sql = "select distinct method, run_id from maps where method in ('random', 'edge') order by 1"
    assert rows(home, sql) == [("edge", compared(home)), ("random", compared(home))]
    sql = """select min(value), max(value) from attribution_scores
             where method in ('random', 'edge') and (metric like 'randomized%' or metric like 'epoch_0%')"""
    assert rows(home, sql) == [(pytest.approx(1), pytest.approx(1))]


def test_road_gap_is_the_difference_of_its_parts(home: Home) -> None:
    sql = """
        select max(abs(gap - parts)) from (
            select
                max(value) filter (metric = 'road_gap') as gap,
                avg(value) filter (metric like 'road_lerf%') - avg(value) filter (metric like 'road_morf%') as parts
            from attribution_scores group by method, instance_id)"""
    assert rows(home, sql)[0][0] == pytest.approx(0, abs=1e-6)


def test_maps_made_again_are_the_maps_there_are(home: Home) -> None:
    """Only then is a difference under other weights a difference of the weights."""
    with connect(home) as connection:
        chosen = select_maps(connection, resolve(home, "latest").run_id, COMPARE)
    with comparison.open_comparison(COMPARE, home, chosen) as opened:
        model = opened.load_epoch(chosen.epoch)
        for method in METHODS:
            part = comparison.Part("some", method, np.array([3, 5, 6]), randomized=False)
            images, targets = opened.load_instances(part.instances)
            made = opened.explain(part, model, images, targets).maps
            torch.testing.assert_close(made, opened.read_maps(part, images, targets), rtol=1e-4, atol=1e-5)


def test_pointing_is_measured_where_the_truth_is_known(home: Home) -> None:
    with connect(home) as connection:
        chosen = select_maps(connection, resolve(home, "latest").run_id, COMPARE)
    with comparison.open_comparison(COMPARE, home, chosen) as opened:
        data = opened.source.data
    part, maps = comparison.Part("some", "edge", np.array([1, 4]), randomized=False), torch.rand(2, 8, 8)
    assert measurements._measure_pointing(opened, part, maps) == {}
    boxes = torch.tensor([[0, 0, 8, 8], [8, 8, 0, 0]])  # everywhere and nowhere
    split = replace(data.splits["test"], truth=boxes.expand(len(data.splits["test"].labels), 2, 4))
    known = replace(opened, source=replace(opened.source, data=replace(data, splits=data.splits | {"test": split})))
    found = measurements._measure_pointing(known, part, maps)
    assert {name: values.tolist() for name, values in found.items()} == {
        "points_at_glyph": [1, 1],
        "points_at_decoy": [0, 0],
    }


def test_a_part_that_is_left_out_is_seen_where_two_decide(home: Home) -> None:
    with connect(home) as connection:
        chosen = select_maps(connection, resolve(home, "latest").run_id, COMPARE)
    with comparison.open_comparison(COMPARE, home, chosen) as opened:
        data = opened.source.data
    boxes = torch.tensor([[0, 0, 2, 2], [4, 4, 2, 2], [6, 0, 2, 2]])  # two parts and the decoy
    split = replace(data.splits["test"], truth=boxes.expand(len(data.splits["test"].labels), 3, 4))
    known = replace(opened, source=replace(opened.source, data=replace(data, splits=data.splits | {"test": split})))
    maps = torch.zeros(3, 8, 8)
    maps[0, 0, 0], maps[0, 5, 5], maps[0, 7, 7] = 2, -1, 1  # both parts, 2 to 1
    maps[1, 4, 5], maps[1, 1, 1] = 8, 1  # a ninth is left out
    found = measurements._measure_pointing(known, comparison.Part("some", "edge", np.array([1, 4, 5]), False), maps)
    assert found["points_at_glyph"].tolist() == [1, 1, 0]
    assert found["points_at_decoy"].tolist() == [0, 0, 0]
    assert found["share_part_1"][:2].tolist() == pytest.approx([2 / 4, 1 / 9])
    assert found["share_part_2"][:2].tolist() == pytest.approx([1 / 4, 8 / 9])
    assert found["covers_all_parts"][:2].tolist() == [1, 0]
    assert all(found[name][2].isnan() for name in ("share_part_1", "share_part_2", "covers_all_parts"))


def test_the_newest_map_of_an_instance_counts(own: Home) -> None:
    explain(ExplainSettings(method=("saliency", "grad_cam"), instances="3,4,5"), own)
    old, new = (resolve(own, name, ("explain",)).run_id for name in ("saliency", "saliency-2"))
    with connect(own) as connection:
        alone = select_maps(connection, resolve(own, "latest").run_id, CompareSettings(method=("saliency",)))
        both = select_maps(connection, resolve(own, "latest").run_id, CompareSettings())
    assert alone.makers == {"saliency": {old: [0, 1, 2], new: [3, 4, 5]}}
    assert both.makers["saliency"] == {new: [3, 4, 5]}
    assert list(both.instances) == [3, 4, 5]


def test_metrics_are_the_means_in_sql(home: Home) -> None:
    client = mlflow_client.connect(home)
    sql = "select metric || '/' || method, avg(value) from attribution_scores group by all"
    means = dict(rows(home, sql))
    assert dict(rows(home, "select key, value from metrics where run_id = ?", compared(home))) == pytest.approx(means)
    assert client.get_run(compared(home)).data.metrics == {}  # a chart for each of them would have a single dot
    source = resolve(home, "latest")
    opened = runs.open_run(home, source)
    model = opened.client.get_logged_model(models.find_epoch_model(opened, source.run_id, 2))
    found = {(metric.key, metric.run_id): metric.value for metric in model.metrics}
    for method in METHODS:
        own = found["insertion", resolve(home, method, ("explain",)).run_id]
        assert own == pytest.approx(means[f"insertion/{method}"])
    assert {"test_accuracy", "test_loss"} <= {key for key, _ in found}
    assert len(found) <= 20


def test_a_method_s_run_shows_how_faithful_it_is_and_some_ten_metrics(home: Home) -> None:
    """MLflow compares runs by a metric, so each method's run has its own value of it."""
    sql = "select avg(value) from attribution_scores where method = ? and metric = ?"
    client = mlflow_client.connect(home)
    for method in METHODS:
        shown = client.get_run(resolve(home, method, ("explain",)).run_id).data.metrics
        assert shown["insertion"] == pytest.approx(rows(home, sql, method, "insertion")[0][0])
        assert shown["randomized"] == pytest.approx(rows(home, sql, method, "randomized/everything")[0][0])
        assert len(shown) <= 12


def test_figures_and_table(home: Home) -> None:
    folder = home.run_folder(compared(home))
    names = {file.name for file in (folder / "figures").iterdir()}
    assert {"faithfulness.png", "road.png", "agreement.png", "drift.png"} <= names
    table = json.loads((folder / "faithfulness.json").read_text())
    by_method = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    assert set(by_method) == {"Integrated gradients", "Occlusion", "Saliency", "Random maps", "Edge detector"}
    sql = "select avg(value) from attribution_scores where method = 'occlusion' and metric = 'insertion'"
    assert by_method["Occlusion"]["insertion"] == round(rows(home, sql)[0][0], 3)
    assert by_method["Occlusion"]["insertion_n"] == 6
    assert by_method["Random maps"]["beats_random_by"] == ""
    assert {by_method[name]["beats random maps"] for name in ("Random maps", "Edge detector")} == {"reference"}
    assert by_method["Occlusion"]["beats random maps"] == "not judged"  # 6 images are too few
    client = mlflow_client.connect(home)
    assert client.get_run(resolve(home, "occlusion", ("explain",)).run_id).data.tags["study.verdict"] == "not judged"


def test_mlflow_judges_methods_at_the_level_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def ask(_comparison: object, _run: object, name: str, parameters: dict) -> list[dict]:
        raise Asked(name, float(parameters["level"]))

    monkeypatch.setattr(summary, "ask", ask)
    with pytest.raises(Asked) as asked:
        summary.log(None, SimpleNamespace(run_id="compared"))
    assert asked.value.args == ("faithfulness_by_method", VERDICTS["beats_random"].level)


@pytest.mark.parametrize(
    ("insertion", "deletion", "verdict"),
    [
        (None, None, "not judged"),
        (False, None, "not shown"),
        (True, None, "yes"),
        (True, False, "partly"),
        (True, True, "yes"),
    ],
)
def test_the_measures_of_faithfulness_say_whether_a_method_beats_random(
    insertion: bool | None, deletion: bool | None, verdict: str
) -> None:
    """That maps change with the weights, as epoch_0 says, is another question."""
    judged = {"insertion": insertion, "deletion": deletion, "epoch_0": True}
    assert (
        summary.judge_by_random({"metric": metric, "beats_random": beats} for metric, beats in judged.items())
        == verdict
    )


def test_mosaics_are_methods_by_epochs(home: Home) -> None:
    with connect(home) as connection:
        found = read_mosaics(connection, select_maps(connection, resolve(home, "latest").run_id, COMPARE))
    assert [one.instance for one in found] == list(range(8))
    second = found[2]
    assert {method: sorted(by_epoch) for method, by_epoch in second.maps.items()} == {
        "saliency": [0, 2], "integrated_gradients": [2], "occlusion": [2],
    }  # fmt: skip
    assert second.epochs == [0, 2]
    classes = ("a $" * 9,) * 10
    drawn = render_figure(draw_mosaic(second, np.zeros((8, 8, 3)), classes))
    assert drawn.shape[0] == drawn.shape[1]  # MLflow puts grey bands around any other
    assert (drawn[:40] < 255).any()  # nor does it begin with a blank one
    is_drawn = [(tile < 255).any(2).mean() > 0.5 for tile in (
        drawn[84:188, 0:104], drawn[84:188, 110:214], drawn[84:188, 220:324],  # the image, and saliency at two epochs
        drawn[246:350, 0:104], drawn[246:350, 110:214], drawn[246:350, 220:324],  # the two with one map, side by side
    )]  # fmt: skip
    assert is_drawn == [True, True, True, True, True, False]


def test_mlflow_shows_a_mosaic_of_each_image_and_the_image_beside_its_heatmaps(home: Home) -> None:
    files = list((home.run_folder(compared(home)) / "images").glob("*.png"))
    keys = [path.name.split("+")[0] for path in files]
    digits = [digit for (digit,) in rows(
        home, "select label from instances where split = 'test' and instance_id < 8 order by instance_id")]  # fmt: skip
    names = [f"test_{number:05d}_label_{digit}" for number, digit in enumerate(digits)]
    assert set(keys) == {f"{folder}~{name}" for folder in ("heatmap", "heatmap_mosaic") for name in names}
    plain = [path.name for path in files if path.name.startswith(f"heatmap~{names[0]}+")]
    assert sorted(name.split("+")[2] for name in plain) == ["0", "2"]  # the epochs that saliency explained


@pytest.mark.parametrize("shape", [(8, 8), (300, 200)])
def test_an_image_stands_above_its_label_and_prediction_in_a_square(shape: tuple[int, int]) -> None:
    mosaic = Mosaic(3, {}, {0: (1, 0.9, 0), 1: (0, 0.9, 0)})
    image = np.zeros((*shape, 3))
    image[:, :, 2] = 1
    wrong, right, unknown = (mosaics.draw_captioned(mosaic, image, epoch, ("ship", "cat")) for epoch in (0, 1, 2))
    height, width = np.ptp(np.argwhere((wrong == (0, 0, 255)).all(2)), axis=0) + 1
    assert wrong.shape[0] == wrong.shape[1]
    assert width / height == pytest.approx(shape[1] / shape[0], abs=0.02)
    below = [picture[height:].astype(int) for picture in (wrong, right, unknown)]
    is_red = [(part[:, :, 0] > part[:, :, 2] + 60).any() for part in below]
    assert is_red == [True, False, False]  # as a wrong prediction is in every picture
    assert [(part < 128).any() for part in below] == [True, True, False]


@pytest.mark.parametrize("stop_at", [1, 3])
def test_goes_on_where_it_was_stopped(own: Home, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> None:
    write_table, calls = committing.write_table, []

    def stopping(path, columns):
        calls.append(path)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return write_table(path, columns)

    whole = compared(own)
    monkeypatch.setattr(committing, "write_table", stopping)
    with pytest.raises(KeyboardInterrupt):
        compare(COMPARE, own)
    stopped = resolve(own, "latest", ("compare",))
    assert stopped.status == "KILLED"
    explain(ExplainSettings(instances="3,8"), own)  # maps made since then do not count
    assert resume(ResumeSettings(stopped.run_id), own) == stopped.run_id
    sql = "select method, metric, instance_id, value from attribution_scores where run_id = ? order by all"
    assert rows(own, sql, stopped.run_id) == rows(own, sql, whole)
    sql = "select method, instance_id, map from maps where run_id = ? order by all"
    assert rows(own, sql, stopped.run_id) == rows(own, sql, whole)
    with pytest.raises(InputError, match="is finished; nothing to resume"):
        resume(ResumeSettings(stopped.run_id), own)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": ("saliency", "shap")},
            "no maps of shap at epoch 2 of test; there are: integrated_gradients, occ",
        ),
        ({"epoch": 1}, "no maps at epoch 1; there are some at 0, 2"),
        ({"split": "val"}, "has no maps of split val for target predicted; `study explain"),
        ({"target": "label"}, "has no maps of split test for target label"),
        ({"run": "nonsense"}, "no run 'nonsense'"),
    ],
)
def test_refuses_what_cannot_be_compared(home: Home, settings: dict, message: str) -> None:
    before = len(rows(home, "from runs"))
    with pytest.raises(InputError, match=message):
        compare(replace(COMPARE, **settings), home)
    assert len(rows(home, "from runs")) == before


def test_says_when_methods_share_no_instance(own: Home) -> None:
    explain(ExplainSettings(method=("grad_cam",), instances="8,9"), own)
    message = r"no instance is explained by all of these methods \(grad_cam 2, saliency 5 instances\)"
    with pytest.raises(InputError, match=message):
        compare(COMPARE, own)
