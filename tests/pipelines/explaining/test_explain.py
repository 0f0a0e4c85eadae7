"""Explainer jobs: the right instances, true rows, pictures under shared keys, a run that hangs where it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.common.figures import render_figure
from pipelines.common.settings import ExplainSettings, RerunSettings, ResumeSettings
from pipelines.data.datasets import load_dataset
from pipelines.data.raw import Split
from pipelines.explaining.explain import _describe_epochs, explain
from pipelines.explaining.job import open_trained_run, target_class
from pipelines.explaining.maps import attribution, heatmaps, precision
from pipelines.explaining.maps.pictured import choose_pictured
from pipelines.lifecycle.child_run import _describe_settings
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs, sample_instances
from pipelines.models import hardware
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import build_model
from pipelines.models.predictions import prepare_images
from pipelines.rerunning import rerun
from pipelines.resuming import resume
from pipelines.training.train import train
from queries.classes import find_classes
from support.homes import TINY, answer, rows
from tracking import commits, mlflow_client, runs
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai import METHODS, MethodInputs


@pytest.fixture(scope="module")
def own(tmp_path_factory, trained_home) -> Home:
    """A home of this file's own, trained for two epochs, to add explainer runs to."""
    return trained_home(tmp_path_factory.mktemp("explain"), replace(TINY, epochs=2))


def test_rows_are_those_of_the_method_on_the_checkpoint(study: Home, trained: RunRecord) -> None:
    data = load_dataset("digits", None, study, val_fraction=0.1, seed=0, size=8)
    model = build_model("cnn", data, seed=9)
    load_model(model, checkpoint_file(study, commits.read_epochs(study, trained.run_id)[3]))
    torch.set_num_threads(1)
    images = prepare_images(data.splits["test"].images[:20], torch.device("cpu"))
    with torch.no_grad():
        logits = model.eval()(images)
    maps = METHODS["saliency"].attribute(model, images, logits.argmax(1), MethodInputs()).maps
    sql = "select a.target, score, map8, map from attributions a join maps using (run_id, epoch, instance_id)"
    found = rows(study, f"{sql} where epoch = 3 order by instance_id")
    assert [row[0] for row in found] == logits.argmax(1).tolist()
    assert [row[1] for row in found] == pytest.approx(logits.amax(1).tolist(), abs=1e-5)
    assert np.allclose([row[3] for row in found], maps.flatten(1), atol=1e-6)
    assert np.allclose([row[2] for row in found], maps.flatten(1), atol=1e-6)  # 8x8 images: map8 is the map


def test_explainer_run_hangs_under_training_run_and_models(study: Home, trained: RunRecord) -> None:
    explainer = resolve(study, "latest", ("explain",))
    client = mlflow_client.connect(study)
    run = client.get_run(explainer.run_id)
    assert run.data.tags["mlflow.parentRunId"] == trained.run_id
    assert run.data.tags["study.source_run_id"] == trained.run_id
    models = {model.model_id: model for model in client.search_logged_models([runs.experiment_id(study)])}
    names = {models[known.model_id].name for known in run.inputs.model_inputs}
    assert names == {f"epoch_{epoch:04d}-digits-cnn-0" for epoch in (0, 1, 3)}


def test_an_explainer_run_says_what_it_explains_where_mlflow_shows_it(study: Home, trained: RunRecord) -> None:
    run = mlflow_client.connect(study).get_run(resolve(study, "saliency", ("explain",)).run_id)
    tags = run.data.tags
    found = {name: tags[f"study.{name}"] for name in ("kind", "method", "n", "training")}
    assert found == {"kind": "explain", "method": "saliency", "n": "20", "training": trained.name}
    assert run.data.params == {}  # above each of its pictures otherwise
    assert "| `--where` | `instance_id < 20` |" in tags["mlflow.note.content"]
    assert "epochs 0, 1, 3, split test" in tags["mlflow.note.content"]
    assert "| n_zero | maps that are zero everywhere |" in tags["mlflow.note.content"]  # what its metrics mean
    assert run.data.metrics.keys() == {"mean_score", "n_zero", "share_against"}


@pytest.mark.parametrize(
    ("epochs", "words"), [([10], "epoch 10 only"), ([0, 1, 2], "epochs 0 to 2"), ([0, 5, 10], "epochs 0, 5, 10")]
)
def test_a_description_says_which_epochs_were_explained(epochs: list[int], words: str) -> None:
    assert _describe_epochs(epochs) == words


def test_long_settings_are_shortened_in_a_description() -> None:
    many = ",".join(map(str, range(100, 130)))
    shown = _describe_settings(ExplainSettings(count=8, also=many, where="instance_id < 20")).splitlines()
    assert "| `--also` | `100,101,102,103,104,105,106,107, … (30 in all)` |" in shown
    assert "| `--where` | `instance_id < 20` |" in shown


def test_same_image_key_at_every_epoch(study: Home, trained: RunRecord) -> None:
    folder = study.run_folder(resolve(study, "latest", ("explain",)).run_id)
    files = [file.name for file in (folder / "images").glob("*.png")]
    labels = [
        label for (label,) in rows(study, "select label from instances where split = 'test' order by instance_id")
    ]
    with connect(study) as connection:
        pictured = choose_pictured(connection, trained.run_id, "test", dict.fromkeys(range(20), 3))
    assert len(pictured) == 8
    for instance in pictured:
        key = f"heatmap~test_{instance:05d}_label_{labels[instance]}+step+"
        assert sorted(file[len(key)] for file in files if file.startswith(key)) == ["0", "1", "3"]
    assert len(list((folder / "heatmaps").glob("*.png"))) == 3 * 2  # 20 instances are two pages


def test_images_to_check_have_a_key_before_others_but_not_before_those_explained_at_more_epochs(
    study: Home, trained: RunRecord
) -> None:
    first_ids: dict[str, int] = {}
    checked = set()
    for row in answer(study, "instances_to_check", run_id=trained.run_id, limit="8"):
        first_ids.setdefault(row["reason"], row["instance_id"])
        checked.add(row["instance_id"])
    count = rows(study, "select count(*) from instances where split = 'test'")[0][0]
    others = [instance for instance in range(count) if instance not in checked]
    with connect(study) as connection:
        pictured = choose_pictured(connection, trained.run_id, "test", dict.fromkeys(range(count), 2))
        often = choose_pictured(connection, trained.run_id, "test", dict.fromkeys(range(count), 2) | {others[5]: 3})
        few = choose_pictured(connection, trained.run_id, "test", {7: 1, 3: 1})
    firsts = list(dict.fromkeys(first_ids.values()))
    assert pictured[: len(firsts)] == firsts  # the most striking of each reason
    assert len(firsts) > 2
    assert set(pictured) <= checked
    assert often == [others[5], *pictured[:-1]]
    assert few == [3, 7]


def test_where_chooses_by_the_epochs_own_predictions(own: Home) -> None:
    [run_id] = explain(
        ExplainSettings(epochs="all", where="predicted <> label and instance_id < 60 -- the wrong ones"), own
    )
    sql = """select epoch, instance_id from predictions
             where split = 'test' and predicted <> label and instance_id < 60 order by all"""
    wrong = rows(own, sql)
    assert rows(own, "select epoch, instance_id from attributions where run_id = ? order by all", run_id) == wrong
    assert len({epoch for epoch, _ in wrong}) == 3


def test_images_beside_the_sample_are_explained_and_not_counted(own: Home) -> None:
    [run_id] = explain(ExplainSettings(count=6, also="0,1,2"), own)
    sample = sample_instances(6, 445).tolist()
    found = dict(rows(own, "select instance_id, sampled from attributions where run_id = ?", run_id))
    assert found == {instance: instance in sample for instance in {0, 1, 2, *sample}}
    sql = "select avg(score) filter (sampled) from attributions where run_id = ?"
    [(mean_score,)] = rows(own, sql, run_id)
    [row] = [row for row in answer(own, "explained") if row["explainer_run_id"] == run_id]
    assert (row["n"], row["mean_score"]) == (len(found), pytest.approx(mean_score))


def test_chosen_images_are_no_sample(own: Home) -> None:
    for chosen in ({"instances": "0,1"}, {"where": "predicted <> label and instance_id < 60"}):
        [run_id] = explain(ExplainSettings(**chosen), own)
        assert rows(own, "select distinct sampled from attributions where run_id = ?", run_id) == [(False,)]


@pytest.mark.parametrize(("settings", "words"), [
    ({"also": "0", "instances": "1"}, "--also adds images to a random sample, so use it with --count, not with --ins"),
    ({"also": "445"}, "no instance 445 in split test"),
    ({"also": "x"}, "--also is 'x'; it takes whole numbers"),
    ({"also": "0", "method": ("saliency", "ice")}, "--also adds maps of single images, which ice does not make"),
])  # fmt: skip
def test_images_beside_the_sample_are_refused_in_one_line(own: Home, settings: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        explain(ExplainSettings(**settings), own)
    assert words in str(caught.value)


def test_a_condition_is_one_expression_and_may_hold_brackets_comments_and_subqueries(own: Home) -> None:
    where = "(label = 3) /* threes */ and instance_id in (select instance_id from predictions where 'a)' || ';' <> '')"
    [run_id] = explain(ExplainSettings(where=f"{where} -- that"), own)
    threes = rows(own, "select instance_id from instances where split = 'test' and label = 3 order by 1")
    assert rows(own, "select instance_id from attributions where run_id = ? order by 1", run_id) == threes


@pytest.mark.parametrize("ids", [[-1, 3], [3, 3], [4, 2], [445], []])
def test_recorded_instances_must_be_of_the_split(own: Home, ids: list[int]) -> None:
    opened = open_trained_run(ExplainSettings(), own, {2: np.array(ids, dtype=int)})
    with pytest.raises(InputError, match="not IDs of split test, 0 to 444, ascending and unique"), opened:
        pass


def test_epochs_without_a_fitting_instance_are_left_out_and_said(own: Home, capsys) -> None:
    confidences = rows(own, "select epoch, max(p_predicted) from predictions where split = 'test' group by all")
    bound = dict(confidences)[0] + 0.01  # nobody is so sure at epoch 0
    [run_id] = explain(ExplainSettings(epochs="all", where=f"p_predicted > {bound} and instance_id < 50"), own)
    assert "no instance matches --where at epoch 0; left out" in capsys.readouterr().err
    found = rows(own, "select distinct epoch from attributions where run_id = ? order by 1", run_id)
    assert found == [(1,), (2,)]


@pytest.mark.parametrize(("target", "kind", "expected"), [
    ("label", "label", "label"), ("7", "class", "7"), ("predicted", "predicted", "predicted"),
])  # fmt: skip
def test_targets(own: Home, target: str, kind: str, expected: str) -> None:
    [run_id] = explain(ExplainSettings(instances="3,1,400", target=(target,)), own)
    sql = f"""select instance_id, target, target_kind, {expected} from attributions
              join predictions p using (epoch, split, instance_id) where attributions.run_id = ? order by all"""
    found = rows(own, sql, run_id)
    assert [row[0] for row in found] == [1, 3, 400]
    assert all(row[1] == int(row[3]) and row[2] == kind for row in found)


def test_a_target_means_the_class_that_questions_mean() -> None:
    classes = ("1", "10", "2", "a,b", "predicted", "\u00e9", "o\u0308")  # the last as older homes have it
    assert (target_class("e\u0301", classes), target_class("\u00f6", classes)) == (5, 6)
    for target in ("0", "1", "2", "3", "10", "03", "a,b", "\u00e9", "e\u0301", "\u00f6", "o\u0308"):
        assert [target_class(target, classes)] == find_classes(target, dict(enumerate(classes)))
    assert (target_class("1", classes), target_class("predicted", classes)) == (0, None)
    for target in ("7", "-1", "", "\u0661"):
        with pytest.raises(InputError, match="it takes predicted, label, or a class: 0 1, 1 10"):
            target_class(target, classes)


def test_a_sample_is_part_of_every_larger_one_and_of_every_class() -> None:
    assert sample_instances(7, 7).tolist() == list(range(7))
    small, large = sample_instances(50, 1000), sample_instances(200, 1000)
    assert len(small) == 50
    assert set(small) < set(large)
    halves = [int((large < 500).sum()), int((large >= 500).sum())]  # a folder of two classes, one after the other
    assert min(halves) > 80


def test_train_instances(own: Home) -> None:
    [run_id] = explain(ExplainSettings(split="train", where="p_true < 0.5 and instance_id < 60"), own)
    sql = "select instance_id from predictions where split = 'train_seen' and epoch = 2 and p_true < 0.5"
    assert rows(own, "select instance_id from attributions where run_id = ? order by 1", run_id) == rows(
        own, f"{sql} and instance_id < 60 order by 1"
    )


def test_a_map_does_not_depend_on_the_batch(own: Home) -> None:
    first, second = (explain(ExplainSettings(count=30, batch=batch), own)[0] for batch in (7, 30))
    sql = "select map from maps where run_id = ? order by instance_id"
    assert np.allclose(rows(own, sql, first), rows(own, sql, second), rtol=1e-4, atol=1e-6)


def test_epochs() -> None:
    done = [commits.Commit("r", f"epoch_{e:04d}", e, 0, (), {"val_accuracy": a}) for e, a in enumerate([0.1, 0.9, 0.8])]
    assert choose_epochs("last", done) == [2]
    assert choose_epochs("best", done) == [1]
    assert choose_epochs("all", done) == [0, 1, 2]
    assert choose_epochs("2, 0,0", done) == [0, 2]
    for wrong in ("3", "-1", "", "1-2", "x", "1.5", "٣"):
        with pytest.raises(InputError):
            choose_epochs(wrong, done)
    with pytest.raises(InputError, match="no committed epoch"):
        choose_epochs("last", [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": ("salience",)}, "no method 'salience'; there are: saliency"),
        ({"epochs": "9"}, "no checkpoint of epoch 9; there are those of 0 to 2"),
        ({"instances": "445"}, "no instance 445 in split test; there are 0 to 444"),
        ({"instances": "1", "count": 2}, "give one"),
        ({"count": 446}, "split test has 445"),
        ({"where": "labl = 3"}, "labl"),
        ({"where": "label = 3; drop table runs"}, "."),
        ({"where": "label = 3)"}, "is not a valid condition"),
        ({"where": "1=1) union all select -1 where (true"}, "is not a valid condition"),
        ({"where": "label = 3) or (true"}, "is not a valid condition"),
        ({"where": "label = 3, true"}, "is not a valid condition"),
        ({"where": "select true"}, "is not a valid condition"),
        ({"where": "label = 3 limit 5"}, "is not a valid condition"),
        ({"where": "label = 3 order by 1"}, "is not a valid condition"),
        ({"where": "true window w as ()"}, "is not a valid condition"),
        ({"where": "label = 3 /* open"}, "is not a valid condition"),
        ({"where": "count(*) > 1"}, "is not a valid condition"),
        ({"where": "null"}, "matches no instance of test at epochs"),
        ({"instances": "99999999999"}, "it takes whole numbers"),
        ({"where": ""}, "--where is empty"),
        ({"where": "label = 99"}, "matches no instance of test at epochs"),
        ({"target": ("zebra",)}, "it takes predicted, label, or a class: 0 0, 1 1"),
        ({"target": ("predicted", "10")}, "it takes predicted, label, or a class"),
        ({"run": "nonsense"}, "no run 'nonsense'"),
    ],
)
def test_wrong_input_leaves_no_run_behind(own: Home, settings: dict, message: str) -> None:
    before = rows(own, "select count(*) from runs")
    with pytest.raises(InputError, match=message):
        explain(ExplainSettings(**settings), own)
    assert rows(own, "select count(*) from runs") == before


def test_several_targets_share_what_they_have_in_common(own: Home) -> None:
    settings = ExplainSettings(
        method=("integrated_gradients",), target=("predicted", "label", "0"), epochs="0", count=12
    )
    [run_id] = explain(settings, own)
    sql = """select target_kind, target = p.predicted, target = p.label, target = 0, map8 from attributions
             join predictions p using (epoch, split, instance_id) where attributions.run_id = ? order by instance_id"""
    found = rows(own, sql, run_id)
    of_kind = {kind: [row for row in found if row[0] == kind] for kind in ("predicted", "label", "class")}
    assert all(row[1] for row in of_kind["predicted"])
    assert all(row[2] for row in of_kind["label"])
    assert all(row[3] for row in of_kind["class"])
    same = [row[4] == other[4] for row, other in zip(of_kind["predicted"], of_kind["label"], strict=True)]
    assert same == [row[2] for row in of_kind["predicted"]]  # the same map just where the prediction is right
    [alone] = explain(replace(settings, target=("label",)), own)
    again = rows(own, "select map8 from attributions where run_id = ? order by instance_id", alone)
    assert np.allclose([row[0] for row in again], [row[4] for row in of_kind["label"]], atol=1e-5)


def test_methods_with_a_baseline_log_their_gap(own: Home) -> None:
    [run_id] = explain(ExplainSettings(method=("integrated_gradients",), count=10), own)
    sql = """select list_sum(map), score, baseline_score, delta from attributions
             join maps using (run_id, instance_id) where run_id = ?"""
    for total, score, baseline_score, delta in rows(own, sql, run_id):
        assert delta == pytest.approx(total - (score - baseline_score), abs=1e-3)
        assert abs(delta) < 0.05 * abs(score - baseline_score) + 0.01


@pytest.mark.parametrize("stop_at", [1, 4, 5])
def test_stopped_job_goes_on_where_it_stopped(own: Home, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> None:
    calls = []

    def counted(job, epoch, found):
        calls.append((epoch, found.tolist()))
        if len(calls) == stop_at + 1:  # the first call tries the method out
            raise KeyboardInterrupt
        return explain_batch(job, epoch, found)

    explain_batch = attribution.explain_batch
    monkeypatch.setattr(attribution, "explain_batch", counted)
    monkeypatch.setattr(attribution, "PART_SIZE", 2)
    settings = ExplainSettings(method=("smooth_grad",), epochs="0,2", count=5, samples=3)
    with pytest.raises(KeyboardInterrupt):
        explain(settings, own)
    record = resolve(own, "latest", ("explain",))
    assert record.status == "KILLED"
    (count,) = rows(own, "select count(*) from attributions where run_id = ?", record.run_id)[0]
    assert count == [0, 5, 5][[1, 4, 5].index(stop_at)] + [0, 0, 2][[1, 4, 5].index(stop_at)]
    made = len(calls) - 2
    assert resume(ResumeSettings(record.run_id), own) == record.run_id
    assert len(calls) - 2 - made == 6 - made  # nothing is computed twice
    monkeypatch.setattr(attribution, "explain_batch", explain_batch)
    [whole] = explain(settings, own)
    sql = "select epoch, instance_id, map from maps where run_id = ? order by all"
    assert rows(own, sql, record.run_id) == rows(own, sql, whole)
    for key in ("n", "mean_score"):
        [points, others] = [mlflow_client.connect(own).get_metric_history(run, key) for run in (record.run_id, whole)]
        assert [(p.step, p.value) for p in points] == [(p.step, p.value) for p in others]
    with pytest.raises(InputError, match="is finished; nothing to resume"):
        resume(ResumeSettings(record.run_id), own)


def test_a_method_that_cannot_be_right_refuses_before_a_run_is_made(home: Home, capsys) -> None:
    train(replace(TINY, epochs=1, model="support.networks:without_places"), home)
    with pytest.raises(InputError, match="no layer whose output is"):
        explain(ExplainSettings(method=("saliency", "grad_cam"), count=1), home)
    assert rows(home, "select count(*) from runs") == [(1,)]
    [run_id] = explain(ExplainSettings(method=("expected_gradients",), count=2, samples=2), home)
    assert rows(home, "select count(*) from maps where run_id = ?", run_id) == [(2,)]
    explain(ExplainSettings(method=("all",), count=2, samples=2), home)
    assert "grad_cam is left out: the model has no layer whose output is" in capsys.readouterr().err
    explained = {method for (method,) in rows(home, "select distinct method from maps")}
    assert explained == METHODS.keys() - {"grad_cam"}


def test_layers_and_their_faults(own: Home) -> None:
    [run_id] = explain(ExplainSettings(method=("grad_cam",), count=2, layer="network.features.1"), own)
    assert resolve(own, run_id, ("explain",)).params["layer"] == "network.features.1"
    [run_id] = explain(ExplainSettings(method=("grad_cam",), count=2), own)
    assert resolve(own, run_id, ("explain",)).params["layer"] == "network.features.2"
    with pytest.raises(InputError, match="no layer 'relu'; there are: normalise, network, "):
        explain(ExplainSettings(method=("grad_cam",), count=2, layer="relu"), own)


def test_pages_say_how_many_there_are() -> None:
    count = 120
    shown = heatmaps.ExplainedImages(
        np.arange(count), np.zeros((count, 4, 4, 3)), np.zeros((count, 1, 4, 4)),
        [("$x$ <b>", heatmaps.CORRECT_COLOUR)] * count,
        [("explains $y$ <i>",)] * count, signed=True,
    )  # fmt: skip
    figures = list(heatmaps.pages(shown, "t"))
    titles = [figure.texts[0].get_text() for figure in figures]
    assert titles[0].endswith("instances 1 to 16 of 120")
    assert len(figures) == heatmaps.MAX_PAGES


def test_images_are_drawn_upright_and_unstretched() -> None:
    image = np.zeros((1, 4, 4, 3))
    image[0, 0, 0] = (1, 0, 0)
    shown = heatmaps.ExplainedImages(np.arange(1), image, np.zeros((1, 1, 4, 4)), [("", "black")], [("",)], signed=True)
    [page] = heatmaps.pages(shown, "")
    drawn = render_figure(page)
    rows, columns = np.nonzero((drawn == (255, 0, 0)).all(2))
    top, left, side = rows.min(), columns.min(), np.ptp(rows)
    assert side > 20
    assert abs(np.ptp(columns) - side) <= 1
    assert len(rows) == (side + 1) * (np.ptp(columns) + 1)
    middle = top + side // 2
    assert drawn[middle, left + side + 5].tolist() == drawn[top + side + 5, left].tolist() == [0, 0, 0]
    assert drawn[middle, left - 5].tolist() == drawn[top - 5, left].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("side", "drawn_side"), [(8, 128), (32, 128), (224, 224)])
def test_a_heatmap_for_mlflow_is_the_square_map_alone(side: int, drawn_side: int) -> None:
    """MLflow's card shows about 200 by 200 pixels of a picture, and key and step beside it."""
    values = np.zeros((side, side))
    values[side // 2, side // 2] = 3
    drawn = heatmaps.tile(np.ones((side, side, 3)), values, True)
    assert (drawn.shape, drawn.dtype) == ((drawn_side, drawn_side, 3), np.uint8)
    start, times = drawn_side // 2, drawn_side // side
    pixel = drawn[start : start + times, start : start + times]
    assert (pixel == pixel[0, 0]).all()
    assert pixel[0, 0, 0] > 2 * pixel[0, 0, 2]  # red: for the class
    colour = np.ptp(drawn, axis=2)
    colour[start : start + times, start : start + times] = 0
    assert colour.max() < 30  # nothing but the greyed image, and a white line on black
    assert (drawn == 255).all(2).sum() > drawn_side


def test_an_image_s_key_names_its_class() -> None:
    split = Split(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.tensor([1, -1, 0]), ("a", "b", "c"))
    classes = ("Ünïcode / $x$", "dog")
    keys = [heatmaps.picture_key(split, "extra:new", instance, classes) for instance in range(3)]
    assert keys == ["extra_new_00000_label_dog", "extra_new_00001", "extra_new_00002_label_n_code_x"]


@pytest.mark.parametrize(
    ("least_correlation", "least_gain", "least_images", "chosen", "reason"),
    [
        (0.9, 0, 8, "bfloat16", "its maps of 8 images per epoch agree with those of float32"),
        (2, 0, 8, "float32", "in bfloat16, at epoch 1, the rank correlation of a map is"),
        (0.9, 1e9, 8, "float32", "bfloat16 is only"),
        (0.9, 0, 100, "float32", "for fewer than 100 images, checking bfloat16 would take longer than it saves"),
    ],
)
def test_automatic_precision_is_checked_said_and_recorded(
    own: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    least_correlation: float,
    least_gain: float,
    least_images: int,
    chosen: str,
    reason: str,
) -> None:
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda device: True)
    monkeypatch.setattr("xai.precision.MIN_CORRELATION", least_correlation)
    monkeypatch.setattr("xai.precision.MAX_GAP_CHANGE", 100)
    monkeypatch.setattr(precision, "MIN_GAIN", least_gain)
    monkeypatch.setattr(precision, "MIN_IMAGES", least_images)
    settings = ExplainSettings(method=("smooth_grad", "grad_cam"), epochs="1,2", count=10, samples=3, precision="auto")
    run_id, of_layer = explain(settings, own)
    assert f"smooth_grad computes in {chosen}: " in (said := " ".join(capsys.readouterr().err.split()))
    assert reason in said
    recorded = [
        read_recorded_settings(own, resolve(own, known, ("explain",)), ExplainSettings).precision
        for known in (run_id, of_layer)
    ]
    assert recorded == [chosen, "float32"]
    if chosen == "bfloat16":
        [exact] = explain(replace(settings, method=("smooth_grad",), precision="float32"), own)
        sql = """select epoch, instance_id, score, map from attributions join maps using (run_id, epoch, instance_id)
                 where run_id = ? order by all"""
        found, expected = (rows(own, sql, known) for known in (run_id, exact))
        assert [row[:3] for row in found] == [row[:3] for row in expected]
        assert found != expected
        rerun(RerunSettings(run_id, check=True), own)
        assert "identical to run" in capsys.readouterr().err


def test_automatic_precision_is_float32_where_the_processor_has_no_bfloat16(
    own: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda device: False)
    explain(ExplainSettings(count=100, precision="auto"), own)
    assert "saliency computes in float32: this processor has no bfloat16" in capsys.readouterr().err


def test_precision_is_refused_where_it_does_nothing(own: Home) -> None:
    with pytest.raises(InputError, match="--precision does nothing for grad_cam"):
        explain(ExplainSettings(method=("grad_cam",), precision="bfloat16"), own)
